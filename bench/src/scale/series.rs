//! Whether a series of measurements is flat.

use serde::Serialize;

/// The means of so many parts of a series are compared: neighbours in a series depend on each other, and such means hardly.
const PARTS: usize = 20;
/// Of Student's distribution with 18 degrees of freedom, for 95 %.
const STUDENT: f64 = 2.101;

/// A straight line through a series.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Slope {
    /// Growth per hour.
    pub per_hour: f64,
    /// With 95 % confidence it is at least this, per hour.
    pub low_per_hour: f64,
    /// With 95 % confidence it is at most this, per hour.
    pub high_per_hour: f64,
    /// The mean of the series.
    pub mean: f64,
}

impl Slope {
    /// Whether the series is flat: it is certain that it grows by less than `part` of its mean in so many hours.
    pub fn is_flat(&self, part: f64, hours: f64) -> bool {
        self.high_per_hour * hours <= self.mean * part
    }
}

/// The slope of values that were measured once a second. None: there are too few.
pub fn slope(values: &[f64]) -> Option<Slope> {
    let length = values.len() / PARTS;
    if length == 0 {
        return None;
    }
    let means: Vec<f64> = values.chunks_exact(length).take(PARTS).map(mean).collect();
    let count = PARTS as f64;
    let (middle, level) = ((count - 1.0) / 2.0, mean(&means));
    let at = |part: usize| part as f64 - middle;
    let spread: f64 = (0..PARTS).map(|part| at(part).powi(2)).sum();
    let slope = means.iter().enumerate().map(|(part, mean)| at(part) * (mean - level)).sum::<f64>() / spread;
    let residual = means.iter().enumerate().map(|(part, mean)| (mean - level - slope * at(part)).powi(2)).sum::<f64>();
    let error = STUDENT * (residual / (count - 2.0) / spread).sqrt();
    let per_hour = 3600.0 / length as f64;
    Some(Slope {
        per_hour: slope * per_hour,
        low_per_hour: (slope - error) * per_hour,
        high_per_hour: (slope + error) * per_hour,
        mean: level,
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests;
