use super::{Bug, Watch, run_all, run_all_watched, run_nodes};

/// How many worlds there are in a test.
const SEEDS: u64 = 10_000;

#[test]
fn what_was_acknowledged_survives_ten_thousand_worlds() {
    let tally = run_all(0..SEEDS, None).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{tally}");
    let floors = [
        (tally.acks, 100_000),
        (tally.events, 100_000),
        (tally.updates, 10_000),
        (tally.runs, 50_000),
        (tally.ends, 1_000),
        (tally.unknown, 1_000),
        (tally.crashes, 10_000),
        (tally.outages, 5_000),
        (tally.takeovers, 10_000),
        (tally.fenced, 1_000),
        (tally.unsure, 5_000),
    ];
    assert!(floors.iter().all(|(count, floor)| count >= floor), "hardly anything happened: {tally}");
}

#[test]
fn every_planted_bug_is_found_by_what_clients_see() {
    for bug in Bug::ALL {
        let found = run_all_watched(0..SEEDS, Some(bug), Watch::Clients);
        let Err(broken) = found else { panic!("{bug:?} is not found") };
        println!("{bug:?} is found by seed {}: {}", broken.seed, broken.why);
        assert!(!broken.history.is_empty(), "the history says how");
    }
}

#[test]
fn a_seed_is_a_world_of_nodes() {
    assert_eq!(run_nodes(7, None), run_nodes(7, None));
    assert_ne!(run_nodes(7, None), run_nodes(8, None));
}
