//! The protocol's decisions as pure state machines: no sockets, no clock, no randomness.
//!
//! What may happen next in a conversation is a function `handle(now, input) -> ordered outputs`. The caller
//! owns time, bytes, tasks and randomness, performs the outputs in order and stops at the first that fails.
//! Up to 2025-11-25 a conversation is a [`Session`](session::Session); from 2026-07-28 each request is an
//! [`Exchange`](exchange::Exchange) of its own. The other side of both is [`Dialogue`](client::Dialogue). Read [`io::Input`] and [`io::Output`] first.

pub mod ascending;
pub mod client;
pub mod descriptions;
pub mod endpoint;
pub mod event;
pub mod exchange;
pub mod facts;
pub mod io;
pub mod limits;
pub mod meter;
pub mod offer;
pub mod port;
pub mod session;
pub mod task;
pub mod update;
pub mod values;
pub mod violation;
