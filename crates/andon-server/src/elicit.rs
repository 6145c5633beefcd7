//! Forms: the flat schemas that elicitation takes, and the content that comes back.

use andon_core::io::AskError;
use andon_schema::Validator;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::normalise::schema_of;

/// The most properties of a form: a person has to fill them.
pub(crate) const FORM_PROPERTIES_MAX: usize = 64;

/// A schema that may be asked for (client, elicitation, "Requested Schema"): an object of primitive properties.
pub(crate) struct Form {
    schema: Value,
    validator: Validator,
}

impl Form {
    pub(crate) fn new(schema: Value) -> Result<Self, AskError> {
        check(&schema).map_err(AskError::Invalid)?;
        let validator = Validator::compile(&schema).map_err(|error| AskError::Invalid(error.to_string()))?;
        Ok(Self { schema, validator })
    }

    pub(crate) fn schema(&self) -> &Value {
        &self.schema
    }

    /// The content as a `T`: defaults of the schema stand in for what the client left out.
    pub(crate) fn read<T: DeserializeOwned>(&self, mut content: Map<String, Value>) -> Result<T, AskError> {
        for (name, property) in self.schema["properties"].as_object().into_iter().flatten() {
            if let Some(default) = property.get("default").filter(|_| !content.contains_key(name)) {
                content.insert(name.clone(), default.clone());
            }
        }
        let content = Value::Object(content);
        self.validator.check(&content).map_err(AskError::Invalid)?;
        serde_json::from_value(content).map_err(|error| AskError::Invalid(error.to_string()))
    }
}

/// The schema of a form for `T`.
pub(crate) fn form_of<T: JsonSchema>() -> Value {
    let mut schema = schema_of::<T>();
    if let Some(schema) = schema.as_object_mut() {
        // The specification's form has these three members only, and clients are strict about it.
        schema.retain(|key, _| ["type", "properties", "required"].contains(&key.as_str()));
    }
    schema
}

fn check(schema: &Value) -> Result<(), String> {
    const PRIMITIVES: [&str; 4] = ["string", "number", "integer", "boolean"];
    let properties = schema["properties"].as_object();
    let Some(properties) = properties.filter(|_| schema["type"] == "object") else {
        return Err("a form is an object with properties".to_owned());
    };
    if properties.len() > FORM_PROPERTIES_MAX {
        return Err(format!("a form has at most {FORM_PROPERTIES_MAX} properties"));
    }
    for (name, property) in properties {
        let kind = property["type"].as_str().unwrap_or_default();
        // Several choices of an enumeration are the one array that a form can have.
        let choices =
            kind == "array" && (property["items"]["enum"].is_array() || property["items"]["anyOf"].is_array());
        if !PRIMITIVES.contains(&kind) && !choices {
            return Err(format!("`{name}` is no text, number, boolean or enumeration: forms do not nest"));
        }
    }
    Ok(())
}
