//! `completion/complete`.

use std::collections::BTreeMap;
use std::sync::Arc;

use andon_types::error::{ErrorObject, clip};
use andon_types::params::Params;
use serde::{Deserialize, Serialize};

use super::{Router, encode, permit, read_params};
use crate::call::Call;
use crate::handler::{Completer, CompletionQuery};
use crate::item::completer;
use crate::service::Reply;

/// The most values of one completion (server, utilities, completion, "Completion Results").
pub(crate) const COMPLETION_VALUES_MAX: usize = 100;

#[derive(Deserialize)]
pub(super) struct CompleteParams {
    #[serde(rename = "ref")]
    pub(super) reference: Reference,
    argument: Argument,
    #[serde(default)]
    context: CompletionContext,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
pub(super) enum Reference {
    #[serde(rename = "ref/prompt")]
    Prompt { name: String },
    #[serde(rename = "ref/resource")]
    Resource { uri: String },
}

#[derive(Deserialize)]
struct Argument {
    name: String,
    value: String,
}

#[derive(Deserialize, Default)]
struct CompletionContext {
    #[serde(default)]
    arguments: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct CompleteResult {
    completion: Completion,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Completion {
    values: Vec<String>,
    total: usize,
    has_more: bool,
}

impl Router {
    pub(super) async fn complete(&self, call: Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let CompleteParams { reference, argument, context } = read_params(params)?;
        permit(&call, &self.scopes_of_reference(&reference))?;
        let mut values = match self.completer(&reference, &argument.name)? {
            Some(completer) => {
                let known = if call.rules().completion_context { context.arguments } else { BTreeMap::new() };
                let query = CompletionQuery { value: argument.value, context: known };
                let outcome = completer.complete(query, self.context(call)).await;
                outcome.map_err(|error| error.into_object(""))?
            }
            None => Vec::new(),
        };
        let total = values.len();
        values.truncate(COMPLETION_VALUES_MAX);
        let completion = Completion { has_more: total > values.len(), total, values };
        let body = encode(&CompleteResult { completion }).map_err(|_| ErrorObject::internal())?;
        Ok(Reply { body, ..Reply::default() })
    }

    /// What completes `argument`, if anything does.
    fn completer(&self, reference: &Reference, argument: &str) -> Result<Option<Arc<dyn Completer>>, ErrorObject> {
        let snapshot = self.snapshot();
        let unknown =
            |what: &str, name: &str| Err(ErrorObject::invalid_params(format!("unknown {what}: {}", clip(name))));
        match reference {
            Reference::Prompt { name } => {
                let Some(item) = snapshot.prompts.find(name) else { return unknown("prompt", name) };
                if !item.entry.prompt.arguments.iter().any(|known| known.name == argument) {
                    return unknown("argument", argument);
                }
                Ok(completer(&item.entry.completers, argument).cloned())
            }
            Reference::Resource { uri } => {
                let Some(item) = snapshot.templates.find(uri) else {
                    let fixed = crate::checks::canonical(uri).is_ok_and(|uri| snapshot.resources.find(&uri).is_some());
                    return if fixed { Ok(None) } else { unknown("resource template", uri) };
                };
                if !crate::checks::has_variable(&item.template, argument) {
                    return unknown("variable", argument);
                }
                Ok(completer(&item.entry.completers, argument).cloned())
            }
        }
    }
}
