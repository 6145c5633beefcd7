//! What the bodies of requests may take together, so that many clients cannot do what one may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A body of at most so many bytes is always read: what is sent most is never kept out by what is large.
const SMALL_BYTES: usize = 64 << 10;

/// Bytes that large bodies share.
#[derive(Debug)]
pub(crate) struct Budget {
    free: AtomicUsize,
}

/// The part of a budget that one body has; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

/// There is no room for so large a body now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Budget {
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(bytes) })
    }

    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

impl Share {
    /// Takes what a body of `bytes` needs, which is nothing while it is small.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let more = if bytes > SMALL_BYTES { bytes.saturating_sub(self.bytes) } else { 0 };
        let take = |free: usize| free.checked_sub(more);
        self.budget.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).map_err(|_| Exhausted)?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Exhausted, SMALL_BYTES};

    #[test]
    fn large_bodies_share_and_small_ones_are_always_read() {
        let budget = Budget::new(3 * SMALL_BYTES);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert_eq!(one.grow(2 * SMALL_BYTES), Ok(()));
        assert_eq!(two.grow(SMALL_BYTES), Ok(()), "small");
        assert_eq!(two.grow(2 * SMALL_BYTES), Err(Exhausted));
        assert_eq!(one.grow(3 * SMALL_BYTES), Ok(()), "it grows by what is new");
        drop(one);
        assert_eq!(two.grow(3 * SMALL_BYTES), Ok(()));
    }
}
