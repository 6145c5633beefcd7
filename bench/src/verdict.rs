//! What is asked for, and whether it holds.

use andon_bench::figure::Figure;
use andon_bench::peer::Peer;
use andon_bench::wire::Era;
use serde::Serialize;

use crate::report::{Report, of_calls};
use crate::workload::Workload;

/// A comparison with what is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// What is compared, in words.
    pub(crate) what: String,
    /// What was measured.
    pub(crate) measured: f64,
    /// What is asked for.
    pub(crate) asked: f64,
    /// Whether `asked` is the most that is allowed, and not the least.
    pub(crate) is_most: bool,
    /// Whether it holds.
    pub(crate) holds: bool,
}

impl Verdict {
    fn least(what: String, measured: f64, asked: f64) -> Self {
        Self { what, measured, asked, is_most: false, holds: measured >= asked }
    }

    fn most(what: String, measured: f64, asked: f64) -> Self {
        Self { what, measured, asked, is_most: true, holds: measured <= asked }
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
/// How many allocations a call may cost in process.
const ALLOCATIONS_MAX: f64 = 40.0;
/// Resident memory of an idle session, and of an idle stream.
const SESSION_BYTES_MAX: f64 = 600.0;
const STREAM_BYTES_MAX: f64 = 6.0 * 1024.0;

/// All that can be said of what was measured.
pub(crate) fn judge(report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (era, server, peer, asked) in ECHO {
        if let Some(ratio) = report.ratio(&of_calls(Workload::Echo, era, server), peer, Figure::PerCpuSecond) {
            let what = format!("echo per CPU second, {}: {} / {}", era.name(), server.name(), peer.name());
            verdicts.push(Verdict::least(what, ratio.median, asked));
        }
    }
    for era in [Era::Legacy, Era::Modern] {
        let of = |workload| of_calls(workload, era, Peer::Andon);
        if let Some(ratio) = report.ratio(&of(Workload::Paced), Peer::Floor, Figure::P99Us) {
            let what = format!("p99 at a fixed rate, {}: andon / floor", era.name());
            verdicts.push(Verdict::most(what, ratio.median, PACED_P99_MAX));
        }
        if let Some(ratio) = report.ratio(&of(Workload::Create), Peer::Floor, Figure::PerCpuSecond) {
            verdicts.push(Verdict::least("sessions created: andon / floor".to_owned(), ratio.median, CREATE_MIN));
        }
        let values = [
            (Workload::Neighbours, Figure::P99Times, "p99 beside bad neighbours / without", NEIGHBOURS_P99_MAX),
            (Workload::Idle, Figure::SessionBytes, "bytes of an idle session", SESSION_BYTES_MAX),
            (Workload::Idle, Figure::StreamBytes, "bytes of an idle stream", STREAM_BYTES_MAX),
        ];
        for (workload, figure, what, asked) in values {
            if let Some(spread) = report.spread(&of(workload), figure) {
                verdicts.push(Verdict::most(format!("{what}, {}", era.name()), spread.median, asked));
            }
        }
    }
    for counted in report.allocations.iter().filter(|counted| counted.peer == Peer::Andon) {
        let what = format!("allocations per call, {}", counted.era.name());
        verdicts.push(Verdict::most(what, counted.per_call, ALLOCATIONS_MAX));
    }
    verdicts
}
