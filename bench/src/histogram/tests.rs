use std::time::Duration;

use super::{Histogram, bucket};

#[test]
fn quantiles_are_exact_to_two_percent() {
    let mut histogram = Histogram::default();
    for microseconds in 1..=10_000 {
        histogram.record(Duration::from_micros(microseconds));
    }
    assert_eq!(histogram.count(), 10_000);
    for (quantile, expected) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.999, 9_990.0), (1.0, 10_000.0)] {
        let measured = histogram.quantile_us(quantile);
        assert!((measured / expected - 1.0).abs() < 0.02, "{quantile}: {measured}");
    }
}

#[test]
fn buckets_follow_each_other_without_a_gap() {
    let mut last = 0;
    for nanoseconds in 0..100_000 {
        let next = bucket(nanoseconds);
        assert!(next == last || next == last + 1, "{nanoseconds}");
        last = next;
    }
}

#[test]
fn the_shortest_and_the_longest_time_have_a_place() {
    let mut histogram = Histogram::default();
    assert!(histogram.quantile_us(0.99).abs() < f64::EPSILON);
    histogram.record(Duration::ZERO);
    histogram.record(Duration::MAX);
    assert!(histogram.quantile_us(0.5).abs() < f64::EPSILON);
    assert!(histogram.quantile_us(1.0) > 3.6e9);
}

#[test]
fn two_are_added() {
    let (mut one, mut other) = (Histogram::default(), Histogram::default());
    one.record(Duration::from_micros(10));
    other.record(Duration::from_micros(1_000));
    one.add(&other);
    assert_eq!(one.count(), 2);
    assert!(one.quantile_us(0.5) < 11.0 && one.quantile_us(1.0) > 980.0);
}
