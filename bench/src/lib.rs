//! Parts shared by the benchmark programs: servers as processes, the requests they are sent, and what is measured of them.
//!
//! It is no library for others. Read [`wire::Era`] and [`peer::Peer`] first.

pub mod child;
pub mod connection;
pub mod figure;
pub mod histogram;
pub mod lines;
pub mod load;
pub mod machine;
pub mod passage;
pub mod peer;
pub mod scale;
pub mod svg;
pub mod wire;

/// The exit code when nothing could be measured; when what is asked for does not hold it is 1.
pub const FAILED: u8 = 2;

/// What a benchmark program ends with when something is wrong.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
