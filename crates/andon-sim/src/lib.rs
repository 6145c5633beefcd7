//! A seeded simulator: many sessions and exchanges at once under one clock that is not real, with clients that call,
//! cancel, subscribe, answer late or twice, lose their connections, come back or vanish, and handlers that answer, hang,
//! flood progress, ask, fail, and finish after they were cancelled.
//!
//! After each step the promises are checked: one answer per request and none after a cancellation; progress that
//! increases and ends with its request; a message on one stream, and what was missed there replayed in order without gap
//! or duplicate; no change that is never told; an answer for every question; nothing after the end. A broken promise is a
//! panic that names the seed and the step: `cargo run -p andon-sim -- --clients 100 --from SEED` shows it again.
//!
//! [`run_nodes`] is the world in which sessions outlive their processes: nodes that die, and a store that fails.

mod exchange;
mod handler;
mod nodes;
mod session;
mod world;

pub use nodes::{Broken, Bug, Tally, run_all, run_nodes};
pub use world::{Summary, run};
