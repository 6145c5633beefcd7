use std::collections::BTreeSet;
use std::sync::Arc;

use andon_types::revision::Revision;
use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::{Value, json};

use super::{Pages, with_cursor};
use crate::checks;
use crate::entry::ToolEntry;
use crate::item::ToolItem;

fn items(ordinals: &BTreeSet<u64>) -> Vec<Arc<ToolItem>> {
    let tool = |ordinal: &u64| {
        let handler = |_: Value, _| async { "x" };
        let entry = ToolEntry::from_fn(format!("tool-{ordinal}"), json!({ "type": "object" }), handler);
        Arc::new(checks::tool(entry, *ordinal).unwrap_or_else(|problem| panic!("{problem}")))
    };
    ordinals.iter().map(tool).collect()
}

/// The ordinals of a page's tools, and the cursor's.
fn page(ordinals: &BTreeSet<u64>, size: usize, after: u64) -> (Vec<u64>, Option<u64>) {
    let items = items(ordinals);
    let page = Pages::encode(&items, Revision::LATEST, size).page(&items, Revision::LATEST, after);
    let body: Value = serde_json::from_str(page.body.as_str()).expect("JSON");
    let name = |tool: &Value| tool["name"].as_str().and_then(|name| name.strip_prefix("tool-")?.parse().ok());
    (body["tools"].as_array().expect("a list").iter().filter_map(name).collect(), page.next_after)
}

#[test]
fn pag1_the_last_page_has_no_cursor() {
    let ordinals: BTreeSet<u64> = (1..=4).collect();
    assert_eq!(page(&ordinals, 2, 0), (vec![1, 2], Some(2)));
    assert_eq!(page(&ordinals, 2, 2), (vec![3, 4], None));
    assert_eq!(page(&ordinals, 2, 9), (vec![], None));
    assert_eq!(page(&BTreeSet::new(), 2, 0), (vec![], None));
    let items = items(&ordinals);
    let first = Pages::encode(&items, Revision::LATEST, 2).page(&items, Revision::LATEST, 0);
    let told: Value = serde_json::from_str(with_cursor(&first.body, "a\"b").as_str()).expect("JSON");
    assert_eq!(told["nextCursor"], json!("a\"b"));
}

#[derive(Debug, Clone)]
enum Change {
    Add,
    Remove(usize),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    prop::collection::vec(prop_oneof![prop::strategy::Just(Change::Add), (0_usize..20).prop_map(Change::Remove)], 0..4)
}

proptest! {
    #[test]
    fn pag1_whatever_stays_is_listed_once_whatever_changes(
        count in 0_u64..20,
        size in 1_usize..6,
        between in prop::collection::vec(changes(), 12),
    ) {
        let mut ordinals: BTreeSet<u64> = (1..=count).collect();
        let (mut next, mut stayed, mut seen) = (count, ordinals.clone(), Vec::new());
        let mut after = 0;
        for changes in between.into_iter().map(Some).chain(std::iter::repeat(None)) {
            let (listed, next_after) = page(&ordinals, size, after);
            prop_assert!(listed.len() <= size);
            seen.extend(listed);
            let Some(last) = next_after else { break };
            prop_assert!(last > after, "it goes on");
            after = last;
            for change in changes.into_iter().flatten() {
                match change {
                    Change::Add => {
                        next += 1;
                        ordinals.insert(next);
                    }
                    Change::Remove(index) => {
                        if let Some(gone) = ordinals.iter().nth(index).copied() {
                            ordinals.remove(&gone);
                            stayed.remove(&gone);
                        }
                    }
                }
            }
        }
        let once: BTreeSet<u64> = seen.iter().copied().collect();
        prop_assert_eq!(once.len(), seen.len(), "nothing twice");
        prop_assert!(stayed.is_subset(&once), "nothing is left out");
    }
}
