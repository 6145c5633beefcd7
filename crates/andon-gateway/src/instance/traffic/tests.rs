use std::sync::{Arc, Weak};

use super::{Caller, Sending, Traffic};

#[test]
fn a_call_that_was_given_up_is_laid_only_when_it_was_cancelled() {
    let mut traffic = Traffic::default();
    let sending = Arc::new(Sending);
    assert_eq!(traffic.cancelled(), None);
    traffic.haunt(Caller::Session(1, 1), Arc::downgrade(&sending));
    assert_eq!(traffic.cancelled(), Some(Vec::new()), "its server has not heard yet");

    traffic.haunt(Caller::Session(1, 2), Weak::new());
    traffic.haunt(Caller::Session(1, 1), Weak::new());
    assert_eq!(traffic.cancelled(), Some(vec![2, 3]), "a later one of its caller says nothing of the first");

    drop(sending);
    assert_eq!(traffic.cancelled(), Some(vec![1, 2, 3]));
    traffic.haunt(Caller::Session(1, 1), Weak::new());
    assert_eq!(traffic.cancelled(), Some(vec![2, 4]), "one of each caller is enough");
}
