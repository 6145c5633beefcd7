//! `/v1/sessions` and `/v1/status`.

use std::sync::Arc;

use andon_server::host::Host;
use andon_server::host::operators::{SessionName, SessionQuery};
use futures_util::future::BoxFuture;
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::resource::{Ask, Refusal, Resource};

/// The sessions of a host.
pub(super) struct SessionsResource(pub(super) Arc<Host>);

impl Resource for SessionsResource {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Value, Refusal>> {
        Box::pin(async move {
            let name = ask.item().map(str::parse::<SessionName>).transpose();
            let name = name.map_err(|error| Refusal::BadRequest(error.to_string()))?;
            match (ask.method(), name) {
                (&Method::GET, None) => json_of(&self.0.sessions(&query(&ask)?).await),
                (&Method::GET, Some(name)) => {
                    ask.check_parameters(&[])?;
                    let found = self.0.session_view(name).await.map_err(|_| unavailable())?;
                    json_of(&found.ok_or_else(|| absent(name))?)
                }
                (&Method::DELETE, Some(name)) => {
                    ask.check_parameters(&[])?;
                    let ended = self.0.end_session(name).await.map_err(|_| unavailable())?;
                    if ended { Ok(json!({ "ended": name })) } else { Err(absent(name)) }
                }
                (_, None) => Err(Refusal::NotAllowed("GET")),
                (_, Some(_)) => Err(Refusal::NotAllowed("GET, DELETE")),
            }
        })
    }
}

/// How a host is.
pub(super) struct StatusResource(pub(super) Arc<Host>);

impl Resource for StatusResource {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Value, Refusal>> {
        Box::pin(async move {
            match (ask.method(), ask.item()) {
                (&Method::GET, None) => {
                    ask.check_parameters(&[])?;
                    json_of(&self.0.status())
                }
                (_, None) => Err(Refusal::NotAllowed("GET")),
                (_, Some(_)) => Err(Refusal::NotFound("the status is one".to_owned())),
            }
        })
    }
}

fn query(ask: &Ask) -> Result<SessionQuery, Refusal> {
    ask.check_parameters(&["after", "max", "principal", "phase", "state"])?;
    let bad = |why: String| Refusal::BadRequest(why);
    let after = ask.parameter("after").map(str::parse::<SessionName>).transpose();
    let max = ask.parameter("max").map_or(Some(SessionQuery::default().max), |max| max.parse().ok());
    let max = max.filter(|max| (1..=SessionQuery::MAX).contains(max));
    Ok(SessionQuery {
        after: after.map_err(|error| bad(format!("after: {error}")))?,
        max: max.ok_or_else(|| bad(format!("max is a number from 1 to {}", SessionQuery::MAX)))?,
        principal: ask.parameter("principal").map(str::to_owned),
        phase: word(ask, "phase", "not_initialized, initializing, initialized")?,
        state: word(ask, "state", "negotiation, active, suspended")?,
    })
}

/// One of the words that `T` has.
fn word<T: DeserializeOwned>(ask: &Ask, parameter: &str, words: &str) -> Result<Option<T>, Refusal> {
    let Some(word) = ask.parameter(parameter) else { return Ok(None) };
    let read = serde_json::from_value(Value::from(word));
    read.map(Some).map_err(|_| Refusal::BadRequest(format!("{parameter} is one of: {words}")))
}

fn json_of(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Refusal::Status(500, error.to_string()))
}

fn absent(name: SessionName) -> Refusal {
    Refusal::NotFound(format!("there is no session {name}"))
}

fn unavailable() -> Refusal {
    Refusal::Unavailable("sessions cannot be read or written down now: try again later".to_owned())
}
