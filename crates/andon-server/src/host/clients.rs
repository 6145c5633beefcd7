//! Descriptions of clients, one for all sessions of the same kind of client: most users run one of a few programs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use andon_core::facts::ClientFacts;
use andon_core::session::Session;

/// How many different descriptions are shared.
const CLIENTS_MAX: usize = 1_000;

/// By the JSON of what the client said.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<String, Weak<ClientFacts>>>);

impl Clients {
    /// Lets `session` share the description of its client.
    pub(super) fn share(&self, session: &mut Session) {
        let own = session.client();
        // What is shared is known here.
        if Arc::weak_count(own) > 0 {
            return;
        }
        let Ok(said) = serde_json::to_string(&(&own.info, &own.capabilities)) else { return };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(&said).and_then(Weak::upgrade) {
            return session.share_client(client);
        }
        if known.len() >= CLIENTS_MAX {
            known.retain(|_, client| client.strong_count() > 0);
        }
        if known.len() < CLIENTS_MAX {
            known.insert(said, Arc::downgrade(own));
        }
    }
}
