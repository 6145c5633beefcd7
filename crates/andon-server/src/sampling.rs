//! Sampling: a message from the client's model (client, sampling).

use andon_core::io::AskError;
use andon_types::client::InputRequest;
use andon_types::content::Role;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What the model is asked.
///
/// ```
/// # use andon_server::sampling::CreateMessage;
/// let ask = CreateMessage::new("What is the capital of France?", 100).system_prompt("Answer in one word.");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CreateMessage {
    key: Option<Box<str>>,
    params: Map<String, Value>,
}

impl CreateMessage {
    /// Asks `prompt` as the user, for at most `max_tokens`.
    pub fn new(prompt: impl Into<String>, max_tokens: u32) -> Self {
        let prompt: String = prompt.into();
        Self::with_messages(vec![SamplingMessage::user(prompt)], max_tokens)
    }

    /// Continues a conversation, for at most `max_tokens`.
    pub fn with_messages(messages: Vec<SamplingMessage>, max_tokens: u32) -> Self {
        let mut params = Map::new();
        params.insert("messages".into(), json!(messages));
        params.insert("maxTokens".into(), max_tokens.into());
        Self { key: None, params }
    }

    /// Names the question in the modern era, where questions are otherwise told apart by their order.
    #[must_use]
    pub fn key(mut self, key: impl Into<Box<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// What the model is told first.
    #[must_use]
    pub fn system_prompt(self, prompt: impl Into<String>) -> Self {
        self.set("systemPrompt", prompt.into().into())
    }

    /// How free the model is.
    #[must_use]
    pub fn temperature(self, temperature: f64) -> Self {
        self.set("temperature", temperature.into())
    }

    /// Where the model stops.
    #[must_use]
    pub fn stop_sequences(self, sequences: Vec<String>) -> Self {
        self.set("stopSequences", sequences.into())
    }

    /// Which model would be good: `hints`, and priorities from 0 to 1 for cost, speed and intelligence.
    #[must_use]
    pub fn model_preferences(self, preferences: Value) -> Self {
        self.set("modelPreferences", preferences)
    }

    /// Tools that the model may ask for, and how; the client has to declare `sampling.tools` (from 2025-11-25 on).
    #[must_use]
    pub fn tools(self, tools: Vec<Value>, choice: ToolChoice) -> Self {
        self.set("tools", tools.into()).set("toolChoice", json!({ "mode": choice }))
    }

    /// Passed to the model's provider.
    #[must_use]
    pub fn metadata(self, metadata: Map<String, Value>) -> Self {
        self.set("metadata", metadata.into())
    }

    fn set(mut self, name: &str, value: Value) -> Self {
        self.params.insert(name.to_owned(), value);
        self
    }

    /// The request, if its messages keep the rules on tools (2025-11-25, client, sampling, "Message Content Constraints").
    pub(crate) fn into_request(self) -> Result<(Option<Box<str>>, InputRequest), AskError> {
        check_pairing(self.params["messages"].as_array().map_or(&[], Vec::as_slice)).map_err(AskError::Invalid)?;
        Ok((self.key, InputRequest::Sampling(self.params)))
    }
}

/// Whether the model has to use a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolChoice {
    /// As it likes.
    Auto,
    /// It has to.
    Required,
    /// It must not.
    None,
}

/// One message of the conversation: a block, or from 2025-11-25 on several. Blocks are JSON of the content types
/// `text`, `image`, `audio`, `tool_use` and `tool_result`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplingMessage {
    /// Who speaks.
    pub role: Role,
    /// A block, or an array of blocks.
    pub content: Value,
}

impl SamplingMessage {
    /// The user says `text`.
    pub fn user(text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self { role: Role::User, content: json!({ "type": "text", "text": text }) }
    }

    /// The model said `text`.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { role: Role::Assistant, ..Self::user(text) }
    }

    /// The results of the tools that the message before asks for.
    pub fn tool_results(results: Vec<Value>) -> Self {
        Self { role: Role::User, content: results.into() }
    }
}

/// What the model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateMessageResult {
    /// Who speaks; the model.
    pub role: Role,
    /// A block, or an array of blocks.
    pub content: Value,
    /// The model's name.
    pub model: String,
    /// Why it stopped: `endTurn`, `stopSequence`, `maxTokens`, `toolUse`, or another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
}

impl CreateMessageResult {
    /// All its text.
    pub fn text(&self) -> String {
        blocks(&self.content).filter_map(|block| block["text"].as_str()).collect()
    }

    /// The `tool_use` blocks.
    pub fn tool_uses(&self) -> Vec<&Value> {
        blocks(&self.content).filter(|block| block["type"] == "tool_use").collect()
    }
}

fn blocks(content: &Value) -> impl Iterator<Item = &Value> {
    content.as_array().map_or(std::slice::from_ref(content), Vec::as_slice).iter()
}

/// Results answer the uses of the message before, all of them, and stand alone.
fn check_pairing(messages: &[Value]) -> Result<(), String> {
    let ids = |message: &Value, kind: &str, id: &str| -> Vec<String> {
        let of_kind = blocks(&message["content"]).filter(|block| block["type"] == kind);
        of_kind.map(|block| block[id].as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut open: Vec<String> = Vec::new();
    for message in messages {
        let mut answered = ids(message, "tool_result", "toolUseId");
        if !answered.is_empty() && answered.len() != blocks(&message["content"]).count() {
            return Err("a message with tool results has nothing else in it".to_owned());
        }
        answered.sort();
        open.sort();
        if answered != open {
            return Err("each tool use is answered by one tool result in the next message".to_owned());
        }
        open = ids(message, "tool_use", "id");
    }
    if open.is_empty() { Ok(()) } else { Err("the last tool uses have no results".to_owned()) }
}
