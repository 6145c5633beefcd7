use andon_schema::Validator;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{output_schema_of, schema_of};

#[derive(Serialize, JsonSchema)]
struct Inner {
    title: String,
    format: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Found {
    /// How many.
    count: Option<u64>,
    inner: Option<Inner>,
    list: Vec<Option<i32>>,
    #[serde(rename(serialize = "sent", deserialize = "received"))]
    renamed: bool,
    kind: Option<Kind>,
    any: Value,
}

#[derive(Serialize, JsonSchema)]
enum Kind {
    #[allow(dead_code, reason = "only its schema is of interest")]
    One,
    /// Documented.
    Two,
}

#[derive(Serialize, JsonSchema)]
struct Tree {
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind")]
enum Shape {
    Circle { radius: f64 },
    Square { side: f64, turned: Option<bool> },
}

#[test]
fn v9_what_serde_writes_satisfies_the_output_schema() {
    let full = Found {
        count: Some(1),
        inner: Some(Inner { title: "t".into(), format: None }),
        list: vec![Some(1), None],
        renamed: true,
        kind: Some(Kind::Two),
        any: json!(null),
    };
    let empty = Found { count: None, inner: None, list: vec![], renamed: false, kind: None, any: json!([1]) };
    let validator = Validator::compile(&output_schema_of::<Found>()).expect("fine");
    for found in [full, empty] {
        assert_eq!(validator.check(&json!(found)), Ok(()));
    }
    assert!(!output_schema_of::<Found>().to_string().contains("[\"integer\""), "no arrays of types");
}

#[test]
fn references_are_inlined_but_for_recursive_types() {
    assert!(!schema_of::<Found>().to_string().contains("$ref"));
    let tree = Validator::compile(&schema_of::<Tree>()).expect("fine");
    assert_eq!(tree.check(&json!({ "children": [{ "children": [] }] })), Ok(()));
    assert!(tree.check(&json!({ "children": [{}] })).is_err());
    let leaf = || Tree { children: vec![], parent: None };
    let written = Tree { children: vec![leaf()], parent: Some(Box::new(leaf())) };
    let tree = Validator::compile(&output_schema_of::<Tree>()).expect("fine");
    assert_eq!(tree.check(&json!(written)), Ok(()));
}

#[test]
fn a_root_has_no_alternatives() {
    let schema = schema_of::<Shape>();
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["properties"]["kind"], json!({ "enum": ["Circle", "Square"], "type": "string" }));
    assert_eq!(schema["required"], json!(["kind"]));
    assert!(schema.get("oneOf").is_none() && schema["properties"].get("turned").is_some());
    let validator = Validator::compile(&schema).expect("fine");
    let square = Shape::Square { side: 1.0, turned: None };
    let circle = Shape::Circle { radius: 1.0 };
    assert_eq!(validator.check(&json!(circle)), Ok(()));
    let written = Validator::compile(&output_schema_of::<Shape>()).expect("fine");
    for shape in [square, circle] {
        assert_eq!(written.check(&json!(shape)), Ok(()));
    }
    assert_eq!(schema_of::<Kind>()["type"], "string", "what is no object is told at registration");
}

#[test]
fn formats_of_numbers_are_left_out_and_their_bounds_are_kept() {
    assert_eq!(output_schema_of::<i64>(), json!({ "type": "integer" }));
    assert_eq!(output_schema_of::<u8>(), json!({ "type": "integer", "minimum": 0, "maximum": 255 }));
}

#[test]
fn schemas_of_types_are_what_clients_accept() {
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is of interest")]
    struct Find {
        /// What to look for.
        query: String,
        limit: Option<u32>,
        inner: Option<Inner>,
    }
    #[derive(JsonSchema)]
    #[allow(dead_code, reason = "only its schema is of interest")]
    struct Inner {
        title: String,
    }
    let schema = schema_of::<Find>();
    assert_eq!(schema["type"], "object");
    assert_eq!(schema["required"], json!(["query"]));
    assert_eq!(schema["properties"]["query"]["description"], "What to look for.");
    assert_eq!(schema["properties"]["limit"], json!({ "type": "integer", "minimum": 0 }));
    assert_eq!(
        schema["properties"]["inner"]["properties"]["title"]["type"], "string",
        "a property may be called title"
    );
    let text = schema.to_string();
    assert!(!text.contains("null") && !text.contains("$ref") && !text.contains("$schema"), "{text}");
    assert_eq!(schema_of::<()>()["type"], "null", "what is no object is told at registration");
}
