//! One stream of a session, over as many connections as it takes.

use std::sync::Arc;
use std::time::Duration;

use andon_types::sse::Event as Frame;
use tokio::sync::watch;

use super::Session;
use super::calls::reply;
use super::read::says;
use crate::history::{Action, Event, Outcome, Says, digest};
use crate::wire::{self, Answer, Events, Request};
use crate::world::Phase;

/// How long a connection that was replaced may stay open.
const REPLACED_TIMEOUT: Duration = Duration::from_secs(5);

/// How a connection is lost on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It is closed.
    Close,
    /// It stays open, and another one takes the stream up.
    Replace,
}

/// A stream of a session, named by the operation that opened it.
pub(super) struct Stream {
    pub(super) op: u64,
    /// The event ids that came, in order.
    ids: Vec<String>,
    /// Where in `ids` the newest `Last-Event-ID` is that was said; what is before may be forgotten.
    said: usize,
    rng: fastrand::Rng,
    /// Tells that the first event id came.
    pub(super) opened: watch::Sender<bool>,
}

/// How a connection of a stream ended.
enum Ended {
    Answered(Outcome),
    Lost,
    Over,
}

/// How a stream ended, for one who waits for a response.
pub(super) enum Followed {
    /// With a response.
    Answered(Outcome),
    /// Before anything was promised, or the server refuses to go on, or the run is over.
    Lost,
}

impl Stream {
    pub(super) fn new(op: u64, rng: fastrand::Rng) -> Self {
        Self { op, ids: Vec::new(), said: 0, rng, opened: watch::Sender::new(false) }
    }

    /// Whether anything came that one can come back with.
    pub(super) fn is_promised(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Reads the stream to its response, on `events` first, which are lost after `loss`; comes back as long as `wanted`.
    pub(super) async fn follow(
        &mut self,
        session: &Arc<Session>,
        events: Events,
        loss: Option<(Duration, Loss)>,
        wanted: &watch::Receiver<bool>,
    ) -> Followed {
        let mut next = Some((self.op, events));
        let mut loss = loss;
        loop {
            if let Some((conn, events)) = next.take() {
                match self.read(session, conn, events, loss.take(), wanted).await {
                    Ended::Answered(outcome) => return Followed::Answered(outcome),
                    Ended::Over => return Followed::Lost,
                    Ended::Lost => {}
                }
            }
            if !self.is_promised() || !*wanted.borrow() || session.world.phase() == Phase::Over {
                return Followed::Lost;
            }
            session.world.pause(Duration::from_millis(self.rng.u64(60..250))).await;
            match self.resume(session).await {
                Ok(resumed) => next = resumed,
                Err(()) => return Followed::Lost,
            }
        }
    }

    /// Once more from an event that came already, to compare.
    pub(super) async fn again(&mut self, session: &Arc<Session>, wanted: &watch::Receiver<bool>) {
        if let Ok(Some((conn, events))) = self.resume(session).await {
            self.read(session, conn, events, None, wanted).await;
        }
    }

    /// A connection that takes the stream up; `None` if not now.
    ///
    /// # Errors
    /// When the server refuses for good.
    async fn resume(&mut self, session: &Arc<Session>) -> Result<Option<(u64, Events)>, ()> {
        let world = &session.world;
        // Sometimes from an event before the newest, to see the others come again.
        let newest = self.ids.len() - 1;
        self.said = self.rng.usize(self.said.max(newest.saturating_sub(3))..=newest);
        let last_id = self.ids[self.said].clone();
        let op = world.recorder.next_op();
        let action = Action::Resume { stream: self.op, last_id: last_id.clone() };
        session.invoke(op, action);
        let request = Request { verb: "GET", session: session.names(), last_event_id: Some(&last_id), body: "" };
        match wire::send(world.address, request).await {
            Ok(answer) if answer.status == 200 && answer.is_events => {
                session.record(Event::Ok { op, session: None });
                Ok(Some((op, answer.events())))
            }
            Ok(answer) => {
                let status = session.refused(op, answer).await;
                if matches!(status, 429 | 503) { Ok(None) } else { Err(()) }
            }
            Err(error) => {
                session.lost(op, &error);
                Ok(None)
            }
        }
    }

    async fn read(
        &mut self,
        session: &Arc<Session>,
        conn: u64,
        mut events: Events,
        loss: Option<(Duration, Loss)>,
        wanted: &watch::Receiver<bool>,
    ) -> Ended {
        let (mut cuts, mut wanted) = (session.world.cuts.subscribe(), wanted.clone());
        cuts.mark_unchanged();
        let lost_at = loss.map(|(after, _)| tokio::time::Instant::now() + after);
        let lost = async {
            match lost_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(lost);
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = &mut lost => {
                    // Without an id there is nothing to take up.
                    if loss.is_some_and(|(_, loss)| loss == Loss::Replace) && self.is_promised() {
                        tokio::spawn(read_replaced(session.clone(), self.op, conn, events));
                    } else {
                        session.record(Event::Info { op: conn, why: "closed".to_owned() });
                    }
                    return Ended::Lost;
                }
                _ = cuts.changed() => {
                    session.record(Event::Info { op: conn, why: "cut".to_owned() });
                    return Ended::Lost;
                }
                _ = wanted.wait_for(|wanted| !wanted) => return Ended::Over,
                () = session.world.reaches(Phase::Over) => return Ended::Over,
            };
            match event {
                Ok(Some(frame)) => {
                    let heard = session.heard(conn, self.op, &frame);
                    if frame.has_own_id && !self.ids.contains(&frame.id) {
                        self.ids.push(frame.id);
                        self.opened.send_replace(true);
                        if let Says::Question { question } = &heard {
                            tokio::spawn(reply(session.clone(), self.op, question.clone(), self.rng.fork()));
                        }
                    }
                    if let Says::Response { outcome, .. } = heard {
                        return Ended::Answered(outcome);
                    }
                }
                Ok(None) => {
                    session.record(Event::Info { op: conn, why: "ended".to_owned() });
                    return Ended::Lost;
                }
                Err(error) => {
                    session.record(Event::Info { op: conn, why: error.to_string() });
                    return Ended::Lost;
                }
            }
        }
    }
}

/// Reads on where another connection has taken the stream: nothing may come here that goes against that one.
async fn read_replaced(session: Arc<Session>, stream: u64, conn: u64, mut events: Events) {
    let read = async {
        while let Ok(Some(frame)) = events.next().await {
            session.heard(conn, stream, &frame);
        }
    };
    // Whether the server closes it or nothing comes is all the same here.
    let _ = tokio::time::timeout(REPLACED_TIMEOUT, read).await;
    session.record(Event::Info { op: conn, why: "replaced".to_owned() });
}

impl Session {
    /// Writes down what came, and says what it is.
    pub(super) fn heard(&self, conn: u64, stream: u64, frame: &Frame) -> Says {
        let says = says(&frame.data);
        if let Says::Updated { .. } = says {
            self.updates.send_modify(|count| *count += 1);
        }
        self.record(Event::Recv {
            conn,
            session: self.id.clone(),
            stream,
            event_id: frame.has_own_id.then(|| frame.id.clone()),
            digest: digest(frame.data.as_bytes()),
            says: says.clone(),
        });
        says
    }

    /// Writes down that `op` was refused, and says with what status.
    pub(super) async fn refused(&self, op: u64, answer: Answer) -> u16 {
        let status = answer.status;
        let why = answer.text().await.unwrap_or_else(|error| error.to_string());
        self.record(Event::Fail { op, status, why });
        status
    }

    /// Writes down that the connection of `op` is gone, or was never there.
    pub(super) fn lost(&self, op: u64, error: &std::io::Error) {
        if error.kind() == std::io::ErrorKind::ConnectionRefused {
            self.record(Event::Fail { op, status: 0, why: error.to_string() });
        } else {
            self.record(Event::Info { op, why: error.to_string() });
        }
    }
}
