use andon_bench::peer::Peer;
use andon_bench::wire::{Allocations, Era};

use super::{Case, Report, median};
use crate::load::Sample;

fn case(peer: Peer, rounds: &[f64]) -> Case {
    let sample = |&calls_per_cpu_second| Sample {
        calls_per_cpu_second,
        calls_per_second: 1.0,
        p50_us: 1.0,
        p99_us: 1.0,
        resident_kib: 1,
    };
    Case { peer, era: Era::Modern, samples: rounds.iter().map(sample).collect() }
}

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(median(vec![9.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
    assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]).to_bits(), 3.0_f64.to_bits());
}

#[test]
fn a_ratio_compares_within_a_round() {
    let mut report = Report {
        server_cores: Vec::new(),
        generator_cores: Vec::new(),
        connections: 1,
        seconds: 1.0,
        // The machine was slow in the second round, for both.
        cases: vec![case(Peer::RmcpStateless, &[10.0, 1.0, 10.0]), case(Peer::Andon, &[30.0, 3.0, 30.0])],
        allocations: vec![Allocations { peer: Peer::Andon, era: Era::Modern, per_call: 61.0, bytes_per_call: 1.0 }],
        verdicts: Vec::new(),
    };
    report.judge();
    let said: Vec<_> = report.verdicts.iter().map(|verdict| (verdict.measured, verdict.holds)).collect();
    assert_eq!(said, [(3.0, true), (61.0, false)]);
}
