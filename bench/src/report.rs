//! The table, the ratios and the verdict.

use std::fmt::Write as _;

use andon_bench::peer::Peer;
use andon_bench::wire::{Allocations, Era};
use serde::Serialize;

use crate::load::Sample;

/// How many times as many calls per CPU second as `rmcp` are asked for.
const RMCP_RATIO_MIN: f64 = 2.0;
/// Which part of the bare handler's calls per CPU second is asked for.
const FLOOR_RATIO_MIN: f64 = 0.55;
/// How many allocations a call may cost in process.
const ALLOCATIONS_MAX: f64 = 60.0;

/// A peer with a workload, and what it did in each round.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    /// The server.
    pub(crate) peer: Peer,
    /// The workload.
    pub(crate) era: Era,
    /// One sample per round.
    pub(crate) samples: Vec<Sample>,
}

/// A comparison with what is asked for.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// What is compared, in words.
    pub(crate) what: String,
    /// What was measured.
    pub(crate) measured: f64,
    /// What is asked for.
    pub(crate) asked: f64,
    /// Whether it holds.
    pub(crate) holds: bool,
}

/// All that one run has measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Cores of the server and of the generator; none are pinned when both are empty.
    pub(crate) server_cores: Vec<usize>,
    /// Cores of the generator.
    pub(crate) generator_cores: Vec<usize>,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Length of each window of measuring.
    pub(crate) seconds: f64,
    /// The peers.
    pub(crate) cases: Vec<Case>,
    /// Allocations per call in process.
    pub(crate) allocations: Vec<Allocations>,
    /// What is asked for, and whether it holds.
    pub(crate) verdicts: Vec<Verdict>,
}

impl Report {
    /// Compares what was measured with what is asked for.
    pub(crate) fn judge(&mut self) {
        let mut verdicts = Vec::new();
        for era in [Era::Legacy, Era::Modern] {
            for peer in [Peer::RmcpSessions, Peer::RmcpStateless, Peer::Floor] {
                let asked = if peer == Peer::Floor { FLOOR_RATIO_MIN } else { RMCP_RATIO_MIN };
                if let Some(measured) = self.ratio((Peer::Andon, era), (peer, era)) {
                    let what = format!("andon / {}, {}", peer.name(), era.name());
                    verdicts.push(Verdict { what, measured, asked, holds: measured >= asked });
                }
            }
        }
        for counted in self.allocations.iter().filter(|counted| counted.peer == Peer::Andon) {
            let (what, measured) = (format!("allocations per call, {}", counted.era.name()), counted.per_call);
            verdicts.push(Verdict { what, measured, asked: ALLOCATIONS_MAX, holds: measured <= ALLOCATIONS_MAX });
        }
        self.verdicts = verdicts;
    }

    /// The report for a person.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| {:14} | {:6} | {:>11} | {:>7} | {:>7} | {:>8} | {:>8} | {:>8} |",
            "server", "era", "calls/CPU s", "/ floor", "calls/s", "p50 us", "p99 us", "RSS MiB"
        )?;
        writeln!(
            text,
            "|{:-<16}|{:-<8}|{:->13}|{:->9}|{:->9}|{:->10}|{:->10}|{:->10}|",
            "", "", ":", ":", ":", ":", ":", ":"
        )?;
        for case in &self.cases {
            let of = |value: fn(&Sample) -> f64| median(case.samples.iter().map(value).collect());
            let ratio = self.ratio((case.peer, case.era), (Peer::Floor, case.era));
            let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            #[allow(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^52")]
            let resident_mib = of(|sample| sample.resident_kib as f64) / 1024.0;
            writeln!(
                text,
                "| {:14} | {:6} | {:>11.0} | {ratio:>7} | {:>7.0} | {:>8.0} | {:>8.0} | {resident_mib:>8.1} |",
                case.peer.name(),
                case.era.name(),
                of(|sample| sample.calls_per_cpu_second),
                of(|sample| sample.calls_per_second),
                of(|sample| sample.p50_us),
                of(|sample| sample.p99_us)
            )?;
        }
        if !self.allocations.is_empty() {
            writeln!(text, "\nIn process, per call:")?;
        }
        for Allocations { peer, era, per_call, bytes_per_call } in &self.allocations {
            writeln!(
                text,
                "  {:14} {:6} {per_call:>6.1} allocations, {bytes_per_call:>7.0} bytes",
                peer.name(),
                era.name()
            )?;
        }
        writeln!(text)?;
        for Verdict { what, measured, asked, holds } in &self.verdicts {
            let verdict = if *holds { "holds" } else { "FAILS" };
            writeln!(text, "{verdict}  {what}: {measured:.2} (asked: {asked})")?;
        }
        Ok(())
    }

    /// Calls per CPU second of one case as a multiple of another's: the median of what the rounds say. Neighbours in
    /// a round share what else the machine was doing.
    fn ratio(&self, above: (Peer, Era), below: (Peer, Era)) -> Option<f64> {
        let samples = |(peer, era)| Some(&self.cases.iter().find(|case| case.peer == peer && case.era == era)?.samples);
        let rounds = samples(above)?.iter().zip(samples(below)?);
        let ratios: Vec<f64> = rounds.map(|(a, b)| a.calls_per_cpu_second / b.calls_per_cpu_second).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

#[cfg(test)]
mod tests;
