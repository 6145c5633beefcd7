//! What the clients of one conversation are subscribed to.

use std::collections::HashSet;

use andon_client::{Client, Error, Listen, Listening};
use andon_types::error::ErrorObject;

use super::{Instance, Ready};
use crate::flight::lock;

/// Resources of one conversation that are watched.
const WATCHES_MAX: usize = 1_000;

/// Who hears of changes of one resource.
#[derive(Default)]
pub(super) struct Watch {
    /// None while it is being made again.
    listening: Option<Listening>,
    /// Endpoints, and what the resource is called there.
    names: HashSet<(u64, String)>,
}

impl Watch {
    fn is_wanted(&self) -> bool {
        !self.names.is_empty()
    }
}

impl Instance {
    /// Hears of changes of the resource that its server calls `own`, and tells them under the name that it has at an
    /// endpoint.
    ///
    /// # Errors
    /// What the server answers.
    pub(crate) async fn watch(&self, ready: &Ready, own: &str, name: (u64, String)) -> Result<(), Error> {
        {
            let mut watches = lock(&self.watches);
            if let Some(watch) = watches.get_mut(own).filter(|watch| watch.listening.is_some()) {
                watch.names.insert(name);
                return Ok(());
            }
            if watches.len() >= WATCHES_MAX {
                watches.retain(|_, watch| watch.is_wanted());
            }
            if watches.len() >= WATCHES_MAX {
                return Err(Error::Protocol(ErrorObject::unavailable("too many resources of this server are watched")));
            }
        }
        let listening = ready.client.listen(Listen::default().uri(own)).await?;
        let mut watches = lock(&self.watches);
        let watch = watches.entry(own.to_owned()).or_default();
        watch.listening = Some(listening);
        watch.names.insert(name);
        Ok(())
    }

    /// None of its clients listens for this any more, now.
    pub(crate) fn unwatch(&self, name: &(u64, String)) {
        for watch in lock(&self.watches).values_mut() {
            watch.names.remove(name);
            if !watch.is_wanted() {
                watch.listening = None;
            }
        }
    }

    /// Whether the resource that its server calls `own` is watched under this name.
    pub(crate) fn watches(&self, own: &str, name: &(u64, String)) -> bool {
        lock(&self.watches).get(own).is_some_and(|watch| watch.listening.is_some() && watch.names.contains(name))
    }

    /// Whether any resource is watched under this name.
    pub(crate) fn watches_as(&self, name: &(u64, String)) -> bool {
        lock(&self.watches).values().any(|watch| watch.names.contains(name))
    }

    /// Whether any resource is watched.
    pub(crate) fn is_watching(&self) -> bool {
        lock(&self.watches).values().any(Watch::is_wanted)
    }

    /// The names under which a resource is watched.
    pub(super) fn watched_as(&self, own: &str) -> Vec<(u64, String)> {
        lock(&self.watches).get(own).map(|watch| watch.names.iter().cloned().collect()).unwrap_or_default()
    }

    /// Tells whoever is subscribed to something that it may have changed.
    pub(super) fn may_have_changed(&self) {
        let watched: Vec<Vec<_>> =
            lock(&self.watches).values().map(|watch| watch.names.iter().cloned().collect()).collect();
        watched.iter().for_each(|names| self.upstream.updated(&self.key, names));
    }

    /// Watches over a new connection what its clients are subscribed to, some of it since before the conversation began;
    /// what changed in between is not known, so all of it may have.
    pub(super) async fn renew_watches(&self, client: &Client) {
        let subscriptions = self.upstream.subscriptions(self);
        let watched: Vec<String> = {
            let mut watches = lock(&self.watches);
            for (own, name) in subscriptions {
                if watches.len() < WATCHES_MAX || watches.contains_key(&own) {
                    watches.entry(own).or_default().names.insert(name);
                }
            }
            watches.values_mut().for_each(|watch| watch.listening = None);
            watches.iter().filter(|(_, watch)| watch.is_wanted()).map(|(own, _)| own.clone()).collect()
        };
        for own in watched {
            match client.listen(Listen::default().uri(own.as_str())).await {
                Ok(listening) => {
                    // Its clients may have gone meanwhile.
                    if let Some(watch) = lock(&self.watches).get_mut(&own).filter(|watch| watch.is_wanted()) {
                        watch.listening = Some(listening);
                    }
                }
                Err(error) => {
                    tracing::warn!(server = &*self.upstream.name, uri = own, %error, "a subscription is lost");
                }
            }
            self.upstream.updated(&self.key, &self.watched_as(&own));
        }
    }
}
