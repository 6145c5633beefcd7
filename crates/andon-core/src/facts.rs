//! What a request says about itself and its sender, read once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use andon_types::capability::{ClientCapabilities, Settings};
use andon_types::client::InputRequest;
use andon_types::error::ErrorObject;
use andon_types::message::{Json, Request};
use andon_types::meta::{Implementation, Level, Meta, ProgressToken};
use andon_types::object::{members, string};
use andon_types::params::{Mark, Member, Params};
use andon_types::revision::Revision;
use serde::Deserialize;
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

impl Facts {
    /// What a legacy `request` of `client` says.
    pub(crate) fn of_legacy(
        request: &Request,
        revision: Revision,
        client: Arc<ClientFacts>,
    ) -> Result<Arc<Self>, ErrorObject> {
        let params = request.params.as_ref();
        check(params)?;
        Ok(Arc::new(Self {
            revision,
            client,
            progress_token: progress_token(params)?,
            meta: RequestMeta::of(request),
            log_level: None,
            input_responses: BTreeMap::new(),
            request_state: None,
        }))
    }
}

/// The `_meta` of a request. Most handlers never look at it, so it is read when one does.
#[derive(Debug, Clone, Default)]
pub struct RequestMeta {
    params: Option<Params>,
    read: OnceLock<Option<Box<Meta>>>,
}

impl RequestMeta {
    /// The `_meta` in the parameters of `request`, which [`check`] has found to be an object if it is there.
    pub(crate) fn of(request: &Request) -> Self {
        Self { params: request.params.clone(), read: OnceLock::new() }
    }

    /// The parameters that it is in.
    pub fn params(&self) -> Option<&Params> {
        self.params.as_ref()
    }

    /// The names of its members and the text of their values, as they came.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
        self.params.as_ref().and_then(|params| params.member(Member::Meta)).into_iter().flat_map(members)
    }

    /// What it says; `None` if the request has none.
    pub fn get(&self) -> Option<&Meta> {
        let read = || serde_json::from_str(self.params.as_ref()?.member(Member::Meta)?).ok();
        self.read.get_or_init(read).as_deref()
    }
}

/// Checks that parameters are an object, and their `_meta` too, where there are any.
pub(crate) fn check(params: Option<&Params>) -> Result<(), ErrorObject> {
    let Some(params) = params else { return Ok(()) };
    if !params.is_object() {
        return Err(ErrorObject::invalid_params("\"params\" is an object"));
    }
    if params.member(Member::Meta).is_some_and(|meta| !meta.starts_with('{')) {
        return Err(ErrorObject::invalid_params("\"_meta\" is an object"));
    }
    Ok(())
}

/// What `initialize` says: the revision that it comes to, and the client.
pub(crate) fn introduction(request: &Request) -> Result<(Revision, ClientFacts), ErrorObject> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Introduction {
        protocol_version: String,
        capabilities: ClientCapabilities,
        client_info: Implementation,
    }
    let params = request.params.as_ref().ok_or_else(|| ErrorObject::invalid_params("initialize has \"params\""))?;
    let read: Introduction = params
        .parse()
        .map_err(|error| ErrorObject::invalid_params(format!("bad \"params\" of initialize: {error}")))?;
    let client = ClientFacts { info: Some(read.client_info), capabilities: read.capabilities };
    Ok((Revision::negotiate(&read.protocol_version), client))
}

/// The tool or prompt that is named, for those who look; no more of it than names have.
pub(crate) fn short_name(params: &Params) -> Option<Box<str>> {
    const CHARS_MAX: usize = 128;
    let name = string(params.member(Member::Name)?)?;
    let end = name.char_indices().nth(CHARS_MAX).map_or(name.len(), |(end, _)| end);
    Some(name[..end].into())
}

/// Where progress goes, if the request says so.
pub(crate) fn progress_token(params: Option<&Params>) -> Result<Option<ProgressToken>, ErrorObject> {
    let raw = params.and_then(|params| params.mark(Mark::ProgressToken));
    raw.map(serde_json::from_str)
        .transpose()
        .map_err(|_| ErrorObject::invalid_params("\"progressToken\" is a string or an integer"))
}

/// Answers to an earlier `input_required`, if the request has any.
pub(crate) fn input_responses(params: Option<&Params>) -> Result<BTreeMap<String, Json>, ErrorObject> {
    let Some(raw) = params.and_then(|params| params.member(Member::InputResponses)) else { return Ok(BTreeMap::new()) };
    let read: BTreeMap<String, Value> = serde_json::from_str(raw)
        .map_err(|_| ErrorObject::invalid_params("\"inputResponses\" is an object of answers by key"))?;
    Ok(read.into_iter().map(|(key, value)| (key, Json::from(value))).collect())
}

/// What an earlier `input_required` asked to be echoed, if the request does.
pub(crate) fn request_state(params: Option<&Params>) -> Result<Option<String>, ErrorObject> {
    let Some(raw) = params.and_then(|params| params.member(Member::RequestState)) else { return Ok(None) };
    let state = string(raw).ok_or_else(|| ErrorObject::invalid_params("\"requestState\" is a string"))?;
    Ok(Some(state.into_owned()))
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
