//! Calls of the ledger, in all the ways there are: answered at once or as a stream, lost and taken up again, cancelled,
//! sent again with a key, as a task.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::session::{Asked, request};
use super::stream::{Followed, Loss, Stream};
use super::{LATEST, Session};
use crate::history::{Action, Outcome};
use crate::world::Phase;

/// How long a cancelled call is listened to.
const CANCELLED_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a call with a key is sent.
const ATTEMPTS: u32 = 4;
/// From this delay on a call asks for progress.
const PROGRESS_DELAY_MS: u64 = 60;
/// The JSON-RPC code of what cannot be done now.
const UNAVAILABLE: i64 = -32000;
/// The member of `_meta` that carries an idempotency key.
const KEY: &str = "andon.dev/idempotency-key";

/// What is called for.
pub(super) struct Order {
    pub(super) token: String,
    pub(super) delay_ms: u64,
    /// The part of the ledger that changes.
    pub(super) part: Option<String>,
    pub(super) key: Option<String>,
}

impl Order {
    pub(super) fn new(session: &Session, op: u64, delay_ms: u64, part: Option<String>) -> Self {
        Self { token: format!("{}-{op}", session.by), delay_ms, part, key: None }
    }
}

/// One call, of some style.
pub(super) async fn call(session: Arc<Session>, mut rng: fastrand::Rng) {
    let part = match rng.u8(..4) {
        0 => Some(session.part.clone()),
        1 => session.world.any_part(&mut rng),
        _ => None,
    };
    let mut stream = Stream::new(session.world.recorder.next_op(), rng.fork());
    match rng.u8(..20) {
        0..5 => {
            let order = Order::new(&session, stream.op, rng.u64(0..30), part);
            place(&session, &mut stream, &order, None, None).await;
        }
        5..14 => {
            let order = Order::new(&session, stream.op, rng.u64(PROGRESS_DELAY_MS..700), part);
            let kind = if rng.u8(..4) == 0 { Loss::Replace } else { Loss::Close };
            let loss = rng.bool().then(|| (Duration::from_millis(rng.u64(0..order.delay_ms)), kind));
            let outcome = place(&session, &mut stream, &order, loss, None).await;
            if outcome.is_some() && stream.is_promised() && rng.u8(..5) == 0 {
                stream.again(&session, &session.wanted.subscribe()).await;
            }
        }
        14..16 if session.revision == LATEST => task(&session, stream.op, &mut rng).await,
        16..18 => keyed(&session, stream, part, &mut rng).await,
        18 => cancelled(&session, stream, &mut rng).await,
        _ => asked(&session, stream, &mut rng).await,
    }
}

/// A call that is cancelled once it is promised.
async fn cancelled(session: &Arc<Session>, mut stream: Stream, rng: &mut fastrand::Rng) {
    let (op, mut opened) = (stream.op, stream.opened.subscribe());
    let order = Order::new(session, op, rng.u64(400..900), None);
    let calling = place(session, &mut stream, &order, None, None);
    tokio::pin!(calling);
    tokio::select! {
        _ = &mut calling => return,
        _ = opened.wait_for(|open| *open) => {}
    }
    let params = json!({ "requestId": op, "reason": "no longer wanted" });
    let body = |_| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params});
    let both = async {
        tokio::join!(&mut calling, session.ask(Action::Cancel { call: op }, "POST", body, rng));
    };
    // It may end without an answer, and then nobody says so to a client that comes back.
    let _ = tokio::time::timeout(CANCELLED_TIMEOUT, both).await;
}

/// A call that asks back before it is done.
async fn asked(session: &Arc<Session>, mut stream: Stream, rng: &mut fastrand::Rng) {
    let params = json!({ "name": "test_elicitation", "arguments": { "message": "Well?" } });
    let body = request(stream.op, "tools/call", &params);
    if let (Asked::Streams(_, events), _) = session.send(stream.op, Action::Ask, "POST", &body, None).await {
        let loss = rng.bool().then(|| (Duration::from_millis(rng.u64(0..200)), Loss::Close));
        stream.follow(session, *events, loss, &session.wanted.subscribe()).await;
    }
}

/// Answers a question after a while, however often that has to be said. Boxed, because a stream is what asks, and what is
/// asked may become a stream.
pub(super) fn reply(
    session: Arc<Session>,
    call: u64,
    question: String,
    mut rng: fastrand::Rng,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        session.world.pause(Duration::from_millis(rng.u64(0..200))).await;
        let result = json!({ "action": "accept", "content": { "username": "ada", "email": "ada@example.org" } });
        let body = |_| json!({"jsonrpc": "2.0", "id": question, "result": result});
        let action = Action::Answer { call, question: question.clone() };
        session.ask(action, "POST", body, &mut rng).await;
    })
}

/// A call with a key, sent again until it is known how it went, and then once more.
async fn keyed(session: &Arc<Session>, stream: Stream, part: Option<String>, rng: &mut fastrand::Rng) {
    let mut order = Order::new(session, stream.op, rng.u64(0..200), part);
    order.key = Some(format!("key-{}", order.token));
    let mut stream = stream;
    let mut known = 0;
    for attempt in 0..ATTEMPTS {
        // Not all of those who call wait for the answer.
        let patience = (attempt == 0 && rng.bool()).then(|| Duration::from_millis(rng.u64(0..80)));
        let outcome = place(session, &mut stream, &order, None, patience).await;
        known += u32::from(matches!(outcome, Some(Outcome::Success { .. } | Outcome::Unknown)));
        if known > 1 || session.world.phase() == Phase::Over {
            return;
        }
        session.world.pause(Duration::from_millis(rng.u64(10..200))).await;
        stream = Stream::new(session.world.recorder.next_op(), rng.fork());
    }
}

/// A call that is a task: polled until it is over, and then once more.
async fn task(session: &Arc<Session>, op: u64, rng: &mut fastrand::Rng) {
    let token = format!("{}-{op}", session.by);
    let params = json!({ "name": "ledger", "task": { "ttl": 3_600_000 },
        "arguments": { "token": token, "delay_ms": rng.u64(0..600) } });
    let created = session.answered(op, Action::Create { token }, &request(op, "tools/call", &params)).await;
    let Some(Outcome::Task { task, .. }) = created else { return };
    let params = json!({ "taskId": task });
    let mut ends = 0;
    while ends < 2 && session.world.phase() < Phase::Over {
        session.world.pause(Duration::from_millis(rng.u64(50..300))).await;
        let op = session.world.recorder.next_op();
        let action = Action::Poll { task: task.clone() };
        match session.answered(op, action, &request(op, "tasks/get", &params)).await {
            Some(Outcome::Task { status, .. }) if status != "working" => ends += 1,
            Some(Outcome::Error { code, .. }) if code != UNAVAILABLE => return,
            _ => {}
        }
    }
    let op = session.world.recorder.next_op();
    session.answered(op, Action::Result { task }, &request(op, "tasks/result", &params)).await;
}

/// Places a call on `stream` and returns how it went, if that was ever said. Its head is waited for only with
/// `patience`.
pub(super) async fn place(
    session: &Arc<Session>,
    stream: &mut Stream,
    order: &Order,
    loss: Option<(Duration, Loss)>,
    patience: Option<Duration>,
) -> Option<Outcome> {
    let (op, delay_ms) = (stream.op, order.delay_ms);
    let Order { token, part, key, .. } = order;
    let mut params = json!({ "name": "ledger", "arguments": { "token": token, "delay_ms": delay_ms } });
    if let Some(part) = part {
        params["arguments"]["part"] = part.as_str().into();
    }
    if delay_ms >= PROGRESS_DELAY_MS {
        params["_meta"]["progressToken"] = op.into();
    }
    if let Some(key) = key {
        params["_meta"][KEY] = key.as_str().into();
    }
    let changes = part.as_ref().map(|part| format!("test://ledger/{part}"));
    let action = Action::Call { token: token.clone(), delay_ms, changes, key: key.clone() };
    match session.send(op, action, "POST", &request(op, "tools/call", &params), patience).await {
        (Asked::Streams(_, events), _) => {
            match stream.follow(session, *events, loss, &session.wanted.subscribe()).await {
                Followed::Answered(outcome) => Some(outcome),
                Followed::Lost => None,
            }
        }
        (_, outcome) => outcome,
    }
}
