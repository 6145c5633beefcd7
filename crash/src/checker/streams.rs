//! What comes from the server: each event once, in order, to whom it belongs, and the same each time.

use super::{Checker, Rule};
use crate::history::{Action, Says};

/// A message of the server.
pub(super) struct Received {
    pub(super) conn: u64,
    pub(super) session: String,
    pub(super) stream: u64,
    pub(super) event_id: Option<String>,
    pub(super) digest: u64,
    pub(super) says: Says,
}

/// Whether a message was seen before.
#[derive(PartialEq, Eq)]
enum Sight {
    First,
    Again,
}

impl Checker {
    pub(super) fn recv(&mut self, at: u64, received: Received) {
        self.served(at, received.conn);
        let sequence = match &received.event_id {
            None => None,
            Some(id) => match parse(id) {
                Some((name, sequence)) => {
                    let name = name.to_owned();
                    self.place(at, &received, &name, sequence);
                    Some(sequence)
                }
                None => return self.tell(Rule::Unexplained, at, received.conn, format!("the event id {id:?}")),
            },
        };
        if self.sight(at, &received, sequence) == Sight::Again {
            self.report.replayed += 1;
            return;
        }
        self.judge(at, &received, sequence);
    }

    /// Whether the event may come now on this connection.
    fn place(&mut self, at: u64, received: &Received, name: &str, sequence: u32) {
        let (conn, stream) = (received.conn, received.stream);
        let known = self.streams.entry(stream).or_default();
        if known.name.is_empty() {
            name.clone_into(&mut known.name);
        } else if known.name != name {
            let why = format!("an event of {name} on the stream {}", known.name);
            return self.tell(Rule::WrongStream, at, conn, why);
        }
        let was_seen = known.seen.contains_key(&sequence);
        let Some(op) = self.ops.get_mut(&conn) else { return };
        let resumed = match &op.action {
            Action::Resume { last_id, .. } => parse(last_id).map(|(_, last)| last),
            _ => None,
        };
        let newest = op.newest.or(resumed);
        op.newest = Some(newest.map_or(sequence, |newest| newest.max(sequence)));
        match newest {
            // Not every revision opens a stream with an event of its own, the number 0.
            None if sequence <= 1 => {}
            Some(newest) if sequence == newest + 1 => {}
            None => self.tell(Rule::Gap, at, conn, format!("{name} begins with {sequence}")),
            Some(newest) if sequence > newest => {
                self.tell(Rule::Gap, at, conn, format!("{name}: {sequence} came after {newest}"));
            }
            Some(newest) if was_seen => {
                self.tell(Rule::Repeated, at, conn, format!("{name}: {sequence} came again after {newest}"));
            }
            Some(newest) => self.tell(Rule::OutOfOrder, at, conn, format!("{name}: {sequence} came after {newest}")),
        }
    }

    fn sight(&mut self, at: u64, received: &Received, sequence: Option<u32>) -> Sight {
        let Some(sequence) = sequence else { return Sight::First };
        let known = self.streams.entry(received.stream).or_default();
        match known.seen.insert(sequence, received.digest) {
            Some(before) => {
                if before != received.digest {
                    let why =
                        format!("event {sequence} of {} says something else now: {:?}", known.name, received.says);
                    self.tell(Rule::ChangedBytes, at, received.conn, why);
                }
                Sight::Again
            }
            None => {
                self.report.acks[4] += 1;
                if let Some(op) = self.ops.get_mut(&received.stream)
                    && op.action.has_response()
                    && op.call.acked_us.is_none()
                {
                    op.call.acked_us = Some(at);
                    self.report.acks[3] += 1;
                }
                Sight::First
            }
        }
    }

    /// Whether this is the right place for what it says.
    fn judge(&mut self, at: u64, received: &Received, sequence: Option<u32>) {
        match &received.says {
            Says::Priming | Says::Other { .. } => {}
            Says::Response { call, outcome } => {
                if self.belongs(at, received, *call) {
                    self.response(at, received, *call, outcome);
                }
            }
            Says::Progress { call, value } => {
                if self.belongs(at, received, *call) {
                    self.progress(at, received, *call, *value, sequence.unwrap_or_default());
                }
            }
            Says::Log { token } => {
                let calls = self.tokens.get(token).map(Vec::as_slice).unwrap_or_default();
                let here = calls.iter().find(|call| **call == received.stream).or(calls.first());
                let call = here.copied().unwrap_or_default();
                if self.belongs(at, received, call)
                    && let Some(op) = self.ops.get_mut(&call)
                {
                    op.call.logged = true;
                }
            }
            Says::Question { question } => {
                let name = (received.session.clone(), question.clone());
                if self.questions.insert(name, received.stream).is_some() {
                    self.tell(Rule::Repeated, at, received.conn, format!("{question} was asked twice"));
                }
                self.belongs(at, received, received.stream);
            }
            Says::Updated { uri } => {
                let session = self.sessions.get_mut(&received.session);
                match session.and_then(|session| session.subscriptions.get_mut(uri)) {
                    Some(subscription) => subscription.updates_us.push(at),
                    None => self.tell(Rule::WrongSession, at, received.conn, format!("nobody subscribed to {uri}")),
                }
            }
        }
    }

    /// Whether something about `call` may come to this session, on this stream.
    fn belongs(&mut self, at: u64, received: &Received, call: u64) -> bool {
        let asked = self.ops.get(&call).filter(|op| op.action.has_response());
        let Some(asked) = asked else {
            self.tell(Rule::Unasked, at, received.conn, format!("nobody called: {:?}", received.says));
            return false;
        };
        if asked.session.as_ref() != Some(&received.session) {
            let why = format!("another session received {:?}", received.says);
            self.tell(Rule::WrongSession, at, received.conn, why);
            return false;
        }
        // What a task says while it runs belongs to no request.
        let is_of_task = matches!((&asked.action, &received.says), (Action::Create { .. }, Says::Log { .. }));
        if call != received.stream && !is_of_task {
            let why = format!("stream {} brought {:?}", received.stream, received.says);
            self.tell(Rule::WrongStream, at, received.conn, why);
            return false;
        }
        true
    }

    fn progress(&mut self, at: u64, received: &Received, call: u64, value: f64, sequence: u32) {
        if self.ops.get(&call).is_some_and(|op| op.call.responses > 0) {
            self.tell(Rule::AfterResponse, at, call, format!("progress {value} after the answer"));
        }
        let known = self.streams.entry(received.stream).or_default();
        match known.progress {
            Some((before, reached)) if (sequence > before) != (value > reached) => {
                self.tell(Rule::ProgressBack, at, call, format!("progress {value} after {reached}"));
            }
            Some((before, _)) if sequence < before => {}
            _ => known.progress = Some((sequence, value)),
        }
    }
}

/// What the ids of one stream have in common, and the sequence.
fn parse(event_id: &str) -> Option<(&str, u32)> {
    let (name, sequence) = event_id.rsplit_once('-')?;
    Some((name, u32::from_str_radix(sequence, 16).ok()?))
}
