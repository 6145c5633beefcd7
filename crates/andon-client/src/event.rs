//! What a server tells unasked, and what happens to the connection.

use andon_core::client::Loss;
use andon_types::message::{Json, Notification};
use andon_types::meta::Level;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Something that nobody asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The list of tools changed.
    ToolsChanged,
    /// The list of prompts changed.
    PromptsChanged,
    /// The list of resources or templates changed.
    ResourcesChanged,
    /// This resource changed.
    ResourceUpdated(String),
    /// The server logs. What is larger than 64 KiB is lost, as with every notification.
    Log {
        /// How grave.
        level: Level,
        /// Which part of the server says so.
        logger: Option<String>,
        /// What it says.
        data: Value,
    },
    /// The person has done what an elicitation by URL asked for.
    ElicitationComplete(String),
    /// Another notification, as it came.
    Notification {
        /// Its method.
        method: String,
        /// Its parameters.
        params: Option<Json>,
    },
    /// A line that the server's process wrote to its standard error.
    Stderr(String),
    /// The connection is gone. The next call makes another.
    Disconnected(Loss),
    /// The session or process was lost and there is a new one; subscriptions are restored, and what changed in
    /// between was not told: read again what you keep.
    Reopened,
}

/// The events of a client from the moment it was asked for.
#[derive(Debug)]
pub struct Events(pub(crate) broadcast::Receiver<Event>);

impl Events {
    /// The next event; `None` when the client is gone. Who reads too slowly misses the oldest of more than 1,024.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events were missed");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[derive(Deserialize)]
struct Updated {
    uri: String,
}

#[derive(Deserialize)]
struct Logged {
    level: Level,
    logger: Option<String>,
    data: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Completed {
    elicitation_id: String,
}

impl From<Notification> for Event {
    fn from(notification: Notification) -> Self {
        fn read<T: serde::de::DeserializeOwned>(params: Option<&Json>) -> Option<T> {
            params.and_then(|params| params.parse_owned().ok())
        }
        let Notification { method, params } = notification;
        let known = match &*method {
            "notifications/tools/list_changed" => Some(Self::ToolsChanged),
            "notifications/prompts/list_changed" => Some(Self::PromptsChanged),
            "notifications/resources/list_changed" => Some(Self::ResourcesChanged),
            "notifications/resources/updated" => {
                read(params.as_ref()).map(|Updated { uri }| Self::ResourceUpdated(uri))
            }
            "notifications/message" => {
                read(params.as_ref()).map(|Logged { level, logger, data }| Self::Log { level, logger, data })
            }
            "notifications/elicitation/complete" => {
                read(params.as_ref()).map(|Completed { elicitation_id }| Self::ElicitationComplete(elicitation_id))
            }
            _ => None,
        };
        known.unwrap_or_else(|| Self::Notification { method: method.into(), params })
    }
}
