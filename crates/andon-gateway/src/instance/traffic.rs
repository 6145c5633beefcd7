//! The calls over one conversation: which of them a question or a log of the server belongs to.
//!
//! Over HTTP a server says so. Over stdio servers of older revisions do not: then it belongs to the call that is open, if
//! all open calls are of one client, and to nobody else.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use andon_client::{Client, Error};
use andon_core::ascending::Ascending;
use andon_server::call::{Call, Voice};
use andon_types::message::Json;
use tokio::time::Instant;

use super::{Instance, Key, Phase};
use crate::flight::{Held, Inbox, Line, lock};
use crate::upstream::Admission;

/// How long a call that was given up may still be what a server speaks of, since the server has heard of that: it has
/// answered a ping that was sent after the cancellation.
const GHOST_FOR: Duration = Duration::from_secs(2);
/// How often it is looked whether the server can have heard of a call that was given up.
const GHOST_LOOK: Duration = Duration::from_millis(100);

/// One client of a conversation, as far as calls can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// The endpoint, and the key of the session.
    Session(u64, u128),
    /// Calls of 2026-07-28 stand alone, except that a principal is the same person each time.
    Principal(String),
    /// One call of nobody in particular.
    Alone(u64),
    /// The conversation is this client's own.
    Owner,
}

#[derive(Default)]
pub(super) struct Traffic {
    last: u64,
    pub(super) open: Ascending<u64, Open>,
    /// Calls that wait until they can be made.
    reserved: usize,
    /// What is no call and waits for it.
    awaited: usize,
    /// Calls that nobody waits for any more, and of which the server may not know yet: of each caller the last, and those
    /// that are still being sent.
    ghosts: Vec<Ghost>,
    /// They are being laid, by one task at most.
    is_laying: bool,
    used_at: Option<Instant>,
    /// A call ran out of time, or a ping, and nothing was answered since.
    is_silent: bool,
    /// Elicitations by URL, and who was asked.
    pub(super) visits: VecDeque<(String, Voice)>,
}

/// A call that was given up.
struct Ghost {
    caller: Caller,
    number: u64,
    sending: Weak<Sending>,
}

/// Kept for as long as a call that was given up is not cancelled yet.
pub(super) struct Sending;

impl Ghost {
    fn is_cancelled(&self) -> bool {
        self.sending.strong_count() == 0
    }
}

pub(super) struct Open {
    pub(super) caller: Caller,
    pub(super) line: Arc<Line>,
    pub(super) questions: Arc<Inbox>,
    /// What its server calls the task that it became.
    task: Option<String>,
    /// Questions of its server that wait for its client: meanwhile the server has nothing to do for it.
    pub(super) asking: Arc<AtomicUsize>,
}

impl Instance {
    /// A call of the endpoint with the number `endpoint` is open, until what this gives is dropped.
    pub(super) fn board(
        self: &Arc<Self>,
        (call, endpoint): (&Call, u64),
        (line, questions): (&Arc<Line>, &Arc<Inbox>),
        still_sending: Weak<Sending>,
        admission: Admission,
    ) -> Aboard {
        let mut traffic = lock(&self.traffic);
        traffic.last += 1;
        let id = traffic.last;
        let caller = match (&self.key, call.session_key()) {
            (Key::Session(..), _) => Caller::Owner,
            _ if self.upstream.has_one_client() => Caller::Owner,
            (_, Some(session)) => Caller::Session(endpoint, session),
            (_, None) => match call.principal().subject() {
                Some(subject) => Caller::Principal(subject.to_owned()),
                None => Caller::Alone(id),
            },
        };
        let (line, questions) = (line.clone(), questions.clone());
        traffic.open.push(id, Open { caller, line, questions, task: None, asking: Arc::default() });
        Aboard { instance: self.clone(), id, has_arrived: false, was_silent: None, still_sending, admission }
    }

    /// The call with this number became a task, by the id that its server gave it.
    pub(super) fn became_task(&self, id: u64, task: &str) {
        if let Some(open) = lock(&self.traffic).open.get_mut(id) {
            open.task = Some(task.to_owned());
        }
    }

    /// Whether no call is open, and none that was given up may still be spoken of.
    pub(crate) fn is_free(&self) -> bool {
        lock(&self.traffic).is_free()
    }

    /// Reserves the conversation, which does not end for want of use then. `None` if it is ending, or a call wants it to
    /// itself and another was faster.
    pub(crate) fn reserve(self: &Arc<Self>, sharing: Sharing) -> Option<Reserved> {
        let is_shared = sharing != Sharing::Refused || !matches!(self.key, Key::Alone(..)) || self.says_whose();
        let mut traffic = lock(&self.traffic);
        if self.is_ending() || !(is_shared || traffic.is_free()) {
            return None;
        }
        let is_call = sharing != Sharing::NoCall;
        *traffic.users(is_call) += 1;
        Some(Reserved { instance: self.clone(), is_call })
    }

    /// Ends the conversation without waiting if nobody has used it for `least`. Whether it ends.
    pub(crate) fn end_if_idle(&self, least: Duration) -> bool {
        // Whoever reserves it meanwhile waits, and finds it ending.
        let traffic = lock(&self.traffic);
        let is_idle = self.idle_in(&traffic).is_some_and(|idle| idle >= least);
        if is_idle {
            self.end_soon();
        }
        is_idle
    }

    /// Waits until the server knows which calls were given up, and forgets them.
    fn lay_ghosts(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if std::mem::replace(&mut lock(&self.traffic).is_laying, true) {
            return;
        }
        let instance = Arc::downgrade(self);
        runtime.spawn(async move {
            while let Some((cancelled, client)) = instance.upgrade().and_then(|instance| instance.haunted()) {
                if cancelled.is_empty() {
                    tokio::time::sleep(GHOST_LOOK).await;
                    continue;
                }
                if let Some(client) = client {
                    // Any outcome will do: a server that answers none is ended.
                    drop(client.ping().await);
                }
                tokio::time::sleep(GHOST_FOR).await;
                let Some(instance) = instance.upgrade() else { return };
                lock(&instance.traffic).ghosts.retain(|ghost| !cancelled.contains(&ghost.number));
            }
        });
    }

    /// The calls that were given up and cancelled, and who asks its server whether it has heard. `None` if none was given
    /// up.
    fn haunted(&self) -> Option<(Vec<u64>, Option<Client>)> {
        let mut traffic = lock(&self.traffic);
        traffic.is_laying = !traffic.ghosts.is_empty();
        let cancelled = traffic.cancelled()?;
        let client = match &*self.phase.borrow() {
            Phase::Ready(ready) => Some(ready.client.clone()),
            // Another process knows nothing of them.
            _ => None,
        };
        Some((cancelled, client))
    }

    pub(crate) fn in_flight(&self) -> usize {
        lock(&self.traffic).open.len()
    }

    /// Whether its server has something to do: a call is open that does not wait for its client.
    pub(super) fn is_at_work(&self) -> bool {
        lock(&self.traffic).open.iter().any(|(_, open)| open.asking.load(Ordering::Relaxed) == 0)
    }

    /// Whether its server has answered nothing since a call ran out of time.
    pub(super) fn is_silent(&self) -> bool {
        lock(&self.traffic).is_silent
    }

    pub(super) fn set_silent(&self, is_silent: bool) {
        lock(&self.traffic).is_silent = is_silent;
    }

    /// How long nobody has used it; `None` while somebody does, or may be asked about a call that was given up.
    pub(crate) fn idle(&self) -> Option<Duration> {
        self.idle_in(&lock(&self.traffic))
    }

    fn idle_in(&self, traffic: &Traffic) -> Option<Duration> {
        let is_used = !traffic.is_free() || traffic.awaited > 0 || self.is_watching();
        if is_used { None } else { traffic.used_at.map(|at| at.elapsed()) }
    }

    pub(crate) fn touch(&self) {
        lock(&self.traffic).used_at = Some(Instant::now());
    }
}

impl Traffic {
    fn is_free(&self) -> bool {
        self.reserved == 0 && self.open.is_empty() && self.ghosts.is_empty()
    }

    /// How many have reserved it: calls, or others.
    fn users(&mut self, are_calls: bool) -> &mut usize {
        if are_calls { &mut self.reserved } else { &mut self.awaited }
    }

    /// The numbers of the calls that were given up and cancelled. `None` if none was given up.
    fn cancelled(&self) -> Option<Vec<u64>> {
        let cancelled = self.ghosts.iter().filter(|ghost| ghost.is_cancelled()).map(|ghost| ghost.number);
        (!self.ghosts.is_empty()).then(|| cancelled.collect())
    }

    /// A call of `caller` was given up. It is not cancelled yet while there is `sending`.
    fn haunt(&mut self, caller: Caller, sending: Weak<Sending>) {
        const GHOSTS_MAX: usize = 64;
        self.ghosts.retain(|known| known.caller != caller || !known.is_cancelled());
        if self.ghosts.len() >= GHOSTS_MAX {
            // So many others stand against whoever is asked as long as this one would.
            self.ghosts.remove(0);
        }
        self.last += 1;
        self.ghosts.push(Ghost { caller, number: self.last, sending });
    }

    /// The call that something belongs to which the server says of the call `tag`, or of `task`, or of none: `which` of those that
    /// are open.
    ///
    /// # Errors
    /// In words that go to the server.
    pub(super) fn whose(&self, tag: Option<u64>, task: Option<&str>, which: Which) -> Result<&Open, &'static str> {
        if let Some(task) = task {
            let open = self.open.iter().find(|(_, open)| open.task.as_deref() == Some(task));
            return open.map(|(_, open)| open).ok_or("the task that this belongs to is over");
        }
        if let Some(tag) = tag {
            return self.open.get(tag).ok_or("the call that this belongs to is over");
        }
        // What belongs to a task says so (2025-11-25, "Associating Task-Related Messages").
        let calls = || self.open.iter().map(|(_, open)| open).filter(|open| open.task.is_none());
        let chosen = match which {
            Which::Newest => calls().next_back(),
            Which::Oldest => calls().next(),
        };
        let Some(chosen) = chosen else {
            return Err("no call is open that this could belong to, and there is nobody to ask");
        };
        let others = calls().map(|open| &open.caller).chain(self.ghosts.iter().map(|ghost| &ghost.caller));
        if others.into_iter().any(|caller| *caller != chosen.caller) {
            return Err("several clients have calls open, and this does not say which it belongs to: \
                        give each session its own server (\"mode\": \"session\")");
        }
        Ok(chosen)
    }
}

/// Which of several calls of one client.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// What comes now is most likely about it.
    Newest,
    /// It has lasted, and those that last are there to be answered.
    Oldest,
}

/// Whether a call may share a conversation with others that stand alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    Accepted,
    Refused,
    /// It is no call, and no call need mind it.
    NoCall,
}

/// A conversation that somebody is about to use.
pub(crate) struct Reserved {
    pub(crate) instance: Arc<Instance>,
    is_call: bool,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut traffic = lock(&self.instance.traffic);
        // Idle from now on.
        traffic.used_at = Some(Instant::now());
        *traffic.users(self.is_call) -= 1;
    }
}

/// A call that is open, until it is dropped.
pub(super) struct Aboard {
    instance: Arc<Instance>,
    id: u64,
    has_arrived: bool,
    /// Whether the server answered, if that is known.
    was_silent: Option<bool>,
    still_sending: Weak<Sending>,
    admission: Admission,
}

impl Aboard {
    /// The number of the call, by which its server may be told what is of it.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Held for Aboard {
    fn waits(&mut self) {
        self.admission.waits();
    }

    fn goes_on(&mut self) {
        self.admission.goes_on();
    }

    fn arrived(&mut self, outcome: &Result<Json, Error>) {
        self.has_arrived = true;
        self.was_silent = match outcome {
            Ok(_) | Err(Error::Protocol(_) | Error::Cancelled) => Some(false),
            Err(Error::TimedOut) => Some(true),
            Err(_) => None,
        };
        self.admission.record(outcome);
    }
}

impl Drop for Aboard {
    fn drop(&mut self) {
        let mut traffic = lock(&self.instance.traffic);
        let Some(open) = traffic.open.remove(self.id) else { return };
        traffic.is_silent = self.was_silent.unwrap_or(traffic.is_silent);
        traffic.used_at = Some(Instant::now());
        if !self.has_arrived {
            traffic.haunt(open.caller, std::mem::take(&mut self.still_sending));
            drop(traffic);
            self.instance.lay_ghosts();
        }
    }
}
