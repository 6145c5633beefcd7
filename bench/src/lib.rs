//! Parts shared by the benchmark programs: the requests they send, and the servers they send them to.
//!
//! It is no library for others. Read [`wire::Era`] and [`peer::Peer`] first.

pub mod machine;
pub mod peer;
pub mod wire;

/// What a benchmark program ends with when something is wrong.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
