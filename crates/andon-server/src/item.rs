//! Items of the catalogue: entries that passed the checks, with what is made of them once.

use std::sync::Arc;

use andon_schema::Validator;
use andon_schema::headers::HeaderParam;
use andon_types::adapt::Adapt;
use andon_types::content::{Prompt, Resource, ResourceTemplate};
use andon_types::template::UriTemplate;
use andon_types::tools::Tool;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::entry::{PromptEntry, ResourceEntry, TemplateEntry, ToolEntry};
use crate::extract::Needed;
use crate::handler::Completer;

/// What the lists have in common.
pub(crate) trait Item: Send + Sync + 'static {
    /// What a problem calls it.
    const KIND: &'static str;
    /// The member of the list's result that holds the items.
    const MEMBER: &'static str;
    /// What clients are told of it.
    type Wire: Adapt + Serialize + Clone;

    /// What it is found by.
    fn key(&self) -> &str;
    /// Where it stands in the list.
    fn ordinal(&self) -> u64;
    fn wire(&self) -> &Self::Wire;
    /// The definition's size when encoded.
    fn bytes(&self) -> usize;
    fn needs(&self) -> &[Needed];
    /// What a principal has to hold to hear of it.
    fn scopes(&self) -> &[String];
}

pub(crate) struct ToolItem {
    pub(crate) entry: ToolEntry,
    pub(crate) ordinal: u64,
    pub(crate) bytes: usize,
    pub(crate) input: Validator,
    pub(crate) output: Option<Validator>,
    /// Arguments that headers mirror, if any.
    pub(crate) headers: Option<Arc<[HeaderParam]>>,
    /// Taken by calls in flight, if their number is limited.
    pub(crate) slots: Option<Arc<Semaphore>>,
}

pub(crate) struct PromptItem {
    pub(crate) entry: PromptEntry,
    pub(crate) ordinal: u64,
    pub(crate) bytes: usize,
}

pub(crate) struct ResourceItem {
    pub(crate) entry: ResourceEntry,
    pub(crate) ordinal: u64,
    pub(crate) bytes: usize,
    /// The canonical URI; `entry.resource.uri` stays as it was given.
    pub(crate) uri: String,
    pub(crate) mime_type: Option<Arc<str>>,
}

pub(crate) struct TemplateItem {
    pub(crate) entry: TemplateEntry,
    pub(crate) ordinal: u64,
    pub(crate) bytes: usize,
    pub(crate) template: UriTemplate,
    /// A variable is part of the host, whose case then has a meaning.
    pub(crate) names_hosts: bool,
    pub(crate) mime_type: Option<Arc<str>>,
}

impl Item for ToolItem {
    const KIND: &'static str = "tool";
    const MEMBER: &'static str = "tools";
    type Wire = Tool;

    fn key(&self) -> &str {
        &self.entry.tool.name
    }

    fn ordinal(&self) -> u64 {
        self.ordinal
    }

    fn wire(&self) -> &Tool {
        &self.entry.tool
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn needs(&self) -> &[Needed] {
        &self.entry.needs
    }

    fn scopes(&self) -> &[String] {
        &self.entry.scopes
    }
}

impl Item for PromptItem {
    const KIND: &'static str = "prompt";
    const MEMBER: &'static str = "prompts";
    type Wire = Prompt;

    fn key(&self) -> &str {
        &self.entry.prompt.name
    }

    fn ordinal(&self) -> u64 {
        self.ordinal
    }

    fn wire(&self) -> &Prompt {
        &self.entry.prompt
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn needs(&self) -> &[Needed] {
        &self.entry.needs
    }

    fn scopes(&self) -> &[String] {
        &self.entry.scopes
    }
}

impl Item for ResourceItem {
    const KIND: &'static str = "resource";
    const MEMBER: &'static str = "resources";
    type Wire = Resource;

    fn key(&self) -> &str {
        &self.uri
    }

    fn ordinal(&self) -> u64 {
        self.ordinal
    }

    fn wire(&self) -> &Resource {
        &self.entry.resource
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn needs(&self) -> &[Needed] {
        &self.entry.needs
    }

    fn scopes(&self) -> &[String] {
        &self.entry.scopes
    }
}

impl Item for TemplateItem {
    const KIND: &'static str = "resource template";
    const MEMBER: &'static str = "resourceTemplates";
    type Wire = ResourceTemplate;

    fn key(&self) -> &str {
        &self.entry.template.uri_template
    }

    fn ordinal(&self) -> u64 {
        self.ordinal
    }

    fn wire(&self) -> &ResourceTemplate {
        &self.entry.template
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn needs(&self) -> &[Needed] {
        &self.entry.needs
    }

    fn scopes(&self) -> &[String] {
        &self.entry.scopes
    }
}

/// The completer of `argument` among `completers`.
pub(crate) fn completer<'a>(
    completers: &'a [(String, Arc<dyn Completer>)],
    argument: &str,
) -> Option<&'a Arc<dyn Completer>> {
    completers.iter().find(|(name, _)| name == argument).map(|(_, completer)| completer)
}
