use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::Aside;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn woken(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn it_is_polled_first_and_when_it_has_rung() {
    let (count, mut aside) = (Arc::<Count>::default(), Aside::default());
    let waker = Waker::from(count.clone());
    let (mut polls, mut kept) = (0, None);
    let mut poll = |aside: &mut Aside, waker: &Waker| {
        let polled = aside.poll(&mut Context::from_waker(waker), |cx| {
            polls += 1;
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        (polls, kept.clone().expect("it was polled"))
    };
    let (_, bell) = poll(&mut aside, &waker);
    assert_eq!(poll(&mut aside, &waker).0, 1, "it had nothing to say");
    bell.wake_by_ref();
    assert_eq!((count.woken(), poll(&mut aside, &waker).0), (1, 2));

    // Another task polls it from here on, and is woken instead.
    let other = Arc::<Count>::default();
    assert_eq!(poll(&mut aside, &Waker::from(other.clone())).0, 2);
    bell.wake();
    assert_eq!((count.woken(), other.woken()), (1, 1));
}
