//! Requests that stand alone (2026-07-28).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use andon_core::endpoint::{Admitted, RoutingHeaders, admit};
use andon_core::exchange::{Exchange, STREAM};
use andon_core::io::{Call as Begin, Input};
use andon_core::offer::Offer;
use andon_types::encoded::Encoded;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Message, Request, RequestId, encode_error};
use andon_types::method::Method;
use andon_types::params::Params;
use andon_types::revision::Revision;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::stream::Source;
use super::{Answer, Head, Host, Inbound, ResponseStream};
use crate::call::{Call, Known};
use crate::conversation::{Cell, Conversation as _, Early, Place};
use crate::outlet::Held;
use crate::principal::Principal;

pub(crate) type ExchangeCell = Cell<Exchange>;

const PURPOSE: &str = "requestState";

impl ExchangeCell {
    /// The client went away: its request is cancelled, and nothing more is sent.
    pub(super) fn hang_up(&self) {
        if self.with(|exchange| exchange.is_listen())
            && let Some(host) = self.host()
        {
            host.listeners.remove(self.number);
        }
        self.input(Input::Detached { stream: STREAM });
    }
}

impl Host {
    pub(super) fn post_modern(self: &Arc<Self>, inbound: &Inbound<'_>, message: Message) -> Answer {
        let request = match message {
            Message::Request(request) => request,
            // What could be said by notification is said by hanging up.
            Message::Notification(_) => return Answer::empty(202),
            Message::Response(response) => {
                let error = ErrorObject::invalid_request("this protocol revision has no requests to answer");
                return Answer::error(400, response.id.as_ref(), &error);
            }
        };
        match self.open_exchange(request, Some(&inbound.head), &inbound.principal, Place::stand_by()) {
            Ok(cell) => self.answer_of(cell),
            Err(refused) => *refused,
        }
    }

    /// What an exchange answers to whoever stands by.
    pub(super) fn answer_of(self: &Arc<Self>, cell: Arc<ExchangeCell>) -> Answer {
        match cell.early(self, STREAM) {
            Some((Early::Whole(Held { frame, .. }), _)) => Answer::whole(frame.status, frame.text, None),
            Some((Early::More(outlet), work)) => {
                let stream = ResponseStream::new(outlet, Source::Exchange(cell)).carrying(work);
                Answer::Stream { stream, session_id: None }
            }
            None => Answer::empty(202),
        }
    }

    /// Admits a modern request, opens its exchange with answers to `place`, and starts its handler.
    pub(super) fn open_exchange(
        self: &Arc<Self>,
        request: Request,
        head: Option<&Head<'_>>,
        principal: &Principal,
        place: Place,
    ) -> Result<Arc<ExchangeCell>, Box<Answer>> {
        let offer = self.offer();
        let headers = head.map(|head| RoutingHeaders {
            protocol_version: head.protocol_version,
            method: head.method,
            name: head.name.as_deref(),
        });
        let admitted = admit(request, headers, &offer, &self.descriptions).map_err(|refused| {
            let rules = Revision::LATEST.rules();
            let status = andon_core::violation::status(&refused.error, rules);
            Box::new(Answer::error(status, Some(&refused.request.id), &refused.error))
        })?;
        self.begin_exchange(admitted, offer, head, (principal, place))
    }

    /// Opens the exchange of an admitted request, with answers to `place`, and starts its handler. A modern request over HTTP has its `head`.
    pub(super) fn begin_exchange(
        self: &Arc<Self>,
        admitted: Admitted,
        offer: Arc<Offer>,
        head: Option<&Head<'_>>,
        (principal, place): (&Principal, Place),
    ) -> Result<Arc<ExchangeCell>, Box<Answer>> {
        let id = &admitted.request.id;
        if self.is_draining() {
            return Err(Box::new(Answer::overloaded(503, Some(id), "the server is shutting down")));
        }
        self.permit(principal, admitted.method, &admitted.request).map_err(Box::new)?;
        // The header names the tool that the body names, if that names any.
        if let (Some(Head { name: Some(tool), params, .. }), Method::ToolsCall) = (head, admitted.method) {
            let checked = self.service.check_param_headers(principal, tool, admitted.request.params.as_ref(), params);
            checked.map_err(|why| Box::new(Answer::error(400, Some(id), &ErrorObject::header_mismatch(why))))?;
        }
        if self.is_full(admitted.method) {
            return Err(Box::new(Answer::overloaded(503, Some(id), "too many requests are in flight")));
        }
        let (number, listens) = (self.number(), admitted.method == Method::Listen);
        let (exchange, outputs) = Exchange::open(self.now(), admitted, self.limits.clone(), offer);
        let cell = Cell::new(number, principal.clone(), self, exchange, None);
        if listens {
            self.listeners.add(number, &cell);
        }
        cell.carry_out(self, Some((STREAM, place)), outputs);
        Ok(cell)
    }

    fn is_full(&self, method: Method) -> bool {
        if method != Method::Listen {
            return self.running.load(Ordering::Acquire) >= self.options.handlers_max;
        }
        self.listeners.is_full(self.options.listeners_max)
    }

    /// What a call knows already: the answers that its request brings, and those that it remembers.
    pub(crate) fn open_request_state(&self, begin: &Begin, principal: &Principal) -> Result<Known, ErrorObject> {
        let facts = &begin.facts;
        let mut known = match &facts.request_state {
            None => Known::default(),
            Some(token) => {
                let digest = digest(begin.request.params.as_ref());
                let binding = binding(principal, begin.method, &digest);
                let parts: Vec<&[u8]> = binding.iter().map(Vec::as_slice).collect();
                let opened = self.seal.open(PURPOSE, &parts, wall_ms(), self.options.request_state_bytes_max, token);
                let opened = opened.map_err(|_| {
                    ErrorObject::invalid_params(
                        "\"requestState\" is not of this request, or too old: start over without it",
                    )
                })?;
                let (ttl, most) = (self.options.request_state_ttl, self.options.request_states_max);
                let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
                if !used.take(opened.number, self.now(), ttl, most) {
                    let why = "\"requestState\" was used already, and is good once: start over without it";
                    return Err(ErrorObject::invalid_params(why));
                }
                drop(used);
                let Sealed { answers, kept } = serde_json::from_slice(&opened.plain).map_err(|_| {
                    ErrorObject::invalid_params("\"requestState\" is of another version of this server")
                })?;
                Known { answers: texts(answers), kept: texts(kept) }
            }
        };
        known.answers.extend(facts.input_responses.iter().map(|(key, answer)| (key.clone(), answer.clone())));
        Ok(known)
    }

    /// Seals what the call knows so far, so that the next request brings it back.
    pub(crate) fn seal_request_state(
        &self,
        call: &Call,
        method: Method,
        params: Option<&Params>,
        principal: &Principal,
    ) -> String {
        let sealed = {
            let known = call.known();
            Sealed { answers: values(&known.answers), kept: values(&known.kept) }
        };
        let plain = serde_json::to_vec(&sealed).expect("what is known is JSON with string keys");
        let binding = binding(principal, method, &digest(params));
        let parts: Vec<&[u8]> = binding.iter().map(Vec::as_slice).collect();
        let ttl = u64::try_from(self.options.request_state_ttl.as_millis()).unwrap_or(u64::MAX);
        self.seal.seal(PURPOSE, &parts, wall_ms().saturating_add(ttl), &plain)
    }
}

/// What is sealed of what a call knows.
#[derive(Serialize, Deserialize)]
struct Sealed {
    answers: BTreeMap<String, Value>,
    kept: BTreeMap<String, Value>,
}

fn texts(values: BTreeMap<String, Value>) -> BTreeMap<String, Json> {
    values.into_iter().map(|(key, value)| (key, Json::from(value))).collect()
}

fn values(texts: &BTreeMap<String, Json>) -> BTreeMap<String, Value> {
    texts.iter().filter_map(|(key, text)| Some((key.clone(), text.parse_owned().ok()?))).collect()
}

/// The text of a refusal on a pipe, where there is no status.
pub(super) fn refusal_text(answer: &Answer, id: &RequestId) -> Encoded {
    match answer {
        Answer::Ready { body: Some(body), .. } | Answer::InsufficientScope { body, .. } => body.clone(),
        _ => encode_error(Some(id), &ErrorObject::internal(), Revision::LATEST.rules()).into(),
    }
}

fn binding(principal: &Principal, method: Method, digest: &[u8]) -> [Vec<u8>; 4] {
    let kind = if principal.is_anonymous() { b"anonymous".to_vec() } else { b"subject".to_vec() };
    let subject = principal.subject().unwrap_or_default().as_bytes().to_vec();
    [kind, subject, method.as_str().as_bytes().to_vec(), digest.to_vec()]
}

/// Of what is asked for: everything but the metadata of this round. The order of members does not matter.
fn digest(params: Option<&Params>) -> Vec<u8> {
    let mut params: Map<String, Value> = params.and_then(|params| params.parse().ok()).unwrap_or_default();
    for round in ["_meta", "inputResponses", "requestState"] {
        params.remove(round);
    }
    let mut params = Value::Object(params);
    params.sort_all_objects();
    Sha256::digest(params.to_string()).to_vec()
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
