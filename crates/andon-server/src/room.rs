//! What may wait for slow clients together, so that many of them cannot do what one may not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So much may always wait for a client: it is not counted, and what is said most costs nothing here.
pub(crate) const SMALL_BYTES: usize = 16 << 10;

/// Bytes that all who wait share.
#[derive(Debug)]
pub(crate) struct Room {
    taken: AtomicUsize,
    bytes_max: usize,
}

/// The part of a room that one has; given back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    room: Option<Arc<Room>>,
    bytes: usize,
}

impl Room {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), bytes_max })
    }

    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { room: Some(self.clone()), bytes: 0 }
    }
}

impl Share {
    /// `bytes` wait now; whether that is more than there is room for. Then whoever has a share does with [`SMALL_BYTES`].
    pub(crate) fn is_too_large(&mut self, bytes: usize) -> bool {
        let Some(room) = &self.room else { return false };
        let counted = bytes.saturating_sub(SMALL_BYTES);
        if counted > self.bytes {
            room.taken.fetch_add(counted - self.bytes, Ordering::Relaxed);
        } else if counted < self.bytes {
            room.taken.fetch_sub(self.bytes - counted, Ordering::Relaxed);
        }
        self.bytes = counted;
        counted > 0 && room.taken.load(Ordering::Relaxed) > room.bytes_max
    }

    /// `bytes` wait now, which are fewer than before.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let _is_what_it_may_be = self.is_too_large(bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Room, SMALL_BYTES};

    #[test]
    fn large_shares_share_and_small_ones_are_free() {
        let room = Room::new(2 * SMALL_BYTES);
        let (mut one, mut two, mut three) = (room.share(), room.share(), room.share());
        assert!(!one.is_too_large(3 * SMALL_BYTES));
        assert!(!three.is_too_large(SMALL_BYTES));
        assert!(two.is_too_large(2 * SMALL_BYTES));
        assert!(one.is_too_large(3 * SMALL_BYTES), "whoever has one gives");
        assert!(!three.is_too_large(SMALL_BYTES), "and what is small stays");
        drop(two);
        assert!(!one.is_too_large(3 * SMALL_BYTES));
        one.shrink(0);
        assert_eq!(room.taken.load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
