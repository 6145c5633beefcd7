//! Times in buckets that grow with them: small, of a fixed size, exact to 1.6 %.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Buckets between a power of two and the next.
const STEPS: usize = 64;
const STEPS_LOG2: u32 = STEPS.trailing_zeros();
/// The longest time that is told apart is 2^42 ns, more than an hour.
const BUCKETS: usize = (42 - STEPS_LOG2 as usize + 1) * STEPS;

/// How often which time was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Histogram {
    counts: Vec<u32>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0 }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn record(&mut self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds).min(BUCKETS - 1)] += 1;
        self.count += 1;
    }

    /// Counts all times of another one.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The time, in microseconds, that a part of `quantile` (0 to 1) of all did not exceed. Without any it is 0.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((self.count as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return middle_ns(index) / 1e3;
            }
        }
        0.0
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let magnitude = nanoseconds.max(1).ilog2();
    if magnitude < STEPS_LOG2 {
        return usize::try_from(nanoseconds).unwrap_or(0);
    }
    let shift = magnitude - STEPS_LOG2;
    let step = usize::try_from(nanoseconds >> shift).unwrap_or(usize::MAX) - STEPS;
    (shift as usize + 1) * STEPS + step
}

/// The middle of a bucket.
fn middle_ns(index: usize) -> f64 {
    if index < STEPS {
        return index as f64;
    }
    let shift = index / STEPS - 1;
    let width = (1_u64 << shift) as f64;
    ((STEPS + index % STEPS) as f64 + 0.5) * width
}

#[cfg(test)]
mod tests;
