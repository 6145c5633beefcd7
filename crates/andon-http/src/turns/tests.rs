use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{TURNS_MAX, Turns};

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_wakes_itself_is_polled_again_and_its_task_is_not_woken() {
    let (count, turns) = (Arc::<Count>::default(), Turns::default());
    let waker = Waker::from(count.clone());
    let mut left = 3;
    let polled = turns.poll(&mut Context::from_waker(&waker), |cx| {
        left -= 1;
        if left == 0 {
            return Poll::Ready("done");
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    assert_eq!((polled, count.0.load(Ordering::SeqCst)), (Poll::Ready("done"), 0));
}

#[test]
fn what_others_wake_later_wakes_its_task() {
    let (count, turns) = (Arc::<Count>::default(), Turns::default());
    let waker = Waker::from(count.clone());
    let mut kept = None;
    let polled = turns.poll(&mut Context::from_waker(&waker), |cx| {
        kept = Some(cx.waker().clone());
        Poll::<()>::Pending
    });
    assert!(polled.is_pending());
    let kept = kept.expect("it was polled");
    kept.wake_by_ref();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

#[test]
fn what_never_stops_lets_others_have_their_turn() {
    let (count, turns) = (Arc::<Count>::default(), Turns::default());
    let waker = Waker::from(count.clone());
    let mut polls = 0;
    let polled = turns.poll(&mut Context::from_waker(&waker), |cx| {
        polls += 1;
        cx.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    assert_eq!((polled, polls, count.0.load(Ordering::SeqCst)), (Poll::Pending, TURNS_MAX, 1));
}
