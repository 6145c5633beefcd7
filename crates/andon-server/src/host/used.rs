//! Which seals came back already: each is good once (2026-07-28, multi round-trip requests, "Server Requirements").

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use andon_core::io::Timestamp;

/// Seals that were used, until they expire anyway.
#[derive(Debug, Default)]
pub(super) struct Used {
    known: HashSet<u128>,
    /// With the time from which they need not be known; ordered, since all seals live for the same time.
    order: VecDeque<(Timestamp, u128)>,
}

impl Used {
    /// Whether `number` is used for the first time. At most `most` are remembered, the newest ones.
    pub(super) fn take(&mut self, number: u128, now: Timestamp, ttl: Duration, most: usize) -> bool {
        while self.order.front().is_some_and(|(until, _)| *until <= now || self.order.len() >= most.max(1)) {
            if let Some((_, oldest)) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
        let is_new = self.known.insert(number);
        if is_new {
            self.order.push_back((now.after(ttl), number));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use andon_core::io::Timestamp;

    use super::Used;

    #[test]
    fn mr4_each_is_taken_once_and_memory_is_bounded() {
        let (mut used, ttl) = (Used::default(), Duration::from_millis(100));
        assert!(used.take(1, Timestamp(0), ttl, 3));
        assert!(!used.take(1, Timestamp(99), ttl, 3));
        assert!(used.take(2, Timestamp(50), ttl, 3));
        for number in 3..1000 {
            assert!(used.take(number, Timestamp(60), ttl, 3));
            assert!(used.order.len() <= 3 && used.known.len() == used.order.len());
        }
        assert!(!used.take(999, Timestamp(60), ttl, 3));
        assert!(used.take(5000, Timestamp(1000), ttl, 3));
        assert_eq!(used.known.len(), 1, "what is expired is forgotten");
    }
}
