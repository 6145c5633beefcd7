use serde_json::json;

use super::{Asked, Figures};

#[test]
fn what_is_asked_for_holds_or_fails() {
    let mut figures = Figures::new("streams", json!({}));
    figures.note("streams", 15_000.0, "");
    figures.check("p99", 12.5, "ms", Asked::AtMost(20.0));
    assert!(figures.hold());
    figures.check("opened per second", 2_999.0, "/s", Asked::AtLeast(3_000.0));
    assert!(!figures.hold());
    let text = figures.text();
    let line = |name: &str| text.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(line("p99").contains("12.5 ms") && line("p99").contains("at most 20: holds"), "{text}");
    assert!(line("opened").contains("2999 /s") && line("opened").contains("at least 3000: FAILS"), "{text}");
}
