//! `x-mcp-header`: arguments that a client mirrors in headers (2026-07-28, Streamable HTTP, "Custom Headers from
//! Tool Parameters").

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const KEYWORD: &str = "x-mcp-header";
const OPENING: &str = "=?base64?";
const CLOSING: &str = "?=";
/// Integers that every JSON reader keeps exact.
const INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

/// An argument that is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParam {
    /// The suffix after `Mcp-Param-`.
    pub header: String,
    /// Names of nested properties, outermost first.
    pub path: Vec<String>,
}

/// The mirrored arguments of a tool with this input schema.
///
/// # Errors
/// What is wrong with an annotation, in words; a client leaves such a tool out.
pub fn header_params(schema: &Value) -> Result<Vec<HeaderParam>, String> {
    let mut found = Vec::new();
    collect(schema, &mut Vec::new(), &mut found)?;
    let mut total = 0;
    count(schema, &mut total);
    if total != found.len() {
        return Err(format!("{KEYWORD} stands only on properties that are reached by properties alone"));
    }
    let mut names = HashSet::new();
    match found.iter().find(|param| !names.insert(param.header.to_ascii_lowercase())) {
        Some(twice) => Err(format!("{KEYWORD} {:?} stands twice", twice.header)),
        None => Ok(found),
    }
}

/// Whether `headers` (suffix, value) mirror `arguments`, the text of an object.
///
/// # Errors
/// What disagrees, in words.
pub fn check_headers(expected: &[HeaderParam], arguments: &str, headers: &[(&str, &str)]) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    let arguments: Value = serde_json::from_str(arguments).map_err(|_| "the arguments are not JSON".to_owned())?;
    for param in expected {
        let header = headers.iter().find(|(suffix, _)| suffix.eq_ignore_ascii_case(&param.header));
        let argument =
            param.path.iter().try_fold(&arguments, |value, name| value.get(name)).filter(|value| !value.is_null());
        let name = &param.header;
        match (header, argument) {
            (None, None) => {}
            (None, Some(_)) => return Err(format!("the header Mcp-Param-{name} is missing")),
            (Some(_), None) => {
                return Err(format!("the header Mcp-Param-{name} mirrors an argument that is not there"));
            }
            (Some((_, value)), Some(argument)) => {
                let value = unwrap(value).ok_or_else(|| format!("the header Mcp-Param-{name} is wrapped badly"))?;
                if !says(&value, argument) {
                    return Err(format!("the header Mcp-Param-{name} and its argument disagree"));
                }
            }
        }
    }
    Ok(())
}

/// The headers (suffix, value) in which a client mirrors `arguments`; what is absent or null has none.
pub fn mirror(expected: &[HeaderParam], arguments: &Value) -> Vec<(String, String)> {
    let value = |param: &HeaderParam| {
        let argument = param.path.iter().try_fold(arguments, |value, name| value.get(name))?;
        let text = match argument {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => argument.to_string(),
            _ => return None,
        };
        Some((param.header.clone(), wrap(&text)))
    };
    expected.iter().filter_map(value).collect()
}

/// A header value that says `text`: itself if it may stand there, else wrapped in base64.
pub fn wrap(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text;
    // What only looks wrapped would be unwrapped at the other end.
    if is_plain && !text.starts_with(OPENING) {
        return text.to_owned();
    }
    format!("{OPENING}{}{CLOSING}", STANDARD.encode(text))
}

/// What a header value says: itself, unless it is wrapped (2026-07-28, Streamable HTTP, "Value Encoding"). `None` if
/// the wrapper holds no base64 of UTF-8.
pub fn unwrap(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix(CLOSING)) {
        None => Some(value.into()),
        Some(wrapped) => String::from_utf8(STANDARD.decode(wrapped).ok()?).ok().map(Cow::Owned),
    }
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<HeaderParam>) -> Result<(), String> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get(KEYWORD) {
            let header = header.as_str().filter(|header| is_token(header));
            let header = header.ok_or_else(|| format!("{KEYWORD} of {name:?} is not the name of a header"))?;
            let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
            if !matches!(kind, "string" | "integer" | "boolean") {
                return Err(format!("{KEYWORD} of {name:?} is not on a string, an integer or a boolean"));
            }
            found.push(HeaderParam { header: header.to_owned(), path: path.clone() });
        }
        collect(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// All annotations, wherever they stand.
fn count(node: &Value, total: &mut usize) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| count(item, total)),
        Value::Object(members) => {
            for (key, value) in members {
                match (key.as_str(), value) {
                    (KEYWORD, _) => *total += 1,
                    ("const" | "enum" | "default" | "examples", _) => {}
                    // Their members are called as their author likes, even like keywords.
                    (
                        "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions",
                        Value::Object(named),
                    ) => named.values().for_each(|value| count(value, total)),
                    _ => count(value, total),
                }
            }
        }
        _ => {}
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn says(header: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => header == text,
        Value::Bool(flag) => header == if *flag { "true" } else { "false" },
        Value::Number(number) => match (header.parse::<f64>(), number.as_f64()) {
            (Ok(said), Some(meant)) => said.abs() <= INTEGER_MAX && said.to_bits() == meant.to_bits(),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests;
