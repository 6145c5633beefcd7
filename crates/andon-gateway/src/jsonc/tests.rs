use super::{Kind, parse};

#[test]
fn comments_and_trailing_commas_are_read() {
    let node = parse("\u{feff}// first\n{ \"a\": [1, 2,], /* b */ \"b\": \"x//y\", }").expect("it is fine");
    let Kind::Object(members) = node.kind else { panic!("an object") };
    assert_eq!(members.iter().map(|member| member.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(matches!(&members[1].value.kind, Kind::Text(text) if text == "x//y"));
    assert_eq!((members[1].at.line, members[1].at.column), (2, 25));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let check = |text: &str, line: usize, column: usize, word: &str| {
        let (at, why) = parse(text).err().unwrap_or_else(|| panic!("{text} is wrong"));
        assert_eq!((at.line, at.column), (line, column), "{text}: {why}");
        assert!(why.contains(word), "{text}: {why}");
    };
    check("{\n  \"a\" 1\n}", 2, 7, "`:`");
    check("{\"ä\": 1 \"b\": 2}", 1, 9, "`,`");
    check("{\"a\": 1, \"a\": 2}", 1, 10, "twice");
    check("{\"a\": \"x\n\"}", 1, 7, "never ends");
    check("/* x", 1, 1, "never ends");
    check("{} {}", 1, 4, "nothing more");
    check("[nope]", 1, 2, "a value");
    check("[1.2.3]", 1, 2, "number");
    check("[\"\\q\"]", 1, 2, "no text");
    check("", 1, 1, "a value");
    check(&"[".repeat(100), 1, 34, "nested");
    check("{\"a\\", 1, 2, "never ends");
}
