//! Down-conversion: handlers speak the newest revision, and what an older peer does not know is left out
//! or replaced before it is encoded.

use serde_json::{Map, Value};

use crate::capability::{ClientCapabilities, ServerCapabilities};
use crate::client::InputRequest;
use crate::content::{
    Annotations, Content, GetPromptResult, Prompt, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use crate::meta::{Icon, Implementation, Meta};
use crate::revision::Rules;
use crate::tools::{CallToolResult, Tool};

/// Something that an older revision spells differently.
pub trait Adapt {
    /// Leaves out or replaces what a peer under `rules` does not know. Doing it twice changes nothing more.
    fn adapt(&mut self, rules: &Rules);
}

fn keep<T>(field: &mut Option<T>, known: bool) {
    if !known {
        *field = None;
    }
}

fn keep_icons(icons: &mut Vec<Icon>, rules: &Rules) {
    if !rules.icons {
        icons.clear();
    }
}

fn common(title: &mut Option<String>, icons: &mut Vec<Icon>, meta: &mut Option<Meta>, rules: &Rules) {
    keep(title, rules.titles);
    keep_icons(icons, rules);
    keep(meta, rules.item_meta);
}

impl<T: Adapt> Adapt for Vec<T> {
    fn adapt(&mut self, rules: &Rules) {
        self.iter_mut().for_each(|item| item.adapt(rules));
    }
}

impl<T: Adapt> Adapt for Option<T> {
    fn adapt(&mut self, rules: &Rules) {
        if let Some(item) = self {
            item.adapt(rules);
        }
    }
}

impl Adapt for Implementation {
    fn adapt(&mut self, rules: &Rules) {
        keep(&mut self.title, rules.titles);
        keep(&mut self.description, rules.implementation_details);
        keep(&mut self.website_url, rules.implementation_details);
        keep_icons(&mut self.icons, rules);
    }
}

impl Adapt for ServerCapabilities {
    fn adapt(&mut self, rules: &Rules) {
        keep(&mut self.completions, rules.completions_capability);
        keep(&mut self.extensions, rules.extensions);
    }
}

impl Adapt for ClientCapabilities {
    fn adapt(&mut self, rules: &Rules) {
        keep(&mut self.elicitation, rules.elicitation);
        keep(&mut self.extensions, rules.extensions);
    }
}

impl Adapt for Annotations {
    fn adapt(&mut self, rules: &Rules) {
        keep(&mut self.last_modified, rules.last_modified);
    }
}

impl Adapt for Resource {
    fn adapt(&mut self, rules: &Rules) {
        common(&mut self.title, &mut self.icons, &mut self.meta, rules);
        self.annotations.adapt(rules);
    }
}

impl Adapt for ResourceTemplate {
    fn adapt(&mut self, rules: &Rules) {
        common(&mut self.title, &mut self.icons, &mut self.meta, rules);
        self.annotations.adapt(rules);
    }
}

impl Adapt for ResourceContents {
    fn adapt(&mut self, rules: &Rules) {
        keep(&mut self.meta, rules.item_meta);
    }
}

impl Adapt for ReadResourceResult {
    fn adapt(&mut self, rules: &Rules) {
        self.contents.adapt(rules);
    }
}

impl Adapt for Prompt {
    fn adapt(&mut self, rules: &Rules) {
        common(&mut self.title, &mut self.icons, &mut self.meta, rules);
        for argument in &mut self.arguments {
            keep(&mut argument.title, rules.titles);
        }
    }
}

impl Adapt for GetPromptResult {
    fn adapt(&mut self, rules: &Rules) {
        self.messages.iter_mut().for_each(|message| message.content.adapt(rules));
    }
}

impl Adapt for Tool {
    fn adapt(&mut self, rules: &Rules) {
        common(&mut self.title, &mut self.icons, &mut self.meta, rules);
        keep(&mut self.annotations, rules.tool_annotations);
        keep(&mut self.execution, rules.execution);
        let describes_object = self
            .output_schema
            .as_ref()
            .is_some_and(|schema| schema.to_value().get("type").and_then(Value::as_str) == Some("object"));
        keep(&mut self.output_schema, rules.output_schema && (rules.structured_any || describes_object));
    }
}

impl Adapt for CallToolResult {
    fn adapt(&mut self, rules: &Rules) {
        self.content.adapt(rules);
        if let Some(structured) = &self.structured_content {
            let known = rules.structured_content && (rules.structured_any || structured.is_object());
            if !known && self.content.is_empty() {
                self.content.push(Content::text(structured.as_str()));
            }
            keep(&mut self.structured_content, known);
        }
    }
}

impl Adapt for Content {
    fn adapt(&mut self, rules: &Rules) {
        match self {
            Self::ResourceLink(resource) if !rules.resource_link => {
                *self = Self::text(format!("{}: {}", resource.name, resource.uri));
            }
            Self::Audio { mime_type, .. } if !rules.audio => {
                *self = Self::text(format!("[audio of type {mime_type}, which this protocol revision cannot carry]"));
            }
            Self::ResourceLink(resource) => resource.adapt(rules),
            Self::Resource { resource, annotations, meta } => {
                resource.adapt(rules);
                annotations.adapt(rules);
                keep(meta, rules.item_meta);
            }
            Self::Text { annotations, meta, .. }
            | Self::Image { annotations, meta, .. }
            | Self::Audio { annotations, meta, .. } => {
                annotations.adapt(rules);
                keep(meta, rules.item_meta);
            }
        }
    }
}

impl Adapt for InputRequest {
    fn adapt(&mut self, rules: &Rules) {
        match self {
            Self::Elicitation(params) => {
                // A form is what an absent mode means, and all that 2025-06-18 knows.
                if !rules.elicitation_url && params.get("mode").and_then(Value::as_str) == Some("form") {
                    params.remove("mode");
                }
                if !rules.elicitation_id {
                    params.remove("elicitationId");
                }
            }
            Self::Sampling(params) if !rules.sampling_tools => strip(params, &["tools", "toolChoice"]),
            Self::Sampling(_) | Self::Roots(_) => {}
        }
    }
}

fn strip(params: &mut Map<String, Value>, keys: &[&str]) {
    for key in keys {
        params.remove(*key);
    }
}
