//! Tasks: work that goes on after its request was answered (2025-11-25, utilities, "Tasks"; from 2026-07-28 on an
//! extension).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::revision::Rules;

/// The name of the extension (2026-07-28).
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Whether these extensions have tasks among them. What else a peer declares does not count: not the capability `tasks` of
/// 2025-11-25.
pub fn declares_tasks(extensions: Option<&Map<String, Value>>) -> bool {
    extensions.is_some_and(|known| known.get(TASKS_EXTENSION).is_some_and(Value::is_object))
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It runs.
    Working,
    /// It waits for answers of the client.
    InputRequired,
    /// It came to a result.
    Completed,
    /// It came to an error; in 2025-11-25 also to a tool's result with `isError`.
    Failed,
    /// It was ended before it came to anything.
    Cancelled,
}

impl TaskStatus {
    /// Whether it is the last one that the task has.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whether a tool runs as a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskSupport {
    /// Never.
    #[default]
    Forbidden,
    /// If the client takes tasks.
    Optional,
    /// Always; clients that do not take tasks cannot call it.
    Required,
}

/// What a peer is told of a task. Reads both spellings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskInfo {
    /// Names it; a secret where there is no other proof of whose it is.
    pub task_id: String,
    /// Where it stands.
    pub status: TaskStatus,
    /// What that means, for people.
    #[serde(default)]
    pub status_message: Option<String>,
    /// When it began (ISO 8601).
    pub created_at: String,
    /// When it last changed (ISO 8601).
    pub last_updated_at: String,
    /// How long it is kept, since its beginning, in milliseconds; without end if absent.
    #[serde(default, alias = "ttl")]
    pub ttl_ms: Option<u64>,
    /// How long to wait between two looks at it, in milliseconds.
    #[serde(default, alias = "pollInterval")]
    pub poll_interval_ms: Option<u64>,
}

impl TaskInfo {
    /// The members of its object as `rules` spell them.
    pub fn members(&self, rules: &Rules) -> Map<String, Value> {
        let (ttl, poll_interval) =
            if rules.tasks_extension { ("ttlMs", "pollIntervalMs") } else { ("ttl", "pollInterval") };
        let mut members = Map::new();
        members.insert("taskId".into(), self.task_id.clone().into());
        members.insert("status".into(), self.status.as_str().into());
        if let Some(message) = &self.status_message {
            members.insert("statusMessage".into(), message.clone().into());
        }
        members.insert("createdAt".into(), self.created_at.clone().into());
        members.insert("lastUpdatedAt".into(), self.last_updated_at.clone().into());
        members.insert(ttl.into(), self.ttl_ms.into());
        if let Some(interval) = self.poll_interval_ms {
            members.insert(poll_interval.into(), interval.into());
        }
        members
    }
}

/// `since_1970_ms` as ISO 8601 in UTC, with milliseconds.
pub fn iso8601(since_1970_ms: u64) -> String {
    let (days, ms) = (since_1970_ms / 86_400_000, since_1970_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// The date that is `days` after 1970-01-01, by years that begin in March, so that a leap day ends one.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests;
