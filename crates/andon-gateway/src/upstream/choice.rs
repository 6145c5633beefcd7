//! Which conversation with a server the calls of a client go over, and which makes room for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use andon_server::call::Call;
use andon_types::error::ErrorObject;

use super::Upstream;
use crate::config::Mode;
use crate::flight::lock;
use crate::instance::{Instance, Key, Reserved, Sharing};
use crate::viewer::Viewer;

/// A conversation that was idle for so long makes room for one that is wanted for lists only.
const EVICT_AFTER: Duration = Duration::from_secs(10);

/// What a conversation is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To see what the server has, which may be known without it.
    List,
    /// For what any conversation of its client will do.
    Any,
    /// For a call, which the server may ask about.
    Call,
}

impl Purpose {
    /// How long a conversation has to be idle to make room for one that is wanted for this.
    fn evict_after(self) -> Duration {
        if self == Self::List { EVICT_AFTER } else { Duration::ZERO }
    }
}

impl Upstream {
    /// The conversation that the calls of this client go over; it is begun if there is none.
    ///
    /// # Errors
    /// When there are too many, or its server is no longer served.
    pub(crate) fn instance_for(
        self: &Arc<Self>,
        call: &Call,
        endpoint: u64,
        purpose: Purpose,
    ) -> Result<Arc<Instance>, ErrorObject> {
        let key = match self.key_of(&Viewer::calling(endpoint, call)) {
            Key::Alone(subject, _) => self.one_that_is_free(subject, purpose),
            key => key,
        };
        self.instance(key, Some(call), purpose)
    }

    /// The conversation of `viewer`, or the first of several.
    pub(super) fn key_of(&self, viewer: &Viewer) -> Key {
        match (self.mode, viewer.session) {
            (Mode::Shared, _) => Key::Shared,
            (Mode::Session, Some((endpoint, session))) => Key::Session(endpoint, session),
            (Mode::Session, None) => Key::Alone(viewer.subject.clone(), 0),
            (Mode::Principal, _) => Key::Principal(viewer.subject.clone()),
        }
    }

    /// The conversation of `viewer`, if there is one now.
    pub(crate) fn existing(&self, viewer: &Viewer) -> Option<Arc<Instance>> {
        lock(&self.instances).get(&self.key_of(viewer)).filter(|instance| !instance.is_ending()).cloned()
    }

    /// The conversation that the calls of this client go over, kept for whoever is about to use it.
    ///
    /// # Errors
    /// As [`Upstream::instance_for`].
    pub(crate) fn reserve(
        self: &Arc<Self>,
        call: &Call,
        endpoint: u64,
        purpose: Purpose,
    ) -> Result<Reserved, ErrorObject> {
        const ATTEMPTS: usize = 16;
        let shares_at = if self.has_one_client() { 0 } else { ATTEMPTS };
        for attempt in 0..=ATTEMPTS {
            let instance = self.instance_for(call, endpoint, purpose)?;
            let sharing = match purpose {
                Purpose::List | Purpose::Any => Sharing::NoCall,
                // Where there is no room calls share, and what the server asks may have to be refused.
                Purpose::Call if attempt < shares_at => Sharing::Refused,
                Purpose::Call => Sharing::Accepted,
            };
            // Another call may have been faster: then it has this conversation, or needed the room.
            if let Some(reserved) = instance.reserve(sharing) {
                return Ok(reserved);
            }
        }
        Err(self.is_full())
    }

    /// Calls that stand alone have a conversation to themselves while they last, so that what a server asks is theirs. Where
    /// there is but one client, it is always the same one.
    fn one_that_is_free(&self, subject: Option<Arc<str>>, purpose: Purpose) -> Key {
        let is_shared = purpose != Purpose::Call || self.has_one_client();
        let instances = lock(&self.instances);
        // A server that says which call it asks for needs no call to be alone.
        let is_free = |key: &Key| {
            instances.get(key).is_none_or(|known| (known.says_whose() || known.is_free()) && !known.is_ending())
        };
        let most = self.settings().instances_max;
        let has_room = instances.len() < most || self.evictable(&instances, purpose).is_some();
        let mut keys = (0..most).map(|number| Key::Alone(subject.clone(), number));
        let fits = |key: &Key| has_room || instances.contains_key(key);
        keys.find(|key| is_shared || (fits(key) && is_free(key))).unwrap_or(Key::Alone(subject, 0))
    }

    pub(super) fn instance(
        self: &Arc<Self>,
        key: Key,
        call: Option<&Call>,
        purpose: Purpose,
    ) -> Result<Arc<Instance>, ErrorObject> {
        let mut instances = lock(&self.instances);
        if self.is_ended.load(Ordering::Relaxed) {
            // A call that was routed before. What it began now nobody would end.
            let why = format!("the server {:?} was ended, or has other settings now: call it again", self.name);
            return Err(ErrorObject::unavailable(why));
        }
        if let Some(instance) = instances.get(&key).filter(|instance| !instance.is_ending()) {
            instance.touch();
            return Ok(instance.clone());
        }
        if instances.len() >= self.settings().instances_max && key != Key::Shared {
            let evicted = loop {
                let idlest = self.evictable(&instances, purpose).ok_or_else(|| self.is_full())?;
                // Somebody may begin to use it in between.
                if idlest.end_if_idle(purpose.evict_after()) {
                    break idlest;
                }
            };
            tracing::info!(server = &*self.name, "a conversation is idle, and ended to make room for another");
            instances.remove(&evicted.key);
        }
        let instance = Instance::start(key.clone(), self.clone(), call);
        instances.insert(key, instance.clone());
        Ok(instance)
    }

    /// The conversation that has been idle longest, which makes room for another.
    fn evictable(&self, instances: &HashMap<Key, Arc<Instance>>, purpose: Purpose) -> Option<Arc<Instance>> {
        let idle = instances.values().filter_map(|known| Some((known.idle()?, known)));
        let (longest, idlest) = idle.max_by_key(|(idle, _)| *idle)?;
        (longest >= purpose.evict_after()).then(|| idlest.clone())
    }

    fn is_full(&self) -> ErrorObject {
        let most = self.settings().instances_max;
        ErrorObject::unavailable(format!("as many of the server {:?} as there may be, {most}, are running", self.name))
    }
}
