//! JSON Schema as MCP uses it: validators compiled once, without network or files, and never dearer than a bound; and
//! arguments that are mirrored in headers.

mod cost;
pub mod headers;
mod plain;
mod survey;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use andon_types::error::clip;
use jsonschema::{Draft, PatternOptions};
use serde_json::Value;

use cost::{Cost, Price};
use plain::Plain;

/// Bytes of a schema.
pub const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// What is told of what is wrong with a value.
const VIOLATIONS_MAX: usize = 8;
/// Bytes of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 4 << 20;

/// A schema that values are checked against. 2020-12 unless it says otherwise (base protocol, "JSON Schema Usage").
#[derive(Debug)]
pub struct Validator {
    compiled: jsonschema::Validator,
    cost: Cost,
    plain: Option<Plain>,
}

/// Why a schema is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError(String);

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SchemaError {}

impl Validator {
    /// Compiles `schema`.
    ///
    /// # Errors
    /// When it is no schema, of an unknown dialect, too large or too deep, refers outside itself, refers to itself
    /// without end, has a pattern that cannot be matched in linear time, or makes more work than any value is worth.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let fail = |why: String| Err(SchemaError(why));
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return fail(format!("a schema has at most {SCHEMA_BYTES_MAX} bytes"));
        }
        let draft = match schema.get("$schema").and_then(Value::as_str) {
            None => Draft::Draft202012,
            Some(dialect) => match dialect_of(dialect) {
                Some(draft) => draft,
                None => return fail(format!("the dialect {:?} is not known", clip(dialect))),
            },
        };
        let cost = Cost::of(schema, draft).map_err(SchemaError)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let options = jsonschema::options().with_draft(draft).offline().with_pattern_options(patterns);
        let compiled = contained(|| {
            options.build(schema).map_err(|error| {
                format!("{} at {}", clip(&error.masked().to_string()), clip(&error.instance_path().to_string()))
            })
        });
        match compiled {
            Ok(Ok(compiled)) => Ok(Self { compiled, cost, plain: Plain::of(schema) }),
            Ok(Err(why)) => fail(why),
            Err(Panicked) => fail("it cannot be compiled".to_owned()),
        }
    }

    /// Checks `value`.
    ///
    /// # Errors
    /// What is wrong and where, in words: at most eight things, without the values themselves. Of a large value only
    /// that it is wrong, and one that is too large for what its schema does with it is not checked at all.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let price = self.cost.price(value);
        if price == Price::TooDear {
            return Err("the value is too large to be checked against its schema".to_owned());
        }
        let told = contained(|| match price {
            _ if self.compiled.is_valid(value) => String::new(),
            Price::Cheap => self.violations(value),
            Price::Fair | Price::TooDear => {
                "the value does not match its schema, and is too large to say where".to_owned()
            }
        });
        match told {
            Ok(told) if told.is_empty() => Ok(()),
            Ok(told) => Err(told),
            Err(Panicked) => Err("the value cannot be checked against its schema".to_owned()),
        }
    }

    /// Checks the value that `text` is, JSON with no name twice in an object. Where the schema asks for no more than the
    /// kinds of members, and they are right, no tree is made of it.
    ///
    /// # Errors
    /// As [`Validator::check`]; and when a tree cannot hold the value.
    pub fn check_text(&self, text: &str) -> Result<(), String> {
        if self.plain.as_ref().is_some_and(|plain| plain.accepts(text)) {
            return Ok(());
        }
        self.check(&serde_json::from_str(text).map_err(|error| error.to_string())?)
    }

    fn violations(&self, value: &Value) -> String {
        let mut wrong = Vec::new();
        for error in self.compiled.iter_errors(value).take(VIOLATIONS_MAX) {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { String::new() } else { format!("{}: ", clip(&path)) };
            wrong.push(format!("{place}{}", clip(&error.masked().to_string())));
        }
        wrong.join("; ")
    }
}

struct Panicked;

/// The validator panics on some schemas that refer to themselves beside `unevaluatedProperties`. That is no reason to
/// end what called it, and leaves nothing behind: a validation changes nothing but its own context.
fn contained<T>(validate: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(validate)).map_err(|_| Panicked)
}

fn dialect_of(dialect: &str) -> Option<Draft> {
    let name = dialect.trim_end_matches('#');
    let name = name.strip_prefix("https://").or(name.strip_prefix("http://"))?;
    Some(match name {
        "json-schema.org/draft/2020-12/schema" => Draft::Draft202012,
        "json-schema.org/draft/2019-09/schema" => Draft::Draft201909,
        "json-schema.org/draft-07/schema" => Draft::Draft7,
        "json-schema.org/draft-06/schema" => Draft::Draft6,
        "json-schema.org/draft-04/schema" => Draft::Draft4,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
