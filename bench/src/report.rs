//! All that a run has measured, as a table, Markdown, JSON and plots.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use andon_bench::figure::{Figure, Sample, Spread};
use andon_bench::peer::Peer;
use andon_bench::svg::{Bars, Group, grouped};
use andon_bench::wire::{Era, Http, InProcess};
use serde::{Serialize, Serializer};

use crate::verdict::{self, Verdict};
use crate::workload::{Sizes, Turn, Workload};

/// A server under a workload, and what it did in each round.
#[derive(Debug, Serialize)]
pub(crate) struct Case {
    /// Who and what.
    #[serde(flatten)]
    pub(crate) turn: Turn,
    /// One sample per round.
    pub(crate) rounds: Vec<Sample>,
    /// Each figure as a multiple of the floor's.
    pub(crate) to_floor: BTreeMap<Figure, Spread>,
    /// Why there are no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

impl Case {
    /// Before the first round.
    pub(crate) fn new(turn: Turn) -> Self {
        Self { turn, rounds: Vec::new(), to_floor: BTreeMap::new(), failed: None }
    }
}

/// All that one run has measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Processor and kernel.
    pub(crate) machine: String,
    /// Cores of the server; none are pinned when both lists are empty.
    pub(crate) server_cores: Vec<usize>,
    /// Cores of the generator.
    pub(crate) generator_cores: Vec<usize>,
    /// How much of each.
    #[serde(serialize_with = "settings")]
    pub(crate) sizes: Sizes,
    /// Servers that could not be had, and why.
    pub(crate) left_out: Vec<String>,
    /// The servers.
    pub(crate) cases: Vec<Case>,
    /// Calls in process.
    pub(crate) in_process: Vec<InProcess>,
    /// What is asked for, and whether it holds.
    pub(crate) verdicts: Vec<Verdict>,
}

fn settings<S: Serializer>(sizes: &Sizes, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::json!({
        "rounds": sizes.rounds,
        "seconds": sizes.window.as_secs_f64(),
        "neighbours_seconds": sizes.neighbours_window().as_secs_f64(),
        "warm_up_seconds": sizes.warm_up.as_secs_f64(),
        "rate": sizes.rate,
        "sessions_max": sizes.sessions,
        "listeners": sizes.listeners,
        "neighbours": sizes.neighbours,
        "idle": sizes.idle,
    })
    .serialize(serializer)
}

/// Cases that are compared with each other.
struct Table<'a> {
    turn: Turn,
    cases: Vec<&'a Case>,
}

impl Report {
    /// Compares what was measured with the floor, and with what is asked for.
    pub(crate) fn judge(&mut self) {
        let to_floor = |turn: &Turn| {
            let figures = turn.workload.figures().iter();
            figures.filter_map(|&figure| Some((figure, self.ratio(turn, Peer::Floor, figure)?))).collect()
        };
        let ratios: Vec<_> = self.cases.iter().map(|case| to_floor(&case.turn)).collect();
        for (case, ratios) in self.cases.iter_mut().zip(ratios) {
            case.to_floor = ratios;
        }
        self.verdicts = verdict::judge(self);
    }

    /// Whether all that is asked for holds, and neither our servers nor the floor failed.
    pub(crate) fn holds(&self) -> bool {
        let counts = |peer: Peer| peer.is_ours() || peer == Peer::Floor;
        let has_failed = |case: &Case| case.failed.is_some() && counts(case.turn.peer);
        self.verdicts.iter().all(|verdict| verdict.holds) && !self.cases.iter().any(has_failed)
    }

    /// Whether it was to be measured.
    pub(crate) fn has(&self, turn: &Turn) -> bool {
        self.case(turn).is_some()
    }

    /// Whether a server and another one were to be measured beside each other.
    pub(crate) fn compares(&self, turn: &Turn, below: Peer) -> bool {
        self.has(turn) && self.has(&Turn { peer: below, ..*turn })
    }

    /// What the rounds say of a figure.
    pub(crate) fn spread(&self, turn: &Turn, figure: Figure) -> Option<Spread> {
        let case = self.case(turn)?;
        Spread::of(case.rounds.iter().filter_map(|sample| sample.get(&figure).copied()))
    }

    /// A figure as a multiple of another server's: of what each round says. Neighbours in a round share what else the machine
    /// was doing.
    pub(crate) fn ratio(&self, turn: &Turn, below: Peer, figure: Figure) -> Option<Spread> {
        let other = self.case(&Turn { peer: below, ..*turn })?;
        let rounds = self.case(turn)?.rounds.iter().zip(&other.rounds);
        Spread::of(rounds.filter_map(|(a, b)| Some(a.get(&figure)? / b.get(&figure).filter(|value| **value > 0.0)?)))
    }

    fn case(&self, turn: &Turn) -> Option<&Case> {
        self.cases.iter().find(|case| case.turn == *turn)
    }

    /// Cases that differ in the server only, together.
    fn tables(&self) -> Vec<Table<'_>> {
        let mut tables: Vec<Table<'_>> = Vec::new();
        for case in &self.cases {
            match tables.iter_mut().find(|table| table.turn.is_beside(&case.turn)) {
                Some(table) => table.cases.push(case),
                None => tables.push(Table { turn: case.turn, cases: vec![case] }),
            }
        }
        tables
    }

    /// The workloads that were measured, in order.
    fn workloads(&self) -> impl Iterator<Item = Workload> {
        Workload::ALL.into_iter().filter(|workload| self.cases.iter().any(|case| case.turn.workload == *workload))
    }

    /// The report for a person, in Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Sizes { rounds, window, rate, sessions, listeners, neighbours, idle, .. } = self.sizes;
        writeln!(text, "{}. {}", self.machine, self.pinning())?;
        let most = self.cases.iter().map(|case| case.turn.rounds(&self.sizes)).max().unwrap_or(rounds);
        let more = if most > rounds {
            format!(", and {most} of `floor` and `andon` where p99 is asked for")
        } else {
            String::new()
        };
        writeln!(
            text,
            "Rounds: {rounds}, of {} s for each server ({} s of `neighbours`){more}; paced at {} calls/s; at most {} sessions created; {listeners} streams told; \
             {neighbours} bad neighbours; {} idle sessions, {idle} idle streams.",
            window.as_secs_f64(),
            self.sizes.neighbours_window().as_secs_f64(),
            grouped(rate, 0),
            grouped(sessions as f64, 0),
            self.sizes.idle_sessions(),
        )?;
        if !self.left_out.is_empty() {
            writeln!(text, "Left out: {}.", self.left_out.join("; "))?;
        }
        for workload in self.workloads() {
            writeln!(text, "\n### {}\n", workload.title())?;
            self.write_workload(text, workload)?;
        }
        self.write_in_process(text)?;
        self.write_verdicts(text)
    }

    fn write_in_process(&self, text: &mut String) -> std::fmt::Result {
        let Some(InProcess { threads, .. }) = self.in_process.first() else { return Ok(()) };
        writeln!(text, "\n### Echo calls in process\n")?;
        writeln!(
            text,
            "| server | era | allocations per call | bytes | per s, {threads} threads |\n|---|---|--:|--:|--:|"
        )?;
        for InProcess { peer, era, allocations, bytes, calls_per_s, .. } in &self.in_process {
            let (bytes, calls) = (grouped(*bytes, 0), grouped(*calls_per_s, 0));
            writeln!(text, "| {} | {} | {allocations:.1} | {bytes} | {calls} |", peer.name(), era.name())?;
        }
        Ok(())
    }

    fn write_verdicts(&self, text: &mut String) -> std::fmt::Result {
        if self.verdicts.is_empty() {
            return Ok(());
        }
        writeln!(text, "\n### What is asked for\n\n| | measured | in the rounds | asked | |\n|---|--:|--:|--:|---|")?;
        for Verdict { what, measured, asked, holds } in &self.verdicts {
            let (asked, said) = (asked.text(number), if *holds { "holds" } else { "FAILS" });
            let (middle, rounds) =
                measured.map_or(("-".to_owned(), "not measured".to_owned()), |Spread { median, min, max }| {
                    (
                        number(median),
                        if min < max { format!("{} to {}", number(min), number(max)) } else { String::new() },
                    )
                });
            writeln!(text, "| {what} | {middle} | {rounds} | {asked} | {said} |")?;
        }
        Ok(())
    }

    fn pinning(&self) -> String {
        if self.server_cores.is_empty() {
            return "Server and generator share the cores.".to_owned();
        }
        let (server, generator) = (self.server_cores.len(), self.generator_cores.len());
        format!("The server has {server} core(s), the generator {generator} others.")
    }

    /// One table for all eras, versions of HTTP and numbers of connections of a workload.
    fn write_workload(&self, text: &mut String, workload: Workload) -> std::fmt::Result {
        let lead = workload.figures()[0];
        write!(text, "| era | way | at once | server | {} | / floor | ± |", lead.heading())?;
        workload.figures()[1..].iter().try_for_each(|figure| write!(text, " {} |", figure.heading()))?;
        write!(text, "\n|---|---|--:|---|--:|--:|--:|")?;
        workload.figures()[1..].iter().try_for_each(|_| write!(text, "--:|"))?;
        writeln!(text)?;
        for table in self.tables().iter().filter(|table| table.turn.workload == workload) {
            for case in &table.cases {
                let Turn { era, http, connections, peer, .. } = case.turn;
                write!(text, "| {} | {} | {connections} | {} |", era.name(), workload.way(http), peer.name())?;
                if case.rounds.is_empty() {
                    writeln!(text, " {} |", case.failed.as_deref().unwrap_or("not measured").replace('|', "/"))?;
                    continue;
                }
                let (ratio, apart) = case.to_floor.get(&lead).map_or(("-".to_owned(), "-".to_owned()), |spread| {
                    (format!("{:.2}", spread.median), format!("{:.2}", (spread.max - spread.min) / 2.0))
                });
                let cell = |figure: &Figure| {
                    let spread = self.spread(&case.turn, *figure);
                    spread.map_or_else(|| "-".to_owned(), |spread| grouped(spread.median, figure.decimals()))
                };
                write!(text, " {} | {ratio} | {apart} |", cell(&lead))?;
                workload.figures()[1..].iter().try_for_each(|figure| write!(text, " {} |", cell(figure)))?;
                writeln!(text)?;
            }
        }
        self.write_failures(text, workload)
    }

    /// Who failed after some rounds; the tables say it of those who did in the first.
    fn write_failures(&self, text: &mut String, workload: Workload) -> std::fmt::Result {
        for Case { turn, rounds, failed, .. } in self.cases.iter().filter(|case| case.turn.workload == workload) {
            if let (Some(why), false) = (failed, rounds.is_empty()) {
                let (era, way, peer) = (turn.era.name(), workload.way(turn.http), turn.peer.name());
                writeln!(text, "\n`{peer}` failed ({era}, {way}, {} at once) in {why}", turn.connections)?;
            }
        }
        Ok(())
    }

    /// A plot of each workload's first figure, as names of files and their contents.
    pub(crate) fn plots(&self) -> Vec<(String, String)> {
        let mut plots = Vec::new();
        for workload in self.workloads() {
            let mut figures = vec![workload.figures()[0]];
            // Of idle sessions and of what wakes them, the second figure says as much.
            figures.extend((workload == Workload::Idle).then_some(Figure::SessionBytes));
            figures.extend((workload == Workload::Echo).then_some(Figure::P99Us));
            for figure in figures {
                let bars = self.bars(workload, figure);
                let words = figure.heading().split(|other: char| !other.is_ascii_alphanumeric());
                let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
                let name = format!("{}-{}.svg", workload.name(), words.join("-").to_lowercase());
                if !bars.groups.is_empty() {
                    plots.push((name, bars.svg()));
                }
            }
        }
        plots
    }

    fn bars(&self, workload: Workload, figure: Figure) -> Bars {
        let mut groups = Vec::new();
        for table in self.tables().iter().filter(|table| table.turn.workload == workload) {
            let Turn { era, http, connections, .. } = table.turn;
            let name = match workload.is_of_calls() || workload == Workload::Stdio {
                true => format!("{}, {}, {connections} at once", revision(era), workload.way(http)),
                false => revision(era).to_owned(),
            };
            let bar = |case: &&Case| Some((case.turn.peer.name().to_owned(), self.spread(&case.turn, figure)?));
            let bars: Vec<_> = table.cases.iter().filter_map(bar).collect();
            if !bars.is_empty() {
                groups.push(Group { name, bars });
            }
        }
        Bars { title: workload.title().to_owned(), unit: figure.heading().to_owned(), groups }
    }
}

/// A number that may be a ratio, or large.
fn number(value: f64) -> String {
    grouped(value, if value < 100.0 { 2 } else { 0 })
}

fn revision(era: Era) -> &'static str {
    era.revision()
}

/// The case that verdicts are about, of one of our servers.
pub(crate) fn of_calls(workload: Workload, era: Era, peer: Peer) -> Turn {
    Turn { workload, era, http: Http::One, connections: 64, peer }
}

#[cfg(test)]
mod tests;
