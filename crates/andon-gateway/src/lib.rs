//! Other people's MCP servers behind one endpoint: supervised, kept apart, bridged between revisions.
//!
//! A [`config::Config`] names the servers; a [`Gateway`] keeps them alive and is what hosts serve. It opens no port and
//! reads no signals: that is the program's. Commands come from the configuration and never over the network, and no shell
//! looks at them.

mod breaker;
mod catalogue;
pub mod config;
mod diff;
mod flight;
mod gateway;
mod instance;
mod jsonc;
mod names;
mod pins;
mod restarts;
mod service;
mod tables;
mod upstream;
mod view;
mod viewer;

pub use gateway::{Clients, Gateway, MakeHost, Options, Prepare, Status};
pub use pins::{HeldBack, approve, held_back};
pub use restarts::{Intensity, Next, Restarts};
pub use service::MISSING;
