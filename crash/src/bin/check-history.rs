//! Checks a history that `crash-test` wrote: `check-history FILE`.

use std::path::PathBuf;
use std::process::ExitCode;

use andon_crash::checker::{Bounds, Checker, Floor};
use andon_crash::history::{self, Entry};
use clap::Parser;

/// The violations that are shown with their histories.
const SHOWN_MAX: usize = 10;

/// Checks a history of what clients saw while a server was broken.
#[derive(Parser)]
struct Options {
    /// The history, one JSON object a line.
    file: PathBuf,
    /// Acknowledgements that have to be in it.
    #[arg(long, default_value_t = 1000)]
    acks_min: u64,
    /// Faults that have to be in it.
    #[arg(long, default_value_t = 10)]
    faults_min: u64,
}

fn main() -> Result<ExitCode, andon_crash::Error> {
    let options = Options::parse();
    let mut checker = Checker::new(Bounds::default());
    for entry in history::read(&options.file)? {
        checker.take(entry?);
    }
    let report = checker.finish(Floor { acks: options.acks_min, faults: options.faults_min });
    println!("{report}");
    if report.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let entries = history::read(&options.file)?.collect::<Result<Vec<Entry>, _>>()?;
    for violation in report.violations.iter().filter(|violation| violation.op > 0).take(SHOWN_MAX) {
        println!("\n{} of operation {}: {}", violation.rule, violation.op, violation.why);
        for entry in Checker::concerned(&entries, violation) {
            println!("  {}", serde_json::to_string(entry)?);
        }
    }
    Ok(ExitCode::FAILURE)
}
