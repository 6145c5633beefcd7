//! What is asked for, and whether it holds.

use andon_bench::figure::{Asked, Figure, Spread};
use andon_bench::peer::Peer;
use andon_bench::wire::Era;
use serde::Serialize;

use crate::report::{Report, of_calls};
use crate::workload::{STDIO_WINDOW_MAX, Turn, Workload};

/// A comparison with what is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// What is compared, in words.
    pub(crate) what: String,
    /// What the rounds say, of which the median counts. None: it was to be measured, and failed.
    pub(crate) measured: Option<Spread>,
    /// What is asked for.
    pub(crate) asked: Asked,
    /// Whether it holds.
    pub(crate) holds: bool,
}

impl Verdict {
    fn least(what: String, measured: Option<Spread>, asked: f64) -> Self {
        Self::of(what, measured, Asked::AtLeast(asked))
    }

    fn most(what: String, measured: Option<Spread>, asked: f64) -> Self {
        Self::of(what, measured, Asked::AtMost(asked))
    }

    fn of(what: String, measured: Option<Spread>, asked: Asked) -> Self {
        let holds = measured.is_some_and(|spread| asked.holds(spread.median));
        Self { what, measured, asked, holds }
    }
}

/// Which part of the floor's calls per CPU second, and how many times as many as `rmcp`: in sessions or each alone, as both do.
const ECHO: [(Era, Peer, Peer, f64); 8] = [
    (Era::Legacy, Peer::Andon, Peer::Floor, 0.8),
    (Era::Legacy, Peer::Andon, Peer::RmcpSessions, 3.5),
    (Era::Legacy, Peer::AndonStateless, Peer::Floor, 0.8),
    (Era::Legacy, Peer::AndonStateless, Peer::RmcpStateless, 2.7),
    (Era::Legacy, Peer::AndonStateless, Peer::RmcpStatelessSse, 2.7),
    (Era::Modern, Peer::Andon, Peer::Floor, 0.8),
    (Era::Modern, Peer::Andon, Peer::RmcpStateless, 2.7),
    (Era::Modern, Peer::Andon, Peer::RmcpStatelessSse, 2.7),
];
/// Of the floor's p99 at the same rate.
const PACED_P99_MAX: f64 = 1.2;
/// Of the floor's sessions per CPU second.
const CREATE_MIN: f64 = 0.6;
/// Of what it is without them.
const NEIGHBOURS_P99_MAX: f64 = 1.2;
/// How many allocations a call may cost in process, and how many calls per second there are of four threads.
const ALLOCATIONS_MAX: f64 = 40.0;
const IN_PROCESS_PER_S_MIN: f64 = 250_000.0;
/// Requests and answers per second over standard input and output, many at once.
const MESSAGES_PER_S_MIN: f64 = 500_000.0;
/// Resident memory of an idle session, and of an idle stream.
const SESSION_BYTES_MAX: f64 = 600.0;
const STREAM_BYTES_MAX: f64 = 6.0 * 1024.0;

/// All that can be said of what was to be measured.
pub(crate) fn judge(report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (era, server, peer, asked) in ECHO {
        let turn = of_calls(Workload::Echo, era, server);
        if report.compares(&turn, peer) {
            let what = format!("echo per CPU second, {}: {} / {}", era.name(), server.name(), peer.name());
            verdicts.push(Verdict::least(what, report.ratio(&turn, peer, Figure::PerCpuSecond), asked));
        }
    }
    for era in [Era::Legacy, Era::Modern] {
        judge_era(report, era, &mut verdicts);
    }
    for counted in report.in_process.iter().filter(|counted| counted.peer == Peer::Andon) {
        let era = counted.era.name();
        let once = |value| Spread::of([value]);
        verdicts.push(Verdict::most(
            format!("allocations per call, {era}"),
            once(counted.allocations),
            ALLOCATIONS_MAX,
        ));
        let what = format!("calls per second in process, {} threads, {era}", counted.threads);
        verdicts.push(Verdict::least(what, once(counted.calls_per_s), IN_PROCESS_PER_S_MIN));
    }
    verdicts
}

fn judge_era(report: &Report, era: Era, verdicts: &mut Vec<Verdict>) {
    let of = |workload| of_calls(workload, era, Peer::Andon);
    if report.compares(&of(Workload::Paced), Peer::Floor) {
        let what = format!("p99 at a fixed rate, {}: andon / floor", era.name());
        let ratio = report.ratio(&of(Workload::Paced), Peer::Floor, Figure::P99Us);
        verdicts.push(Verdict::most(what, ratio, PACED_P99_MAX));
    }
    if report.compares(&of(Workload::Create), Peer::Floor) {
        let ratio = report.ratio(&of(Workload::Create), Peer::Floor, Figure::PerCpuSecond);
        verdicts.push(Verdict::least("sessions created: andon / floor".to_owned(), ratio, CREATE_MIN));
    }
    let values = [
        (Workload::Neighbours, Figure::P99Times, "p99 beside bad neighbours / without", NEIGHBOURS_P99_MAX),
        (Workload::Idle, Figure::SessionBytes, "bytes of an idle session", SESSION_BYTES_MAX),
        (Workload::Idle, Figure::StreamBytes, "bytes of an idle stream", STREAM_BYTES_MAX),
    ];
    for (workload, figure, what, asked) in values {
        // What has no sessions has no bytes of one.
        let is_there = figure != Figure::SessionBytes || era == Era::Legacy;
        if is_there && report.has(&of(workload)) {
            let spread = report.spread(&of(workload), figure);
            verdicts.push(Verdict::most(format!("{what}, {}", era.name()), spread, asked));
        }
    }
    let many = Turn { connections: STDIO_WINDOW_MAX, ..of(Workload::Stdio) };
    if report.has(&many) {
        // Each call is two.
        let messages = report.spread(&many, Figure::PerSecond).map(|calls| calls.times(2.0));
        let what = format!("messages per second over stdio, {STDIO_WINDOW_MAX} calls at once, {}", era.name());
        verdicts.push(Verdict::least(what, messages, MESSAGES_PER_S_MIN));
    }
}
