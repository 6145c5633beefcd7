//! The server side of the SDK: handlers, context, host, stdio.
//!
//! An application is a [`service::Service`]; a [`host::Host`] serves it to all clients of all revisions, and a
//! transport hands the host messages and writes what it answers. The decisions are those of `andon-core`.

mod alarm;
mod cancel;
mod conversation;
mod outlet;

pub mod call;
pub mod change;
pub mod host;
pub mod options;
pub mod principal;
pub mod schema;
pub mod seal;
pub mod service;
