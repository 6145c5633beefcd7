//! Who listens for changes with `subscriptions/listen`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// So many more than twice those that are there are kept without a look whether any is gone.
const SLACK: usize = 64;

/// Modern clients that listen, and of those that were refused not many more.
pub(super) struct Listeners<T>(Mutex<Known<T>>);

struct Known<T> {
    by_number: HashMap<u64, Weak<T>>,
    /// How many there were that are not gone, when it was last looked.
    alive: usize,
}

impl<T> Listeners<T> {
    /// Takes one in, which need not know yet whether it will be told anything.
    pub(super) fn add(&self, number: u64, listener: &Arc<T>) {
        let mut known = self.lock();
        if known.by_number.len() >= known.alive * 2 + SLACK {
            known.forget_gone();
        }
        known.by_number.insert(number, Arc::downgrade(listener));
    }

    /// Forgets one that went away.
    pub(super) fn remove(&self, number: u64) {
        let known = &mut *self.lock();
        let by_number = &mut known.by_number;
        by_number.remove(&number);
        known.alive = known.alive.min(by_number.len());
        if by_number.capacity() > SLACK && by_number.len() * 4 < by_number.capacity() {
            by_number.shrink_to(by_number.len() * 2);
        }
    }

    /// Whether there are as many as there may be.
    pub(super) fn is_full(&self, max: usize) -> bool {
        let mut known = self.lock();
        if known.by_number.len() >= max {
            known.forget_gone();
        }
        known.by_number.len() >= max
    }

    /// All of them that are there now.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.lock().by_number.values().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Listeners<T> {
    fn default() -> Self {
        Self(Mutex::new(Known { by_number: HashMap::new(), alive: 0 }))
    }
}

impl<T> Known<T> {
    fn forget_gone(&mut self) {
        self.by_number.retain(|_, listener| listener.strong_count() > 0);
        self.alive = self.by_number.len();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{Listeners, SLACK};
    use crate::host::{Answer, Head, Host, Inbound};
    use crate::principal::Principal;
    use crate::server::Server;

    fn known<T>(listeners: &Listeners<T>) -> usize {
        listeners.lock().by_number.len()
    }

    #[test]
    fn few_that_are_gone_are_kept_and_all_that_are_there() {
        let listeners = Listeners::default();
        let mut there = Vec::new();
        for number in 0..10_000 {
            let listener = Arc::new(number);
            listeners.add(number, &listener);
            // Every tenth stays; the others were refused.
            if number % 10 == 0 {
                there.push(listener);
            }
            assert!(known(&listeners) <= 2 * there.len() + SLACK + 1);
        }
        let mut all: Vec<u64> = listeners.all().iter().map(|listener| **listener).collect();
        all.sort_unstable();
        assert_eq!(all, there.iter().map(|listener| **listener).collect::<Vec<_>>());
        assert!(!listeners.is_full(there.len() + 1) && listeners.is_full(there.len()), "only those there count");
    }

    #[test]
    fn what_those_needed_that_went_away_is_given_back() {
        let listeners = Listeners::default();
        let there: Vec<_> = (0..10_000).map(Arc::new).collect();
        there.iter().for_each(|listener| listeners.add(**listener, listener));
        there.iter().for_each(|listener| listeners.remove(**listener));
        assert_eq!(known(&listeners), 0);
        assert!(listeners.lock().by_number.capacity() <= SLACK);
        // Nor do those that are refused afterwards stay.
        (0..10_000).for_each(|number| listeners.add(number, &Arc::new(number)));
        assert!(known(&listeners) <= SLACK);
    }

    fn host() -> Arc<Host> {
        Server::new("test", "1").build().expect("a good server")
    }

    fn listen() -> String {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {}});
        let params = json!({"notifications": {}, "_meta": meta});
        json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}).to_string()
    }

    #[tokio::test]
    async fn who_closes_the_stream_is_forgotten() {
        let host = host();
        let head =
            Head { protocol_version: Some("2026-07-28"), method: Some("subscriptions/listen"), ..Head::default() };
        let posted = host.post(Inbound { head, body: listen().into(), principal: Principal::anonymous() }).await;
        let Answer::Stream { stream, .. } = posted else { panic!("it listens: {posted:?}") };
        assert_eq!(known(&host.listeners), 1);
        drop(stream);
        assert_eq!(known(&host.listeners), 0);
    }

    #[tokio::test]
    async fn who_cancels_on_a_connection_is_forgotten() {
        let host = host();
        let (connection, _answers) = host.connect(Principal::anonymous());
        connection.receive(listen().as_bytes());
        let listener = host.listeners.all().first().map(Arc::downgrade).expect("it listens");
        let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
        connection.receive(cancelled.to_string().as_bytes());
        assert_eq!((known(&host.listeners), listener.strong_count()), (0, 0), "nor is its memory kept");
    }

    #[tokio::test]
    async fn whose_connection_ends_is_forgotten() {
        let host = host();
        let (connection, _answers) = host.connect(Principal::anonymous());
        connection.receive(listen().as_bytes());
        assert_eq!(known(&host.listeners), 1);
        drop(connection);
        assert_eq!(known(&host.listeners), 0);
    }
}
