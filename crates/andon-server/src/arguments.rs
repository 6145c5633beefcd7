//! A tool's arguments: JSON that was checked against the tool's schema, read into Rust types.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use andon_types::object;
use andon_types::params::Params;
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::{Map, Value};

use crate::failure::ToolError;

/// What a parameter of a `#[tool]` function can be.
///
/// Every type that serde can deserialize and schemars can describe is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can be neither an argument of a tool nor an extractor",
    label = "this parameter",
    note = "for a JSON argument, derive `Deserialize` and `JsonSchema` for `{Self}`",
    note = "for an extractor of your own, implement `FromContext` and mark the parameter with `#[extract]`"
)]
pub trait Argument: DeserializeOwned + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> Argument for T {}

/// The arguments of one call, an object that satisfies the tool's input schema.
#[derive(Debug, Clone, Default)]
pub struct Arguments(Option<Part>);

/// A part of the parameters of a call, which are shared and not copied.
#[derive(Debug, Clone)]
struct Part {
    params: Params,
    span: Range<usize>,
}

impl Arguments {
    /// Those that stand as `text` in `params`; `None` if it is no part of them.
    pub(crate) fn within(params: &Params, text: &str) -> Option<Self> {
        let start = text.as_ptr().addr().checked_sub(params.as_str().as_ptr().addr())?;
        let span = start..start + text.len();
        (params.as_str().get(span.clone()) == Some(text)).then(|| Self(Some(Part { params: params.clone(), span })))
    }

    /// The JSON, byte for byte as it came.
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("{}", |Part { params, span }| &params.as_str()[span.clone()])
    }

    /// All arguments as a `T`.
    ///
    /// # Errors
    /// When they have another shape; the model sees why.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        serde_json::from_str(self.as_str()).map_err(|error| ToolError::arguments(format!("bad arguments: {error}")))
    }

    /// The arguments one by one.
    ///
    /// # Errors
    /// When they are no object.
    pub fn members(&self) -> Result<Members<'_>, ToolError> {
        if !self.as_str().starts_with('{') {
            return Err(ToolError::arguments("bad arguments: they are an object"));
        }
        let mut members = Vec::with_capacity(MEMBERS_USUAL);
        members.extend(object::members(self.as_str()));
        Ok(Members(members))
    }
}

/// The arguments of one call by name.
#[derive(Debug)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

/// Arguments that most calls have at most.
const MEMBERS_USUAL: usize = 4;

impl Members<'_> {
    /// The argument `name`, which has to be there unless `T` is an `Option`.
    ///
    /// # Errors
    /// When it is not, or is no `T`; the model sees which argument and why.
    pub fn required<T: Argument>(&self, name: &str) -> Result<T, ToolError> {
        match self.raw(name) {
            Some(raw) => read(name, raw),
            None => serde::de::Deserialize::deserialize(Absent(name))
                .map_err(|error: Missing| ToolError::arguments(error.to_string())),
        }
    }

    /// The argument `name`, if it is there and not null.
    ///
    /// # Errors
    /// When it is no `T`; the model sees which argument and why.
    pub fn optional<T: Argument>(&self, name: &str) -> Result<Option<T>, ToolError> {
        match self.raw(name) {
            Some(raw) if raw != "null" => read(name, raw).map(Some),
            _ => Ok(None),
        }
    }

    fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, raw)| *raw)
    }
}

fn read<T: DeserializeOwned>(name: &str, raw: &str) -> Result<T, ToolError> {
    serde_json::from_str(raw).map_err(|error| ToolError::arguments(format!("bad argument `{name}`: {error}")))
}

/// Stands for an argument that is not there: an `Option` reads `None` from it, everything else fails.
struct Absent<'a>(&'a str);

#[derive(Debug)]
struct Missing(String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

impl serde::de::Error for Missing {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl<'de> Deserializer<'de> for Absent<'_> {
    type Error = Missing;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Missing> {
        Err(Missing(format!("missing argument `{}`", self.0)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Missing> {
        visitor.visit_none()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Builds the schema of a tool's arguments, one property after another.
#[derive(Debug)]
pub struct ArgumentsSchema<'a> {
    generator: &'a mut SchemaGenerator,
    properties: Map<String, Value>,
    required: Vec<Value>,
}

/// What else an argument's schema says.
#[derive(Debug, Clone, Default)]
pub struct ArgumentNote {
    /// What it means, for the model.
    pub description: Option<&'static str>,
    /// What stands in for it.
    pub default: Option<Value>,
    /// The suffix of the `Mcp-Param-` header that mirrors it (2026-07-28).
    pub header: Option<&'static str>,
}

impl<'a> ArgumentsSchema<'a> {
    /// The schema of no arguments yet.
    pub fn new(generator: &'a mut SchemaGenerator) -> Self {
        Self { generator, properties: Map::new(), required: Vec::new() }
    }

    /// Adds an argument that has to be given.
    #[must_use]
    pub fn required<T: Argument>(mut self, name: &str, note: ArgumentNote) -> Self {
        self.required.push(name.into());
        self.optional::<T>(name, note)
    }

    /// Adds an argument that may be left out.
    #[must_use]
    pub fn optional<T: Argument>(mut self, name: &str, note: ArgumentNote) -> Self {
        let mut schema = self.generator.subschema_for::<T>();
        if let Some(description) = note.description {
            schema.insert("description".into(), description.into());
        }
        if let Some(default) = note.default {
            schema.insert("default".into(), default);
        }
        if let Some(header) = note.header {
            schema.insert("x-mcp-header".into(), header.into());
        }
        self.properties.insert(name.to_owned(), schema.into());
        self
    }

    /// The schema.
    pub fn finish(self) -> Schema {
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        schema.insert("properties".into(), self.properties.into());
        if !self.required.is_empty() {
            schema.insert("required".into(), self.required.into());
        }
        schema.into()
    }
}
