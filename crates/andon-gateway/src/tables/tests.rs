use super::parse;
use crate::jsonc::{Kind, Node};

fn shown(node: &Node) -> String {
    let text = match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(flag) => flag.to_string(),
        Kind::Number(number) => number.to_string(),
        Kind::Text(text) => format!("{text:?}"),
        Kind::List(nodes) => format!("[{}]", nodes.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Kind::Object(members) => {
            let members =
                members.iter().map(|member| format!("{}@{}={}", member.name, member.at, shown(&member.value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
    };
    format!("{text}@{}", node.at)
}

#[test]
fn values_are_those_of_json_and_say_where_they_stand() {
    let node = parse("\u{feff}z = 1_000\na = [0x10, 1.5, \"é\", true]\n[t]\nk.l = 'x'\n").unwrap_or_else(|_| panic!());
    assert_eq!(
        shown(&node),
        "{z@1:1=1000@1:5, a@2:1=[16@2:6, 1.5@2:12, \"é\"@2:17, true@2:22]@2:5, \
         t@3:2={k@4:1={l@4:3=\"x\"@4:7}@4:1}@3:1}@1:1"
    );
}

#[test]
fn what_is_no_toml_is_said_with_line_and_column() {
    let deep = format!("a = {}{}", "[".repeat(60), "]".repeat(60));
    let very_deep = format!("a = {}", "[".repeat(100_000));
    for (text, place, word) in [
        ("a = 1\nb = \n", "2:5", ""),
        ("a = 1\na = 2\n", "2:1", "duplicate"),
        ("a = 1979-05-27\n", "1:5", "date"),
        ("a = 99999999999999999999\n", "1:5", "too large"),
        (deep.as_str(), "1:37", "nested"),
        (very_deep.as_str(), "", ""),
    ] {
        let Err((at, why)) = parse(text) else { panic!("{text} is read") };
        assert!(place.is_empty() || at.to_string() == place, "{text}: {at}: {why}");
        assert!(why.contains(word), "{text}: {why}");
    }
}
