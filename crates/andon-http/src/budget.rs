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

/// The part of a budget that one body has, which is none while it is small; given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<Part>);

#[derive(Debug)]
struct Part {
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

    /// Has `share` be what a body of `bytes` needs. Most bodies are small, and then nothing is done that others would see.
    pub(crate) fn grow(self: &Arc<Self>, share: &mut Share, bytes: usize) -> Result<(), Exhausted> {
        let taken = share.0.as_ref().map_or(0, |part| part.bytes);
        if bytes <= SMALL_BYTES || bytes <= taken {
            return Ok(());
        }
        let take = |free: usize| free.checked_sub(bytes - taken);
        self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).map_err(|_| Exhausted)?;
        share.0.get_or_insert_with(|| Part { budget: self.clone(), bytes: 0 }).bytes = bytes;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Exhausted, SMALL_BYTES, Share};

    #[test]
    fn large_bodies_share_and_small_ones_are_always_read() {
        let budget = Budget::new(3 * SMALL_BYTES);
        let (mut one, mut two) = (Share::default(), Share::default());
        assert_eq!(budget.grow(&mut one, 2 * SMALL_BYTES), Ok(()));
        assert_eq!(budget.grow(&mut two, SMALL_BYTES), Ok(()), "small");
        assert_eq!(budget.grow(&mut two, 2 * SMALL_BYTES), Err(Exhausted));
        assert_eq!(budget.grow(&mut one, 3 * SMALL_BYTES), Ok(()), "it grows by what is new");
        drop(one);
        assert_eq!(budget.grow(&mut two, 3 * SMALL_BYTES), Ok(()));
    }
}
