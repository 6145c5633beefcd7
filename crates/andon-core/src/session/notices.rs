//! Changes that belong to no request: announced at most once per interval, the last one never lost.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use andon_types::message::encode_notification;
use andon_types::meta::Level;
use serde::Deserialize;

use super::{Phase, Session};
use crate::io::{ListKind, Output, Timestamp};
use crate::limits::Limits;
use crate::meter::Bucket;
use crate::update::Update;

/// One thing that changes: when that was last said, and whether it has changed since.
#[derive(Debug, Clone, Copy, Default)]
struct Notice {
    said_at: Option<Timestamp>,
    pending: bool,
}

impl Notice {
    fn due_at(&self, interval: Duration) -> Timestamp {
        self.said_at.map_or(Timestamp::default(), |said| said.after(interval))
    }
}

/// What may be said.
#[derive(Debug, Clone)]
pub(crate) enum Due {
    List(ListKind),
    Update(Update),
}

/// Most conversations have none most of the time.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    known: Option<Box<Known>>,
    /// Whether there is somewhere to say it; without, nothing is due.
    heard: bool,
}

#[derive(Debug, Default)]
struct Known {
    lists: [Notice; 3],
    updates: BTreeMap<Update, Notice>,
    log: Option<Bucket>,
    logs_dropped: u64,
}

impl Known {
    fn all(&self) -> impl Iterator<Item = &Notice> {
        self.lists.iter().chain(self.updates.values())
    }
}

impl Notices {
    pub(crate) fn mark_list(&mut self, kind: ListKind) {
        self.known().lists[kind as usize].pending = true;
    }

    pub(crate) fn mark_update(&mut self, update: &Update) {
        self.known().updates.entry(update.clone()).or_default().pending = true;
    }

    pub(crate) fn forget(&mut self, uri: &str) {
        if let Some(known) = &mut self.known {
            known.updates.remove(uri);
        }
    }

    /// Gives back the memory of what has rested: it is as if it had never been said.
    pub(crate) fn shrink(&mut self, now: Timestamp, limits: &Limits) {
        let rests = |notice: &Notice| !notice.pending && notice.due_at(limits.change_interval) <= now;
        let is_full = |bucket: &Bucket| bucket.is_full(now, limits.logs_per_s);
        let done =
            |known: &Known| known.all().all(rests) && known.log.as_ref().is_none_or(is_full) && known.logs_dropped == 0;
        self.known.take_if(|known| done(known));
    }

    fn known(&mut self) -> &mut Known {
        self.known.get_or_insert_default()
    }

    /// When something pending may be said.
    pub(crate) fn deadline(&self, limits: &Limits) -> Option<Timestamp> {
        let known = self.known.as_ref().filter(|_| self.heard)?;
        known.all().filter(|notice| notice.pending).map(|notice| notice.due_at(limits.change_interval)).min()
    }

    /// Takes what may be said now.
    pub(crate) fn take_due(&mut self, now: Timestamp, interval: Duration) -> Vec<Due> {
        let mut due = Vec::new();
        let Some(known) = &mut self.known else { return due };
        let take = |notice: &mut Notice| {
            let is_due = notice.pending && notice.due_at(interval) <= now;
            if is_due {
                *notice = Notice { said_at: Some(now), pending: false };
            }
            is_due
        };
        due.extend(ListKind::ALL.into_iter().filter(|kind| take(&mut known.lists[*kind as usize])).map(Due::List));
        let updates = known.updates.iter_mut().filter_map(|(update, notice)| take(notice).then_some(update));
        due.extend(updates.cloned().map(Due::Update));
        // What was said and has rested needs no memory.
        known.updates.retain(|_, notice| notice.pending || notice.due_at(interval) > now);
        due
    }

    /// Lets a log notification through, and says how many were dropped before it.
    pub(crate) fn admit_log(&mut self, now: Timestamp, per_s: u32) -> Option<u64> {
        let known = self.known();
        if known.log.get_or_insert_with(|| Bucket::new(now, per_s)).take(now, per_s) {
            Some(std::mem::take(&mut known.logs_dropped))
        } else {
            known.logs_dropped += 1;
            None
        }
    }

    pub(crate) fn set_heard(&mut self, heard: bool) {
        self.heard = heard;
    }
}

impl Session {
    pub(super) fn changed(&mut self, now: Timestamp, kind: ListKind, out: &mut Vec<Output>) {
        self.notices.mark_list(kind);
        self.flush_notices(now, out);
    }

    pub(super) fn updated(&mut self, now: Timestamp, update: &Update, out: &mut Vec<Output>) {
        if self.subscriptions.contains(update.uri()) {
            self.notices.mark_update(update);
            self.flush_notices(now, out);
        }
    }

    /// Says what belongs to a task, if there is a standing stream.
    pub(super) fn notify(
        &mut self,
        now: Timestamp,
        method: &'static str,
        params: &str,
        level: Option<Level>,
        out: &mut Vec<Output>,
    ) {
        let Some(stream) = self.standing_stream().filter(|_| self.phase == Phase::Initialized) else { return };
        if let Some(level) = level
            && (level < self.log_level || self.notices.admit_log(now, self.limits.logs_per_s).is_none())
        {
            return out.push(Output::Dropped("log notification over the rate or below the level"));
        }
        self.send(stream, encode_notification(method, Some(params)), 200, out);
    }

    /// Takes what the notification `text` announced as not announced yet.
    pub(super) fn mark_again(&mut self, text: &str) {
        #[derive(Deserialize)]
        struct Announced<'a> {
            #[serde(borrow)]
            method: Cow<'a, str>,
            #[serde(default)]
            params: About,
        }
        #[derive(Deserialize, Default)]
        struct About {
            uri: Option<Arc<str>>,
        }
        let Ok(announced) = serde_json::from_str::<Announced<'_>>(text) else { return };
        let list = ListKind::ALL.into_iter().find(|kind| kind.notification() == announced.method);
        match (list, announced.params.uri) {
            (Some(kind), _) => self.notices.mark_list(kind),
            (None, Some(uri)) if self.subscriptions.contains(&uri) => self.notices.mark_update(&uri.into()),
            (None, _) => {}
        }
    }

    /// Says what is due, if there is a standing stream; otherwise it waits for one. A change that happened
    /// before the client was ready for notifications is nothing to it: it has seen no list yet.
    pub(super) fn flush_notices(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let stream = self.standing_stream().filter(|_| self.phase == Phase::Initialized);
        self.notices.set_heard(stream.is_some());
        let Some(stream) = stream else { return };
        for due in self.notices.take_due(now, self.limits.change_interval) {
            let text = match due {
                Due::List(kind) => encode_notification(kind.notification(), None).into(),
                Due::Update(update) => update.text(),
            };
            self.send(stream, text, 200, out);
        }
    }
}
