//! How a server fares: what became of its calls, and whether it gets more of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use andon_client::{Error, Loss};
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Upstream;
use crate::breaker::{Outcome, State, Ticket};
use crate::config::{Mode, Place};
use crate::flight::lock;
use crate::instance::{Phase, without_words};

/// How long a call waits for room.
const ROOM_WAIT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Figures {
    calls: AtomicU64,
    failures: AtomicU64,
    restarts: AtomicU64,
    /// A moving average, in microseconds.
    latency_us: AtomicU64,
    /// Since when calls and pings do not reach it.
    unreachable_since: Mutex<Option<Instant>>,
    last_error: Mutex<Option<(Arc<str>, Instant)>>,
}

impl Figures {
    fn failed(&self, why: Arc<str>) {
        *lock(&self.last_error) = Some((why, Instant::now()));
    }
}

/// What a server does and how it fares, for people and programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The program, or the URL without what may be secret.
    pub target: String,
    /// `shared`, `session` or `principal`.
    pub mode: String,
    /// `idle`, `starting`, `ready`, `unreachable`, `restarting`, `parked` or `ended`: of the conversation that fares worst.
    /// One that would be ready is unreachable if the last call or ping did not reach the server.
    pub state: String,
    /// Seconds in that state.
    pub state_s: u64,
    /// `closed`, `open` or `half-open`.
    pub breaker: String,
    /// Conversations.
    pub instances: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls so far.
    pub calls: u64,
    /// Those of them that failed for want of the server.
    pub failures: u64,
    /// How often a conversation ended without being asked to.
    pub restarts: u64,
    /// A moving average of the time that calls take, in milliseconds.
    pub latency_ms: f64,
    /// Its tools that clients see.
    pub tools: usize,
    /// Tools whose changed definitions wait for approval.
    pub held: Vec<String>,
    /// Why it ended last, with its last words, or why a call was lost since.
    pub last_error: Option<String>,
    /// How many seconds ago that was.
    pub last_error_s: Option<u64>,
}

impl Upstream {
    /// Lets one more call through, if the server is in a state to take it.
    ///
    /// # Errors
    /// What to tell the client.
    pub(crate) async fn admit(self: &Arc<Self>, room: Room) -> Result<Admission, ErrorObject> {
        let ticket = lock(&self.breaker).admit(Instant::now()).map_err(|rest| {
            let why = lock(&self.figures.last_error).clone();
            let why = why.map(|(why, _)| format!(": {}", without_words(&why))).unwrap_or_default();
            let rest_s = rest.as_secs().max(1);
            ErrorObject::unavailable(format!("the server {:?} fails, and rests for {rest_s} s{why}", self.name))
        })?;
        let mut admission =
            Admission { upstream: self.clone(), begun_at: Instant::now(), slot: None, ticket, is_recorded: false };
        let returning = || self.returning.clone().try_acquire_owned().ok().filter(|_| room == Room::Returning);
        admission.slot = match self.slots.clone().try_acquire_owned().ok().or_else(returning) {
            Some(slot) => Some(slot),
            None => match tokio::time::timeout(ROOM_WAIT, self.slots.clone().acquire_owned()).await {
                Ok(slot) => slot.ok(),
                Err(_) => {
                    let most = self.settings().in_flight_max;
                    let why = format!("as many calls as the server {:?} takes, {most}, are in flight", self.name);
                    return Err(ErrorObject::unavailable(why));
                }
            },
        };
        self.figures.calls.fetch_add(1, Ordering::Relaxed);
        Ok(admission)
    }

    /// A conversation ended without being asked to.
    pub(crate) fn ended(&self, why: &Arc<str>) {
        self.figures.restarts.fetch_add(1, Ordering::Relaxed);
        self.figures.failed(why.clone());
    }

    /// A conversation that had ended is there again, or has another session.
    pub(crate) fn recovered(&self) {
        lock(&self.breaker).reset();
        self.reached(true);
    }

    /// A call or a ping has found out whether the server can be reached.
    pub(crate) fn reached(&self, is_reached: bool) {
        let mut since = lock(&self.figures.unreachable_since);
        *since = (!is_reached).then(|| since.unwrap_or_else(Instant::now));
    }

    pub(crate) fn status(&self) -> Status {
        let instances = self.instances();
        let rank = |phase: &Phase| match phase {
            Phase::Ready(_) => (0, "ready"),
            Phase::Starting => (1, "starting"),
            Phase::Waiting(_) => (2, "restarting"),
            Phase::Parked(_) => (3, "parked"),
            Phase::Ended => (0, "ended"),
        };
        let worst =
            instances.iter().map(|known| (rank(&known.phase()), known.since())).max_by_key(|((rank, _), _)| *rank);
        let ((_, state), since) = worst.unwrap_or(((0, "idle"), Duration::ZERO));
        let unreachable_since = lock(&self.figures.unreachable_since).filter(|_| state == "ready");
        let (state, since) = unreachable_since.map_or((state, since), |since| ("unreachable", since.elapsed()));
        #[allow(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
        let latency_ms = self.figures.latency_us.load(Ordering::Relaxed) as f64 / 1000.0;
        let last_error = lock(&self.figures.last_error).clone();
        Status {
            name: self.name.to_string(),
            target: match &self.place {
                Place::Child { program, .. } => program.clone(),
                Place::Remote { url, .. } => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
            },
            mode: match self.mode {
                Mode::Shared => "shared",
                Mode::Session => "session",
                Mode::Principal => "principal",
            }
            .to_owned(),
            state: state.to_owned(),
            state_s: since.as_secs(),
            breaker: match lock(&self.breaker).state() {
                State::Closed => "closed",
                State::Open { .. } => "open",
                State::HalfOpen { .. } => "half-open",
            }
            .to_owned(),
            in_flight: instances.iter().map(|instance| instance.in_flight()).sum(),
            instances: instances.len(),
            calls: self.figures.calls.load(Ordering::Relaxed),
            failures: self.figures.failures.load(Ordering::Relaxed),
            restarts: self.figures.restarts.load(Ordering::Relaxed),
            latency_ms,
            tools: self.known().map_or(0, |known| {
                let (held, settings) = (known.held(), self.settings());
                let is_shown =
                    |name: &str| settings.tools.permit(name) && !held.as_ref().is_some_and(|held| held.contains(name));
                known.tools.iter().filter(|tool| is_shown(&tool.name)).count()
            }),
            held: self.held(),
            last_error: last_error.as_ref().map(|(why, _)| why.to_string()),
            last_error_s: last_error.map(|(_, at)| at.elapsed().as_secs()),
        }
    }
}

/// Whether a call has to find room among those that its server works on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It waits for it.
    Needed,
    /// It goes on with what its server has begun: there are as many places again for those.
    Returning,
}

/// A call that was let through; what became of it is recorded once.
pub(crate) struct Admission {
    upstream: Arc<Upstream>,
    begun_at: Instant,
    /// Its place among those that the server works on at once.
    slot: Option<OwnedSemaphorePermit>,
    ticket: Ticket,
    is_recorded: bool,
}

impl Admission {
    pub(crate) fn record(&mut self, outcome: &Result<Json, Error>) {
        let figures = &self.upstream.figures;
        let took_us = u64::try_from(self.begun_at.elapsed().as_micros()).unwrap_or(u64::MAX);
        let known = figures.latency_us.load(Ordering::Relaxed);
        let latency = if known == 0 { took_us } else { known - known / 8 + took_us / 8 };
        figures.latency_us.store(latency, Ordering::Relaxed);
        if !matches!(outcome, Err(Error::Closed)) {
            self.upstream.reached(!matches!(outcome, Err(Error::Transport(Loss::Unreachable(_)))));
        }
        if let Err(Error::Transport(loss)) = outcome {
            figures.failed(loss.to_string().into());
        }
        match outcome {
            // What it cancels it has heard of.
            Ok(_)
            | Err(
                Error::Protocol(_)
                | Error::Cancelled
                | Error::Unanswerable(_)
                | Error::Arguments(_)
                | Error::NotOffered(_),
            ) => self.conclude(Outcome::Success),
            Err(Error::Closed) => self.conclude(Outcome::Neither),
            // However many calls one end of the process takes along: it is started again, or parked.
            Err(Error::Transport(Loss::Disconnected(_))) if self.upstream.place.is_child() => {
                self.count_failure();
                self.conclude(Outcome::Neither);
            }
            Err(_) => self.failed(),
        }
    }

    /// The server asks the client, and has nothing to do for the call until it hears: it is at work, and others take the
    /// place of this one.
    pub(crate) fn waits(&mut self) {
        self.slot = None;
        self.note(Outcome::Success);
    }

    /// The server goes on with the call. It has it in any case: if there is no place left it does so without one.
    pub(crate) fn goes_on(&mut self) {
        if self.slot.is_none() {
            self.slot = self.upstream.slots.clone().try_acquire_owned().ok();
        }
    }

    /// The call could not even be made.
    pub(crate) fn failed(&mut self) {
        self.count_failure();
        self.conclude(Outcome::Failure);
    }

    fn count_failure(&self) {
        self.upstream.figures.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.is_recorded = true;
        self.note(outcome);
    }

    fn note(&mut self, outcome: Outcome) {
        if lock(&self.upstream.breaker).record(Instant::now(), &mut self.ticket, outcome) {
            tracing::error!(
                server = &*self.upstream.name,
                "a server fails again and again: calls are refused for a while"
            );
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.note(Outcome::Neither);
        }
    }
}
