//! Lists on the wire: encoded once, in pages.

use std::sync::Arc;

use andon_core::io::Text;
use andon_types::adapt::Adapt as _;
use andon_types::revision::Revision;
use serde::Serialize;

use crate::item::Item;

/// One list as the peers of one revision see it.
pub(crate) struct Pages {
    page_size: usize,
    /// Bodies without a cursor.
    bodies: Vec<Arc<str>>,
}

/// One page.
pub(crate) struct Page {
    /// The result without its cursor.
    pub(crate) body: Text,
    /// The ordinal of its last item, if others follow.
    pub(crate) next_after: Option<u64>,
}

impl Pages {
    pub(crate) fn encode<T: Item>(items: &[Arc<T>], revision: Revision, page_size: usize) -> Self {
        let page_size = page_size.max(1);
        let mut bodies: Vec<Arc<str>> = items.chunks(page_size).map(|page| encode(page, revision).into()).collect();
        if bodies.is_empty() {
            bodies.push(encode::<T>(&[], revision).into());
        }
        Self { page_size, bodies }
    }

    /// The page after the item with the ordinal `after`; 0 is before the first.
    pub(crate) fn page<T: Item>(&self, items: &[Arc<T>], revision: Revision, after: u64) -> Page {
        let start = items.partition_point(|item| item.ordinal() <= after);
        let end = items.len().min(start.saturating_add(self.page_size));
        let body = match self.bodies.get(start / self.page_size).filter(|_| start % self.page_size == 0) {
            Some(body) => Text::Shared(Arc::clone(body)),
            // Items in front were removed since the client got its cursor.
            None => Text::Owned(encode(&items[start..end], revision)),
        };
        Page { body, next_after: (end < items.len()).then(|| items[end - 1].ordinal()) }
    }
}

/// The page of those items that `sees` lets through, after the ordinal `after`.
pub(crate) fn page_of<T: Item>(
    items: &[Arc<T>],
    revision: Revision,
    page_size: usize,
    after: u64,
    sees: impl Fn(&T) -> bool,
) -> Page {
    let start = items.partition_point(|item| item.ordinal() <= after);
    let mut seen = items[start..].iter().filter(|item| sees(item));
    let page: Vec<Arc<T>> = seen.by_ref().take(page_size).cloned().collect();
    let next_after = seen.next().and_then(|_| page.last().map(|item| item.ordinal()));
    Page { body: Text::Owned(encode(&page, revision)), next_after }
}

/// The body with `cursor` as its last member.
pub(crate) fn with_cursor(body: &Text, cursor: &str) -> Text {
    let body = body.as_str();
    let cursor = serde_json::to_string(cursor).expect("a string is JSON");
    Text::Owned(format!("{},\"nextCursor\":{cursor}}}", &body[..body.len() - 1]))
}

fn encode<T: Item>(items: &[Arc<T>], revision: Revision) -> String {
    let rules = revision.rules();
    let adapted: Vec<T::Wire> = items
        .iter()
        .map(|item| {
            let mut wire = item.wire().clone();
            wire.adapt(rules);
            wire
        })
        .collect();
    body(T::MEMBER, &adapted)
}

/// The text of an object with one member.
pub(crate) fn body<W: Serialize + ?Sized>(member: &str, value: &W) -> String {
    let value = serde_json::to_string(value).expect("definitions have string keys only");
    format!("{{\"{member}\":{value}}}")
}

#[cfg(test)]
mod tests;
