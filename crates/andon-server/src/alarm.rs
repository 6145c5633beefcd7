//! One timer for all conversations of a host: whoever has a deadline is woken then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError, Weak};

use andon_core::io::Timestamp;
use tokio::sync::Notify;

/// Something with deadlines.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

#[derive(Default)]
pub(crate) struct Alarm {
    due: Mutex<BinaryHeap<Entry>>,
    sooner: Notify,
}

struct Entry {
    at: Reverse<Timestamp>,
    who: Weak<dyn Wake>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Alarm {
    /// Wakes `who` at `at`. Waking is idempotent, so that an entry which is no longer needed does no harm.
    pub(crate) fn set(&self, at: Timestamp, who: Weak<dyn Wake>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let is_sooner = due.peek().is_none_or(|first| at < first.at.0);
        due.push(Entry { at: Reverse(at), who });
        drop(due);
        if is_sooner {
            self.sooner.notify_one();
        }
    }

    /// Wakes everybody who is due, and says when the next one is.
    pub(crate) fn ring(&self, now: Timestamp) -> Option<Timestamp> {
        loop {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            match due.peek() {
                Some(first) if first.at.0 <= now => {
                    let who = due.pop().and_then(|entry| entry.who.upgrade());
                    drop(due);
                    if let Some(who) = who {
                        who.wake();
                    }
                }
                first => return first.map(|first| first.at.0),
            }
        }
    }

    /// Waits until something is due sooner than all before.
    pub(crate) async fn sooner(&self) {
        self.sooner.notified().await;
    }
}
