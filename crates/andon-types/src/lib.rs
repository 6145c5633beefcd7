//! The vocabulary of the Model Context Protocol: messages, methods, revisions.
//!
//! It turns bytes into messages and back, and knows what each dated revision of the protocol spells
//! differently. It never does I/O and never decides what happens next: that is `andon-core`.
//! Read [`revision::Rules`] and [`message::Body`] first.

pub mod adapt;
pub mod capability;
pub mod client;
pub mod content;
pub mod encoded;
pub mod error;
pub mod lines;
pub mod message;
pub mod meta;
pub mod method;
mod named;
pub mod object;
pub mod params;
pub mod raw;
pub mod raw_object;
pub mod revision;
pub mod scan;
pub mod sse;
pub mod task;
pub mod template;
pub mod tools;
pub mod uri;
