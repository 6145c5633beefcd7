//! What has to hold when something leaves a node, and what was seen so far.

use std::collections::HashMap;

use andon_core::io::{Frame, StreamId, Timestamp};
use andon_core::session::record::LoggedEvent;
use andon_types::encoded::Encoded;

use super::node::decode;
use super::store::Flavour;
use super::wire::{Reply, Wire};
use super::{Watch, World};

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// When each event was put on its stream for the last time.
    pub(super) created: HashMap<(u128, StreamId, u32), Timestamp>,
    /// What each event said when it first arrived.
    pub(super) said: HashMap<(u128, StreamId, u32), Encoded>,
    /// How often each tool ran, by its token.
    pub(super) ledger: HashMap<u64, u32>,
    /// What marks the event ids of each session.
    pub(super) tags: HashMap<u128, u32>,
    /// The first promise that was broken.
    pub(super) broken: Option<String>,
}

impl World {
    /// A promise is broken.
    pub(super) fn broken(&mut self, why: &str) {
        self.note(|| format!("BROKEN: {why}"));
        self.check.broken.get_or_insert_with(|| why.to_owned());
    }

    /// A tool ran.
    pub(super) fn executed(&mut self, token: u64) {
        let runs = self.check.ledger.entry(token).or_default();
        *runs += 1;
        self.tally.runs += 1;
        if *runs > 1 {
            self.broken(&format!("the tool with token {token} runs twice"));
        }
    }

    /// `reply` is about to leave: what it promises has to be durable, and the session must not be over.
    pub(super) fn leaves(&mut self, node: usize, wire: Wire, reply: &Reply) {
        let Some(link) = self.wires.get(&wire) else { return };
        let (who, key) = (link.client, link.key);
        if !matches!(reply, Reply::Refused(_) | Reply::End | Reply::Deleted) {
            self.is_not_over(node, who, key);
        }
        if let Reply::Frame(Frame { id: Some(id), .. }) = reply {
            self.check.tags.insert(key, id.tag);
        }
        if self.watch == Watch::Clients {
            return;
        }
        let Some(state) = self.store.durable(key) else {
            if let Reply::Json { session: Some(_), .. } | Reply::Frame(_) = reply {
                self.broken(&format!("something of session {key} leaves, of which nothing is durable"));
            }
            return;
        };
        let is_broken = match reply {
            Reply::Json { session: Some(_), .. } => state.record.is_none() && !state.is_dead,
            Reply::Deleted => !state.is_dead,
            Reply::Accepted if !state.is_dead => self.clients[who].says_initialized(wire) && !self.is_initialized(key),
            Reply::Frame(Frame { id: Some(id), text, .. }) if !state.is_dead => match text {
                Some(text) => match state.event(id.stream, id.sequence) {
                    Err(()) => true,
                    Ok(None) => false,
                    Ok(Some(bytes)) => {
                        let stored = LoggedEvent::decode(id.stream, id.sequence, bytes);
                        stored.is_none_or(|stored| stored.text != *text)
                    }
                },
                None => state.record.as_ref().is_none_or(|(record, _)| decode(&record.bytes).next_stream < id.stream.0),
            },
            _ => false,
        };
        if is_broken {
            let flavour = self.store.flavour;
            self.broken(&format!("on {flavour:?}, this leaves node {node} before it is durable: {reply:?}"));
        }
    }

    /// Nothing is said in a session that was ended. Only a node that had it before, and that the one which ended it knew
    /// nothing of, may not know yet: it can answer what needs no store.
    fn is_not_over(&mut self, node: usize, who: usize, key: u128) {
        let client = &self.clients[who];
        let Some(ended_at) = client.ended_at.filter(|_| client.key == Some(key)) else { return };
        let knew = self.store.flavour == Flavour::Disk || client.ended_by == Some(node);
        let came_back = self.nodes[node].cells.get(&key).is_none_or(|cell| cell.since.0 > ended_at);
        if knew || came_back {
            self.broken(&format!("node {node} answers for session {key}, which was ended"));
        }
    }
}
