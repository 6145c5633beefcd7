//! `prompts/get`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use andon_types::adapt::Adapt as _;
use andon_types::error::{ErrorObject, clip};
use andon_types::params::Params;
use serde::Deserialize;
use tracing::error;

use super::{Router, encode, permit, read_params};
use crate::call::Call;
use crate::handler::PromptArguments;
use crate::service::Reply;

#[derive(Deserialize)]
struct GetParams<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    arguments: Option<BTreeMap<String, String>>,
}

impl Router {
    pub(super) async fn prompt(&self, call: Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let GetParams { name, arguments } = read_params(params)?;
        let item = self.snapshot().prompts.find(&name).cloned();
        let item = item.ok_or_else(|| ErrorObject::invalid_params(format!("unknown prompt: {}", clip(&name))))?;
        permit(&call, &item.entry.scopes)?;
        let arguments = arguments.unwrap_or_default();
        let missing = item.entry.prompt.arguments.iter().find(|it| it.required && !arguments.contains_key(&it.name));
        if let Some(missing) = missing {
            return Err(ErrorObject::invalid_params(format!("missing argument `{}`", missing.name)));
        }
        let rules = call.rules();
        let outcome = item.entry.handler.get(PromptArguments(arguments), self.context(call)).await;
        let mut result = outcome.map_err(|error| error.into_object(""))?;
        if result.description.is_none() {
            result.description.clone_from(&item.entry.prompt.description);
        }
        result.adapt(rules);
        let body = encode(&result).map_err(|_| {
            error!(prompt = item.entry.prompt.name, "a prompt is too large, or no JSON");
            ErrorObject::internal()
        })?;
        Ok(Reply { body, ..Reply::default() })
    }
}
