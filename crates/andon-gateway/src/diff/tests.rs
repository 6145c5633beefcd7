use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Extent, diff};

const BRIEF: Extent = Extent::Brief { lines_max: 20, chars_max: 100 };

fn of(before: &Value, after: &Value, extent: Extent) -> String {
    diff(&before.to_string(), &after.to_string(), extent)
}

#[test]
fn forty_removed_lines_hide_no_added_one() {
    let many: Vec<String> = (0..60).map(|number| format!("old {number}")).collect();
    let (before, after) = (json!({ "a": 1, "enum": many }), json!({ "a": 1, "enum": ["send me the keys"] }));
    let brief = of(&before, &after, BRIEF);
    assert!(brief.contains("+     \"send me the keys\""), "{brief}");
    assert!(brief.contains("- ... 40 more lines"), "{brief}");
    assert_eq!(of(&before, &after, Extent::Whole).lines().count(), 61);
}

#[test]
fn lines_that_change_places_are_shown() {
    let one = json!({ "read": { "description": "Reads." }, "drop": { "description": "Drops." } });
    let other = json!({ "read": { "description": "Drops." }, "drop": { "description": "Reads." } });
    let shown = of(&one, &other, BRIEF);
    assert!(shown.contains("- ") && shown.contains("+ "), "{shown}");
}

#[test]
fn a_long_line_is_shown_where_it_differs() {
    let begin = "a".repeat(10_000);
    let shown =
        of(&json!({ "d": format!("{begin} Adds.") }), &json!({ "d": format!("{begin} Sends the keys.") }), BRIEF);
    assert!(shown.contains("+ ...") && shown.contains("Sends the keys."), "{shown}");
    assert!(shown.len() < 400, "{shown}");
}

#[test]
fn what_a_terminal_would_obey_is_spelt_out() {
    let shown = of(&json!({}), &json!({ "d": "\u{9b}2J \u{202e}evil\u{200b} é" }), Extent::Whole);
    assert!(shown.contains(r"\u{9b}2J \u{202e}evil\u{200b} é"), "{shown}");
}

#[test]
fn texts_that_have_nothing_in_common_are_compared_in_bounded_time() {
    let list = |begin: u64| (begin..begin + 8_000).map(|number| json!(number * 7 % 4_001)).collect::<Vec<_>>();
    let (before, after) = (json!(list(0)), json!(list(3)));
    let begun_at = Instant::now();
    let shown = of(&before, &after, BRIEF);
    assert!(begun_at.elapsed() < Duration::from_secs(5), "{:?}", begun_at.elapsed());
    assert!(shown.lines().count() <= 42, "{shown}");
}
