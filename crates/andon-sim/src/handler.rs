//! Handlers of all characters.

use andon_core::io::{AskId, CallId, Input, Reply};
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use andon_types::meta::Level;
use fastrand::Rng;

/// What a handler does next.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Progress,
    Log,
    Ask,
    Extend,
    CloseConnection,
    Done,
    Fail,
}

/// A handler that runs, deed by deed.
#[derive(Debug)]
pub(crate) struct Handler {
    call: CallId,
    /// The last first.
    deeds: Vec<Deed>,
    progress: f64,
    pub(crate) is_cancelled: bool,
    /// It waits for this answer before it goes on.
    pub(crate) waits_for: Option<AskId>,
    /// What a successful reply says, and the resource it is about.
    body: String,
    subject: Option<Box<str>>,
}

impl Handler {
    pub(crate) fn new(rng: &mut Rng, call: CallId, body: String, subject: Option<Box<str>>) -> Self {
        let mut deeds = Vec::new();
        // Some never end.
        match rng.u32(..10) {
            0 => {}
            1 => deeds.push(Deed::Fail),
            _ => deeds.push(Deed::Done),
        }
        if subject.is_none() {
            let flood = rng.u32(..20) == 0;
            for _ in 0..if flood { 60 } else { rng.u32(..6) } {
                deeds.push(match rng.u32(..12) {
                    0 | 1 => Deed::Ask,
                    2 => Deed::Log,
                    3 => Deed::Extend,
                    4 => Deed::CloseConnection,
                    _ => Deed::Progress,
                });
            }
        }
        Self { call, deeds, progress: 0.0, is_cancelled: false, waits_for: None, body, subject }
    }

    /// What it does now; `None` if it hangs or is over.
    pub(crate) fn step(&mut self, rng: &mut Rng, next_ask: &mut u64) -> Option<Input> {
        if self.waits_for.is_some() {
            return None;
        }
        let call = self.call;
        Some(match self.deeds.pop()? {
            Deed::Progress => {
                // Mostly forward; what is not has to be dropped.
                self.progress += f64::from(rng.i32(-1..4));
                let message = rng.bool().then(|| "working".to_owned());
                Input::Progress { call, progress: self.progress, total: Some(100.0), message }
            }
            Deed::Log => {
                let data = Json::of("noise").expect("text is JSON");
                Input::Log { call, level: Level::Error, logger: None, data }
            }
            Deed::Ask => {
                *next_ask += 1;
                let ask = AskId(*next_ask);
                if rng.u32(..6) == 0 {
                    // It does not wait, and forgets that it asked.
                } else {
                    self.waits_for = Some(ask);
                }
                let key = format!("k{}", *next_ask).into();
                Input::Ask { call, ask, key, request: InputRequest::roots(), timeout: None }
            }
            Deed::Extend => Input::Extend { call, timeout: std::time::Duration::from_millis(rng.u64(1..1_000_000)) },
            Deed::CloseConnection => Input::CloseConnection { call, retry_ms: 100 },
            Deed::Done => {
                let reply = Reply {
                    body: std::mem::take(&mut self.body).into(),
                    subject: self.subject.take(),
                    ..Reply::default()
                };
                Input::Done { call, outcome: Ok(reply) }
            }
            Deed::Fail => Input::Done { call, outcome: Err(ErrorObject::internal()) },
        })
    }

    /// Whether there is more to come.
    pub(crate) fn is_over(&self) -> bool {
        self.deeds.is_empty()
    }
}
