use proptest::prelude::{Just, Strategy, any, proptest};
use proptest::{collection, prop_assert_eq, prop_oneof};
use serde_json::{Map, Value};

use super::{members, string};

fn read(text: &str) -> Vec<(String, String)> {
    members(text).map(|(name, value)| (name.into_owned(), value.to_owned())).collect()
}

#[test]
fn members_are_found_whatever_stands_between() {
    let text = " { \"a\" : 1 , \"b\\u0062\":\"x\\\"}\" ,\n\"c\":[{\"d\":\"]\"},2],\"e\":null } ";
    let found = read(text.trim_start());
    let expected = [("a", "1"), ("bb", "\"x\\\"}\""), ("c", "[{\"d\":\"]\"},2]"), ("e", "null")];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for none in ["{}", "{ }", "[1]", "1", "\"{\\\"a\\\":1}\"", ""] {
        assert_eq!(read(none), [], "{none}");
    }
}

#[test]
fn strings_are_decoded_and_nothing_else_is_one() {
    assert_eq!(string("\"a\"").as_deref(), Some("a"));
    assert_eq!(string("\"a\\n\"").as_deref(), Some("a\n"));
    for none in ["1", "null", "{}", "", "\"", "\"\\\""] {
        assert_eq!(string(none), None, "{none}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            collection::btree_map(".{0,6}", inner, 0..6).prop_map(|map| Value::from(Map::from_iter(map))),
        ]
    })
}

proptest! {
    #[test]
    fn members_are_those_of_the_tree(tree in value(), spaced: bool) {
        let text = if spaced { format!("{tree:#}") } else { tree.to_string() };
        let found: Map<String, Value> = members(&text)
            .map(|(name, value)| (name.into_owned(), serde_json::from_str(value).expect("a value")))
            .collect();
        prop_assert_eq!(found, tree.as_object().cloned().unwrap_or_default());
    }

    #[test]
    fn nothing_panics_on_what_is_no_json(text in "[{\\[\"\\\\:,a \u{e4}}\\]]{0,40}") {
        members(&text).take(1_000).count();
        string(&text);
    }
}
