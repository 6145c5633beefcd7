//! The life of one session: handshake, subscription, calls, end.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::calls::{Order, call, place};
use super::read::says;
use super::stream::{Followed, Loss, Stream};
use super::{LATEST, Session};
use crate::history::{Action, Event, Outcome, Says, digest};
use crate::wire::{self, Events, Request};
use crate::world::Phase;

/// Calls of one session at once.
const CALLS_MAX: usize = 4;
/// How long an update may take at the end of a session, before it is given up: the checker judges that.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(61);

/// How one attempt of a request went.
pub(super) enum Asked {
    /// It was done.
    Done,
    /// It was refused with this status; 0 if nobody was there.
    Refused(u16),
    /// Nobody knows.
    Lost,
    /// It is a stream now.
    Streams(u64, Box<Events>),
}

/// Lives a whole life. Whether the session was deleted in the end.
pub(super) async fn live(session: &Arc<Session>, rng: &mut fastrand::Rng) -> bool {
    let initialized = |_| json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    if !session.ask(Action::Initialized, "POST", initialized, rng).await {
        return false;
    }
    let mut tasks = JoinSet::new();
    // Without an id from the very beginning, what is lost before the first event is lost for good.
    let subscribes = session.revision == LATEST && rng.u8(..3) > 0;
    if session.revision == LATEST {
        let (opened, is_open) = watch::channel(false);
        tasks.spawn(listen(session.clone(), rng.fork(), opened));
        wait(session, is_open).await;
    }
    if subscribes {
        let uri = format!("test://ledger/{}", session.part);
        let (action, params) = (Action::Subscribe { uri: uri.clone() }, json!({ "uri": uri }));
        if session.ask(action, "POST", |op| request(op, "resources/subscribe", &params), rng).await {
            session.world.add_part(&session.part);
        }
    }
    if rng.bool() {
        let params = json!({ "level": "debug" });
        session.ask(Action::SetLevel, "POST", |op| request(op, "logging/setLevel", &params), rng).await;
    }
    work(session, rng).await;
    if subscribes {
        last_change(session, rng).await;
    }
    let deletes = rng.u8(..3) > 0 && session.delete(rng).await;
    session.record(Event::Left { session: session.id.clone() });
    session.wanted.send_replace(false);
    while tasks.join_next().await.is_some() {}
    deletes
}

/// Calls, several at once, as many as there are to be.
async fn work(session: &Arc<Session>, rng: &mut fastrand::Rng) {
    let mut calls = JoinSet::new();
    let count = rng.usize(5..60);
    for _ in 0..count {
        if session.world.phase() > Phase::Breaking {
            break;
        }
        while calls.len() >= CALLS_MAX {
            calls.join_next().await;
        }
        let pause = if rng.u8(..20) == 0 { rng.u64(200..2000) } else { rng.u64(0..60) };
        session.world.pause(Duration::from_millis(pause)).await;
        calls.spawn(call(session.clone(), rng.fork()));
    }
    while calls.join_next().await.is_some() {}
    if session.world.phase() == Phase::Settling {
        call(session.clone(), rng.fork()).await;
    }
}

/// Changes what the session subscribed to, and waits until it hears of it.
async fn last_change(session: &Arc<Session>, rng: &mut fastrand::Rng) {
    let mut updates = session.updates.subscribe();
    let before = *updates.borrow_and_update();
    let part = Some(session.part.clone());
    let mut stream = Stream::new(session.world.recorder.next_op(), rng.fork());
    let order = Order::new(session, stream.op, 0, part);
    if matches!(place(session, &mut stream, &order, None, None).await, Some(Outcome::Success { .. })) {
        let heard = updates.wait_for(|count| *count > before);
        tokio::select! {
            _ = tokio::time::timeout(UPDATE_TIMEOUT, heard) => {}
            () = session.world.reaches(Phase::Over) => {}
        }
    }
}

/// Keeps a standing stream until the session is no longer wanted.
async fn listen(session: Arc<Session>, mut rng: fastrand::Rng, opened: watch::Sender<bool>) {
    let wanted = session.wanted.subscribe();
    while *wanted.borrow() && session.world.phase() < Phase::Over {
        match session.listen_once().await {
            Asked::Streams(op, events) => {
                let mut stream = Stream::new(op, rng.fork());
                stream.opened = opened.clone();
                let loss = (rng.bool()).then(|| (Duration::from_millis(rng.u64(0..2000)), Loss::Close));
                stream.follow(&session, *events, loss, &wanted).await;
            }
            Asked::Refused(404) => return,
            _ => {}
        }
        session.world.pause(Duration::from_millis(rng.u64(20..100))).await;
    }
}

/// Waits until the standing stream said its first id.
async fn wait(session: &Arc<Session>, mut is_open: watch::Receiver<bool>) {
    tokio::select! {
        _ = is_open.wait_for(|open| *open) => {}
        () = session.world.reaches(Phase::Over) => {}
    }
}

pub(super) fn request(op: u64, method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": op, "method": method, "params": params})
}

impl Session {
    /// Asks until it is done; false when it is refused for good or the run is over.
    pub(super) async fn ask(
        self: &Arc<Self>,
        action: Action,
        verb: &'static str,
        body: impl Fn(u64) -> Value,
        rng: &mut fastrand::Rng,
    ) -> bool {
        while self.world.phase() < Phase::Over {
            match self.ask_once(action.clone(), verb, &body).await {
                Asked::Done => return true,
                Asked::Refused(0 | 429 | 503) | Asked::Lost | Asked::Streams(..) => {}
                Asked::Refused(_) => return false,
            }
            self.world.pause(Duration::from_millis(rng.u64(20..100))).await;
        }
        false
    }

    /// Asks once, under a number of its own. If the answer is a stream, reads it to its end.
    pub(super) async fn ask_once(
        self: &Arc<Self>,
        action: Action,
        verb: &'static str,
        body: impl Fn(u64) -> Value,
    ) -> Asked {
        let op = self.world.recorder.next_op();
        let outcome = match self.send(op, action, verb, &body(op), None).await {
            (Asked::Streams(_, events), _) => self.streamed(op, *events).await,
            (other, None) => return other,
            (_, outcome) => outcome,
        };
        match outcome {
            Some(Outcome::Success { .. }) => {
                self.record(Event::Ok { op, session: None });
                Asked::Done
            }
            _ => Asked::Lost,
        }
    }

    /// Sends the request `op` once. How it was answered, if it was.
    pub(super) async fn answered(self: &Arc<Self>, op: u64, action: Action, body: &Value) -> Option<Outcome> {
        match self.send(op, action, "POST", body, None).await {
            (Asked::Streams(_, events), _) => self.streamed(op, *events).await,
            (_, outcome) => outcome,
        }
    }

    async fn streamed(self: &Arc<Self>, op: u64, events: Events) -> Option<Outcome> {
        let mut stream = Stream::new(op, fastrand::Rng::with_seed(op));
        match stream.follow(self, events, None, &self.wanted.subscribe()).await {
            Followed::Answered(outcome) => Some(outcome),
            Followed::Lost => None,
        }
    }

    /// Opens a standing stream, once.
    pub(super) async fn listen_once(&self) -> Asked {
        let op = self.world.recorder.next_op();
        self.invoke(op, Action::Listen);
        let request = Request { verb: "GET", session: self.names(), last_event_id: None, body: "" };
        match wire::send(self.world.address, request).await {
            Ok(answer) if answer.status == 200 && answer.is_events => {
                self.record(Event::Ok { op, session: None });
                Asked::Streams(op, Box::new(answer.events()))
            }
            Ok(answer) => Asked::Refused(self.refused(op, answer).await),
            Err(error) => {
                self.lost(op, &error);
                Asked::Lost
            }
        }
    }

    /// Deletes the session, however often that takes; false when the run is over before it is certain.
    async fn delete(self: &Arc<Self>, rng: &mut fastrand::Rng) -> bool {
        while self.world.phase() < Phase::Over {
            match self.ask_once(Action::Delete, "DELETE", |_| Value::Null).await {
                // One before, of which nobody knew, may have done it.
                Asked::Done | Asked::Refused(404) => return true,
                _ => {}
            }
            self.world.pause(Duration::from_millis(rng.u64(20..100))).await;
        }
        false
    }

    /// Sends a request once, and waits for the head of its answer with `patience`. With what it was answered, if that
    /// was its whole body.
    pub(super) async fn send(
        &self,
        op: u64,
        action: Action,
        verb: &'static str,
        body: &Value,
        patience: Option<Duration>,
    ) -> (Asked, Option<Outcome>) {
        let has_response = action.has_response();
        self.invoke(op, action);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request { verb, session: self.names(), last_event_id: None, body: &body };
        let sending = wire::send(self.world.address, request);
        let given_up = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "given up");
        let sent = match patience {
            Some(patience) => tokio::time::timeout(patience, sending).await.unwrap_or_else(|late| Err(given_up(late))),
            None => sending.await,
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                self.lost(op, &error);
                let is_refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
                return (if is_refused { Asked::Refused(0) } else { Asked::Lost }, None);
            }
        };
        if !(200..300).contains(&answer.status) {
            return (Asked::Refused(self.refused(op, answer).await), None);
        }
        if answer.is_events {
            return (Asked::Streams(op, Box::new(answer.events())), None);
        }
        if !has_response {
            self.record(Event::Ok { op, session: None });
            return (Asked::Done, None);
        }
        match answer.text().await {
            Ok(text) => (Asked::Done, self.body(op, &text)),
            Err(error) => {
                self.lost(op, &error);
                (Asked::Lost, None)
            }
        }
    }

    /// Writes down a response that came as a whole body.
    fn body(&self, op: u64, text: &str) -> Option<Outcome> {
        let (says, digest) = (says(text), digest(text.as_bytes()));
        let outcome = match &says {
            Says::Response { outcome, .. } => Some(outcome.clone()),
            _ => None,
        };
        self.record(Event::Recv { conn: op, session: self.id.clone(), stream: op, event_id: None, digest, says });
        outcome
    }
}
