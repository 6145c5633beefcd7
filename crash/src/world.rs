//! What all clients share: where the server is, what they write down, and how far the run is.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::history::{Event, Recorder};

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Things break.
    Breaking,
    /// Nothing breaks any more; what is outstanding has to come.
    Settling,
    /// Whatever is outstanding stays so.
    Over,
}

/// What all clients share.
#[derive(Debug)]
pub struct World {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The history.
    pub recorder: Recorder,
    /// How far the run is.
    pub phase: watch::Sender<Phase>,
    /// How often all connections were cut.
    pub cuts: watch::Sender<u64>,
    /// The parts of the ledger that somebody subscribed to.
    parts: Mutex<Vec<String>>,
}

impl World {
    /// A world in which things are about to break.
    pub fn new(address: SocketAddr, recorder: Recorder) -> Self {
        let (phase, cuts) = (watch::Sender::new(Phase::Breaking), watch::Sender::new(0));
        Self { address, recorder, phase, cuts, parts: Mutex::default() }
    }

    /// How far the run is.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns when the run is at `phase`, or further.
    pub async fn reaches(&self, phase: Phase) {
        let mut receiver = self.phase.subscribe();
        // The sender is here.
        let _ = receiver.wait_for(|now| *now >= phase).await;
    }

    /// Waits, but not beyond the end of the run.
    pub async fn pause(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.reaches(Phase::Over) => {}
        }
    }

    /// Writes down what client `by` saw.
    pub fn record(&self, by: u32, event: Event) {
        self.recorder.record(by, event);
    }

    /// Says that somebody subscribed to a part of the ledger.
    pub fn add_part(&self, part: &str) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).push(part.to_owned());
    }

    /// A part that somebody subscribed to at some time.
    pub fn any_part(&self, rng: &mut fastrand::Rng) -> Option<String> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        // The newer ones: the others are of sessions that have ended.
        let newest = &parts[parts.len().saturating_sub(20)..];
        rng.choice(newest).cloned()
    }
}
