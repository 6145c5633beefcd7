//! The seam to transports: one message to send, and a place where whatever comes back is heard.

pub(crate) mod child;
pub(crate) mod http;
pub(crate) mod lines;
#[cfg(feature = "server")]
pub(crate) mod local;
pub(crate) mod pipe;
pub(crate) mod two_endpoints;

use std::sync::Arc;

use andon_core::client::{CallId, Loss};
use andon_types::error::ErrorObject;
use andon_types::lines::{Beginning, beginning};
use andon_types::message::{Body, Message};
use andon_types::revision::Revision;
use andon_types::scan::ScanLimits;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::carriage::Carriage;

/// One round of a call on its way out.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) call: CallId,
    /// The id that the answer carries.
    pub(crate) wire_id: i64,
    pub(crate) method: Box<str>,
    /// The value of `Mcp-Name`.
    pub(crate) name: Option<String>,
    /// `Mcp-Param-*`: suffix and value, ready to be sent.
    pub(crate) mirrored: Vec<(String, String)>,
    pub(crate) text: String,
}

/// What a transport hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message.
    Message(Message),
    /// A message on the stream that answers the round with this id.
    Related { wire_id: i64, message: Message },
    /// An HTTP status that is no success, with a JSON-RPC error in its body.
    Refused { call: CallId, status: u16, error: ErrorObject },
    /// The answer to a round will not come.
    Failed { call: CallId, loss: Loss },
    /// Something that was going to be an answer, to `wire_id` if that can be told, and cannot be read.
    Unreadable { wire_id: Option<i64>, why: String },
    /// The server does not know the session any more, as its standing stream found out.
    SessionGone,
    /// The connection is gone, with all that was in flight.
    Closed(Loss),
    /// A line that the server's process wrote to its standard error.
    Stderr(String),
    /// A message or a stream that cannot be read; nobody waits for it.
    Noise(String),
}

/// Where it says so. Called from tasks of the transport; never blocks.
pub(crate) type Ear = Arc<dyn Fn(Heard) + Send + Sync>;

/// A connection to a server. All of it may be called from anywhere and returns at once.
pub(crate) trait Link: Send + Sync {
    /// Sends one round; its answer, or that there is none, is heard later, some of them only while the carriage is
    /// polled.
    fn send(&self, round: Round) -> Option<Carriage>;

    /// Sends a notification or a response: in order where the transport has one. The future only waits until it was
    /// handed over, or could not be.
    fn say(&self, text: String) -> BoxFuture<'static, ()>;

    /// Whether the server hears that nobody wants an answer any more when the carriage of the round is dropped: where
    /// all share one connection, it does not.
    fn hears_hang_up(&self) -> bool {
        false
    }

    /// Messages from here on are of this revision, and whether it is agreed on. Some transports say so in headers.
    fn speak(&self, _revision: Revision, _is_agreed: bool) {}

    /// The conversation is open. Returns when the server can speak unasked: at once, unless that needs a connection of
    /// its own.
    fn settle(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    /// Ends the conversation in the transport's own way and waits until it has ended, within a few seconds.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Whether it begins as a message or a batch of them does: it may have results within, which are in no log.
fn is_like_json(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii_start();
    bytes.strip_prefix(b"[").unwrap_or(bytes).trim_ascii_start().starts_with(b"{")
}

/// What is kept of what is no message, until what is secret is masked and a shorter piece told.
const NOISE_BYTES_MAX: usize = 4 << 10;

/// Reads the messages of one line or event. What is no message is told to `ear`.
pub(crate) fn read_messages(bytes: &[u8], ear: &Ear) {
    match Body::parse(bytes, ScanLimits::default()) {
        Ok(Body::Single(message)) => ear(Heard::Message(message)),
        Ok(Body::Batch(messages)) => {
            for message in messages {
                match message {
                    Ok(message) => ear(Heard::Message(message)),
                    Err(malformed) => ear(Heard::Noise(malformed.error.to_string())),
                }
            }
        }
        Err(malformed) => match beginning(bytes) {
            Beginning::Answer(id) => {
                let why = format!("the server's answer is no message: {}", malformed.error.message);
                ear(Heard::Unreadable { wire_id: Some(id), why });
            }
            // Some servers print to their standard output.
            Beginning::Unknown if !is_like_json(bytes) => {
                let said = String::from_utf8_lossy(&bytes[..bytes.len().min(NOISE_BYTES_MAX)]);
                ear(Heard::Noise(format!("{}: {said}", malformed.error)));
            }
            Beginning::Unasked | Beginning::Unknown => ear(Heard::Noise(malformed.error.to_string())),
        },
    }
}
