//! What a request says about itself and its sender, read once.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use andon_types::capability::{ClientCapabilities, Settings};
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Request};
use andon_types::meta::{
    CLIENT_CAPABILITIES, CLIENT_INFO, Implementation, LOG_LEVEL, Level, Meta, PROGRESS_TOKEN, PROTOCOL_VERSION,
    ProgressToken,
};
use andon_types::object::{members, string};
use andon_types::revision::Revision;
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
            serde_json::from_str(params.meta?).ok()
        };
        self.read.get_or_init(read).as_ref()
    }
}

/// The members of `_meta` that the machines look at, as they stand there.
#[derive(Default)]
pub(crate) struct Marks<'a> {
    pub(crate) protocol_version: Option<&'a str>,
    pub(crate) client_info: Option<&'a str>,
    pub(crate) client_capabilities: Option<&'a str>,
    pub(crate) log_level: Option<&'a str>,
    progress_token: Option<&'a str>,
}

impl<'a> Marks<'a> {
    fn read(meta: &'a str) -> Self {
        let mut marks = Self::default();
        // An explicit `null` is a value of the wrong type, not an absent one.
        for (name, value) in members(meta) {
            match &*name {
                PROTOCOL_VERSION => marks.protocol_version = Some(value),
                CLIENT_INFO => marks.client_info = Some(value),
                CLIENT_CAPABILITIES => marks.client_capabilities = Some(value),
                LOG_LEVEL => marks.log_level = Some(value),
                PROGRESS_TOKEN => marks.progress_token = Some(value),
                _ => {}
            }
        }
        marks
    }

    /// Where progress goes, if the request says so.
    pub(crate) fn progress_token(&self) -> Result<Option<ProgressToken>, ErrorObject> {
        self.progress_token
            .map(serde_json::from_str)
            .transpose()
            .map_err(|_| ErrorObject::invalid_params("\"progressToken\" is a string or an integer"))
    }
}

/// The members of `params` that the machines look at, as they stand there; what is `null` is absent. The rest is the
/// handler's.
#[derive(Default)]
pub(crate) struct Params<'a> {
    pub(crate) meta: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) uri: Option<&'a str>,
    pub(crate) task_id: Option<&'a str>,
    input_responses: Option<&'a str>,
    request_state: Option<&'a str>,
}

impl<'a> Params<'a> {
    /// Reads `params`, which may be missing but must be an object.
    pub(crate) fn read(params: Option<&'a Json>) -> Result<Self, ErrorObject> {
        let Some(params) = params else { return Ok(Self::default()) };
        if !params.as_str().starts_with('{') {
            return Err(ErrorObject::invalid_params("\"params\" is an object"));
        }
        let mut read = Self::default();
        for (name, value) in params.members().filter(|(_, value)| *value != "null") {
            match &*name {
                "_meta" => read.meta = Some(value),
                "name" => read.name = Some(value),
                "uri" => read.uri = Some(value),
                "taskId" => read.task_id = Some(value),
                "inputResponses" => read.input_responses = Some(value),
                "requestState" => read.request_state = Some(value),
                _ => {}
            }
        }
        Ok(read)
    }

    /// The tool or prompt that is named, for those who look; no more of it than names have.
    pub(crate) fn short_name(&self) -> Option<Box<str>> {
        const CHARS_MAX: usize = 128;
        let name = string(self.name?)?;
        let end = name.char_indices().nth(CHARS_MAX).map_or(name.len(), |(end, _)| end);
        Some(name[..end].into())
    }

    /// What `_meta` says to the machines; nothing if there is none.
    pub(crate) fn meta(&self) -> Result<Marks<'a>, ErrorObject> {
        match self.meta {
            None => Ok(Marks::default()),
            Some(meta) if meta.starts_with('{') => Ok(Marks::read(meta)),
            Some(_) => Err(ErrorObject::invalid_params("\"_meta\" is an object")),
        }
    }

    pub(crate) fn input_responses(&self) -> Result<BTreeMap<String, Json>, ErrorObject> {
        let Some(raw) = self.input_responses else { return Ok(BTreeMap::new()) };
        let read: BTreeMap<String, Value> = serde_json::from_str(raw)
            .map_err(|_| ErrorObject::invalid_params("\"inputResponses\" is an object of answers by key"))?;
        Ok(read.into_iter().map(|(key, value)| (key, Json::from(value))).collect())
    }

    pub(crate) fn request_state(&self) -> Result<Option<String>, ErrorObject> {
        let Some(raw) = self.request_state else { return Ok(None) };
        let state = string(raw).ok_or_else(|| ErrorObject::invalid_params("\"requestState\" is a string"))?;
        Ok(Some(state.into_owned()))
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
