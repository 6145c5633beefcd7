//! Schemas from Rust types, kept in the subset that real clients accept: references inlined, no `null` beside a
//! type, an object at the root.

use schemars::JsonSchema;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

/// The schema of `T` as tool arguments or as a form: always an object. What may be null may be left out.
pub fn schema_of<T: JsonSchema>() -> Value {
    object(generate::<T>(Direction::In))
}

/// The same, which lets null pass where `T` takes it: models that leave a value out often say so by null.
pub fn accepted_schema_of<T: JsonSchema>() -> Value {
    object(generate::<T>(Direction::Accepted))
}

/// The schema of `T` as a structured result: whatever serde writes satisfies it.
pub fn output_schema_of<T: JsonSchema>() -> Value {
    generate::<T>(Direction::Out)
}

fn object(mut schema: Value) -> Value {
    if let Value::Object(root) = &mut schema {
        merge_alternatives(root);
        root.entry("type").or_insert_with(|| "object".into());
        if root.get("type") == Some(&json!("object")) {
            root.entry("properties").or_insert_with(|| json!({}));
        }
    }
    schema
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    /// What clients are told to send.
    In,
    /// What is taken from them.
    Accepted,
    /// What is sent.
    Out,
}

fn generate<T: JsonSchema>(direction: Direction) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
        settings.contract = match direction {
            Direction::In | Direction::Accepted => Contract::Deserialize,
            Direction::Out => Contract::Serialize,
        };
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema, direction);
    schema
}

/// Makes one object of alternatives that are objects, since a root with `oneOf` is not accepted: it has the properties
/// of all of them, and requires what all of them require. What that lets pass, reading the arguments does not.
fn merge_alternatives(root: &mut Map<String, Value>) {
    let keyword = if root.contains_key("oneOf") { "oneOf" } else { "anyOf" };
    let Some(Value::Array(branches)) = root.get(keyword) else { return };
    let objects: Vec<_> = branches.iter().filter_map(Value::as_object).collect();
    let is_object = |branch: &&Map<String, Value>| branch.get("type") == Some(&json!("object"));
    if objects.len() != branches.len() || !objects.iter().all(is_object) {
        // What is no object is told at registration.
        let kind = objects.iter().find_map(|branch| branch.get("type")).cloned();
        root.entry("type").or_insert(kind.unwrap_or(Value::Null));
        return;
    }
    let mut properties: Map<String, Value> =
        root.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    for (name, schema) in objects.iter().filter_map(|branch| branch.get("properties")?.as_object()).flatten() {
        match properties.get_mut(name) {
            Some(known) => either(known, schema),
            None => drop(properties.insert(name.clone(), schema.clone())),
        }
    }
    let mut required: Vec<Value> = root.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let requires = |branch: &Map<String, Value>, name: &Value| {
        branch.get("required").and_then(Value::as_array).is_some_and(|names| names.contains(name))
    };
    for name in properties.keys().map(|name| json!(name)) {
        if !required.contains(&name) && objects.iter().all(|branch| requires(branch, &name)) {
            required.push(name);
        }
    }
    root.remove(keyword);
    root.insert("type".into(), "object".into());
    root.insert("properties".into(), properties.into());
    if !required.is_empty() {
        root.insert("required".into(), required.into());
    }
}

/// Makes `known` what is either it or `other`. Tags become one enumeration.
fn either(known: &mut Value, other: &Value) {
    if known == other {
        return;
    }
    let values = |schema: &Value| match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    };
    if let (Some(mut values), Some(more)) = (values(known), values(other))
        && known.get("type") == other.get("type")
    {
        values.extend(more.into_iter().filter(|value| !values.contains(value)).collect::<Vec<_>>());
        let kind = known.get("type").cloned();
        *known = json!({ "enum": values });
        if let Some(kind) = kind {
            known["type"] = kind;
        }
    } else if let Some(Value::Array(branches)) = known.get_mut("anyOf").filter(|_| other.get("anyOf").is_none()) {
        if !branches.contains(other) {
            branches.push(other.clone());
        }
    } else {
        *known = json!({ "anyOf": [known.take(), other] });
    }
}

fn simplify(node: &mut Value, direction: Direction) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| simplify(item, direction)),
        Value::Object(members) => {
            members.remove("title");
            match direction {
                Direction::In => drop_null(members),
                Direction::Accepted => {}
                Direction::Out => separate_null(members),
            }
            if is_number_format(members) {
                members.remove("format");
            }
            for (key, value) in members.iter_mut() {
                match (key.as_str(), value) {
                    ("const" | "enum" | "default" | "examples", _) => {}
                    // Names of properties are not keywords.
                    ("properties" | "$defs" | "patternProperties", Value::Object(named)) => {
                        named.values_mut().for_each(|value| simplify(value, direction));
                    }
                    (_, value) => simplify(value, direction),
                }
            }
        }
        _ => {}
    }
}

/// An optional value is one that may be left out.
fn drop_null(members: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = members.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            members.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(branches)) = members.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            members.remove("anyOf");
            for (key, value) in only {
                members.entry(key).or_insert(value);
            }
        }
    }
    if members.get("default").is_some_and(Value::is_null) {
        members.remove("default");
    }
}

/// What is written may be null, which is told without an array of types.
fn separate_null(members: &mut Map<String, Value>) {
    let Some(Value::Array(types)) = members.get_mut("type") else { return };
    types.retain(|kind| kind != "null");
    let [only] = types.as_slice() else { return };
    let only = only.clone();
    members.insert("type".into(), only);
    let description = members.remove("description");
    if let Some(Value::Array(values)) = members.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let branch = std::mem::take(members);
    members.extend(description.map(|text| ("description".to_owned(), text)));
    members.insert("anyOf".into(), json!([branch, { "type": "null" }]));
}

/// `int64`, `double` and their like are no formats of JSON Schema.
fn is_number_format(members: &Map<String, Value>) -> bool {
    matches!(members.get("type").and_then(Value::as_str), Some("integer" | "number")) && members.contains_key("format")
}

#[cfg(test)]
mod tests;
