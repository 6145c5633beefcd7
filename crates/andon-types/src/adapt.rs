//! Down-conversion: handlers speak the newest revision, and what an older peer does not know is left out
//! or replaced before it is encoded.

mod questions;

use serde_json::{Value, json};

use crate::capability::{ClientCapabilities, ServerCapabilities};
use crate::content::{
    Annotations, Content, GetPromptResult, Prompt, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use crate::meta::{Icon, Implementation, Meta};
use crate::raw::RawJson;
use crate::revision::Rules;
use crate::tools::{CallToolResult, Tool};

/// Something that an older revision spells differently.
pub trait Adapt {
    /// Leaves out or replaces what a peer under `rules` does not know. Doing it twice changes nothing more.
    fn adapt(&mut self, rules: &Rules);
}

impl Rules {
    /// Whether results with content are the same to both, as long as they are not structured: then they need no adapting.
    pub fn spells_alike(&self, other: &Self) -> bool {
        let known = |rules: &Self| {
            let Self { audio, resource_link, titles, icons, item_meta, last_modified, structured_content, .. } = *rules;
            [audio, resource_link, titles, icons, item_meta, last_modified, structured_content]
        };
        known(self) == known(other)
    }
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
        keep(&mut self.tasks, rules.execution);
    }
}

impl Adapt for ClientCapabilities {
    fn adapt(&mut self, rules: &Rules) {
        keep(&mut self.elicitation, rules.elicitation);
        keep(&mut self.extensions, rules.extensions);
        // An empty object means form, where forms are all there is.
        if let (Some(modes), false) = (&mut self.elicitation, rules.elicitation_url) {
            modes.retain(|mode, _| mode != "form" && mode != "url");
        }
        if let (Some(abilities), false) = (&mut self.sampling, rules.sampling_tools) {
            abilities.retain(|ability, _| ability != "tools" && ability != "context");
        }
        if !rules.execution {
            self.other.remove("tasks");
        }
    }
}

impl Adapt for Annotations {
    fn adapt(&mut self, rules: &Rules) {
        keep(&mut self.last_modified, rules.last_modified);
        // No revision can say it, and clients refuse the whole result over it.
        self.priority = self.priority.filter(|priority| Self::PRIORITIES.contains(priority));
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
        let describes_object = self.output_schema.as_ref().is_some_and(describes_object);
        keep(&mut self.output_schema, rules.output_schema && (rules.structured_any || describes_object));
        if !rules.any_schema {
            properties_as_objects(&mut self.input_schema);
            self.output_schema.as_mut().map(properties_as_objects);
        }
    }
}

fn describes_object(schema: &RawJson) -> bool {
    schema.to_value().is_ok_and(|schema| schema.get("type").and_then(Value::as_str) == Some("object"))
}

/// Spells the schemas `true` and `false` of properties as the objects that mean the same. The schema is left as it came
/// if there are none.
fn properties_as_objects(schema: &mut RawJson) {
    let Ok(mut tree) = schema.to_value() else { return };
    let Some(Value::Object(properties)) = tree.get_mut("properties") else { return };
    let mut is_changed = false;
    for property in properties.values_mut() {
        if let Value::Bool(allows) = *property {
            *property = if allows { json!({}) } else { json!({ "not": {} }) };
            is_changed = true;
        }
    }
    if is_changed {
        *schema = tree.into();
    }
}

impl Adapt for CallToolResult {
    fn adapt(&mut self, rules: &Rules) {
        let has_text = self.content.iter().any(|block| matches!(block, Content::Text { .. }));
        self.content.adapt(rules);
        if let Some(structured) = &self.structured_content {
            let known = rules.structured_content && (rules.structured_any || structured.is_object());
            // Who wrote a text wrote the mirror too (2025-06-18, server, tools, "Structured Content").
            if !known && !has_text {
                self.content.push(Content::text(structured.as_str()));
            }
            keep(&mut self.structured_content, known);
        }
    }
}

/// Says in a text what a revision has no block for, to the same audience.
fn say(text: String, annotations: &mut Option<Annotations>) -> Content {
    Content::Text { text, annotations: annotations.take(), meta: None }
}

impl Adapt for Content {
    fn adapt(&mut self, rules: &Rules) {
        match self {
            Self::ResourceLink(link) if !rules.resource_link => {
                *self = say(format!("{}: {}", link.name, link.uri), &mut link.annotations);
            }
            Self::Audio { mime_type, annotations, .. } if !rules.audio => {
                let text = format!("[audio of type {mime_type}, which this protocol revision cannot carry]");
                *self = say(text, annotations);
            }
            _ => {}
        }
        match self {
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

#[cfg(test)]
mod tests;
