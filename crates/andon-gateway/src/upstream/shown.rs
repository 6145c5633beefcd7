//! What clients may see of a server, and what is kept of it.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use andon_client::Error;

use super::Upstream;
use crate::catalogue::Catalogue;
use crate::config::Mode;
use crate::flight::lock;
use crate::instance::{Instance, Key};
use crate::pins::{Held, Vetted};
use crate::viewer::Viewer;

/// Conversations of which it is known what they listed; beyond that, only of those that are open.
const SHOWN_MAX: usize = 256;

/// What a conversation has read, and what was known before, with what was held back of that.
pub(crate) struct Listing {
    pub(crate) before: Option<(Arc<Vetted>, Held)>,
    pub(crate) after: Arc<Vetted>,
    /// Until clients may see it.
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Upstream {
    /// What it listed last, in whichever conversation.
    pub(super) fn known(&self) -> Option<Arc<Vetted>> {
        lock(&self.known).clone()
    }

    /// What it listed last to `viewer`; of the time before it was restarted, while it is. What it lists to some is nobody
    /// else's business: where not all share it, nobody in particular knows nothing of it.
    pub(crate) fn known_to(&self, viewer: Option<&Viewer>) -> Option<Arc<Vetted>> {
        let shelf = match viewer {
            _ if self.is_for_all() => Key::Shared,
            Some(viewer) => self.key_of(viewer),
            None => return None,
        };
        lock(&self.shown).get(&shelf).cloned()
    }

    /// Whether all clients see the same of it.
    pub(crate) fn is_for_all(&self) -> bool {
        self.mode == Mode::Shared || self.has_one_client()
    }

    /// Under which key that is known which a conversation lists.
    fn shelf(&self, key: &Key) -> Key {
        match key {
            _ if self.is_for_all() => Key::Shared,
            Key::Alone(subject, _) => Key::Alone(subject.clone(), 0),
            key => key.clone(),
        }
    }

    /// What was listed last to those who share the conversation with this key.
    pub(crate) fn known_in(&self, key: &Key) -> Option<Arc<Vetted>> {
        lock(&self.shown).get(&self.shelf(key)).cloned()
    }

    /// The equal one that is known already, if there is one: what is made of it is made once.
    fn same(&self, vetted: Vetted) -> Arc<Vetted> {
        // Calls need the lock meanwhile.
        let mut known: Vec<_> = lock(&self.shown).values().cloned().collect();
        let equal = known.iter().position(|known| **known == vetted).map(|index| known.swap_remove(index));
        equal.unwrap_or_else(|| Arc::new(vetted))
    }

    fn show(&self, shelf: Key, vetted: &Arc<Vetted>) {
        let has_room = lock(&self.shown).len() < SHOWN_MAX;
        if !has_room {
            let used: HashSet<Key> = self.instances().iter().map(|instance| self.shelf(&instance.key)).collect();
            lock(&self.shown).retain(|key, _| used.contains(key));
        }
        lock(&self.shown).insert(shelf, vetted.clone());
        *lock(&self.known) = Some(vetted.clone());
    }

    /// The tools that are held back in any conversation.
    pub(super) fn held(&self) -> Vec<String> {
        let elsewhere = self.held_elsewhere(None);
        let known = self.known().and_then(|known| known.held());
        let held: BTreeSet<&String> = elsewhere.iter().chain(&known).flat_map(|held| held.iter()).collect();
        held.into_iter().cloned().collect()
    }

    /// What is held back in conversations other than this.
    fn held_elsewhere(&self, but: Option<&Key>) -> Vec<Arc<HashSet<String>>> {
        let others = self.instances().into_iter().filter(|instance| but != Some(&instance.key));
        others.filter_map(|instance| instance.ready_now()?.catalogue.held()).collect()
    }

    /// What it listed in an earlier process, as far as that is trusted, is known at once.
    pub(crate) fn remember(&self) {
        if self.is_for_all()
            && let Some(kept) = self.trust.kept(&self.origin)
        {
            self.show(Key::Shared, &Arc::new(self.trust.vet(self.settings().definitions, kept)));
        }
    }

    /// The conversation `by` has read the lists: compares them with what is trusted, and keeps them. They may be shown when
    /// this returns, and not before.
    ///
    /// # Errors
    /// When the runtime is ending.
    pub(crate) async fn heed(self: &Arc<Self>, by: &Instance, catalogue: Catalogue) -> Result<Listing, Error> {
        let turn = self.turn.clone().lock_owned().await;
        let (upstream, key) = (self.clone(), by.key.clone());
        let heeding = move || {
            let before = upstream.known_in(&key).map(|before| {
                let held = before.held();
                (before, held)
            });
            let elsewhere = upstream.held_elsewhere(Some(&key));
            let after = upstream.same(upstream.trust.heed(upstream.settings().definitions, catalogue, &elsewhere));
            if upstream.is_for_all() && before.as_ref().is_none_or(|(before, _)| *before != after) {
                upstream.trust.keep(&upstream.origin, &after);
            }
            Listing { before, after, _turn: turn }
        };
        // It takes time in proportion to the lists, and writes files. What was begun is finished, even if nobody waits for it.
        tokio::task::spawn_blocking(heeding).await.map_err(|error| Error::Invalid(error.to_string()))
    }

    /// Clients may see now what the conversation `by` has read.
    pub(crate) fn listed(&self, by: &Instance, listing: &Listing) {
        self.show(self.shelf(&by.key), &listing.after);
        self.find_idle_words();
        let Some(hub) = self.hub.upgrade() else { return };
        // Who has its own, and asked for nothing before it was there, has missed nothing.
        if listing.before.is_some() || self.is_for_all() || by.was_missed() {
            hub.listed((&self.name, &by.key), listing);
        }
    }
}
