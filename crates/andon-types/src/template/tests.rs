use std::time::{Duration, Instant};

use super::{UriTemplate, Value, Variables};

fn values() -> Variables {
    let list = Value::List(["red", "green", "blue"].map(str::to_owned).to_vec());
    let keys = [("semi", ";"), ("dot", "."), ("comma", ",")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let texts = [
        ("var", "value"),
        ("hello", "Hello World!"),
        ("path", "/foo/bar"),
        ("empty", ""),
        ("x", "1024"),
        ("y", "768"),
        ("half", "50%"),
        ("greek", "\u{3bc}\u{3bb}"),
    ];
    let mut values: Variables = texts.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
    values.insert("list".into(), list);
    values.insert("keys".into(), Value::Map(keys.to_vec()));
    values
}

/// The examples of RFC 6570, sections 1.2 and 3.2.
#[test]
fn expands_as_the_rfc_says() {
    let cases = [
        ("{var}", "value"),
        ("{hello}", "Hello%20World%21"),
        ("{half}", "50%25"),
        ("O{empty}X", "OX"),
        ("O{undef}X", "OX"),
        ("{x,y}", "1024,768"),
        ("{x,hello,y}", "1024,Hello%20World%21,768"),
        ("?{x,empty}", "?1024,"),
        ("{var:3}", "val"),
        ("{var:30}", "value"),
        ("{list}", "red,green,blue"),
        ("{list*}", "red,green,blue"),
        ("{keys}", "semi,%3B,dot,.,comma,%2C"),
        ("{keys*}", "semi=%3B,dot=.,comma=%2C"),
        ("{+var}", "value"),
        ("{+hello}", "Hello%20World!"),
        ("{+half}", "50%25"),
        ("{+path}/here", "/foo/bar/here"),
        ("{+path:6}/here", "/foo/b/here"),
        ("{+keys}", "semi,;,dot,.,comma,,"),
        ("{#path:6}here", "#/foo/bhere"),
        ("{#x,hello,y}", "#1024,Hello%20World!,768"),
        ("{.x,y}", ".1024.768"),
        ("X{.list*}", "X.red.green.blue"),
        ("X{.empty}", "X."),
        ("{/var,x}/here", "/value/1024/here"),
        ("{/list*}", "/red/green/blue"),
        ("{/var,empty}", "/value/"),
        ("{;x,y,empty}", ";x=1024;y=768;empty"),
        ("{;list}", ";list=red,green,blue"),
        ("{;list*}", ";list=red;list=green;list=blue"),
        ("{;keys*}", ";semi=%3B;dot=.;comma=%2C"),
        ("{?x,y}", "?x=1024&y=768"),
        ("{?x,y,empty}", "?x=1024&y=768&empty="),
        ("{?x,y,undef}", "?x=1024&y=768"),
        ("{?list*}", "?list=red&list=green&list=blue"),
        ("{?keys*}", "?semi=%3B&dot=.&comma=%2C"),
        ("?fixed=yes{&x}", "?fixed=yes&x=1024"),
        ("{&var:3}", "&var=val"),
        ("{greek}", "%CE%BC%CE%BB"),
    ];
    for (template, expected) in cases {
        assert_eq!(UriTemplate::parse(template).expect(template).expand(&values()), expected, "{template}");
    }
}

#[test]
fn u11_prefixes_count_characters() {
    assert_eq!(UriTemplate::parse("{+greek:1}").expect("fine").expand(&values()), "%CE%BC");
}

#[test]
fn u12_bad_templates_are_refused() {
    let many = "{x}".repeat(65);
    for bad in [
        "{",
        "}",
        "{}",
        "{x",
        "x}",
        "{{x}}",
        "{x.}",
        "{.}",
        "{x:0}",
        "{x:10000}",
        "{x:01}",
        "{x*:3}",
        "{a b}",
        "{=x}",
        "{|x}",
        "a b",
        "{x,}",
        "{x..y}",
        "{%zz}",
        many.as_str(),
    ] {
        assert!(UriTemplate::parse(bad).is_err(), "{bad}");
    }
    assert!(UriTemplate::parse(&"x".repeat(3000)).is_err());
}

fn matched(template: &str, uri: &str) -> Option<Vec<(String, Value)>> {
    let found = UriTemplate::parse(template).expect(template).matches(uri)?;
    Some(found.into_iter().collect())
}

fn one(name: &str, value: &str) -> Option<Vec<(String, Value)>> {
    Some(vec![(name.to_owned(), value.into())])
}

#[test]
fn matches_what_it_expands_to() {
    assert_eq!(matched("demo://item/{n}", "demo://item/7"), one("n", "7"));
    assert_eq!(matched("test://template/{id}/data", "test://template/123/data"), one("id", "123"));
    assert_eq!(matched("a://{x}", "a://%C3%A9%20b"), one("x", "\u{e9} b"));
    assert_eq!(matched("a://b{?q}", "a://b?q=1"), one("q", "1"));
    assert_eq!(matched("a://b{?q}", "a://b"), Some(vec![]));
    assert_eq!(matched("file:///{+path}", "file:///a/b.txt"), one("path", "a/b.txt"));
    let list = Value::List(vec!["a".to_owned(), "b".to_owned()]);
    assert_eq!(matched("a:{/id*}", "a:/a/b"), Some(vec![("id".to_owned(), list)]));
    assert_eq!(matched("a:{x}-{y}", "a:1-2").map(|found| found.len()), Some(2));
    assert_eq!(matched("demo://item/{n}", "demo://other/7"), None);
}

#[test]
fn u10_a_variable_stays_in_its_segment() {
    assert_eq!(matched("demo://item/{n}", "demo://item/a/b"), None);
    assert_eq!(matched("demo://item/{n}", "demo://item/a?b"), None);
    assert_eq!(
        matched("demo://item/{n}", "demo://item/a%2Fb"),
        one("n", "a/b"),
        "decoded once, and the handler's to judge"
    );
    assert_eq!(matched("demo://item/{n}", "demo://item/%61"), None, "what it captures expands to the same URI");
}

#[test]
fn u9_a10_matching_is_linear() {
    let hostile = [
        ("{x}", ","),
        ("{+x}", "a/"),
        ("{#x}", "#"),
        ("{.x*}", "."),
        ("{/id*}", "/,"),
        ("{;x*}", ";x=1"),
        ("{?x*}", "&x"),
        ("{&x*}", "&x="),
    ];
    for (expression, unit) in hostile {
        let template = UriTemplate::parse(&format!("a:{expression}{expression}z")).or(UriTemplate::parse(expression));
        let template = template.expect("a template");
        let uri = format!("a:{}", unit.repeat(100_000 / unit.len()));
        let began = Instant::now();
        let found = template.matches(&uri);
        assert!(began.elapsed() < Duration::from_secs(1), "{expression}: {found:?}");
    }
}

#[test]
fn text_beyond_ascii_is_no_uri_and_never_a_panic() {
    assert_eq!(matched("{/nd}{/nd}", "\u{451}/n"), None);
}
