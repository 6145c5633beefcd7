//! The server side of the SDK: handlers, context, host, stdio.
//!
//! An application is a [`service::Service`]; a [`host::Host`] serves it to all clients of all revisions, and a
//! transport hands the host messages and writes what it answers. The decisions are those of `andon-core`.

mod alarm;
mod cancel;
mod checks;
mod clock;
mod conversation;
mod elicit;
mod item;
mod journal;
mod listing;
mod once;
mod outlet;
mod room;
mod router;
mod source;
mod storage;

pub mod arguments;
pub mod call;
pub mod catalogue;
pub mod change;
pub mod context;
pub mod cursor;
#[cfg(unix)]
pub mod directory;
pub mod entry;
pub mod error;
pub mod extract;
pub mod failure;
pub mod handler;
pub mod host;
pub mod normalise;
pub mod observe;
pub mod options;
pub mod output;
pub mod output_kind;
pub mod principal;
pub mod sampling;
pub mod seal;
pub mod serve;
pub mod server;
pub mod service;
pub mod sessions;
pub mod tasks;
pub mod testing;
pub mod transport;
pub mod values;
mod work;
