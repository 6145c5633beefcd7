//! The real server under clients that lose their connections, while it is killed and started again; what they saw,
//! on one clock; and a checker that says afterwards whether every promise was kept.
//!
//! The clients speak plain HTTP of their own: the checker has to see each event id, and a client library hides them.
//! Read [`history`] and [`checker`] first.

pub mod checker;
pub mod history;

pub mod client;
pub mod nemesis;
pub mod server;
pub mod small_disk;
pub mod wire;
pub mod world;

/// What a program of this crate fails with: words for a person.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
