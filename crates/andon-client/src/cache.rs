//! What a server allows to keep: lists and resources, as long as it says and nobody says that they changed.
//!
//! A cache belongs to one client, and with it to one principal: nothing is shared, whatever `cacheScope` allows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use andon_types::message::Json;
use serde::Deserialize;
use tokio::time::Instant;

use crate::event::Event;

/// Results that are kept.
const ENTRIES_MAX: usize = 256;
/// Bytes of one result that is kept.
const ENTRY_BYTES_MAX: usize = 4 << 20;
/// The longest time, whatever the server says.
const TTL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept of one server.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// By method, and by URI for resources.
    entries: HashMap<(&'static str, String), Entry>,
    /// Counts changes, so that what was asked for before one is not kept after it.
    epoch: u64,
}

struct Entry {
    pages: Vec<Json>,
    until: Instant,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hint {
    #[serde(default)]
    ttl_ms: u64,
}

impl Cache {
    /// Where to put what is asked for now.
    pub(crate) fn epoch(&self) -> u64 {
        self.kept().epoch
    }

    pub(crate) fn get(&self, method: &'static str, subject: &str) -> Option<Vec<Json>> {
        let kept = self.kept();
        let entry = kept.entries.get(&(method, subject.to_owned()))?;
        (entry.until > Instant::now()).then(|| entry.pages.clone())
    }

    /// Keeps `pages` for the shortest time that one of them allows, unless something changed since `epoch`.
    pub(crate) fn put(&self, epoch: u64, method: &'static str, subject: &str, pages: &[Json]) {
        let ttl = |page: &Json| page.parse::<Hint>().map_or(0, |hint| hint.ttl_ms);
        let ttl = Duration::from_millis(pages.iter().map(ttl).min().unwrap_or(0)).min(TTL_MAX);
        let bytes: usize = pages.iter().map(|page| page.as_str().len()).sum();
        let mut kept = self.kept();
        if ttl.is_zero() || bytes > ENTRY_BYTES_MAX || kept.epoch != epoch {
            return;
        }
        if kept.entries.len() >= ENTRIES_MAX {
            let now = Instant::now();
            kept.entries.retain(|_, entry| entry.until > now);
            if kept.entries.len() >= ENTRIES_MAX {
                kept.entries.clear();
            }
        }
        let entry = Entry { pages: pages.to_vec(), until: Instant::now() + ttl };
        kept.entries.insert((method, subject.to_owned()), entry);
    }

    /// Forgets what `event` says is old.
    pub(crate) fn heed(&self, event: &Event) {
        match event {
            Event::ToolsChanged => self.forget(|method, _| method == "tools/list"),
            Event::PromptsChanged => self.forget(|method, _| method == "prompts/list"),
            Event::ResourcesChanged => {
                self.forget(|method, _| matches!(method, "resources/list" | "resources/templates/list"));
            }
            Event::ResourceUpdated(uri) => {
                // A change of a folder may be told by its own URI.
                self.forget(|method, subject| method == "resources/read" && subject.starts_with(uri.as_str()));
            }
            _ => {}
        }
    }

    pub(crate) fn clear(&self) {
        self.forget(|_, _| true);
    }

    fn forget(&self, is_old: impl Fn(&str, &str) -> bool) {
        let mut kept = self.kept();
        kept.epoch += 1;
        kept.entries.retain(|(method, subject), _| !is_old(method, subject));
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
