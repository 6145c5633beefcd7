//! Which scopes a request needs (authorization, "Scope Challenge Handling").

use std::borrow::Cow;

use andon_types::error::ErrorObject;
use andon_types::meta::{CacheHint, CacheScope};
use andon_types::method::Method;
use andon_types::params::Params;
use serde::Deserialize;

use super::completion::{CompleteParams, Reference};
use super::resources::UriParams;
use super::{Router, read_params};
use crate::call::Call;
use crate::item::Item as _;

#[derive(Deserialize)]
struct NameParams<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
}

impl Router {
    /// The scopes of the item that a request names. None for what does not exist: the call itself says so.
    pub(super) fn scopes_of(&self, method: Method, params: Option<&Params>) -> Vec<String> {
        let snapshot = self.shared.catalogue.look();
        let is_scoped = match method {
            Method::ToolsCall => !snapshot.tools.scopes().is_empty(),
            Method::PromptsGet => !snapshot.prompts.scopes().is_empty(),
            Method::ResourcesRead | Method::Subscribe | Method::Complete => {
                !snapshot.resources.scopes().is_empty()
                    || !snapshot.templates.scopes().is_empty()
                    || !snapshot.prompts.scopes().is_empty()
            }
            _ => false,
        };
        if !is_scoped {
            return Vec::new();
        }
        let name = || read_params::<NameParams<'_>>(params).map(|params| params.name).unwrap_or_default();
        match method {
            Method::ToolsCall => snapshot.tools.find(&name()).map(|item| item.scopes().to_vec()),
            Method::PromptsGet => snapshot.prompts.find(&name()).map(|item| item.scopes().to_vec()),
            Method::Complete => {
                let params = read_params::<CompleteParams>(params);
                params.ok().map(|params| self.scopes_of_reference(&params.reference))
            }
            _ => {
                let uri =
                    read_params::<UriParams<'_>>(params).ok().and_then(|params| snapshot.canonical(&params.uri).ok());
                uri.map(|uri| self.scopes_of_resource(&uri))
            }
        }
        .unwrap_or_default()
    }

    /// The scopes of what is completed.
    pub(super) fn scopes_of_reference(&self, reference: &Reference) -> Vec<String> {
        let snapshot = self.snapshot();
        match reference {
            Reference::Prompt { name } => snapshot.prompts.find(name).map(|item| item.scopes().to_vec()),
            Reference::Resource { uri } => match snapshot.templates.find(uri) {
                Some(item) => Some(item.scopes().to_vec()),
                None => snapshot.canonical(uri).ok().map(|uri| self.scopes_of_resource(&uri)),
            },
        }
        .unwrap_or_default()
    }
}

/// Whether the caller holds `scopes`. Over HTTP the host has asked before; a pipe has no other answer than this.
pub(super) fn permit(call: &Call, scopes: &[String]) -> Result<(), ErrorObject> {
    if call.principal().has_scopes(scopes) { Ok(()) } else { Err(ErrorObject::insufficient_scope(scopes)) }
}

/// What depends on who asks is nobody else's to keep (2026-07-28, "Caching").
pub(super) fn cache_for(scopes: &[String], hint: CacheHint) -> CacheHint {
    if scopes.is_empty() { hint } else { CacheHint { scope: CacheScope::Private, ..hint } }
}
