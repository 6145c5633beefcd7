//! URI templates (RFC 6570): expansion of all levels, and matching in linear time.

use std::collections::BTreeMap;
use std::fmt;

use crate::uri::{escaped, is_reserved, is_unreserved, push_escape};

/// Bytes of a template.
const TEMPLATE_BYTES_MAX: usize = 2 << 10;
/// Expressions of a template.
const EXPRESSIONS_MAX: usize = 64;

/// What a variable stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One text.
    Text(String),
    /// Several.
    List(Vec<String>),
    /// Names with texts.
    Map(Vec<(String, String)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Variables by name.
pub type Variables = BTreeMap<String, Value>;

/// Why a text is no template that the server takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TemplateError {}

/// A URI template that was parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriTemplate {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Expression(Operator, Vec<Variable>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    name: String,
    explode: bool,
    /// Characters.
    prefix: Option<usize>,
}

/// The rows of RFC 6570, appendix A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operator {
    first: &'static str,
    separator: &'static str,
    named: bool,
    if_empty: &'static str,
    reserved: bool,
}

const fn operator(
    first: &'static str,
    separator: &'static str,
    named: bool,
    if_empty: &'static str,
    reserved: bool,
) -> Operator {
    Operator { first, separator, named, if_empty, reserved }
}

fn operator_of(symbol: char) -> Option<Operator> {
    Some(match symbol {
        '+' => operator("", ",", false, "", true),
        '#' => operator("#", ",", false, "", true),
        '.' => operator(".", ".", false, "", false),
        '/' => operator("/", "/", false, "", false),
        ';' => operator(";", ";", true, "", false),
        '?' => operator("?", "&", true, "=", false),
        '&' => operator("&", "&", true, "=", false),
        _ => return None,
    })
}

const SIMPLE: Operator = operator("", ",", false, "", false);

impl UriTemplate {
    /// Parses `text`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let fail = |why: String| Err(TemplateError(why));
        if text.len() > TEMPLATE_BYTES_MAX {
            return fail(format!("a template has at most {TEMPLATE_BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            if rest.as_bytes()[open] == b'}' {
                return fail("\"}\" without \"{\"".to_owned());
            }
            push_literal(&mut parts, &rest[..open])?;
            let after = &rest[open + 1..];
            let Some(close) = after.find(['{', '}']).filter(|close| after.as_bytes()[*close] == b'}') else {
                return fail("\"{\" without \"}\"".to_owned());
            };
            parts.push(expression(&after[..close])?);
            rest = &after[close + 1..];
        }
        push_literal(&mut parts, rest)?;
        if parts.iter().filter(|part| matches!(part, Part::Expression(..))).count() > EXPRESSIONS_MAX {
            return fail(format!("a template has at most {EXPRESSIONS_MAX} expressions"));
        }
        Ok(Self { text: text.into(), parts })
    }

    /// The template's text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of its variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts
            .iter()
            .flat_map(|part| match part {
                Part::Literal(_) => [].iter(),
                Part::Expression(_, variables) => variables.iter(),
            })
            .map(|variable| variable.name.as_str())
    }

    /// Puts `values` in; a variable without a value leaves nothing.
    pub fn expand(&self, values: &Variables) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Expression(operator, variables) => expand(&mut out, *operator, variables, values),
            }
        }
        out
    }

    /// The variables that make this template into `uri`, if any do. Each variable is a text: the shortest run that
    /// lets the rest match, decoded once, which crosses no `/`, `?` or `#` unless its expression is `{+x}` or `{#x}`.
    /// Linear in the length of `uri`. What was captured expands to `uri` again, or it is no match.
    pub fn matches(&self, uri: &str) -> Option<Variables> {
        if !uri.is_ascii() {
            return None;
        }
        let mut values = Variables::new();
        let mut rest = uri;
        for (index, part) in self.parts.iter().enumerate() {
            match part {
                Part::Literal(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Expression(operator, variables) => {
                    let length = self.extent(index, *operator, rest)?;
                    capture(&rest[..length], *operator, variables, &mut values)?;
                    rest = &rest[length..];
                }
            }
        }
        (rest.is_empty() && self.expand(&values) == uri).then_some(values)
    }

    /// How far the expression at `index` reaches: to the next literal, or to the first character it cannot hold.
    fn extent(&self, index: usize, operator: Operator, rest: &str) -> Option<usize> {
        let next = match self.parts.get(index + 1) {
            None => rest.len(),
            Some(Part::Literal(text)) if index + 2 == self.parts.len() => rest.strip_suffix(text.as_str())?.len(),
            Some(Part::Literal(text)) => rest.find(text.as_str())?,
            Some(Part::Expression(next, _)) if next.first.is_empty() => rest.len(),
            Some(Part::Expression(next, _)) => {
                let from = usize::from(operator.first == next.first && rest.starts_with(next.first));
                rest[from..].find(next.first).map_or(rest.len(), |at| at + from)
            }
        };
        let held = &rest[..next];
        let first = operator.first.len().min(held.len());
        let crosses = !operator.reserved && held[first..].contains(['/', '?', '#']) && operator.separator != "/";
        (!crosses).then_some(next)
    }
}

impl fmt::Display for UriTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn push_literal(parts: &mut Vec<Part>, text: &str) -> Result<(), TemplateError> {
    if text.is_empty() {
        return Ok(());
    }
    if let Some(bad) = text.chars().find(|c| c.is_control() || " \"'<>\\^`|".contains(*c)) {
        return Err(TemplateError(format!("{bad:?} cannot stand in a template")));
    }
    let mut literal = String::new();
    push_encoded(&mut literal, text, true);
    parts.push(Part::Literal(literal));
    Ok(())
}

fn expression(text: &str) -> Result<Part, TemplateError> {
    let first = text.chars().next().ok_or_else(|| TemplateError("an expression is not empty".to_owned()))?;
    let (operator, list) = match operator_of(first) {
        Some(operator) => (operator, &text[1..]),
        None => (SIMPLE, text),
    };
    let variables = list.split(',').map(variable).collect::<Result<Vec<_>, _>>()?;
    Ok(Part::Expression(operator, variables))
}

fn variable(text: &str) -> Result<Variable, TemplateError> {
    let fail = || TemplateError(format!("{text:?} is not a variable"));
    let (name, explode) = text.strip_suffix('*').map_or((text, false), |name| (name, true));
    let (name, prefix) = match name.split_once(':') {
        None => (name, None),
        Some((name, digits)) => {
            let canonical = !digits.starts_with('0') && digits.len() <= 4 && digits.bytes().all(|b| b.is_ascii_digit());
            let prefix = digits.parse::<usize>().ok().filter(|_| canonical && !explode);
            (name, Some(prefix.ok_or_else(fail)?))
        }
    };
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || (bytes[at] == b'.' && at > 0) {
            at += 1;
        } else if escaped(&bytes[at..]).is_some() {
            at += 3;
        } else {
            return Err(fail());
        }
    }
    if name.is_empty() || name.ends_with('.') || name.contains("..") {
        return Err(fail());
    }
    Ok(Variable { name: name.to_owned(), explode, prefix })
}

fn expand(out: &mut String, operator: Operator, variables: &[Variable], values: &Variables) {
    let mut before = operator.first;
    for variable in variables {
        let Some(value) = values.get(&variable.name) else { continue };
        let mut piece = String::new();
        let is_there = match value {
            Value::Text(text) => {
                let text = match variable.prefix {
                    Some(most) => text.char_indices().nth(most).map_or(text.as_str(), |(end, _)| &text[..end]),
                    None => text,
                };
                push_named(&mut piece, operator, &variable.name, text);
                true
            }
            Value::List(items) => {
                expand_items(&mut piece, operator, variable, items.iter().map(|item| (None, item.as_str())));
                !items.is_empty()
            }
            Value::Map(pairs) => {
                let pairs_of = pairs.iter().map(|(key, value)| (Some(key.as_str()), value.as_str()));
                expand_items(&mut piece, operator, variable, pairs_of);
                !pairs.is_empty()
            }
        };
        if is_there {
            out.push_str(before);
            out.push_str(&piece);
            before = operator.separator;
        }
    }
}

fn expand_items<'a>(
    out: &mut String,
    operator: Operator,
    variable: &Variable,
    items: impl Iterator<Item = (Option<&'a str>, &'a str)>,
) {
    if operator.named && !variable.explode {
        out.push_str(&variable.name);
        out.push('=');
    }
    for (index, (key, value)) in items.enumerate() {
        if index > 0 {
            out.push_str(if variable.explode { operator.separator } else { "," });
        }
        match key {
            Some(key) => {
                push_encoded(out, key, operator.reserved);
                out.push(if variable.explode { '=' } else { ',' });
                push_encoded(out, value, operator.reserved);
            }
            None if variable.explode && operator.named => push_named(out, operator, &variable.name, value),
            None => push_encoded(out, value, operator.reserved),
        }
    }
}

fn push_named(out: &mut String, operator: Operator, name: &str, value: &str) {
    if operator.named {
        out.push_str(name);
        out.push_str(if value.is_empty() { operator.if_empty } else { "=" });
    }
    push_encoded(out, value, operator.reserved);
}

fn push_encoded(out: &mut String, text: &str, reserved: bool) {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let keeps = is_unreserved(*byte)
            || reserved && (is_reserved(*byte) || (*byte == b'%' && escaped(&bytes[at..]).is_some()));
        if keeps { out.push(char::from(*byte)) } else { push_escape(out, *byte) }
    }
}

/// Takes the variables of one expression out of the text that it made.
fn capture(text: &str, operator: Operator, variables: &[Variable], values: &mut Variables) -> Option<()> {
    if text.is_empty() && (operator.named || !operator.first.is_empty()) {
        return Some(());
    }
    let body = text.strip_prefix(operator.first)?;
    let mut parts = body.split(operator.separator);
    for (index, variable) in variables.iter().enumerate() {
        let is_last = index + 1 == variables.len();
        let taken: Vec<&str> =
            if is_last && variable.explode { parts.by_ref().collect() } else { parts.next().into_iter().collect() };
        let mut decoded = Vec::with_capacity(taken.len());
        for part in taken {
            let part = match operator.named {
                true => part.strip_prefix(&variable.name)?.strip_prefix('=').unwrap_or_default(),
                false => part,
            };
            decoded.push(decode(part, operator.reserved)?);
        }
        let value = match (variable.explode, decoded.len()) {
            (_, 0) => continue,
            (false, _) => Value::Text(decoded.swap_remove(0)),
            (true, _) => Value::List(decoded),
        };
        values.insert(variable.name.clone(), value);
    }
    parts.next().is_none().then_some(())
}

/// Decodes once. Where reserved characters stand for themselves, text is kept as it is.
fn decode(text: &str, reserved: bool) -> Option<String> {
    if reserved || !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            decoded.push(escaped(&bytes[at..])?);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests;
