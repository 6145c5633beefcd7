//! One field of a form: how it is asked, and what a typed line means (client features, "Elicitation").

use andon::serde_json::Value;
use andon_schema::Validator;

use super::super::arguments::convert;
use super::super::show::harmless_line;

/// The question for the field `name`, ready for the answer.
pub(super) fn question(name: &str, property: &Value, is_required: bool) -> String {
    let title = property["title"].as_str().unwrap_or(name);
    let mut text = format!("  {}", harmless_line(title));
    if let Some(description) = property["description"].as_str() {
        text.push_str(&format!(" ({})", harmless_line(description)));
    }
    let is_several = property["type"] == "array";
    let choices = choices(if is_several { &property["items"] } else { property });
    if !choices.is_empty() {
        let shown: Vec<String> = choices
            .iter()
            .enumerate()
            .map(|(n, choice)| format!("{}={}", n + 1, harmless_line(choice.title)))
            .collect();
        let how = if is_several { "any of, with commas:" } else { "one of" };
        text.push_str(&format!(" {how} {}", shown.join(", ")));
    } else if property["type"] == "boolean" {
        text.push_str(" y/n");
    } else if let Some(kind) = property["type"].as_str().filter(|kind| *kind != "string") {
        text.push_str(&format!(" <{}>", harmless_line(kind)));
    }
    match &property["default"] {
        Value::Null if is_required => {}
        Value::Null => text.push_str(" [none]"),
        Value::String(default) => text.push_str(&format!(" [{}]", harmless_line(default))),
        default => text.push_str(&format!(" [{}]", harmless_line(&default.to_string()))),
    }
    text + ": "
}

/// What `line` means as the value of `property`.
///
/// # Errors
/// Says why it cannot be that.
pub(super) fn value(property: &Value, line: &str) -> Result<Value, String> {
    let value = if property["type"] == "array" {
        let items = line.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(|item| one(&property["items"], item)).collect()
    } else {
        one(property, line)
    };
    match Validator::compile(property) {
        Ok(validator) => validator.check(&value).map(|()| value),
        // Then the form as a whole decides.
        Err(_) => Ok(value),
    }
}

fn one(property: &Value, line: &str) -> Value {
    let choices = choices(property);
    let named = |choice: &&Choice<'_>| choice.value.as_str() == Some(line) || choice.title.eq_ignore_ascii_case(line);
    let numbered = || line.parse::<usize>().ok().and_then(|n| choices.get(n.checked_sub(1)?));
    if let Some(choice) = choices.iter().find(named).or_else(numbered) {
        return choice.value.clone();
    }
    match (property["type"].as_str(), line.to_ascii_lowercase().as_str()) {
        (Some("boolean"), "y" | "yes") => true.into(),
        (Some("boolean"), "n" | "no") => false.into(),
        _ => convert(property, line.to_owned()),
    }
}

struct Choice<'a> {
    value: &'a Value,
    title: &'a str,
}

/// `enum`, with `enumNames` up to 2025-06-18; `oneOf` or `anyOf` of titled constants.
fn choices(property: &Value) -> Vec<Choice<'_>> {
    if let Some(values) = property["enum"].as_array() {
        let titled = |(n, value)| {
            let title = property["enumNames"][n].as_str().or_else(|| Value::as_str(value))?;
            Some(Choice { value, title })
        };
        return values.iter().enumerate().filter_map(titled).collect();
    }
    let titled = property["oneOf"].as_array().or_else(|| property["anyOf"].as_array());
    let mut choices = Vec::new();
    for option in titled.into_iter().flatten() {
        if let Some(value) = option.get("const")
            && let Some(title) = option["title"].as_str().or_else(|| value.as_str())
        {
            choices.push(Choice { value, title });
        }
    }
    choices
}

#[cfg(test)]
mod tests {
    use andon::serde_json::json;

    use super::{question, value};

    #[test]
    fn a_line_is_what_the_field_says() {
        let titled = json!({ "type": "string", "oneOf": [{ "const": "r", "title": "Red" }, { "const": "g", "title": "Green" }] });
        let several = json!({ "type": "array", "maxItems": 2, "items": { "type": "string", "enum": ["a", "b", "c"] } });
        for (property, line, expected) in [
            (json!({ "type": "string" }), "5", Ok(json!("5"))),
            (json!({ "type": "integer" }), "5", Ok(json!(5))),
            (json!({ "type": "integer" }), "five", Err(())),
            (json!({ "type": "integer", "maximum": 4 }), "5", Err(())),
            (json!({ "type": "string", "maxLength": 2 }), "abc", Err(())),
            (json!({ "type": "boolean" }), "Yes", Ok(json!(true))),
            (json!({ "type": "boolean" }), "false", Ok(json!(false))),
            (json!({ "type": "boolean" }), "perhaps", Err(())),
            (json!({ "type": "string", "enum": ["x", "1"] }), "1", Ok(json!("1"))),
            (json!({ "type": "string", "enum": ["x", "y"] }), "2", Ok(json!("y"))),
            (json!({ "type": "string", "enum": ["x", "y"] }), "z", Err(())),
            (json!({ "type": "string", "enum": ["x"], "enumNames": ["The X"] }), "the x", Ok(json!("x"))),
            (titled.clone(), "green", Ok(json!("g"))),
            (titled, "0", Err(())),
            (several.clone(), "1, c", Ok(json!(["a", "c"]))),
            (several.clone(), "a,b,c", Err(())),
            (several, "d", Err(())),
        ] {
            assert_eq!(value(&property, line).map_err(drop), expected, "{property} {line}");
        }
    }

    #[test]
    fn a_question_says_what_can_be_answered_and_cannot_be_forged() {
        let property = json!({ "title": "Size\nDone.\u{1b}[2J", "enum": ["s", "m"], "default": "m" });
        assert_eq!(question("size", &property, true), "  Size Done.\u{fffd}[2J one of 1=s, 2=m [m]: ");
        assert_eq!(question("n", &json!({ "type": "integer" }), false), "  n <integer> [none]: ");
        assert_eq!(question("ok", &json!({ "type": "boolean", "description": "Go?" }), true), "  ok (Go?) y/n: ");
    }
}
