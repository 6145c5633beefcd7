//! What a worker and the process that started it say to each other over a socket: the requests of the worker's clients, and
//! their answers, piece by piece.
//!
//! Each request is a stream with a number that the worker gives it. An answer's first piece leaves with its head. What
//! follows needs credit, which the worker grants as its client takes what it has: a client that is slow holds up its own
//! stream, and of it there is at most [`CREDIT_BYTES`] and one piece in the worker. The other end is the same program and
//! is trusted; what is malformed ends the link.

mod engine;
mod frame;
mod outbox;
mod relay;

use std::time::Duration;

pub use engine::Link;
pub(crate) use relay::{Relay, RelayedBody, Unanswered};

/// Bytes of an answer that a worker takes before its client has taken any.
const CREDIT_BYTES: u32 = 32 << 10;
/// How often a worker says how many connections it has, which also says that it is there.
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
