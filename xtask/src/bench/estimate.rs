//! Ratios, where they lie, and what follows.

use std::fmt;

/// What a ratio of costs, new to old, says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Same,
    /// More than the limit, certainly.
    Worse,
    /// It may lie on either side of the limit.
    Unclear,
}

impl Verdict {
    /// Of a ratio that lies between these; above `limit` is worse.
    pub(super) fn of((low, high): (f64, f64), limit: f64) -> Self {
        if low > limit {
            Self::Worse
        } else if high > limit {
            Self::Unclear
        } else if high < 1.0 / limit {
            Self::Better
        } else {
            Self::Same
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::Same => "the same",
            Self::Worse => "WORSE",
            Self::Unclear => "unclear",
        })
    }
}

/// Two-sided 95 % points of Student's distribution, from two degrees of freedom on.
const STUDENT: [f64; 19] = [
    4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086,
];

/// The lower end, the middle and the upper end of what the ratios of the rounds say; at least three.
pub(super) fn interval(ratios: &[f64]) -> Option<(f64, f64, f64)> {
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = ratios.len() as f64;
    let point = *STUDENT.get(ratios.len().checked_sub(3)?).unwrap_or(&1.96);
    let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let half = point * (variance / count).sqrt();
    Some(((mean - half).exp(), mean.exp(), (mean + half).exp()))
}

/// Where counts of the same lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) fewest: u64,
    pub(super) most: u64,
}

impl Range {
    pub(super) fn of(counts: &[u64]) -> Option<Self> {
        Some(Self { fewest: *counts.iter().min()?, most: *counts.iter().max()? })
    }

    pub(super) fn middle(self) -> u64 {
        self.fewest.midpoint(self.most)
    }

    /// Between which multiples of `old` this lies.
    #[allow(clippy::cast_precision_loss, reason = "counts below 2^52")]
    pub(super) fn ratio(self, old: Self) -> (f64, f64) {
        let of = |new: u64, old: u64| new as f64 / old.max(1) as f64;
        (of(self.fewest, old.most), of(self.most, old.fewest))
    }
}

/// `count` times `factor`.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below 2^52")]
pub(super) fn scaled(count: u64, factor: f64) -> u64 {
    (count as f64 * factor) as u64
}

#[cfg(test)]
mod tests;
