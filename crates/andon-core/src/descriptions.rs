//! How modern clients described themselves of late. Each of their requests brings the whole description, and most bring the
//! same one: what was read once need not be read again.

use std::sync::{Arc, PoisonError, RwLock};

use crate::facts::ClientFacts;

/// How many descriptions are kept: the newest ones.
const KEPT_MAX: usize = 16;
/// Bytes of a description that is kept.
const BYTES_MAX: usize = 4 << 10;

/// Descriptions of clients by their very text, which is compared as a whole.
#[derive(Debug, Default)]
pub struct Descriptions(RwLock<Ring>);

#[derive(Debug, Default)]
struct Ring {
    kept: Vec<Description>,
    /// Which one goes when the next comes.
    oldest: usize,
}

#[derive(Debug)]
struct Description {
    info: Option<Box<str>>,
    capabilities: Box<str>,
    client: Arc<ClientFacts>,
}

impl Descriptions {
    /// The client that says this of its name and of what it can do, if that was read of late.
    pub(crate) fn find(&self, info: Option<&str>, capabilities: &str) -> Option<Arc<ClientFacts>> {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let is_it = |known: &&Description| known.info.as_deref() == info && *known.capabilities == *capabilities;
        ring.kept.iter().find(is_it).map(|known| known.client.clone())
    }

    /// Keeps what was read from these texts.
    pub(crate) fn keep(&self, info: Option<&str>, capabilities: &str, client: &Arc<ClientFacts>) {
        if info.map_or(0, str::len) + capabilities.len() > BYTES_MAX {
            return;
        }
        let new = Description { info: info.map(Into::into), capabilities: capabilities.into(), client: client.clone() };
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let oldest = ring.oldest;
        match ring.kept.get_mut(oldest) {
            Some(known) => *known = new,
            None => ring.kept.push(new),
        }
        ring.oldest = (oldest + 1) % KEPT_MAX;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{BYTES_MAX, Descriptions, KEPT_MAX};
    use crate::facts::ClientFacts;

    #[test]
    fn the_newest_are_known_by_both_texts_and_no_more_than_there_is_room_for() {
        let (known, client) = (Descriptions::default(), Arc::new(ClientFacts::default()));
        known.keep(Some("a"), "{}", &client);
        assert!(known.find(Some("a"), "{}").is_some_and(|found| Arc::ptr_eq(&found, &client)));
        for (info, capabilities) in [(None, "{}"), (Some("b"), "{}"), (Some("a"), "{ }")] {
            assert!(known.find(info, capabilities).is_none(), "{info:?} {capabilities}");
        }
        for number in 1..=KEPT_MAX {
            known.keep(None, &number.to_string(), &client);
        }
        assert!(known.find(Some("a"), "{}").is_none() && known.find(None, "1").is_some());
        assert_eq!(known.0.read().expect("nobody panicked").kept.len(), KEPT_MAX);
        let large = "x".repeat(BYTES_MAX + 1);
        known.keep(None, &large, &client);
        assert!(known.find(None, &large).is_none() && known.find(None, "1").is_some());
    }
}
