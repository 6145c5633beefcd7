//! What the server says of itself, encoded once per revision.

use std::borrow::Cow;

use andon_types::adapt::Adapt;
use andon_types::capability::{Listed, ResourcesCapability, ServerCapabilities};
use andon_types::message::{RequestId, encode_result_with};
use andon_types::meta::CacheHint;
use andon_types::meta::{Implementation, SERVER_INFO};
use andon_types::method::Capability;
use andon_types::revision::{Era, Revision};
use andon_types::task::TASKS_EXTENSION;
use serde_json::{Map, Value, json};

use crate::io::Reply;

/// The server's identity and capabilities. Made anew when the capabilities change.
#[derive(Debug, Clone)]
pub struct Offer {
    capabilities: ServerCapabilities,
    /// Bodies of `initialize` and, last, of `server/discover`.
    openings: [String; 5],
    /// The member of a modern result's `_meta` that names the server.
    server_info: String,
    discover_cache: CacheHint,
}

impl Offer {
    /// The offer of a server with this identity.
    pub fn new(info: &Implementation, instructions: Option<&str>, capabilities: &ServerCapabilities) -> Self {
        let openings = Revision::ALL.map(|revision| {
            let mut info = info.clone();
            let mut declared = capabilities.clone();
            info.adapt(revision.rules());
            declared.adapt(revision.rules());
            let mut body = Map::new();
            match revision.era() {
                Era::Legacy => {
                    body.insert("protocolVersion".into(), revision.as_str().into());
                    body.insert("capabilities".into(), json!(declared));
                    body.insert("serverInfo".into(), json!(info));
                }
                Era::Modern => {
                    body.insert("supportedVersions".into(), json!(supported()));
                    body.insert("capabilities".into(), json!(declared));
                }
            }
            if let Some(instructions) = instructions {
                body.insert("instructions".into(), instructions.into());
            }
            Value::Object(body).to_string()
        });
        let mut newest = info.clone();
        newest.adapt(Revision::LATEST.rules());
        let server_info = format!(r#""{SERVER_INFO}":{}"#, json!(newest));
        Self { capabilities: capabilities.clone(), openings, server_info, discover_cache: CacheHint::default() }
    }

    /// The offer to legacy clients that have no session: nothing that one would have to be remembered for.
    pub fn alone(info: &Implementation, instructions: Option<&str>, capabilities: &ServerCapabilities) -> Self {
        let unchanging = |_| Listed::default();
        let extensions = capabilities.extensions.clone().map(|mut extensions| {
            extensions.remove(TASKS_EXTENSION);
            extensions
        });
        let capabilities = ServerCapabilities {
            tools: capabilities.tools.map(unchanging),
            prompts: capabilities.prompts.map(unchanging),
            resources: capabilities.resources.map(|_| ResourcesCapability::default()),
            logging: None,
            tasks: None,
            extensions,
            ..capabilities.clone()
        };
        Self::new(info, instructions, &capabilities)
    }

    /// The result of `initialize` under a legacy revision, and of `server/discover` under a modern one.
    pub fn opening(&self, revision: Revision) -> &str {
        &self.openings[revision as usize]
    }

    /// The text of a modern response with a result: what `reply` says, the kind of result, the cache hints, the server's
    /// name.
    pub fn modern_response(&self, id: &RequestId, reply: &Reply, kind: &str, cacheable: bool) -> String {
        // All of it, where there is nothing but a body.
        let spelt = r#"{"resultType":"","_meta":{}}"#.len();
        let hint = if cacheable { 64 } else { 0 };
        let bytes = spelt - "}".len() + kind.len() + reply.body.as_str().len() + self.server_info.len() + hint;
        encode_result_with(id, bytes, |text| self.push_modern_result(text, reply, kind, cacheable))
    }

    fn push_modern_result(&self, text: &mut String, reply: &Reply, kind: &str, cacheable: bool) {
        let body = reply.body.as_str();
        let members = &body[1..body.len() - 1];
        text.push_str(r#"{"resultType":""#);
        text.push_str(kind);
        text.push('"');
        if cacheable {
            let hint = reply.cache.as_ref().unwrap_or(&self.discover_cache);
            let hint = json!(hint).to_string();
            text.push(',');
            text.push_str(&hint[1..hint.len() - 1]);
        }
        if !members.trim().is_empty() {
            text.push(',');
            text.push_str(members);
        }
        text.push_str(r#","_meta":{"#);
        text.push_str(&self.server_info);
        push_meta(text, reply, ',');
        text.push_str("}}");
    }

    /// The text of a legacy result object.
    pub fn legacy_result(reply: &Reply) -> Cow<'_, str> {
        let body = reply.body.as_str();
        if reply.meta.as_ref().is_none_or(Map::is_empty) {
            return Cow::Borrowed(body);
        }
        let members = &body[1..body.len() - 1];
        let mut text = format!("{{{members}");
        if !members.trim().is_empty() {
            text.push(',');
        }
        text.push_str(r#""_meta":{"#);
        push_meta(&mut text, reply, ' ');
        text.push_str("}}");
        Cow::Owned(text)
    }

    /// Whether the server has what a method needs.
    pub fn has(&self, capability: Capability) -> bool {
        capability.is_in(&self.capabilities)
    }
}

/// The versions that a request may name in its `_meta`.
pub fn supported() -> Vec<&'static str> {
    Revision::ALL.into_iter().filter(|revision| revision.era() == Era::Modern).map(Revision::as_str).collect()
}

fn push_meta(text: &mut String, reply: &Reply, before: char) {
    if let Some(meta) = reply.meta.as_ref().filter(|meta| !meta.is_empty()) {
        let meta = json!(meta).to_string();
        text.push(before);
        text.push_str(&meta[1..meta.len() - 1]);
    }
}
