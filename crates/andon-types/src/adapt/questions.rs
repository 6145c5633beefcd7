//! Down-conversion of what a server asks of a client. The parameters are JSON, so unknown members pass.

use serde_json::{Map, Value};

use super::Adapt;
use crate::client::InputRequest;
use crate::content::Content;
use crate::revision::Rules;

impl Adapt for InputRequest {
    fn adapt(&mut self, rules: &Rules) {
        match self {
            Self::Elicitation(params) => elicitation(params, rules),
            Self::Sampling(params) => sampling(params, rules),
            Self::Roots(_) => {}
        }
    }
}

fn elicitation(params: &mut Map<String, Value>, rules: &Rules) {
    // A form is what an absent mode means, and all that 2025-06-18 knows.
    if !rules.elicitation_url && params.get("mode").and_then(Value::as_str) == Some("form") {
        params.remove("mode");
    }
    if !rules.elicitation_id {
        params.remove("elicitationId");
    }
    if rules.form_choices {
        return;
    }
    let properties = params.get_mut("requestedSchema").and_then(|schema| schema.get_mut("properties"));
    for property in properties.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if let Value::Object(property) = property {
            plain_choice(property);
        }
    }
}

/// Titled choices as `enum` and `enumNames`, and no default but a boolean's: the answers stay the same, and the server
/// fills in defaults. Several choices (`array`) have no older spelling, and are left for the client to refuse.
fn plain_choice(property: &mut Map<String, Value>) {
    if property.get("type").and_then(Value::as_str) != Some("boolean") {
        property.remove("default");
    }
    let titled = property.get("oneOf").and_then(Value::as_array).map(|choices| {
        let part = |name: &str| choices.iter().map(|choice| choice.get(name)?.as_str().map(Value::from)).collect();
        (part("const"), part("title"))
    });
    if let Some((Some(values), names)) = titled {
        let names: Option<Vec<Value>> = names;
        property.remove("oneOf");
        property.insert("enum".into(), Value::Array(values));
        if let Some(names) = names {
            property.insert("enumNames".into(), Value::Array(names));
        }
    }
}

fn sampling(params: &mut Map<String, Value>, rules: &Rules) {
    if !rules.sampling_tools {
        params.remove("tools");
        params.remove("toolChoice");
    }
    let Some(Value::Array(messages)) = params.get_mut("messages") else { return };
    if !rules.sampling_tools {
        *messages = std::mem::take(messages).into_iter().flat_map(one_block_each).collect();
    }
    for content in messages.iter_mut().filter_map(|message| message.get_mut("content")) {
        match content {
            Value::Array(blocks) => blocks.iter_mut().for_each(|block| adapt_block(block, rules)),
            block => adapt_block(block, rules),
        }
    }
}

/// A message of several blocks as several messages of the same role, which is how a conversation said it before.
fn one_block_each(mut message: Value) -> Vec<Value> {
    let Value::Object(members) = &mut message else { return vec![message] };
    members.remove("_meta");
    match members.get_mut("content").map(Value::take) {
        Some(Value::Array(blocks)) => blocks
            .into_iter()
            .map(|block| {
                let mut single = members.clone();
                single.insert("content".into(), block);
                Value::Object(single)
            })
            .collect(),
        Some(block) => {
            members.insert("content".into(), block);
            vec![message]
        }
        None => vec![message],
    }
}

/// Blocks that are not content of results, such as `tool_use`, are left as they are.
fn adapt_block(block: &mut Value, rules: &Rules) {
    let Ok(before) = serde_json::from_value::<Content>(block.clone()) else { return };
    let mut after = before.clone();
    after.adapt(rules);
    if after != before {
        *block = serde_json::to_value(after).expect("content has string keys only");
    }
}
