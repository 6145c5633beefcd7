use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use andon_core::io::Frame;
use tokio::sync::oneshot;

use super::Work;
use crate::outlet::{Bounds, Ends, First, Outlet};
use crate::room::Share;

fn outlet() -> Outlet {
    let bounds = Bounds { frames: 4, bytes: 1024, patience: Duration::from_secs(1) };
    Outlet::new(bounds, Ends::WithStream, Share::default())
}

fn answer() -> Frame {
    Frame { id: None, text: Some("{}".to_owned().into()), retry_ms: None, last: true, status: 200 }
}

/// A handler that answers at `outlet` when it is told to.
fn handler(outlet: &Outlet) -> (oneshot::Sender<()>, Work) {
    let ((go, gone), outlet) = (oneshot::channel(), outlet.clone());
    let handler = async move {
        gone.await.unwrap();
        outlet.send(answer(), None);
    };
    (go, Work::new(handler))
}

#[tokio::test]
async fn who_waits_for_an_answer_carries_its_handler() {
    let outlet = outlet();
    let (go, mut work) = handler(&outlet);
    let beginning = poll_fn(|cx| work.poll_whole(&outlet, cx));
    let (first, ()) = tokio::join!(beginning, async { go.send(()).unwrap() });
    assert!(matches!(first, First::Whole(frame) if frame == answer()));
}

#[tokio::test]
async fn a_handler_that_nobody_carries_any_more_is_a_task() {
    for is_begun in [false, true] {
        let outlet = outlet();
        let (go, mut work) = handler(&outlet);
        if is_begun {
            poll_fn(|cx| {
                assert!(work.poll_whole(&outlet, cx).is_pending());
                Poll::Ready(())
            })
            .await;
        }
        drop(work);
        go.send(()).unwrap();
        assert_eq!(poll_fn(|cx| outlet.poll_next(cx)).await, Some(answer()));
    }
}
