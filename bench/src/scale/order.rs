//! What generators are asked to do, and what they answer: one line of JSON each.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::wire::Era;

/// What a generator is asked to do. It answers each with one [`Reply`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Opens sessions, each with a subscription and an open stream of events, on a connection of its own.
    Hold(Hold),
    /// Forgets which updates came so far.
    Arm,
    /// Waits until so many updates came since it was armed, or for so many milliseconds.
    AwaitUpdates {
        /// Updates.
        count: u64,
        /// Milliseconds.
        timeout_ms: u64,
    },
    /// Hangs up all streams that it holds, and ends their sessions.
    Release,
    /// Calls a tool, at a rate or as fast as it is answered.
    Call(Load),
    /// Opens sessions and leaves them.
    Abandon(Abandon),
    /// Connects peers that take or send too slowly.
    Resist(Resist),
    /// Closes them.
    Ease,
    /// Opens sessions, streams and all, uses them a moment, and ends them, over and over.
    Churn(Churn),
}

/// Sessions with streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hold {
    /// The server.
    pub address: SocketAddr,
    /// The address that connections come from.
    pub from: Ipv4Addr,
    /// How many.
    pub count: usize,
    /// How many are opened at once.
    pub at_once: usize,
}

/// Calls of the tool `echo`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// The address that connections come from.
    pub from: Ipv4Addr,
    /// Connections, of a client each.
    pub connections: usize,
    /// Calls per second, whether or not those before are answered. None: each connection calls when its call was answered.
    pub rate_per_s: Option<f64>,
    /// How long, in seconds.
    pub seconds: f64,
    /// An answer that takes longer is worth nothing, in milliseconds.
    pub deadline_ms: u64,
    /// How long a call may wait for a connection that is free, in milliseconds. What waits is not forgotten: its time runs.
    pub patience_ms: u64,
    /// The family of revisions.
    pub era: Era,
}

/// Sessions that nobody ends.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Abandon {
    /// The server.
    pub address: SocketAddr,
    /// The address that connections come from.
    pub from: Ipv4Addr,
    /// How many.
    pub count: usize,
    /// How they come.
    pub arrival: Arrival,
    /// Whether the handshake is completed; otherwise they have less time.
    pub is_complete: bool,
    /// A session that takes longer to open is worth nothing, in milliseconds.
    pub deadline_ms: u64,
}

/// How sessions come that nobody ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Arrival {
    /// One after the other over each of so many connections.
    Over(usize),
    /// Each over a connection of its own, so many per second.
    PerSecond(f64),
}

/// How a peer is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Manner {
    /// Asks for more than there is room for on the way, and reads nothing.
    NeverReads,
    /// Asks for as much, and reads a byte per second.
    ReadsSlowly,
    /// Asks for ever more, and reads nothing.
    AsksOn,
    /// Has a stream of events on which much is said, and reads nothing.
    NeverListens,
    /// Sends the head of its request one byte per second.
    SlowHead,
    /// Sends the body of its request one byte in ten seconds.
    SlowBody,
}

/// Peers that are too slow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resist {
    /// The server.
    pub address: SocketAddr,
    /// The address that connections come from.
    pub from: Ipv4Addr,
    /// How many.
    pub count: usize,
    /// At most so many per second.
    pub rate_per_s: Option<f64>,
    /// How they are slow.
    pub manner: Manner,
    /// The family of revisions of those that ask; events that nobody reads are of the older one.
    pub era: Era,
}

/// Clients that come and go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Churn {
    /// The server.
    pub address: SocketAddr,
    /// The address that connections come from.
    pub from: Ipv4Addr,
    /// At once.
    pub clients: usize,
    /// How long, in seconds.
    pub seconds: f64,
}

/// What came of an order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reply {
    /// What succeeded: sessions opened, updates received, calls answered in time, peers that were cut off.
    pub done: u64,
    /// What failed.
    pub failed: u64,
    /// Why the first of them failed.
    pub why: Option<String>,
    /// Calls that were answered, but not in time.
    pub late: u64,
    /// Calls that were refused with 503 or 429.
    pub refused: u64,
    /// Calls that found no free connection.
    pub unsent: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// When the last of it happened, in microseconds since 1970.
    pub last_at_us: u64,
    /// How long calls took that were answered, or sessions to open.
    pub times: Histogram,
}

impl Reply {
    /// Counts a failure.
    pub fn fail(&mut self, why: impl ToString) {
        self.failed += 1;
        self.why.get_or_insert_with(|| why.to_string());
    }

    /// The sum of what several generators did at the same time.
    pub fn sum(replies: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for reply in replies {
            sum.done += reply.done;
            sum.failed += reply.failed;
            sum.late += reply.late;
            sum.refused += reply.refused;
            sum.unsent += reply.unsent;
            sum.seconds = sum.seconds.max(reply.seconds);
            sum.last_at_us = sum.last_at_us.max(reply.last_at_us);
            sum.times.add(&reply.times);
            sum.why = sum.why.or(reply.why);
        }
        sum
    }

    /// Calls that were not answered as they should be and in time.
    pub fn lost(&self) -> u64 {
        self.failed + self.refused + self.unsent + self.late
    }

    /// What succeeded per second.
    pub fn done_per_s(&self) -> f64 {
        if self.seconds > 0.0 { self.done as f64 / self.seconds } else { 0.0 }
    }

    /// A quantile (0 to 1) of the times, in milliseconds.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.times.quantile_us(quantile) / 1e3
    }
}
