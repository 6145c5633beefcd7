//! What a client makes of answers, and what it does not take.

use andon_core::event::EventId;
use andon_core::io::{Frame, StreamId};
use serde_json::Value;

use super::{Line, Use, View, What, read_json};
use crate::nodes::World;
use crate::nodes::wire::Wire;

impl World {
    pub(super) fn refused(&mut self, who: usize, what: Use, status: u16) {
        let (now, idle) = (self.now.0, self.idle_ms);
        let client = &mut self.clients[who];
        match status {
            503 | 429 => {}
            404 if client.is_ending => client.is_gone = client.ended_at.is_some() || what == Use::Ending,
            404 if client.has_lapsed || now - client.heard_at >= idle.saturating_sub(super::super::SLACK_MS) => {
                client.is_gone = true;
            }
            400 => {
                if let Use::Resuming(stream, last) = what {
                    // It was told that already, on another connection.
                    let Some(view) = client.streams.get(&stream) else { return };
                    let asked = view.asked.and_then(|id| client.asked.get(&id));
                    let is_silent = asked.is_some_and(|asked| asked.is_cancelled);
                    if is_silent || last < view.presented {
                        client.streams.remove(&stream);
                        return;
                    }
                }
                self.broken(&format!("client {who} is told that what it comes for is not there: {what:?}"));
            }
            404 => self.broken(&format!("client {who} is told that its session is gone: {what:?}")),
            _ => self.broken(&format!("client {who} is refused with {status}: {what:?}")),
        }
    }

    pub(super) fn accepted(&mut self, who: usize, what: Use) {
        let (now, idle) = (self.now.0, self.idle_ms);
        let client = &mut self.clients[who];
        client.heard(now, idle);
        match what {
            Use::Initialized => {
                client.is_initialized = true;
                self.tally.acks += 1;
            }
            Use::Asking(id) => {
                let is_over = client.is_ending || client.asked.get(&id).is_some_and(|asked| asked.is_cancelled);
                if !is_over {
                    self.broken(&format!("request {id} of client {who} is accepted and will have no answer"));
                }
            }
            _ => {}
        }
    }

    pub(super) fn heard_json(&mut self, who: usize, what: Use, status: u16, text: &str, session: Option<u128>) {
        let (now, idle) = (self.now.0, self.idle_ms);
        let client = &mut self.clients[who];
        client.heard(now, idle);
        if let (Use::Opening, Some(key)) = (what, session) {
            client.key = Some(key);
            self.tally.acks += 1;
            return;
        }
        if let Use::Asking(id) = what {
            self.answered(who, id, None, &read_json(text));
        } else if status < 300 {
            self.broken(&format!("client {who} gets JSON where none can be: {text}"));
        }
    }

    pub(super) fn heard_event(&mut self, who: usize, wire: Wire, frame: Frame) {
        let Some(EventId { stream, sequence, .. }) = frame.id else { return };
        let (now, idle) = (self.now.0, self.idle_ms);
        let client = &mut self.clients[who];
        client.heard(now, idle);
        let Some(Line { what, stream: known, next }) = client.lines.get_mut(&wire) else { return };
        let first = u32::from(!client.revision.rules().priming_event);
        let expected = match (&next, &what) {
            (Some(next), _) => *next,
            (None, Use::Resuming(_, last)) => *last + 1,
            (None, _) => first,
        };
        let what = *what;
        let is_other = match what {
            Use::Resuming(asked, _) => asked != stream,
            _ => known.is_some_and(|known| known != stream),
        };
        (*known, *next) = (Some(stream), Some(sequence + 1));
        if is_other || sequence != expected {
            let id = (stream.0, sequence);
            return self.broken(&format!("client {who} expects event {expected} for {what:?} and gets {id:?}"));
        }
        let asked = if let Use::Asking(id) = what { Some(id) } else { None };
        if let Some(asked) = asked.and_then(|id| client.asked.get_mut(&id)) {
            asked.stream = Some(stream);
        }
        let new = View { asked, seen: 0, presented: 0, is_connected: true, is_over: false };
        let view = client.streams.entry(stream).or_insert(new);
        view.is_connected = true;
        self.tally.events += 1;
        let is_new = sequence > view.seen;
        view.seen = view.seen.max(sequence);
        let Some(text) = frame.text else { return };
        let Some(key) = client.key else { return };
        let before = self.check.said.entry((key, stream, sequence)).or_insert_with(|| text.clone());
        if **before != *text {
            let why = format!("event {}-{sequence} was {before}, and is {text} now", stream.0);
            return self.broken(&why);
        }
        if is_new {
            self.told(who, stream, sequence, &read_json(&text));
        }
    }

    /// A message comes for the first time.
    fn told(&mut self, who: usize, stream: StreamId, sequence: u32, message: &Value) {
        let client = &mut self.clients[who];
        let of = client.streams.get(&stream).and_then(|view| view.asked);
        match message["method"].as_str() {
            None => {
                let id = message["id"].as_i64().unwrap_or_default();
                if of.is_some_and(|of| of != id) {
                    return self.broken(&format!("the answer to {id} is on a stream of another request"));
                }
                if let Some(view) = client.streams.get_mut(&stream) {
                    view.is_over = true;
                }
                self.answered(who, id, Some(stream), message);
            }
            Some("notifications/progress") => {
                let id = message["params"]["progressToken"].as_i64().unwrap_or_default();
                let progress = message["params"]["progress"].as_f64().unwrap_or_default();
                let Some(asked) = client.asked.get_mut(&id).filter(|_| of == Some(id)) else {
                    return self.broken(&format!("progress of {id} is on another stream"));
                };
                if progress <= asked.progress || asked.outcome.is_some() {
                    return self.broken(&format!("progress of {id} goes back, or comes after its answer"));
                }
                asked.progress = progress;
            }
            Some("notifications/resources/updated") => {
                let uri = message["params"]["uri"].as_str().unwrap_or_default();
                let created = client.key.and_then(|key| self.check.created.get(&(key, stream, sequence)));
                let created = created.map_or(0, |at| at.0);
                client.owed.retain(|owed, at| *owed != uri || *at > created);
                self.tally.updates += 1;
            }
            Some(_) => {}
        }
    }

    fn answered(&mut self, who: usize, id: i64, stream: Option<StreamId>, message: &Value) {
        let (now, is_settling) = (self.now.0, self.is_settling);
        let is_success = message.get("result").is_some();
        let client = &mut self.clients[who];
        let Some(asked) = client.asked.get_mut(&id) else {
            return self.broken(&format!("an answer to {id}, which was never asked"));
        };
        if asked.outcome.is_some() {
            return self.broken(&format!("a second answer to request {id}"));
        }
        if stream.is_some() && asked.stream != stream {
            return self.broken(&format!("the answer to {id} is on another stream than the request"));
        }
        asked.outcome = Some(is_success);
        self.tally.acks += 1;
        match asked.what {
            What::Tool(token) => {
                let runs = self.check.ledger.get(&token).copied().unwrap_or_default();
                if is_success && runs != 1 {
                    self.broken(&format!("request {id} succeeded, and its tool ran {runs} times"));
                }
                self.tally.unknown += u64::from(message["error"]["message"].as_str().is_some_and(is_unknown));
            }
            What::Subscribe(uri) if is_success && !client.left.contains(uri) => {
                client.subscribed.insert(uri, now);
            }
            What::Ping if is_success && is_settling => client.is_well = true,
            _ => {}
        }
    }
}

fn is_unknown(message: &str) -> bool {
    message.starts_with("outcome unknown")
}
