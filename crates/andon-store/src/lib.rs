//! What outlives the process: stores for sessions and their events.
//!
//! A store implements the traits of [`andon_core::port`], whose documentation is the contract. [`MemoryStore`] keeps what it
//! is told as long as the process runs; [`DiskStore`] keeps it through the death of the process and, in its default
//! setting, through a loss of power. [`suite`] checks the contract of any store, and [`FaultyStore`] fails on command, for
//! tests of those who use one.
//!
//! A store knows nothing of the protocol and has no idea what time it is; it never says that a record is absent when it
//! could not look.

mod disk;
mod faulty;
mod memory;
mod unheard;
mod uptime;

pub mod suite;

pub use disk::{DiskStore, Durability, OpenError};
pub use faulty::{FaultyStore, Really};
pub use memory::MemoryStore;
