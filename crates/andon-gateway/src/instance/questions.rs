//! What the server of one conversation says for somebody: its questions, its log, and its interest in roots.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use andon_client::{Client, Question};
use andon_core::io::AskError;
use andon_server::call::Call;
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::meta::{Level, RELATED_TASK};
use andon_types::revision::Era;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use super::traffic::{Caller, Which};
use super::{Instance, Key, News, Ready};
use crate::flight::{Asked, Line, lock};

/// How long a client may take to say what its roots are. Calls wait for it.
const ROOTS_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a client is asked for its roots, by calls that end before it has answered.
const ROOTS_ATTEMPTS: usize = 4;
/// Elicitations by URL that may be completed later.
const VISITS_MAX: usize = 256;

/// A question that waits for the client of a call, until it is dropped.
struct Asking(Arc<AtomicUsize>);

impl Asking {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A question for roots that is not answered yet, until it is dropped.
struct AskingForRoots<'a>(&'a Instance);

impl<'a> AskingForRoots<'a> {
    fn new(instance: &'a Instance) -> Self {
        instance.roots_asked.send_modify(|asked| *asked += 1);
        Self(instance)
    }
}

impl Drop for AskingForRoots<'_> {
    fn drop(&mut self) {
        self.0.roots_asked.send_modify(|asked| *asked -= 1);
    }
}

impl Instance {
    /// Puts a question of the server to the client that it is for.
    pub(super) async fn question(&self, question: Question) -> Result<Value, ErrorObject> {
        if matches!(question.request, InputRequest::Roots(_)) {
            let _asking = AskingForRoots::new(self);
            return Ok(self.roots(question).await);
        }
        let method = question.request.method();
        self.put(question).await.inspect_err(|error| {
            tracing::warn!(server = &*self.upstream.name, method, %error, "a question of a server has no answer");
        })
    }

    /// Servers ask for roots when they like: any call of their client will do, and what was said before is better than nothing.
    async fn roots(&self, question: Question) -> Value {
        for _ in 0..ROOTS_ATTEMPTS {
            // A call may be over before it is answered. Another one may be open.
            if let Ok(roots) = self.put(question.clone()).await {
                return roots;
            }
        }
        self.known_roots().await
    }

    async fn put(&self, mut question: Question) -> Result<Value, ErrorObject> {
        let task = related_task(&mut question.request);
        let which = if matches!(question.request, InputRequest::Roots(_)) { Which::Oldest } else { Which::Newest };
        let whose = lock(&self.traffic)
            .whose(question.tag, task.as_deref(), which)
            .map(|open| (open.questions.clone(), open.line.clone(), Asking::new(&open.asking)));
        let (questions, line, _asking) = whose.map_err(ErrorObject::invalid_request)?;
        self.note_elicitation(&question.request, &line);
        let (answer, answered) = oneshot::channel();
        let asked = Asked { request: question.request, key: question.key, round: question.round, answer };
        if questions.put(asked).is_err() {
            return Err(ErrorObject::unavailable("too many questions of one call at once, or the call is over"));
        }
        answered.await.unwrap_or_else(|_| Err(ErrorObject::invalid_request("the call that this belongs to is over")))
    }

    /// An elicitation by URL may be completed when its call is over.
    fn note_elicitation(&self, request: &InputRequest, line: &Line) {
        let id = request.params().get("elicitationId").and_then(Value::as_str).filter(|_| request.is_url());
        if let Some(id) = id {
            line.with(|call| {
                let mut traffic = lock(&self.traffic);
                if traffic.visits.len() >= VISITS_MAX {
                    traffic.visits.pop_front();
                }
                traffic.visits.push_back((id.to_owned(), call.voice()));
            });
        }
    }

    /// Tells whoever was asked to visit a page that it is done.
    pub(super) fn elicitation_complete(&self, id: &str) {
        let voice = {
            let mut traffic = lock(&self.traffic);
            let index = traffic.visits.iter().position(|(known, _)| known == id);
            index.and_then(|index| traffic.visits.remove(index))
        };
        if let Some((_, voice)) = voice {
            voice.elicitation_complete(id);
        }
    }

    /// The roots of the client changed whose session has this key, at the endpoint with this number: if it uses this
    /// conversation, its server hears of it, as soon as a call is open that can be asked for them.
    pub(crate) fn roots_changed(self: &Arc<Self>, endpoint: u64, session: u128) {
        let caller = match self.key {
            Key::Session(..) if self.key == Key::Session(endpoint, session) => Caller::Owner,
            Key::Session(..) | Key::Alone(..) => return,
            _ if self.upstream.has_one_client() => Caller::Owner,
            _ => Caller::Session(endpoint, session),
        };
        let open =
            lock(&self.traffic).open.iter().find(|(_, open)| open.caller == caller).map(|(_, open)| open.line.clone());
        // Of those who share it, only who uses it now can be asked.
        if open.is_some() || caller == Caller::Owner {
            self.roots_news.send_modify(|news| news.is_stale = true);
        }
        if let Some(line) = open {
            line.with(|call| self.tell_of_roots(call));
        }
    }

    /// Passes on what the server logs without saying for whom.
    pub(super) fn log(&self, level: Level, logger: Option<&str>, data: &Value) {
        let line = lock(&self.traffic).whose(None, None, Which::Newest).ok().map(|open| open.line.clone());
        match (line, &*lock(&self.owner)) {
            (Some(line), _) => line.with(|call| call.log(level, logger, data)),
            (None, Some(owner)) => owner.log(level, logger, data),
            (None, None) => tracing::debug!(server = &*self.upstream.name, ?level, logger, %data, "a server logs"),
        }
    }

    /// Servers ask for roots as soon as they begin, and then no call need be open: the one that begins them is asked.
    pub(super) fn ask_for_roots(self: &Arc<Self>, opener: &Call) {
        if opener.revision().era() == Era::Modern || opener.require(&InputRequest::roots()).is_err() {
            return;
        }
        self.roots.send_modify(|(is_there, _)| *is_there = false);
        let (instance, asking) = (self.clone(), opener.ask(None, InputRequest::roots(), Some(ROOTS_TIMEOUT)));
        tokio::spawn(async move {
            let asked = asking.await;
            if matches!(asked, Err(AskError::Cancelled)) {
                // The call was over first: the next one is asked.
                instance.roots_news.send_modify(|news| news.is_stale = true);
            }
            let roots = asked.ok().and_then(|roots| roots.parse_owned().ok());
            instance.roots.send_modify(|known| *known = (true, roots.or_else(|| known.1.take())));
        });
    }

    /// Returns when the client that is asked for its roots has said them and its server has heard, or they are given up: a call that
    /// is over cannot be asked any more, and what it works on is to be what they say. `None` where nobody is asked.
    pub(super) fn roots_settled(&self) -> Option<BoxFuture<'static, ()>> {
        // One after the other: whoever has the news may ask for the roots meanwhile.
        let is_there = self.roots.borrow().0;
        let is_being_told = self.roots_news.borrow().is_being_told;
        if !matches!(self.key, Key::Session(..)) || (is_there && !is_being_told) {
            return None;
        }
        let (mut roots, mut news) = (self.roots.subscribe(), self.roots_news.subscribe());
        let settled = async move {
            drop(roots.wait_for(|(is_there, _)| *is_there).await);
            drop(news.wait_for(|news| !news.is_being_told).await);
        };
        Some(async move { drop(tokio::time::timeout(ROOTS_TIMEOUT, settled).await) }.boxed())
    }

    /// Tells the server that the roots of its client changed, if it has not heard yet; `call` can be asked for them.
    pub(super) fn tell_of_roots(self: &Arc<Self>, call: &Call) {
        let begins = self.roots_news.send_if_modified(|news| {
            let begins = news.is_stale && !news.is_being_told;
            if begins {
                *news = News { is_stale: false, is_being_told: true };
            }
            begins
        });
        if !begins {
            return;
        }
        let is_own = matches!(self.key, Key::Session(..));
        if is_own {
            self.ask_for_roots(call);
        }
        let instance = self.clone();
        tokio::spawn(async move {
            while {
                drop(tokio::time::timeout(ROOTS_TIMEOUT, instance.notify_of_roots(is_own)).await);
                instance.has_more_to_tell(is_own)
            } {}
        });
    }

    /// Whether there was another change meanwhile, of which the server can be told now. If no call is open that can be asked what it
    /// is, the next one will be.
    fn has_more_to_tell(self: &Arc<Self>, is_own: bool) -> bool {
        let mut is_more = false;
        self.roots_news.send_modify(|news| {
            is_more = news.is_stale && (!is_own || self.ask_open_call_for_roots());
            *news = News { is_stale: news.is_stale && !is_more, is_being_told: is_more };
        });
        is_more
    }

    fn ask_open_call_for_roots(self: &Arc<Self>) -> bool {
        let open = lock(&self.traffic).open.iter().next().map(|(_, open)| open.line.clone());
        open.is_some_and(|line| {
            let mut is_asked = false;
            line.with(|call| {
                self.ask_for_roots(call);
                is_asked = true;
            });
            is_asked
        })
    }

    async fn notify_of_roots(&self, is_own: bool) {
        let Some(Ready { client, .. }) = self.ready_now() else { return };
        if !client.revision().is_some_and(|revision| revision.rules().server_requests) {
            return;
        }
        if let Err(error) = client.notify("notifications/roots/list_changed", Map::new()).await {
            tracing::debug!(server = &*self.upstream.name, %error, "a server was not told of roots");
        }
        if is_own {
            self.hears_of_roots(&client).await;
        }
    }

    /// Returns when the server has asked for the roots that it was told to have changed, if it does, and has heard the answer.
    /// Over stdio messages are read in their order; there are two pings each time, since another task takes up what comes before
    /// the answer to the first, or is to go out then. Over HTTP it is likely.
    async fn hears_of_roots(&self, client: &Client) {
        let mut asked = self.roots_asked.subscribe();
        drop((client.ping().await, client.ping().await));
        drop(asked.wait_for(|asked| *asked == 0).await);
        drop((client.ping().await, client.ping().await));
    }

    /// The roots that are known without a call.
    async fn known_roots(&self) -> Value {
        let mut roots = self.roots.subscribe();
        let known = match roots.wait_for(|(is_there, _)| *is_there).await {
            Ok(known) => known.1.clone(),
            Err(_) => None,
        };
        known.unwrap_or_else(|| json!({ "roots": self.upstream.settings().roots }))
    }
}

/// The task of a server that a question says to belong to (2025-11-25). Its id is between the server and us.
fn related_task(request: &mut InputRequest) -> Option<String> {
    let Some(Value::Object(meta)) = request.params_mut().get_mut("_meta") else { return None };
    let related = meta.shift_remove(RELATED_TASK)?;
    related.get("taskId")?.as_str().map(str::to_owned)
}

/// Answers questions for as long as there is somebody who could.
pub(super) async fn answer(instance: Weak<Instance>, question: Question) -> Result<Value, ErrorObject> {
    match instance.upgrade() {
        Some(instance) => instance.question(question).await,
        None => Err(ErrorObject::unavailable("nobody is there to be asked")),
    }
}
