//! Schemas from Rust types, kept in the subset that real clients accept: references inlined, no `null` beside a
//! type, an object at the root.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// The schema of `T` as tool arguments or as a form: always an object.
pub fn schema_of<T: JsonSchema>() -> Value {
    let mut schema = generate::<T>();
    if let Value::Object(root) = &mut schema {
        root.entry("type").or_insert_with(|| "object".into());
        if root.get("type") == Some(&json!("object")) {
            root.entry("properties").or_insert_with(|| json!({}));
        }
    }
    schema
}

/// The schema of `T` as a structured result.
pub fn output_schema_of<T: JsonSchema>() -> Value {
    generate::<T>()
}

fn generate<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    simplify(&mut schema);
    schema
}

fn simplify(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(simplify),
        Value::Object(members) => {
            members.remove("title");
            drop_null(members);
            if is_number_format(members) {
                members.remove("format");
            }
            for (key, value) in members.iter_mut() {
                match (key.as_str(), value) {
                    ("const" | "enum" | "default" | "examples", _) => {}
                    // Names of properties are not keywords.
                    ("properties" | "$defs" | "patternProperties", Value::Object(named)) => {
                        named.values_mut().for_each(simplify);
                    }
                    (_, value) => simplify(value),
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

/// `int64`, `double` and their like are no formats of JSON Schema.
fn is_number_format(members: &Map<String, Value>) -> bool {
    matches!(members.get("type").and_then(Value::as_str), Some("integer" | "number")) && members.contains_key("format")
}
