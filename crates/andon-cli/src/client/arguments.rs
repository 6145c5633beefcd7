//! Arguments as people type them: `key=value`, `key:=JSON`, `key=@file`, `key:=@file`, `@file` for all of them.

use andon::serde_json::{self, Map, Value};
use andon_schema::Validator;

use super::{Failure, usage};

/// Reads `words`. What a plain value means, `schema` says; without, it is text.
pub(super) fn parse(schema: &Value, words: impl Iterator<Item = String>) -> Result<Map<String, Value>, Failure> {
    let mut arguments = Map::new();
    for word in words {
        if let Some(path) = word.strip_prefix('@') {
            match from_json(&word, &read(path)?)? {
                Value::Object(all) => arguments.extend(all),
                _ => return Err(usage(format!("{path} does not hold a JSON object of arguments"))),
            }
            continue;
        }
        let Some((key, value)) = word.split_once('=') else {
            return Err(usage(format!("{word:?} is no argument: write key=value, key:=JSON or key=@file")));
        };
        let (key, is_json) = match key.strip_suffix(':') {
            Some(key) => (key, true),
            None => (key, false),
        };
        let text = match value.strip_prefix('@') {
            Some(path) => read(path)?,
            None => value.to_owned(),
        };
        let value = if is_json { from_json(key, &text)? } else { convert(&schema["properties"][key], text) };
        if arguments.insert(key.to_owned(), value).is_some() {
            return Err(usage(format!("the argument {key:?} stands twice")));
        }
    }
    Ok(arguments)
}

/// Checks arguments before they are sent.
pub(super) fn check(tool: &str, schema: &Value, arguments: &Map<String, Value>) -> Result<(), Failure> {
    // A schema that cannot be compiled here is the server's to judge.
    let Ok(validator) = Validator::compile(schema) else { return Ok(()) };
    validator.check(&Value::Object(arguments.clone())).map_err(|why| {
        let properties = schema["properties"].as_object();
        let known: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        usage(format!("bad arguments for {tool}: {why}\nit takes: {}", known.join(", ")))
    })
}

/// What text means where `property` stands. What does not fit stays text, and the check says so.
pub(super) fn convert(property: &Value, text: String) -> Value {
    let is = |kind: &str| match &property["type"] {
        Value::String(only) => only == kind,
        Value::Array(several) => several.iter().any(|known| known == kind),
        _ => false,
    };
    if is("string") || property["type"].is_null() {
        return Value::String(text);
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => value,
        Err(_) => Value::String(text),
    }
}

fn from_json(what: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| usage(format!("{what}: not JSON: {error}")))
}

fn read(path: &str) -> Result<String, Failure> {
    let read = if path == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    read.map_err(|error| usage(format!("{path}: {error}")))
}

#[cfg(test)]
mod tests {
    use andon::serde_json::{Value, json};

    use super::{check, parse};

    fn read(schema: &Value, words: &[&str]) -> Result<Value, String> {
        let words = words.iter().map(|word| (*word).to_owned());
        parse(schema, words).map(Value::Object).map_err(|failure| failure.to_string())
    }

    #[test]
    fn values_are_what_the_schema_says() {
        let schema = json!({ "properties": {
            "n": { "type": "integer" }, "b": { "type": "boolean" }, "s": { "type": "string" }, "l": { "type": "array" },
            "u": { "type": ["number", "null"] },
        } });
        let words = ["n=5", "b=true", "s=5", "l=[1]", "u=null", "x=7", "y:=7", "z=a=b", "e="];
        let expected =
            json!({ "n": 5, "b": true, "s": "5", "l": [1], "u": null, "x": "7", "y": 7, "z": "a=b", "e": "" });
        assert_eq!(read(&schema, &words).expect("good words"), expected);
    }

    #[test]
    fn files_hold_values_and_mistakes_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("all.json");
        std::fs::write(&path, r#"{"a":1}"#).expect("written");
        let path = path.display().to_string();
        assert_eq!(read(&json!({}), &[&format!("@{path}")]).expect("all"), json!({ "a": 1 }));
        assert_eq!(read(&json!({}), &[&format!("b:=@{path}")]).expect("JSON"), json!({ "b": { "a": 1 } }));
        assert_eq!(read(&json!({}), &[&format!("c=@{path}")]).expect("text"), json!({ "c": "{\"a\":1}" }));
        for (words, said) in [
            (vec!["word"], "key=value"),
            (vec!["a:=x"], "not JSON"),
            (vec!["a=1", "a=2"], "twice"),
            (vec!["a=@/no/such/file"], "/no/such/file"),
        ] {
            let told = read(&json!({}), &words).expect_err("a mistake");
            assert!(told.contains(said), "{told}");
        }
    }

    #[test]
    fn bad_arguments_are_told_by_field_before_they_are_sent() {
        let schema = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "integer" } } });
        let told = |arguments: Value| {
            check("add", &schema, arguments.as_object().expect("an object")).map_err(|failure| failure.to_string())
        };
        assert_eq!(told(json!({ "a": 1 })), Ok(()));
        assert!(told(json!({ "a": "one" })).expect_err("no integer").contains("/a"));
        assert!(told(json!({})).expect_err("missing").contains("\"a\""));
    }
}
