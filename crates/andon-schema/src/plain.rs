//! Schemas that ask for nothing but the kinds of an object's members, as those of most tools do. Whether a text satisfies
//! one is told without a tree.

use andon_types::object::members;
use serde_json::{Map, Value};

/// Keywords that say nothing of what is valid.
const NOTES: [&str; 8] =
    ["$schema", "$comment", "title", "description", "default", "examples", "deprecated", "x-mcp-header"];
/// More would make looking a member up dear.
const MEMBERS_MAX: usize = 32;

/// Such a schema.
#[derive(Debug)]
pub(super) struct Plain {
    members: Vec<Member>,
    /// Whether members that are not named may stand beside.
    is_open: bool,
}

#[derive(Debug)]
struct Member {
    name: String,
    kinds: Vec<Kind>,
    is_required: bool,
}

/// Numbers are left to the validator, unless it is plain to see that they are integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Boolean,
    Integer,
    Null,
}

impl Plain {
    /// `schema` as one of them, if it is.
    pub(super) fn of(schema: &Value) -> Option<Self> {
        let schema = schema.as_object()?;
        let is_known = |keyword: &&String| {
            matches!(keyword.as_str(), "type" | "properties" | "required" | "additionalProperties")
                || NOTES.contains(&keyword.as_str())
        };
        if schema.get("type")?.as_str()? != "object" || !schema.keys().all(|keyword| is_known(&keyword)) {
            return None;
        }
        let is_open = schema.get("additionalProperties").map_or(Some(true), Value::as_bool)?;
        let none = Map::new();
        let properties = schema.get("properties").map_or(Some(&none), Value::as_object)?;
        let required = schema.get("required").map_or(Some(&[][..]), |names| names.as_array().map(Vec::as_slice))?;
        let is_named = |name: &Value| name.as_str().is_some_and(|name| properties.contains_key(name));
        if properties.len() > MEMBERS_MAX || !required.iter().all(is_named) {
            return None;
        }
        let member = |(name, property): (&String, &Value)| {
            let is_required = required.iter().any(|known| known == name.as_str());
            Some(Member { name: name.clone(), kinds: kinds(property)?, is_required })
        };
        Some(Self { members: properties.iter().map(member).collect::<Option<_>>()?, is_open })
    }

    /// Whether the JSON `text` is valid for certain. If not, nothing is known.
    pub(super) fn accepts(&self, text: &str) -> bool {
        let (mut missing, mut is_valid) = (self.members.iter().filter(|member| member.is_required).count(), true);
        for (name, value) in members(text) {
            match self.members.iter().find(|member| member.name == name) {
                // No member stands twice in what was scanned.
                Some(member) => {
                    missing = missing.saturating_sub(usize::from(member.is_required));
                    is_valid &= kind(value).is_some_and(|kind| member.kinds.contains(&kind));
                }
                None => is_valid &= self.is_open,
            }
        }
        is_valid && missing == 0 && text.starts_with('{')
    }
}

fn kinds(property: &Value) -> Option<Vec<Kind>> {
    let property = property.as_object()?;
    let is_known = |keyword: &String| keyword == "type" || NOTES.contains(&keyword.as_str());
    if !property.keys().all(is_known) {
        return None;
    }
    let named = |kind: &Value| match kind.as_str()? {
        "string" => Some(Kind::Text),
        "boolean" => Some(Kind::Boolean),
        "integer" | "number" => Some(Kind::Integer),
        "null" => Some(Kind::Null),
        _ => None,
    };
    match property.get("type")? {
        Value::Array(kinds) => kinds.iter().map(named).collect(),
        kind => named(kind).map(|kind| vec![kind]),
    }
}

fn kind(value: &str) -> Option<Kind> {
    /// Digits that every reader of numbers keeps exact.
    const DIGITS_MAX: usize = 15;
    match value {
        "null" => Some(Kind::Null),
        "true" | "false" => Some(Kind::Boolean),
        text if text.starts_with('"') => Some(Kind::Text),
        number => {
            let digits = number.strip_prefix('-').unwrap_or(number);
            let is_integer =
                (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_integer.then_some(Kind::Integer)
        }
    }
}

#[cfg(test)]
mod tests;
