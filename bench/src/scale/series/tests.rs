use super::slope;

/// A saw of height 2 around `level`, which grows by `growth` a second.
fn saw(seconds: usize, level: f64, growth: f64) -> Vec<f64> {
    (0..seconds).map(|second| level + growth * second as f64 + f64::from(second % 3 == 0) * 2.0).collect()
}

#[test]
fn a_line_that_only_wavers_is_flat() {
    let found = slope(&saw(600, 100.0, 0.0)).unwrap();
    assert!(found.is_flat(0.05, 1.0 / 6.0), "{found:?}");
    assert!(found.low_per_hour <= 0.0 && found.high_per_hour >= 0.0, "{found:?}");
}

#[test]
fn a_line_that_grows_is_found_to() {
    let found = slope(&saw(600, 100.0, 0.01)).unwrap();
    assert!((found.per_hour - 36.0).abs() < 1.0, "{found:?}");
    assert!(!found.is_flat(0.05, 1.0 / 6.0), "6 of 103 in ten minutes are more than a twentieth: {found:?}");
    assert!(found.is_flat(0.5, 1.0), "36 of 103 in an hour are less than half: {found:?}");
}

#[test]
fn a_line_of_which_little_is_certain_is_not_called_flat() {
    let swings: Vec<f64> = (0..600).map(|second| if second / 30 % 2 == 0 { 130.0 } else { 100.0 }).collect();
    let found = slope(&swings).unwrap();
    assert!(found.low_per_hour < 0.0 && !found.is_flat(0.05, 1.0 / 6.0), "{found:?}");
}

#[test]
fn too_few_values_say_nothing() {
    assert!(slope(&[1.0; 19]).is_none());
}
