//! Rates: a bucket that lets a burst through, and the progress of one call.

use std::fmt::Write as _;
use std::time::Duration;

use andon_types::meta::ProgressToken;
use andon_types::revision::Rules;
use serde_json::json;

use crate::io::Timestamp;

/// Lets through `per_s` things at once and then `per_s` each second.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    /// Thousandths of a thing.
    level: u64,
    filled_at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub fn new(now: Timestamp, per_s: u32) -> Self {
        Self { level: u64::from(per_s) * 1000, filled_at: now }
    }

    /// Whether it is as full as a new one.
    pub fn is_full(&self, now: Timestamp, per_s: u32) -> bool {
        self.filled(now, per_s) == u64::from(per_s) * 1000
    }

    /// Takes one thing, if there is one.
    pub fn take(&mut self, now: Timestamp, per_s: u32) -> bool {
        self.level = self.filled(now, per_s);
        self.filled_at = self.filled_at.max(now);
        let there = self.level >= 1000;
        if there {
            self.level -= 1000;
        }
        there
    }

    fn filled(&self, now: Timestamp, per_s: u32) -> u64 {
        let gained = now.0.saturating_sub(self.filled_at.0).saturating_mul(u64::from(per_s));
        self.level.saturating_add(gained).min(u64::from(per_s) * 1000)
    }
}

/// Progress of one call: bound to the request's own token, strictly increasing, and never faster than the limit.
/// What is too fast is held, and the latest held value is sent when it is due or before the answer.
#[derive(Debug, Clone)]
pub struct Progress {
    token: ProgressToken,
    bucket: Bucket,
    last: Option<f64>,
    held: Option<String>,
    held_until: Timestamp,
}

/// A finite number as people write it: 3, and not 3.0.
struct Plain(f64);

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        /// Up to here all integers are numbers of this type.
        const INTEGERS_MAX: f64 = (1_u64 << 53) as f64;
        if self.0.fract() == 0.0 && self.0.abs() <= INTEGERS_MAX {
            write!(f, "{:.0}", self.0)
        } else {
            write!(f, "{}", json!(self.0))
        }
    }
}

impl Progress {
    /// The progress of a request that carried `token`.
    pub fn new(token: ProgressToken, now: Timestamp, per_s: u32) -> Self {
        Self { token, bucket: Bucket::new(now, per_s), last: None, held: None, held_until: now }
    }

    /// The parameters to send now, if any. A value that does not increase is dropped (utilities, "Progress").
    pub fn report(
        &mut self,
        now: Timestamp,
        per_s: u32,
        (progress, total, message): (f64, Option<f64>, Option<&str>),
        rules: &Rules,
    ) -> Option<String> {
        if !progress.is_finite() || self.last.is_some_and(|last| progress <= last) {
            return None;
        }
        self.last = Some(progress);
        let mut params = format!(r#"{{"progressToken":{},"progress":{}"#, json!(self.token), Plain(progress));
        if let Some(total) = total.filter(|total| total.is_finite()) {
            write!(params, r#","total":{}"#, Plain(total)).expect("writing to a string does not fail");
        }
        if let Some(message) = message.filter(|_| rules.progress_message) {
            write!(params, r#","message":{}"#, json!(message)).expect("writing to a string does not fail");
        }
        params.push('}');
        if self.held.is_none() && self.bucket.take(now, per_s) {
            return Some(params);
        }
        if self.held.is_none() {
            self.held_until = now.after(Duration::from_millis(1000 / u64::from(per_s.max(1))));
        }
        self.held = Some(params);
        None
    }

    /// What was held, if it is due now.
    pub fn due(&mut self, now: Timestamp, per_s: u32) -> Option<String> {
        if now < self.held_until {
            return None;
        }
        let held = self.held.take()?;
        self.bucket.take(now, per_s);
        Some(held)
    }

    /// What was held, because the answer comes next.
    pub fn finish(&mut self) -> Option<String> {
        self.held.take()
    }

    /// When something held is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.held.as_ref().map(|_| self.held_until)
    }
}
