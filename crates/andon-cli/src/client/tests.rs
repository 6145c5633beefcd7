use andon::serde_json::{from_value, json};

use super::{Tool, no_tool};

fn tools<const N: usize>(names: [&str; N]) -> [Tool; N] {
    names.map(|name| from_value(json!({ "name": name, "inputSchema": { "type": "object" } })).unwrap())
}

#[test]
fn who_mistakes_a_name_is_told_which_was_meant() {
    let of_servers = tools(["a__echo", "a__get-sum", "b__get-sum", "c", "d", "e", "f", "g", "h", "i", "j"]);
    for (name, told) in [
        ("get-sum", "did you mean a__get-sum, b__get-sum?"),
        ("a__ecko", "did you mean a__echo?"),
        ("xylophone", "see andon tools for the 11 that there are"),
    ] {
        assert!(no_tool(name, &of_servers).ends_with(told), "{}", no_tool(name, &of_servers));
    }
    assert!(no_tool("xylophone", &of_servers[..3]).ends_with("there are: a__echo, a__get-sum, b__get-sum"));
    assert!(no_tool("echo", &[]).ends_with("it has none"));
}
