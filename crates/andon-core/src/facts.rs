//! What a request says about itself and its sender, read once.

use std::collections::BTreeMap;

use andon_types::capability::{ClientCapabilities, Settings};
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::Json;
use andon_types::meta::Implementation;
use andon_types::meta::Level;
use andon_types::meta::Meta;
use andon_types::meta::ProgressToken;
use andon_types::revision::Revision;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// The client at the other end: of a session, or of one modern request.
#[derive(Debug, Clone, Default)]
pub struct ClientFacts {
    /// Its name and version, as it says; never proof of anything.
    pub info: Option<Implementation>,
    /// What it can do.
    pub capabilities: ClientCapabilities,
}

/// What the machine knows about a call and its handler may ask for.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The rules that the answer is shaped by.
    pub revision: Revision,
    /// Who asks.
    pub client: Arc<ClientFacts>,
    /// The request's `_meta`.
    pub meta: Option<Meta>,
    /// Where progress goes.
    pub progress_token: Option<ProgressToken>,
    /// The request's own threshold for log notifications (modern).
    pub log_level: Option<Level>,
    /// Answers to an earlier `input_required` (modern).
    pub input_responses: BTreeMap<String, Json>,
    /// What that result asked to be echoed (modern).
    pub request_state: Option<String>,
}

/// The members of `params` that the machines look at. The rest is the handler's.
#[derive(Deserialize, Default)]
pub(crate) struct Params<'a> {
    #[serde(borrow, rename = "_meta")]
    pub(crate) meta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) name: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) uri: Option<&'a RawValue>,
    #[serde(borrow, rename = "inputResponses")]
    pub(crate) input_responses: Option<&'a RawValue>,
    #[serde(borrow, rename = "requestState")]
    pub(crate) request_state: Option<Cow<'a, str>>,
}

impl<'a> Params<'a> {
    /// Reads `params`, which may be missing but must be an object.
    pub(crate) fn read(params: Option<&'a Json>) -> Result<Self, ErrorObject> {
        let Some(params) = params else { return Ok(Self::default()) };
        if !params.as_str().starts_with('{') {
            return Err(ErrorObject::invalid_params("\"params\" is an object"));
        }
        params.parse().map_err(|error| ErrorObject::invalid_params(format!("bad \"params\": {error}")))
    }

    pub(crate) fn meta(&self) -> Result<Option<Meta>, ErrorObject> {
        let Some(meta) = self.meta else { return Ok(None) };
        serde_json::from_str(meta.get()).map(Some).map_err(|_| ErrorObject::invalid_params("\"_meta\" is an object"))
    }

    pub(crate) fn input_responses(&self) -> Result<BTreeMap<String, Json>, ErrorObject> {
        let Some(raw) = self.input_responses else { return Ok(BTreeMap::new()) };
        let read: BTreeMap<String, Value> = serde_json::from_str(raw.get())
            .map_err(|_| ErrorObject::invalid_params("\"inputResponses\" is an object of answers by key"))?;
        Ok(read.into_iter().map(|(key, value)| (key, Json::from(value))).collect())
    }
}

/// Reads the progress token of a `_meta`, if there is one.
pub(crate) fn progress_token(meta: Option<&Meta>) -> Result<Option<ProgressToken>, ErrorObject> {
    let Some(value) = meta.and_then(|meta| meta.get("progressToken")) else { return Ok(None) };
    ProgressToken::deserialize(value)
        .map(Some)
        .map_err(|_| ErrorObject::invalid_params("\"progressToken\" is a string or an integer"))
}

/// What a client would have to declare for `request` to be put to it; `None` if it has.
pub fn undeclared(client: &ClientCapabilities, request: &InputRequest) -> Option<Value> {
    let has = |settings: &Option<Settings>, key: &str| settings.as_ref().is_some_and(|known| known.contains_key(key));
    match request {
        InputRequest::Elicitation(_) if request.is_url() => {
            (!has(&client.elicitation, "url")).then(|| json!({"elicitation": {"url": {}}}))
        }
        // An empty object means form (2025-11-25, "Elicitation", "Capabilities").
        InputRequest::Elicitation(_) => {
            let form = client
                .elicitation
                .as_ref()
                .is_some_and(|modes| modes.contains_key("form") || !modes.contains_key("url"));
            (!form).then(|| json!({"elicitation": {}}))
        }
        InputRequest::Sampling(_) if client.sampling.is_none() => Some(json!({"sampling": {}})),
        InputRequest::Sampling(params) => {
            let tools = params.contains_key("tools") || params.contains_key("toolChoice");
            (tools && !has(&client.sampling, "tools")).then(|| json!({"sampling": {"tools": {}}}))
        }
        InputRequest::Roots(_) => client.roots.is_none().then(|| json!({"roots": {}})),
    }
}
