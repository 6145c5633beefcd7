//! What a client was promised, checked against everything that its session wants.

use std::time::Duration;

use andon_core::io::{Frame, Output, StreamId, Timestamp};
use andon_core::session::Phase;
use andon_types::message::RequestId;
use fastrand::Rng;
use serde_json::{Value, json};

use super::{Client, LATENESS, json_of, size};
use crate::handler::Handler;

/// No message here has more bytes.
const NEWEST_BYTES: usize = 300;

impl Client {
    /// What a sweep of the host does, and what has to hold at any time.
    pub(crate) fn sweep(&mut self, now: Timestamp) {
        self.session.forget_streams(now);
        let limits = &self.limits;
        let (streams, bytes) = self.session.kept();
        assert!(streams <= limits.replay_streams_max, "{streams} finished streams are kept");
        // The newest message of each stream that goes on is kept whatever there is; none here has more bytes.
        let open = self.asked.values().filter(|asked| !asked.is_answered && !asked.is_cancelled).count();
        let most = limits.replay_bytes_max + NEWEST_BYTES * (open + limits.standing_streams_max + 1);
        assert!(bytes <= most, "{bytes} bytes are kept, of at most {most}");
        let stands = self.session.phase() == Phase::Initialized
            && self.streams.values().any(|view| view.is_connected && view.owed == 0 && !view.is_over);
        let patience = limits.change_interval + LATENESS;
        let is_late = |(what, since): (&String, &Timestamp)| {
            assert!(!stands || now.since(*since) <= patience, "{what} changed, and nobody is told");
        };
        self.untold.iter().for_each(is_late);
    }

    /// Everything that was begun comes to its end, and every promise is kept.
    pub(crate) fn settle(&mut self, mut now: Timestamp, rng: &mut Rng, vanished: bool) {
        let is_listening = !vanished && self.session.phase() == Phase::Initialized;
        if is_listening {
            self.stand(now, rng);
        }
        self.handlers.clear();
        for _ in 0..10_000 {
            let Some(deadline) = self.deadline().filter(|_| self.session.has_calls() || !self.untold.is_empty()) else {
                break;
            };
            now = now.max(deadline);
            self.tick(now, rng);
        }
        for (id, asked) in &self.asked {
            assert!(asked.is_answered || asked.is_cancelled || self.is_over, "request {id} was never answered");
        }
        assert!(self.asks.is_empty(), "questions without an outcome: {:?}", self.asks);
        let stands = self.streams.iter().any(|(_, view)| view.is_connected && !view.is_over);
        if is_listening && stands {
            assert!(self.untold.is_empty(), "changes that were never told: {:?}", self.untold);
        }
        self.vanish(now, rng);
        if !self.is_over {
            assert!(!self.session.is_busy(), "busy with nobody there");
            self.session.forget_streams(now.after(self.limits.replay_timeout));
            let (size, empty) = (size(&self.session), self.empty_size);
            assert!(size < empty + 2_000, "{size} bytes are left of a session of {empty} bytes");
            let later = now.after(self.limits.idle_timeout + Duration::from_secs(1));
            assert!(self.session.is_expired(later), "an idle session does not expire");
            self.end(later, rng);
        }
    }

    /// What its handler returns for a request: marked, so that it can be told from all others.
    fn result_of(&self, id: i64) -> Value {
        json!({ "of": self.tag, "id": id })
    }

    pub(super) fn check(&mut self, now: Timestamp, rng: &mut Rng, output: Output) {
        match output {
            Output::Send { stream, frame } => self.hear(now, stream, &frame),
            Output::Close { stream } => {
                if let Some(view) = self.streams.get_mut(&stream) {
                    view.is_connected = false;
                    view.rests_since = now;
                }
            }
            Output::Call(begin) => {
                let RequestId::Number(id) = begin.request.id else { panic!("our ids are numbers") };
                self.calls.insert(begin.id, id);
                let params = begin.request.params.as_ref().and_then(|params| params.parse_owned::<Value>().ok());
                let subject = params.filter(|_| begin.method.as_str().starts_with("resources/"));
                let subject = subject.and_then(|params| params["uri"].as_str().map(Box::from));
                self.handlers.insert(begin.id, Handler::new(rng, begin.id, self.result_of(id).to_string(), subject));
            }
            Output::Cancel { call } => {
                if let Some(handler) = self.handlers.get_mut(&call) {
                    handler.is_cancelled = true;
                }
            }
            Output::Answered { ask, .. } => {
                assert!(self.asks.remove(&ask), "a question has two outcomes");
                for handler in self.handlers.values_mut() {
                    handler.waits_for = handler.waits_for.filter(|waiting| *waiting != ask);
                }
            }
            Output::Subscription { uri, present } => {
                let uri = uri.to_string();
                if present {
                    assert!(self.subscribed.insert(uri), "subscribed twice");
                } else {
                    self.untold.remove(&uri);
                    assert!(self.subscribed.remove(&uri), "unsubscribed without a subscription");
                }
            }
            Output::Park => panic!("a session does not park"),
            Output::RootsChanged | Output::Dropped(_) => {}
        }
    }

    /// A frame on its way to the client.
    fn hear(&mut self, now: Timestamp, stream: StreamId, frame: &Frame) {
        assert!(!self.is_over, "something is said after the end");
        let Some(text) = &frame.text else {
            return assert!(
                frame.retry_ms.is_some() && !frame.last,
                "an event without a message says when to come back"
            );
        };
        let keeps = self.keeps();
        let view = self.streams.get_mut(&stream).expect("a frame for a stream that was never opened");
        assert!(!view.is_over, "a frame after the last one");
        view.said.push(text.clone());
        if keeps {
            let id = frame.id.expect("what can be resumed has an id");
            assert_eq!((id.tag, id.stream, id.sequence as usize), (self.tag, stream, view.said.len()));
        } else {
            assert_eq!(frame.id, None, "an id that nothing can be resumed with");
        }
        if view.is_connected {
            view.seen = view.said.len();
        }
        self.said_bytes += text.len();
        let message = json_of(text);
        if let (true, Some(id)) = (message["error"].is_object(), self.twins.remove(&stream)) {
            assert_eq!((message["id"].as_i64(), frame.last), (Some(id), true));
            return assert!(self.is_one_less(now, stream));
        }
        assert!(!self.twins.contains_key(&stream), "an id is used twice at once: {text}");
        match (message["method"].as_str(), message["id"].as_i64()) {
            (None, Some(id)) => {
                let asked = self.asked.get_mut(&id).expect("an answer to a request that was never made");
                assert_eq!(asked.stream, stream, "an answer on another stream");
                assert!(!asked.is_answered, "two answers to one request");
                assert!(!asked.is_cancelled, "an answer after the cancellation");
                asked.is_answered = true;
                self.answers += 1;
                if message["result"]["of"].is_number() {
                    assert_eq!(message["result"], self.result_of(id), "the answer to another request");
                }
                assert_eq!(self.is_one_less(now, stream), frame.last, "the last answer ends the stream");
            }
            (Some("notifications/progress"), _) => {
                let token = message["params"]["progressToken"].as_i64().expect("our tokens are numbers");
                let asked = self.asked.get_mut(&token).expect("progress of a request that was never made");
                let progress = message["params"]["progress"].as_f64().expect("a number");
                assert!(!asked.is_answered && !asked.is_cancelled, "progress after the end");
                assert!(asked.last_progress.is_none_or(|last| progress > last), "progress does not increase");
                assert_eq!(asked.stream, stream, "progress on another stream");
                asked.last_progress = Some(progress);
            }
            (Some("notifications/resources/updated"), _) => {
                let uri = message["params"]["uri"].as_str().expect("a URI");
                assert!(self.subscribed.contains(uri), "told without a subscription");
                self.untold.remove(uri);
            }
            (Some(method), None) if method.ends_with("/list_changed") => drop(self.untold.remove(method)),
            (Some("roots/list"), _) => {
                self.questions.push(message["id"].as_str().expect("our ids are text").to_owned());
            }
            (Some("notifications/message" | "notifications/cancelled"), None) => {}
            other => panic!("what is this? {other:?}: {text}"),
        }
    }
}
