use std::time::Duration;

use andon_bench::figure::{Figure, Sample};
use andon_bench::peer::Peer;
use andon_bench::wire::{Era, InProcess};

use super::{Case, Report, of_calls};
use crate::workload::{Sizes, Workload};

fn case(peer: Peer, rounds: &[f64]) -> Case {
    let sample = |&value| Sample::from([(Figure::PerCpuSecond, value), (Figure::P99Us, 80.0)]);
    let turn = of_calls(Workload::Echo, Era::Modern, peer);
    Case { rounds: rounds.iter().map(sample).collect(), ..Case::new(turn) }
}

fn report() -> Report {
    let sizes = Sizes {
        rounds: 3,
        window: Duration::from_secs(1),
        warm_up: Duration::ZERO,
        rate: 1.0,
        sessions: 1,
        listeners: 1,
        neighbours: 1,
        idle: 1,
        settle: Duration::ZERO,
    };
    let mut failed = case(Peer::Python, &[]);
    failed.failed = Some("it | fell".to_owned());
    let mut report = Report {
        machine: "a machine".to_owned(),
        server_cores: Vec::new(),
        generator_cores: Vec::new(),
        sizes,
        // The machine was slow in the second round, for all.
        cases: vec![
            case(Peer::Floor, &[40.0, 4.0, 40.0]),
            case(Peer::Andon, &[30.0, 3.0, 30.0]),
            case(Peer::RmcpStateless, &[10.0, 1.0, 10.0]),
            failed,
        ],
        left_out: Vec::new(),
        in_process: vec![InProcess {
            peer: Peer::Andon,
            era: Era::Modern,
            allocations: 61.0,
            bytes: 1.0,
            calls_per_s: 300_000.0,
            threads: 4,
        }],
        verdicts: Vec::new(),
    };
    report.judge();
    report
}

#[test]
fn a_ratio_compares_within_a_round() {
    let said: Vec<_> =
        report().verdicts.iter().map(|verdict| (verdict.measured.unwrap().median, verdict.holds)).collect();
    assert_eq!(said, [(0.75, false), (3.0, true), (61.0, false), (300_000.0, true)]);
}

#[test]
fn every_row_of_a_table_is_as_long_as_its_head() {
    let text = report().text();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("| ") && line.contains("modern")).collect();
    assert!(lines.iter().any(|line| line.contains("| andon | 30 | 0.75 | 0.00 |")), "{text}");
    assert!(lines.iter().any(|line| line.contains("it / fell")), "{text}");
    let columns = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().matches('|').count();
    assert_eq!(columns("| era |"), columns("|---|---|--:|---"));
    assert_eq!(columns("| era |"), columns("| modern | HTTP/1.1 | 64 | andon"));
}

#[test]
fn what_was_measured_is_plotted_and_kept() {
    let report = report();
    let names: Vec<_> = report.plots().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["echo-per-cpu-s.svg", "echo-p99-us.svg"]);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["cases"][1]["peer"], "andon");
    assert_eq!(json["cases"][1]["rounds"][0]["per_cpu_second"], 30.0);
}

#[test]
fn what_was_to_be_measured_and_failed_does_not_hold() {
    let mut report = report();
    report.cases[1].rounds.clear();
    report.judge();
    let first = &report.verdicts[0];
    assert!(first.measured.is_none() && !first.holds, "{first:?}");
    assert!(report.text().contains("not measured"), "{}", report.text());
}

#[test]
fn a_server_of_ours_that_fails_late_is_no_success() {
    let mut report = report();
    report.verdicts.clear();
    assert!(report.holds(), "somebody else's may fail");
    report.cases[1].failed = Some("round 3: it fell".to_owned());
    assert!(!report.holds());
    assert!(report.text().contains("`andon` failed (modern, HTTP/1.1, 64 at once) in round 3: it fell"));
}
