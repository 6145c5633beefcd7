//! What a request says about itself and its sender, read once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use andon_types::capability::{ClientCapabilities, Settings};
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Request};
use andon_types::meta::Implementation;
use andon_types::meta::Level;
use andon_types::meta::Meta;
use andon_types::meta::ProgressToken;
use andon_types::revision::Revision;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

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
    pub meta: RequestMeta,
    /// Where progress goes.
    pub progress_token: Option<ProgressToken>,
    /// The request's own threshold for log notifications (modern).
    pub log_level: Option<Level>,
    /// Answers to an earlier `input_required` (modern).
    pub input_responses: BTreeMap<String, Json>,
    /// What that result asked to be echoed (modern).
    pub request_state: Option<String>,
}

/// The `_meta` of a request. Most handlers never look at it, so it is read when one does.
#[derive(Debug, Clone, Default)]
pub struct RequestMeta {
    params: Option<Json>,
    read: OnceLock<Option<Meta>>,
}

impl RequestMeta {
    /// The `_meta` in the parameters of `request`, which [`Params::meta`] has found to be an object if it is there.
    pub(crate) fn of(request: &Request) -> Self {
        Self { params: request.params.clone(), read: OnceLock::new() }
    }

    /// What it says; `None` if the request has none.
    pub fn get(&self) -> Option<&Meta> {
        let read = || {
            let params = Params::read(self.params.as_ref()).ok()?;
            serde_json::from_str(params.meta?.get()).ok()
        };
        self.read.get_or_init(read).as_ref()
    }
}

/// The members of `_meta` that the machines look at.
#[derive(Deserialize, Default)]
pub(crate) struct Marks<'a> {
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion", deserialize_with = "present")]
    pub(crate) protocol_version: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo", deserialize_with = "present")]
    pub(crate) client_info: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities", deserialize_with = "present")]
    pub(crate) client_capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel", deserialize_with = "present")]
    pub(crate) log_level: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "progressToken", deserialize_with = "present")]
    progress_token: Option<&'a RawValue>,
}

impl Marks<'_> {
    /// Where progress goes, if the request says so.
    pub(crate) fn progress_token(&self) -> Result<Option<ProgressToken>, ErrorObject> {
        self.progress_token
            .map(|raw| serde_json::from_str(raw.get()))
            .transpose()
            .map_err(|_| ErrorObject::invalid_params("\"progressToken\" is a string or an integer"))
    }
}

/// A member that is there, `null` included: an explicit `null` is a value of the wrong type, not an absent one.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
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
    #[serde(borrow, rename = "taskId")]
    pub(crate) task_id: Option<&'a RawValue>,
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

    /// The tool or prompt that is named, for those who look; no more of it than names have.
    pub(crate) fn short_name(&self) -> Option<Box<str>> {
        const CHARS_MAX: usize = 128;
        let mut name: String = serde_json::from_str(self.name?.get()).ok()?;
        if let Some((end, _)) = name.char_indices().nth(CHARS_MAX) {
            name.truncate(end);
        }
        Some(name.into())
    }

    /// What `_meta` says to the machines; nothing if there is none.
    pub(crate) fn meta(&self) -> Result<Marks<'a>, ErrorObject> {
        let Some(meta) = self.meta else { return Ok(Marks::default()) };
        if !meta.get().starts_with('{') {
            return Err(ErrorObject::invalid_params("\"_meta\" is an object"));
        }
        serde_json::from_str(meta.get()).map_err(|error| ErrorObject::invalid_params(format!("bad \"_meta\": {error}")))
    }

    pub(crate) fn input_responses(&self) -> Result<BTreeMap<String, Json>, ErrorObject> {
        let Some(raw) = self.input_responses else { return Ok(BTreeMap::new()) };
        let read: BTreeMap<String, Value> = serde_json::from_str(raw.get())
            .map_err(|_| ErrorObject::invalid_params("\"inputResponses\" is an object of answers by key"))?;
        Ok(read.into_iter().map(|(key, value)| (key, Json::from(value))).collect())
    }
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
