//! What a world says when it is over.

use std::fmt;

/// What happened in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Promises that were made: sessions opened, messages accepted, requests answered.
    pub acks: u64,
    /// Events that arrived.
    pub events: u64,
    /// Announcements of changes that arrived.
    pub updates: u64,
    /// Tools that ran.
    pub runs: u64,
    /// Sessions that were ended by their clients.
    pub ends: u64,
    /// Calls that were answered with "outcome unknown".
    pub unknown: u64,
    /// Nodes that died.
    pub crashes: u64,
    /// Times in which the store was away.
    pub outages: u64,
    /// Sessions that a node brought back from the store.
    pub takeovers: u64,
    /// Sessions that a node lost to another one.
    pub fenced: u64,
    /// Answers of the store that were lost.
    pub unsure: u64,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Tally) -> Tally {
        Tally {
            acks: self.acks + other.acks,
            events: self.events + other.events,
            updates: self.updates + other.updates,
            runs: self.runs + other.runs,
            ends: self.ends + other.ends,
            unknown: self.unknown + other.unknown,
            crashes: self.crashes + other.crashes,
            outages: self.outages + other.outages,
            takeovers: self.takeovers + other.takeovers,
            fenced: self.fenced + other.fenced,
            unsure: self.unsure + other.unsure,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acks, events, updates, runs, ends, unknown, crashes, outages, takeovers, fenced, unsure } = self;
        write!(
            f,
            "checked {acks} acknowledgements, {events} events, {updates} updates, {runs} runs of tools ({unknown} with an \
             outcome that is unknown) and {ends} ends of sessions over {crashes} crashes, {outages} outages, {takeovers} \
             takeovers, {fenced} sessions lost to others and {unsure} answers of the store that were lost"
        )
    }
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The world that it was broken in.
    pub seed: u64,
    /// What was seen.
    pub why: String,
    /// What had happened, if it was asked for.
    pub history: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, why, history } = self;
        history.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        write!(f, "seed {seed}: {why}\nagain: cargo run -p andon-sim -- --from {seed}")
    }
}
