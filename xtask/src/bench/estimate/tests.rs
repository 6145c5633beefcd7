use super::{Range, Verdict, interval};

#[test]
fn a_verdict_needs_the_whole_interval_on_one_side() {
    let verdict = |low, high| Verdict::of((low, high), 1.05);
    assert_eq!(verdict(1.06, 1.2), Verdict::Worse);
    assert_eq!(verdict(1.0, 1.2), Verdict::Unclear);
    assert_eq!(verdict(0.98, 1.04), Verdict::Same);
    assert_eq!(verdict(0.5, 0.9), Verdict::Better);
}

#[test]
fn an_interval_holds_the_ratio_and_narrows_with_rounds() {
    assert_eq!(interval(&[1.0, 1.1]), None);
    let (low, middle, high) = interval(&[1.0, 1.1, 1.21]).unwrap();
    assert!((middle - 1.1).abs() < 1e-9 && low < 1.0 && high > 1.2, "{low} {middle} {high}");
    let many: Vec<f64> = [1.0, 1.1, 1.21].into_iter().cycle().take(60).collect();
    let (low, _, high) = interval(&many).unwrap();
    assert!(low > 1.07 && high < 1.13, "{low} {high}");
}

#[test]
fn a_ratio_of_counts_is_as_uncertain_as_they_are() {
    let (old, new) = (Range::of(&[100, 104, 102]).unwrap(), Range::of(&[110, 106, 107]).unwrap());
    let (low, high) = new.ratio(old);
    assert!((low - 106.0 / 104.0).abs() < 1e-9 && (high - 1.1).abs() < 1e-9, "{low} {high}");
    assert_eq!((old.middle(), Range::of(&[])), (102, None));
}
