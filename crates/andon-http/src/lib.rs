//! Streamable HTTP for andon servers: one endpoint, both eras, HTTP/1.1 and HTTP/2.
//!
//! It checks what a request is allowed to look like, turns it into a message for the host, and writes the answer
//! as JSON or as a stream of events. It never decides what a message means. Read [`HttpService`] and [`Http`] first.

mod admin;
mod body;
mod budget;
mod connection;
mod gate;
mod head;
mod headers;
mod legacy_sse;
#[cfg(unix)]
mod link;
mod listener;
mod options;
mod patience;
mod porch;
mod request_id;
mod service;
#[cfg(test)]
mod testing;
#[cfg(unix)]
mod worker;

pub use admin::{Admin, AdminToken, Ask, Refusal, Resource};
pub use body::ResponseBody;
#[cfg(unix)]
pub use link::Link;
pub use listener::{BindError, Http};
pub use options::{HttpOptions, Mounts};
pub use service::HttpService;
#[cfg(unix)]
pub use worker::Worker;
