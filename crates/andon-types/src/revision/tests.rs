use super::{Era, Revision, Rules};

#[test]
fn dates_round_trip_and_are_ordered() {
    for revision in Revision::ALL {
        assert_eq!(Revision::parse(revision.as_str()), Some(revision));
    }
    assert!(Revision::ALL.is_sorted());
    assert_eq!(Revision::parse("1999-01-01"), None);
}

#[test]
fn the_handshake_never_agrees_on_the_modern_revision() {
    let cases = [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        ("", "2025-11-25"),
    ];
    for (proposed, agreed) in cases {
        assert_eq!(Revision::negotiate(proposed).as_str(), agreed, "{proposed}");
    }
}

#[test]
fn only_the_newest_revision_is_modern() {
    let eras = Revision::ALL.map(Revision::era);
    assert_eq!(eras, [Era::Legacy, Era::Legacy, Era::Legacy, Era::Legacy, Era::Modern]);
    assert!(Rules::features().iter().all(|(name, text, _)| !name.is_empty() && text.ends_with('.')));
}
