use http::Method;

use super::Target;

fn target<'a>(authority: Option<&'a str>, path: &'a str, query: Option<&'a str>) -> Option<Target<'a>> {
    Some(Target { authority, path, query })
}

#[test]
fn targets_have_four_forms() {
    let get = |text| Target::parse(&Method::GET, text);
    assert_eq!(get("/mcp"), target(None, "/mcp", None));
    assert_eq!(get("/mcp?a=/b?c"), target(None, "/mcp", Some("a=/b?c")));
    assert_eq!(get("//evil.example/mcp"), target(None, "//evil.example/mcp", None));
    assert_eq!(get("http://localhost:80/mcp?a"), target(Some("localhost:80"), "/mcp", Some("a")));
    assert_eq!(get("HTTPS://localhost"), target(Some("localhost"), "/", None));
    assert_eq!(get("http://localhost?a"), target(Some("localhost"), "/", Some("a")));
    assert_eq!(get("*"), target(None, "*", None));
    assert_eq!(Target::parse(&Method::CONNECT, "a.example:443"), target(Some("a.example:443"), "", None));
    for bad in ["/<", "/`", "/a>b", "http://[::1/", "/\u{7f}"] {
        assert_eq!(get(bad), None, "{bad:?}");
    }
    assert_eq!(Target::parse(&Method::CONNECT, "a/b"), None);
    assert_eq!(get("/a|b?{c}"), target(None, "/a|b", Some("{c}")), "as the library has it");
    for bad in ["", "mcp", "localhost:80", "http://", "http:///mcp", "ftp://localhost/mcp", "/mcp#a", "?a"] {
        assert_eq!(get(bad), None, "{bad:?}");
    }
}

#[test]
fn targets_are_written_as_they_came() {
    for text in ["/mcp", "/mcp?a=b", "http://localhost:80/mcp?a", "*"] {
        assert_eq!(Target::parse(&Method::POST, text).expect("a target").to_string(), text);
    }
}
