//! What is measured: figures, the sample of a round, and what rounds say together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A kind of number that a workload gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Calls, sessions or deliveries per second of the server's processor time.
    PerCpuSecond,
    /// Calls, sessions or deliveries per second.
    PerSecond,
    /// Microseconds of the server's processor time for each.
    CpuUs,
    /// Half took no longer, in microseconds.
    P50Us,
    /// Of a hundred one took longer, in microseconds.
    P99Us,
    /// Of a thousand one took longer, in microseconds.
    P999Us,
    /// The same as `P99Us` in the same turn, before the bad neighbours came, in microseconds.
    P99BeforeUs,
    /// The same after they went, in microseconds.
    P99AfterUs,
    /// `P99Us` as a multiple of what it is before and after, taken together.
    P99Times,
    /// From an update until the last one has it, in milliseconds: the median.
    LastMs,
    /// The server's resident memory at the end, in MiB.
    ResidentMib,
    /// By how much the server's resident memory grew, in MiB.
    GrownMib,
    /// Sessions opened per second.
    SessionsPerSecond,
    /// Resident memory of a session without a stream, in bytes.
    SessionBytes,
    /// Streams opened per second.
    StreamsPerSecond,
    /// Resident memory that a stream adds, its connection included, in bytes.
    StreamBytes,
    /// Memory in the kernel's socket buffers and structures for each connection, both ends, in bytes.
    KernelBytes,
}

impl Figure {
    /// The head of its column.
    pub fn heading(self) -> &'static str {
        match self {
            Self::PerCpuSecond => "per CPU s",
            Self::PerSecond => "per s",
            Self::CpuUs => "CPU us",
            Self::P50Us => "p50 us",
            Self::P99Us => "p99 us",
            Self::P999Us => "p99.9 us",
            Self::P99BeforeUs => "p99 us before",
            Self::P99AfterUs => "p99 us after",
            Self::P99Times => "p99 / alone",
            Self::LastMs => "until the last, ms",
            Self::ResidentMib => "RSS MiB",
            Self::GrownMib => "RSS grown, MiB",
            Self::SessionsPerSecond => "sessions per s",
            Self::SessionBytes => "bytes per session",
            Self::StreamsPerSecond => "streams per s",
            Self::StreamBytes => "bytes per stream",
            Self::KernelBytes => "kernel bytes per stream",
        }
    }

    /// Digits behind the point in a table.
    pub fn decimals(self) -> usize {
        match self {
            Self::CpuUs | Self::ResidentMib | Self::GrownMib => 1,
            Self::P99Times | Self::LastMs => 2,
            _ => 0,
        }
    }
}

/// What one server did in one round.
pub type Sample = BTreeMap<Figure, f64>;

/// The middle of what the rounds say, and how far they are apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of some values, if there are any.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let is_even = values.len().is_multiple_of(2);
        let median = if is_even { f64::midpoint(values[middle - 1], values[middle]) } else { values[middle] };
        Some(Self { median, min, max })
    }

    /// All of it so many times.
    pub fn times(self, factor: f64) -> Self {
        Self { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }
}

/// What is asked of a figure.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// It is this or less.
    AtMost(f64),
    /// It is this or more.
    AtLeast(f64),
}

impl Asked {
    /// Whether it is what is asked for.
    pub fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(most) => measured <= most,
            Self::AtLeast(least) => measured >= least,
        }
    }

    /// In words, with the number as `write` writes it.
    pub fn text(self, write: fn(f64) -> String) -> String {
        match self {
            Self::AtMost(most) => format!("at most {}", write(most)),
            Self::AtLeast(least) => format!("at least {}", write(least)),
        }
    }
}

#[cfg(test)]
mod tests;
