//! What the checker found, and whether that is enough to mean something.

use std::collections::BTreeMap;
use std::fmt;

use super::Rule;
use crate::history::FaultKind;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// When it was seen, in microseconds since the history began.
    pub at_us: u64,
    /// The operation that it is about; 0 if about none.
    pub op: u64,
    /// What is wrong.
    pub why: String,
}

/// What has to have been checked.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Acknowledgements in all; each kind has to be there at least once.
    pub acks: u64,
    /// Faults in all.
    pub faults: u64,
}

/// What was checked, and what was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Lines of the history.
    pub entries: u64,
    /// Acknowledgements by their number, K1 to K8; the first place is empty.
    pub acks: [u64; 9],
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Events that came again on another connection, and were compared.
    pub replayed: u64,
    /// Calls that were answered with "outcome unknown".
    pub unknown: u64,
    /// Requests that were refused with 503.
    pub unavailable: u64,
    /// Lines of the ledger.
    pub executed: u64,
    /// The longest time from a kill to the first answer afterwards, in microseconds.
    pub restart_us_max: u64,
    /// What was found, by time.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Acknowledgements in all.
    pub fn acks(&self) -> u64 {
        self.acks.iter().sum()
    }

    /// Faults in all.
    pub fn faults(&self) -> u64 {
        self.faults.values().sum()
    }

    pub(super) fn check_floor(&mut self, floor: Floor, at_us: u64) {
        let mut tell = |why: String| {
            self.violations.push(Violation { rule: Rule::Vacuous, at_us, op: 0, why });
        };
        let (acks, faults) = (self.acks.iter().sum::<u64>(), self.faults.values().sum::<u64>());
        if acks < floor.acks {
            tell(format!("{acks} acknowledgements are fewer than {}", floor.acks));
        }
        if faults < floor.faults {
            tell(format!("{faults} faults are fewer than {}", floor.faults));
        }
        let missing = (1..=8).filter(|kind| self.acks[*kind] == 0 && floor.acks > 0);
        missing.for_each(|kind| tell(format!("no acknowledgement of the kind K{kind}")));
        if self.faults.contains_key(&FaultKind::Full) && self.unavailable == 0 {
            tell("the disk was full, and nothing was refused".to_owned());
        }
        if self.replayed == 0 && floor.faults > 0 {
            tell("no event came twice, so none was compared".to_owned());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = |(kind, count): (usize, &u64)| format!("K{kind} {count}");
        let acks: Vec<String> = self.acks.iter().enumerate().filter(|(_, count)| **count > 0).map(kinds).collect();
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect();
        writeln!(f, "checked {} acknowledgements over {} faults", self.acks(), self.faults())?;
        writeln!(f, "  {}; {}", acks.join(", "), faults.join(", "))?;
        write!(
            f,
            "  {} entries, {} replayed events compared, {} executions, {} outcomes unknown, {} refused with 503, \
             restarts within {} ms",
            self.entries,
            self.replayed,
            self.executed,
            self.unknown,
            self.unavailable,
            self.restart_us_max / 1000
        )?;
        for violation in &self.violations {
            let Violation { rule, at_us, op, why } = violation;
            write!(f, "\n{rule} at {}.{:06} s, operation {op}: {why}", at_us / 1_000_000, at_us % 1_000_000)?;
        }
        Ok(())
    }
}
