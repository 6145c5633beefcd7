//! `resources/read`, `resources/subscribe`, `resources/unsubscribe`, `subscriptions/listen`.

use std::borrow::Cow;
use std::sync::Arc;

use andon_types::adapt::Adapt as _;
use andon_types::error::{ErrorObject, clip};
use andon_types::meta::CacheHint;
use andon_types::params::Params;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::error;

use super::{RESULT_BYTES_MAX, Router, cache_for, encode, permit, read_params};
use crate::call::Call;
use crate::checks;
use crate::handler::{ReadRequest, ResourceHandler, Variables};
use crate::service::{Reply, Service as _, Text};

/// The most resources that one listen request may name.
pub(crate) const LISTEN_RESOURCES_MAX: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct UriParams<'a> {
    #[serde(borrow)]
    pub(super) uri: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ListenParams {
    notifications: Wanted,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Wanted {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: Vec<String>,
    task_ids: Option<Vec<String>>,
}

/// What of it is honoured: what the server does not have is left out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Honoured {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    tools_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    prompts_list_changed: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resources_list_changed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_subscriptions: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    task_ids: Vec<String>,
}

/// What serves a URI.
struct Found {
    handler: Arc<dyn ResourceHandler>,
    variables: Variables,
    mime_type: Option<Arc<str>>,
    cache: Option<CacheHint>,
    scopes: Vec<String>,
}

impl Router {
    pub(super) async fn read(&self, call: Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let (asked, uri) = self.read_uri(params)?;
        let Some(found) = self.find(&uri) else { return Err(ErrorObject::resource_not_found(&asked)) };
        permit(&call, &found.scopes)?;
        let rules = call.rules();
        let request = ReadRequest { uri, variables: found.variables, mime_type: found.mime_type };
        let outcome = found.handler.read(request, self.context(call)).await;
        let mut result = outcome.map_err(|error| error.into_object(&asked))?;
        result.adapt(rules);
        let body = encode(&result).map_err(|_| {
            error!(uri = clip(&asked), "a resource is larger than {RESULT_BYTES_MAX} bytes, or no JSON");
            ErrorObject::internal()
        })?;
        Ok(Reply {
            body,
            cache: Some(cache_for(&found.scopes, found.cache.unwrap_or(self.settings.cache))),
            ..Reply::default()
        })
    }

    pub(super) fn subscribe(&self, call: &Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let (asked, uri) = self.read_uri(params)?;
        match self.find(&uri) {
            Some(found) => {
                permit(call, &found.scopes)?;
                Ok(Reply { subject: Some(uri.into()), ..Reply::default() })
            }
            None => Err(ErrorObject::resource_not_found(&asked)),
        }
    }

    /// The resource may be gone meanwhile; the subscription ends all the same.
    pub(super) fn unsubscribe(&self, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let (_, uri) = self.read_uri(params)?;
        Ok(Reply { subject: Some(uri.into()), ..Reply::default() })
    }

    pub(super) async fn listen(&self, call: &Call, params: Option<&Params>) -> Result<Reply, ErrorObject> {
        let ListenParams { notifications: wanted } = read_params(params)?;
        let task_ids = self.tasks.listened(call, wanted.task_ids.as_deref()).await?;
        if wanted.resource_subscriptions.len() > LISTEN_RESOURCES_MAX {
            let why = format!("a listen request names at most {LISTEN_RESOURCES_MAX} resources");
            return Err(ErrorObject::invalid_params(why));
        }
        let has = self.capabilities();
        let mut resources = Vec::new();
        for asked in &wanted.resource_subscriptions {
            let uri = self.canonical(asked)?;
            let permitted = |found: Found| call.principal().has_scopes(&found.scopes);
            if self.find(&uri).is_some_and(permitted) && !resources.contains(&uri) {
                resources.push(uri);
            }
        }
        let honoured = Honoured {
            tools_list_changed: wanted.tools_list_changed && has.tools.is_some(),
            prompts_list_changed: wanted.prompts_list_changed && has.prompts.is_some(),
            resources_list_changed: wanted.resources_list_changed && has.resources.is_some(),
            resource_subscriptions: resources,
            task_ids,
        };
        let body = serde_json::to_string(&honoured).expect("flags and texts are JSON");
        Ok(Reply { body: Text::Owned(body), ..Reply::default() })
    }

    /// What serves the canonical `uri`: a fixed resource, or the first template that matches.
    fn find(&self, uri: &str) -> Option<Found> {
        let snapshot = self.snapshot();
        if let Some(item) = snapshot.resources.find(uri) {
            return Some(Found {
                handler: Arc::clone(&item.entry.handler),
                variables: Variables::default(),
                mime_type: item.mime_type.clone(),
                cache: item.entry.cache,
                scopes: item.entry.scopes.clone(),
            });
        }
        snapshot.templates.items().iter().find_map(|item| {
            Some(Found {
                variables: checks::variables(&item.template, uri)?,
                handler: Arc::clone(&item.entry.handler),
                mime_type: item.mime_type.clone(),
                cache: item.entry.cache,
                scopes: item.entry.scopes.clone(),
            })
        })
    }

    /// What has to be held to read the resource at the canonical `uri`, if there is one.
    pub(super) fn scopes_of_resource(&self, uri: &str) -> Vec<String> {
        let snapshot = self.snapshot();
        if snapshot.resources.scopes().is_empty() && snapshot.templates.scopes().is_empty() {
            return Vec::new();
        }
        self.find(uri).map(|found| found.scopes).unwrap_or_default()
    }

    /// The URI as it was asked for, and its canonical form.
    fn read_uri(&self, params: Option<&Params>) -> Result<(String, String), ErrorObject> {
        let UriParams { uri } = read_params(params)?;
        let canonical = self.canonical(&uri)?;
        Ok((uri.into_owned(), canonical))
    }

    fn canonical(&self, uri: &str) -> Result<String, ErrorObject> {
        self.snapshot().canonical(uri).map_err(|why| {
            ErrorObject::invalid_params(format!("bad URI: {why}")).with_data(json!({ "uri": clip(uri) }))
        })
    }
}
