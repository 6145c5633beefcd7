//! A client: it opens sessions, calls, listens, loses connections, comes back after each fault, and deletes some
//! sessions. It writes down all it sees and judges nothing.

mod calls;
mod read;
mod session;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;

use crate::history::{Action, Event};
use crate::wire::{self, Request};
use crate::world::{Phase, World};

/// The revision of most sessions: streams of it can be resumed from their very beginning.
const LATEST: &str = "2025-11-25";
/// The revision of some.
const OLDER: &str = "2025-06-18";
/// Ids of deleted sessions that are tried again.
const DEAD_MAX: usize = 20;

/// A session that was opened.
pub(crate) struct Session {
    world: Arc<World>,
    by: u32,
    id: String,
    revision: &'static str,
    /// The part of the ledger that it subscribes to.
    part: String,
    /// How many updates came.
    updates: watch::Sender<u64>,
    /// Whether anybody still wants its streams.
    wanted: watch::Sender<bool>,
}

/// One client, with one session after the other, until the run is over.
pub async fn run(world: Arc<World>, by: u32, mut rng: fastrand::Rng) {
    let mut dead: Vec<(String, &'static str)> = Vec::new();
    while world.phase() == Phase::Breaking {
        if let Some((id, revision)) = rng.choice(&dead).cloned() {
            probe(&world, by, &id, revision).await;
        }
        let Some(session) = open(&world, by, &mut rng).await else { return };
        let session = Arc::new(session);
        if session::live(&session, &mut rng).await {
            dead.push((session.id.clone(), session.revision));
            if dead.len() > DEAD_MAX {
                dead.remove(0);
            }
        }
    }
    for (id, revision) in dead {
        probe(&world, by, &id, revision).await;
    }
}

/// Opens a session, however long that takes; none when the run is over.
async fn open(world: &Arc<World>, by: u32, rng: &mut fastrand::Rng) -> Option<Session> {
    let revision = if rng.u8(..4) == 0 { OLDER } else { LATEST };
    while world.phase() < Phase::Over {
        let op = world.recorder.next_op();
        let body = json!({"jsonrpc": "2.0", "id": op, "method": "initialize", "params": {
            "protocolVersion": revision, "capabilities": {"elicitation": {}}, "clientInfo": {"name": "crash", "version": "1"}}});
        let action = Action::Init { revision: revision.to_owned() };
        world.record(by, Event::Invoke { op, session: None, action });
        let request = Request { verb: "POST", session: None, last_event_id: None, body: &body.to_string() };
        let info = |error: &std::io::Error| world.record(by, Event::Info { op, why: error.to_string() });
        match wire::send(world.address, request).await {
            Ok(answer) if answer.status == 200 => {
                let id = answer.session_id.clone();
                let whole = if answer.is_events {
                    answer.events().next().await.map(drop)
                } else {
                    answer.text().await.map(drop)
                };
                match (id, whole) {
                    (Some(id), Ok(())) => {
                        world.record(by, Event::Ok { op, session: Some(id.clone()) });
                        let (updates, wanted) = (watch::Sender::new(0), watch::Sender::new(true));
                        let part = format!("p{op}");
                        return Some(Session { world: world.clone(), by, id, revision, part, updates, wanted });
                    }
                    (_, Err(error)) => info(&error),
                    (None, Ok(())) => world.record(by, Event::Fail { op, status: 200, why: "no id".to_owned() }),
                }
            }
            Ok(answer) => {
                let status = answer.status;
                let why = answer.text().await.unwrap_or_else(|error| error.to_string());
                world.record(by, Event::Fail { op, status, why });
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                world.record(by, Event::Fail { op, status: 0, why: error.to_string() });
            }
            Err(error) => info(&error),
        }
        world.pause(Duration::from_millis(rng.u64(20..100))).await;
    }
    None
}

/// Asks a session that was deleted whether it is there.
async fn probe(world: &Arc<World>, by: u32, id: &str, revision: &'static str) {
    let (updates, wanted) = (watch::Sender::new(0), watch::Sender::new(false));
    let session =
        Session { world: world.clone(), by, id: id.to_owned(), revision, part: String::new(), updates, wanted };
    session.listen_once().await;
    let ping = |op: u64| json!({"jsonrpc": "2.0", "id": op, "method": "ping"});
    Arc::new(session).ask_once(Action::Ping, "POST", ping).await;
}

impl Session {
    fn names(&self) -> Option<(&str, &str)> {
        Some((&self.id, self.revision))
    }

    fn record(&self, event: Event) {
        self.world.record(self.by, event);
    }

    fn invoke(&self, op: u64, action: Action) {
        self.record(Event::Invoke { op, session: Some(self.id.clone()), action });
    }
}
