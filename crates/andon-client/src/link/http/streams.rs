//! Event streams: followed to their answer, taken up again where they broke, and no event heard twice.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use andon_core::client::Loss;
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::oneshot;

use super::request::Exchange;
use super::send::Answer;
use super::{Failure, Heard, Shared, TAIL, media_type, refused};
use crate::link::Round;
use andon_types::sse::EventParser;

/// Attempts to take up a stream that bring nothing, one after the other.
const ATTEMPTS_MAX: u32 = 5;
/// The wait before the first attempt if the server does not say, doubled for each further one.
const DELAY: Duration = Duration::from_millis(500);
/// The shortest wait of the standing stream, whatever the server says: nobody waits for it, and it has no end.
const STANDING_DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest wait, whatever the server says.
const DELAY_MAX: Duration = Duration::from_secs(60);
/// Event ids that are remembered to tell what came twice.
const IDS_MAX: usize = 512;

/// A stream through all of its connections.
#[derive(Default)]
struct Thread {
    last_event_id: String,
    retry_ms: Option<u64>,
    known: HashSet<String>,
    order: VecDeque<String>,
}

/// How one connection of a stream ended.
enum End {
    Answered,
    Broken { why: String, brought_something: bool },
}

impl Thread {
    /// Whether an event with this id is new. Events without an id always are.
    fn is_new(&mut self, id: &str) -> bool {
        if id.is_empty() {
            return true;
        }
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// How long to wait before the next attempt: what the server asked for, or longer each time.
    fn delay(&self, attempt: u32) -> Duration {
        let backed_off = DELAY * 2_u32.saturating_pow(attempt.min(8));
        self.retry_ms.map_or(backed_off, Duration::from_millis).min(DELAY_MAX)
    }
}

impl Shared {
    /// Hears the stream that answers `round`, through all its connections.
    pub(super) async fn follow(&self, response: Answer, round: &Round) -> Result<(), Failure> {
        let mut thread = Thread::default();
        let mut end = self.read_events(response, &mut thread, Some(round.wire_id)).await?;
        let mut attempts = 0;
        loop {
            let End::Broken { why, brought_something } = end else { return Ok(()) };
            attempts = if brought_something { 0 } else { attempts + 1 };
            let can_resume = self.state().revision.rules().resumable && !thread.last_event_id.is_empty();
            if !can_resume || attempts >= ATTEMPTS_MAX {
                return Err(Loss::Disconnected(why).into());
            }
            tokio::time::sleep(thread.delay(attempts)).await;
            let id = thread.last_event_id.clone();
            end = match self.request(&Exchange::resume(&id)).await {
                Ok(response) if is_events(&response) => {
                    self.options.figures.add_resumed();
                    self.read_events(response, &mut thread, Some(round.wire_id)).await?
                }
                Ok(response) if is_busy(&response) => broken("the server is not there yet"),
                Ok(response) => {
                    let why = "the stream of the answer is lost: the server does not take it up again";
                    return Err(refused(Some(response.status()), why).into());
                }
                Err(Loss::Unauthorized(why)) => return Err(Loss::Unauthorized(why).into()),
                Err(loss) => broken(loss.to_string()),
            };
        }
    }

    /// Keeps the standing stream of a legacy session, on which the server speaks unasked. Drops `opened` when the server
    /// has answered for the first time.
    pub(super) async fn stand(&self, opened: oneshot::Sender<()>) {
        let mut opened = Some(opened);
        let session = self.state().session.clone();
        let mut thread = Thread::default();
        let mut attempts = 0;
        loop {
            let is_first = opened.is_some();
            let exchange = match thread.last_event_id.as_str() {
                "" => Exchange::bare(Method::GET),
                id => Exchange::resume(id),
            };
            let outcome = self.request(&exchange).await;
            // Dropped, it tells that somebody may go on, whatever the answer is.
            drop(opened.take());
            let brought_something = match outcome {
                Ok(response) if is_events(&response) => match self.read_events(response, &mut thread, None).await {
                    Ok(End::Broken { brought_something, .. }) => brought_something,
                    Ok(End::Answered) => true,
                    Err(_) => return,
                },
                Ok(response) if is_busy(&response) => false,
                Ok(response) if !is_first && self.says_gone(&response, session.as_ref()).await => {
                    return (self.ear)(Heard::SessionGone);
                }
                // What was missed is lost; what comes now is not.
                Ok(response) if response.status() == StatusCode::BAD_REQUEST && !thread.last_event_id.is_empty() => {
                    thread = Thread::default();
                    false
                }
                // The server has none (405).
                Ok(_) | Err(Loss::Unauthorized(_)) => return,
                Err(_) => false,
            };
            attempts = if brought_something { 0 } else { attempts + 1 };
            tokio::time::sleep(thread.delay(attempts).max(STANDING_DELAY_MIN)).await;
        }
    }

    /// Whether this refusal of the standing stream means that the server does not know the session any more.
    async fn says_gone(&self, response: &Answer, session: Option<&HeaderValue>) -> bool {
        match (response.status(), session) {
            (StatusCode::NOT_FOUND, _) => true,
            (StatusCode::BAD_REQUEST, Some(session)) => self.is_gone(session).await,
            _ => false,
        }
    }

    /// Hears one connection of a stream. An error is of the kind that no further attempt mends.
    async fn read_events(
        &self,
        mut response: Answer,
        thread: &mut Thread,
        wire_id: Option<i64>,
    ) -> Result<End, Failure> {
        let mut parser = EventParser::new(self.options.message_bytes_max);
        let mut brought_something = false;
        let mut answered = false;
        loop {
            let piece = match response.chunk().await {
                Ok(Some(piece)) => piece,
                Ok(None) => {
                    let why = "the stream ended before the answer".to_owned();
                    return Ok(End::Broken { why, brought_something });
                }
                Err(error) => {
                    return Ok(End::Broken { why: error.to_string(), brought_something });
                }
            };
            let mut events = Vec::new();
            let read = parser.push(&piece, |event| events.push(event));
            for event in events {
                if event.has_own_id && !thread.is_new(&event.id) {
                    self.options.figures.add_duplicate();
                    continue;
                }
                brought_something = true;
                if event.kind == "message" && !event.data.is_empty() {
                    match self.hear(event.data.as_bytes(), wire_id) {
                        Ok(is_answer) => answered |= is_answer,
                        Err(loss) => (self.ear)(Heard::Noise(loss.to_string())),
                    }
                }
            }
            read.map_err(|error| refused(None, error.to_string()))?;
            if !parser.last_event_id().is_empty() {
                parser.last_event_id().clone_into(&mut thread.last_event_id);
            }
            thread.retry_ms = parser.retry_ms().or(thread.retry_ms);
            if answered {
                finish(response);
                return Ok(End::Answered);
            }
        }
    }
}

/// Reads what is left of a stream whose answer was there, for a moment: so its connection can be used again, and nobody
/// waits for that.
fn finish(mut response: Answer) {
    let rest = async move { while let Ok(Some(_)) = response.chunk().await {} };
    let mut rest = Box::pin(tokio::time::timeout(TAIL, rest));
    if (&mut rest).now_or_never().is_none() {
        tokio::spawn(rest);
    }
}

fn broken(why: impl Into<String>) -> End {
    End::Broken { why: why.into(), brought_something: false }
}

fn is_busy(response: &Answer) -> bool {
    response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS
}

fn is_events(response: &Answer) -> bool {
    response.status() == StatusCode::OK
        && media_type(response).is_some_and(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
}
