//! One call on its way through a server: its outcome, and the questions that the server asks meanwhile.
//!
//! A client of a session waits, and is asked over its call. A client of 2026-07-28 gets its answer, `input_required`, and
//! comes back. A server that asks in rounds as well has nothing to do until then, and the client carries what it wants back;
//! the flight to another is parked, its server none the wiser.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon_client::{Error, Round};
use andon_core::io::AskError;
use andon_server::call::Call;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use andon_types::raw_object::{ObjectText, RawObject};
use andon_types::revision::{Era, Revision, Rules};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::names::hex;

/// Questions of one call that wait to be asked.
pub(crate) const QUESTIONS_MAX: usize = 16;
/// Flights that are parked at once.
pub(crate) const PARKED_MAX: usize = 1_000;
/// Those of one principal. Who is nobody in particular may have all of them, if nobody else wants any.
const PARKED_OF_ONE_MAX: usize = 100;
/// How long a client may take to come back; servers give up about then.
const PARKED_FOR: Duration = Duration::from_secs(600);
/// What a server asks at once reaches a client of 2026-07-28 at once: for so long it is waited for what else it asks.
const GATHER: Duration = Duration::from_millis(3);
/// The same where the server has said how much it asks.
const GATHER_ROUND: Duration = Duration::from_secs(1);
/// Under which a call remembers its flight.
const FLIGHT: &str = "flight";
/// Under which a call remembers what its server asked in a round, and what it wants back.
const ROUND: &str = "round";
/// What a client carries of a round is at most so long; where it is more, the flight is parked. Clients carry it in
/// `requestState`, in which the server takes 64 KiB.
const ROUND_BYTES_MAX: usize = 32 << 10;
/// Of most answers.
const ROUND_BYTES: usize = 256;

/// A question of a server.
pub(crate) struct Asked {
    pub(crate) request: InputRequest,
    /// What the server calls it.
    pub(crate) key: Option<String>,
    /// What its call was answered with it.
    pub(crate) round: Option<Round>,
    pub(crate) answer: oneshot::Sender<Result<Value, ErrorObject>>,
}

/// Questions on their way to whoever follows a flight. Few calls have any, so that one which has none costs nothing.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<Mail>);

#[derive(Default)]
struct Mail {
    asked: VecDeque<Asked>,
    is_closed: bool,
    follower: Option<Waker>,
}

impl Inbox {
    /// Puts a question there. It is given back if there are too many, or nobody follows the flight any more.
    pub(crate) fn put(&self, asked: Asked) -> Result<(), Asked> {
        let mut mail = lock(&self.0);
        if mail.is_closed || mail.asked.len() >= QUESTIONS_MAX {
            return Err(asked);
        }
        mail.asked.push_back(asked);
        if let Some(follower) = mail.follower.take() {
            follower.wake();
        }
        Ok(())
    }

    fn try_take(&self) -> Option<Asked> {
        lock(&self.0).asked.pop_front()
    }

    /// Waits for a question.
    async fn take(&self) -> Asked {
        poll_fn(|cx| {
            let mut mail = lock(&self.0);
            match mail.asked.pop_front() {
                Some(asked) => Poll::Ready(asked),
                None => {
                    mail.follower = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Nobody takes questions any more: those that are there have no answer.
    fn close(&self) {
        let mut mail = lock(&self.0);
        mail.is_closed = true;
        let left = std::mem::take(&mut mail.asked);
        drop(mail);
        drop(left);
    }
}

/// A question that was put to the client.
struct Pending {
    key: String,
    /// What the server calls it, and what it said with it, if it asks in rounds.
    round: Option<(String, Round)>,
    request: InputRequest,
    /// None once it is answered.
    answer: Mutex<Option<oneshot::Sender<Result<Value, ErrorObject>>>>,
}

/// The call that a flight is for now. A client of 2026-07-28 comes back with another one.
#[derive(Default)]
pub(crate) struct Line(Mutex<Option<Call>>);

impl Line {
    pub(crate) fn with(&self, act: impl FnOnce(&Call)) {
        let call = lock(&self.0).clone();
        if let Some(call) = call {
            act(&call);
        }
    }

    /// Its server made a task of it: the call becomes one too, if its client takes tasks.
    pub(crate) async fn become_task(&self) {
        let call = lock(&self.0).clone();
        let Some(call) = call else { return };
        if let Err(error) = call.become_task().await {
            tracing::debug!(%error, "a call stays a call, and waits for the task of its server");
        }
    }
}

/// What a flight keeps as long as it lasts.
pub(crate) trait Held: Send {
    /// Its server asks, and waits.
    fn waits(&mut self);

    /// Its server has its answers.
    fn goes_on(&mut self);

    /// The flight arrived, however.
    fn arrived(&mut self, outcome: &Result<Json, Error>);
}

pub(crate) struct Flight {
    pub(crate) outcome: BoxFuture<'static, Result<Json, Error>>,
    questions: Arc<Inbox>,
    pub(crate) line: Arc<Line>,
    /// What its server speaks.
    pub(crate) revision: Revision,
    /// Whether what its server asks in a round can be answered in another conversation, and the call is over until then.
    ends_with_round: bool,
    /// None once it has arrived.
    held: Option<Box<dyn Held>>,
    pending: Vec<Arc<Pending>>,
    asked: u32,
}

impl Flight {
    pub(crate) fn new(
        outcome: BoxFuture<'static, Result<Json, Error>>,
        questions: Arc<Inbox>,
        line: Arc<Line>,
        (revision, ends_with_round): (Revision, bool),
        held: Box<dyn Held>,
    ) -> Self {
        let (held, pending) = (Some(held), Vec::new());
        Self { outcome, questions, line, revision, ends_with_round, held, pending, asked: 0 }
    }

    fn take(&mut self, asked: Asked) -> Arc<Pending> {
        self.asked += 1;
        let is_free = |key: &String| self.pending.iter().all(|pending| pending.key != *key);
        let round = asked.key.clone().zip(asked.round);
        let mut names = asked.key.into_iter().chain((self.asked..).map(|number| format!("question-{number}")));
        let key = names.find(is_free).expect("there are more numbers than questions");
        let pending = Pending { key, round, request: asked.request, answer: Mutex::new(Some(asked.answer)) };
        let pending = Arc::new(pending);
        self.pending.push(pending.clone());
        if let Some(held) = &mut self.held {
            held.waits();
        }
        pending
    }

    /// Of what is pending only this is left.
    fn answered(&mut self, is_left: impl Fn(&Arc<Pending>) -> bool) {
        self.pending.retain(is_left);
        if let (Some(held), true) = (&mut self.held, self.pending.is_empty()) {
            held.goes_on();
        }
    }

    /// Waits for what else is asked at once, after the first question.
    async fn gather(&mut self) {
        let count = self.pending.first().and_then(|first| Some(first.round.as_ref()?.1.questions));
        let Some(count) = count else { return tokio::time::sleep(GATHER).await };
        let rest = async {
            while self.pending.len() < count {
                let asked = self.questions.take().await;
                self.take(asked);
            }
        };
        // Without those that did not come, the round is answered in part.
        drop(tokio::time::timeout(GATHER_ROUND, rest).await);
    }

    /// All that it takes to go on with the call another time, once what is pending is answered, if its server asks in rounds.
    fn round(&self, server: &str) -> Option<Json> {
        if !self.ends_with_round {
            return None;
        }
        let keys = self.pending.iter().map(|pending| Some((pending.key.clone(), pending.round.as_ref()?.0.clone())));
        let (_, Round { request_state, .. }) = self.pending.first()?.round.as_ref()?;
        let state = request_state.as_ref().and_then(|state| state.parse_owned().ok());
        let carried = Carried { server: server.to_owned(), keys: keys.collect::<Option<_>>()?, state };
        let carried = Json::of(&carried).ok()?;
        (carried.as_str().len() <= ROUND_BYTES_MAX).then_some(carried)
    }

    fn arrived(&mut self, outcome: &Result<Json, Error>) {
        if let Some(mut held) = self.held.take() {
            held.arrived(outcome);
        }
    }
}

/// What a client carries of a round.
#[derive(Serialize, Deserialize)]
struct Carried {
    /// What starts the server whose round it is: no other is shown the state.
    server: String,
    /// What the client calls the questions, and what their server calls them.
    keys: BTreeMap<String, String>,
    state: Option<Value>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.questions.close();
    }
}

/// Flights whose clients have not come back yet.
#[derive(Default)]
pub(crate) struct Parking(Mutex<HashMap<String, Parked>>);

struct Parked {
    flight: Flight,
    subject: Option<String>,
    until: Instant,
}

/// The outcome of a flight that goes on by itself, until this is dropped.
struct Unattended(JoinHandle<Result<Json, Error>>);

impl Future for Unattended {
    type Output = Result<Json, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // It is not aborted as long as somebody waits for it.
        self.0.poll_unpin(cx).map(|outcome| outcome.unwrap_or(Err(Error::Closed)))
    }
}

impl Drop for Unattended {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Parking {
    fn put(self: &Arc<Self>, id: String, subject: Option<String>, mut flight: Flight) {
        let until = Instant::now() + PARKED_FOR;
        let mut parked = lock(&self.0);
        // Nobody follows it now, and what its server says is to be heard all the same.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let outcome = std::mem::replace(&mut flight.outcome, std::future::pending().boxed());
            let (parking, own) = (Arc::downgrade(self), id.clone());
            flight.outcome = Box::pin(Unattended(runtime.spawn(async move {
                let outcome = outcome.await;
                if let Some(parking) = parking.upgrade() {
                    parking.arrived(&own, &outcome);
                }
                outcome
            })));
        }
        let given_up = in_the_way(&parked, subject.as_deref()).and_then(|id| parked.remove(&id));
        parked.insert(id, Parked { flight, subject, until });
        drop(parked);
        if given_up.is_some() {
            tracing::warn!("too many calls wait for their clients: one is given up");
        }
    }

    /// The flight with this id arrived. If it is still parked, its server has nothing to do with it any more.
    fn arrived(&self, id: &str, outcome: &Result<Json, Error>) {
        let held = lock(&self.0).get_mut(id).and_then(|known| known.flight.held.take());
        if let Some(mut held) = held {
            held.arrived(outcome);
        }
    }

    /// The flight with this id, if it is this subject's.
    fn take(&self, id: &str, subject: Option<&str>) -> Option<Flight> {
        let mut parked = lock(&self.0);
        let is_theirs = parked.get(id).is_some_and(|known| known.subject.as_deref() == subject);
        if is_theirs { parked.remove(id).map(|known| known.flight) } else { None }
    }

    /// Gives up those whose clients do not come back.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let late: Vec<Parked> = {
            let mut parked = lock(&self.0);
            let ids: Vec<String> =
                parked.iter().filter(|(_, known)| known.until <= now).map(|(id, _)| id.clone()).collect();
            ids.iter().filter_map(|id| parked.remove(id)).collect()
        };
        if !late.is_empty() {
            tracing::debug!(count = late.len(), "clients did not come back with answers");
        }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }
}

/// The flight that is given up so that one more of `subject` finds room: the oldest of its own, if it has its share, else of
/// whoever has most.
fn in_the_way(parked: &HashMap<String, Parked>, subject: Option<&str>) -> Option<String> {
    let mut counts: HashMap<Option<&str>, usize> = HashMap::new();
    parked.values().for_each(|known| *counts.entry(known.subject.as_deref()).or_default() += 1);
    let has_its_share = subject.is_some() && counts.get(&subject).is_some_and(|count| *count >= PARKED_OF_ONE_MAX);
    let whose = match has_its_share {
        true => subject,
        false if parked.len() >= PARKED_MAX => counts.into_iter().max_by_key(|(_, count)| *count)?.0,
        false => return None,
    };
    let theirs = parked.iter().filter(|(_, known)| known.subject.as_deref() == whose);
    theirs.min_by_key(|(_, known)| known.until).map(|(id, _)| id.clone())
}

/// What a call brings along.
pub(crate) enum Brought {
    Nothing,
    /// Answers for a server that asks in rounds.
    Answers(Answers),
    /// Answers for a flight that was parked.
    Parked(Flight),
}

/// What a server that asks in rounds wants with the parameters of a call.
pub(crate) struct Answers {
    responses: Json,
    state: Option<Json>,
}

impl Answers {
    pub(crate) fn beside(&self, params: &RawObject) -> RawObject {
        let mut params = params.clone();
        params.put("inputResponses", self.responses.clone());
        if let Some(state) = &self.state {
            params.put("requestState", state.clone());
        }
        params
    }
}

/// Whether `call` brings answers, and for what; it is for the server with this origin.
///
/// # Errors
/// When they are for a flight that is gone, or for another server.
pub(crate) fn resume(call: &Call, parking: &Parking, server: &str) -> Result<Brought, ErrorObject> {
    let (round, flight) = (call.recall(ROUND), call.recall(FLIGHT));
    forget_all(call);
    if let Some(carried) = round {
        let carried = carried.parse_owned().ok().filter(|carried: &Carried| carried.server == server);
        let Some(Carried { keys, state, .. }) = carried else {
            let why = "what this answers was asked by another server, or another version of this one; start over";
            return Err(ErrorObject::invalid_request(why));
        };
        let mut responses = ObjectText::with_capacity(ROUND_BYTES);
        for (key, own) in keys {
            if let Some(answer) = call.answer(&key) {
                responses.push(&own, answer.as_str());
            }
            // The next round may ask under the same name.
            call.forget_answer(&key);
        }
        return Ok(Brought::Answers(Answers { responses: responses.into(), state: state.map(Json::from) }));
    }
    let Some(id) = flight else { return Ok(Brought::Nothing) };
    let id: String = id.parse_owned().unwrap_or_default();
    match parking.take(&id, call.principal().subject()) {
        Some(flight) => Ok(Brought::Parked(flight)),
        None => Err(ErrorObject::invalid_request(
            "the call that this answers is gone: its server ended, or the answer took too long; start over",
        )),
    }
}

/// What a call remembers is of one round.
fn forget_all(call: &Call) {
    [ROUND, FLIGHT].iter().for_each(|key| call.forget(key));
}

/// Follows `flight` to its end, and asks the client of `call` what its server asks, whose origin is `server`.
///
/// The future is dropped when the client went away, and then the flight is too; or when the call of a client of 2026-07-28
/// ends with questions, and then the flight is over, if its server asks in rounds, or else parked.
pub(crate) async fn follow(
    flight: Flight,
    call: &Call,
    server: &str,
    parking: &Arc<Parking>,
) -> (Result<Json, Error>, Revision) {
    *lock(&flight.line.0) = Some(call.clone());
    // What a task asks waits in the task.
    let asks_in_rounds = || call.revision().era() == Era::Modern && !call.is_task();
    let mut seat = Seat {
        flight: Some(flight),
        parking: parking.clone(),
        subject: call.principal().subject().map(str::to_owned),
        asks: None,
    };
    loop {
        if !asks_in_rounds() {
            let outcome = converse(seat.flight(), call).await;
            return seat.arrive(outcome);
        }
        if seat.flight().pending.is_empty() {
            let flight = seat.flight();
            tokio::select! {
                biased;
                outcome = &mut flight.outcome => return seat.arrive(outcome),
                asked = flight.questions.take() => drop(flight.take(asked)),
            }
            flight.gather().await;
        }
        while let Some(asked) = seat.flight().questions.try_take() {
            seat.flight().take(asked);
        }
        if !asks_in_rounds() {
            // It became a task meanwhile.
            continue;
        }
        seat.asks = Some(match seat.flight().round(server) {
            Some(round) => {
                call.remember(ROUND, round);
                Asks::InRounds
            }
            None => {
                let id = new_id();
                call.remember(FLIGHT, Json::string(&id));
                Asks::Waiting(id)
            }
        });
        if let Some(outcome) = ask_all(seat.flight(), call).await {
            forget_all(call);
            return seat.arrive(outcome);
        }
        // It had brought the answers already. The next round may ask under the same names.
        seat.asks = None;
        forget_all(call);
        seat.flight().pending.iter().for_each(|pending| call.forget_answer(&pending.key));
        seat.flight().answered(|_| false);
    }
}

/// Asks a client that can be asked at any time, until the flight arrives.
async fn converse(flight: &mut Flight, call: &Call) -> Result<Json, Error> {
    if flight.pending.is_empty() {
        // Most calls end here: what it takes to ask is made when there is something to ask.
        tokio::select! {
            biased;
            outcome = &mut flight.outcome => return outcome,
            asked = flight.questions.take() => drop(flight.take(asked)),
        }
    }
    let asking = |pending: Arc<Pending>| async move {
        ask(&pending, call).await;
        pending
    };
    let mut open: FuturesUnordered<_> = flight.pending.iter().cloned().map(asking).collect();
    loop {
        tokio::select! {
            biased;
            outcome = &mut flight.outcome => return outcome,
            asked = flight.questions.take() => open.push(asking(flight.take(asked))),
            Some(over) = open.next() => flight.answered(|pending| !Arc::ptr_eq(pending, &over)),
        }
    }
}

/// Asks what is pending. `Some` if the flight arrived meanwhile.
async fn ask_all(flight: &mut Flight, call: &Call) -> Option<Result<Json, Error>> {
    let Flight { outcome, pending, .. } = flight;
    let mut asking: FuturesUnordered<_> = pending.iter().map(|pending| ask(pending, call)).collect();
    loop {
        tokio::select! {
            biased;
            outcome = &mut *outcome => return Some(outcome),
            asked = asking.next() => asked?,
        }
    }
}

/// Asks one thing, unless it was answered before.
async fn ask(pending: &Pending, call: &Call) {
    if lock(&pending.answer).is_none() {
        return;
    }
    let withdrawn = poll_fn(|cx| match &mut *lock(&pending.answer) {
        Some(answer) => answer.poll_closed(cx),
        None => Poll::Ready(()),
    });
    let answered = tokio::select! {
        biased;
        answered = call.ask(Some(&pending.key), pending.request.clone(), None) => answered,
        () = withdrawn => Err(AskError::Cancelled),
    };
    let answered = answered.map_err(ErrorObject::from).and_then(|answer| {
        let answer = answer.parse_owned().map_err(|error| ErrorObject::invalid_params(error.to_string()))?;
        Ok(filled(&pending.request, answer, call.rules()))
    });
    if let Some(answer) = lock(&pending.answer).take() {
        // A server that withdrew its question needs no answer.
        drop(answer.send(answered));
    }
}

/// What a client answers whose revision has no defaults in forms gets those that its server meant (see the adaptation of
/// questions).
fn filled(request: &InputRequest, mut answer: Value, rules: &Rules) -> Value {
    if let (InputRequest::Elicitation(params), false) = (request, rules.form_choices)
        && let Some(schema) = params.get("requestedSchema")
        && answer.get("action").and_then(Value::as_str) == Some("accept")
        && let Some(content) = answer.get_mut("content").and_then(Value::as_object_mut)
    {
        andon_client::fill_defaults(schema, content);
    }
    answer
}

/// Where a flight is while it is followed.
struct Seat {
    flight: Option<Flight>,
    parking: Arc<Parking>,
    subject: Option<String>,
    /// Set while a client of 2026-07-28 is asked: then the end of its call is not the end of what was called.
    asks: Option<Asks>,
}

/// How a server asks that a client of 2026-07-28 answers later.
enum Asks {
    /// All that it wants is with the client.
    InRounds,
    /// It waits; the flight is parked under this id.
    Waiting(String),
}

impl Seat {
    fn flight(&mut self) -> &mut Flight {
        self.flight.as_mut().expect("it is taken only when it has arrived or its seat is dropped")
    }

    fn arrive(&mut self, outcome: Result<Json, Error>) -> (Result<Json, Error>, Revision) {
        let flight = self.flight();
        flight.arrived(&outcome);
        let revision = flight.revision;
        self.flight = None;
        (outcome, revision)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(mut flight) = self.flight.take() else { return };
        lock(&flight.line.0).take();
        match self.asks.take() {
            // The questions were its answer.
            Some(Asks::InRounds) => flight.arrived(&Ok(RawObject::default().into())),
            Some(Asks::Waiting(id)) => self.parking.put(id, self.subject.take(), flight),
            None => {}
        }
    }
}

/// Names a flight to its client, sealed; nobody guesses it.
fn new_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    hex(&bytes)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
