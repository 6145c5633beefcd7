//! The project's own tasks: `cargo xtask test`, `tidy`, `revisions`.

mod bench;
mod build;
mod conformance;
mod crash;
mod dist;
mod fuzz;
mod gateway;
mod interop;
mod keyring;
mod revisions;
mod steps;
mod tests;
mod tidy;

use std::process::ExitCode;

use xtask::{Outcome, tools};

const USAGE: &str = "\
cargo xtask <task>

  test [--only STEP]...   everything that must hold; --list names the steps
  tidy                    the house rules
  revisions [--check]     writes docs/revisions.md from the table in andon-types
  crash [--kills N]...    kills the server under its clients, 200 times; other words are those of crash-test
  dist                    builds andon as it is released, by what runs in it under its benchmarks: target/dist/andon (Linux)
  bench ...               two builds against each other: --compare REV, --bisect GOOD
";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test", rest @ ..] => steps::run(rest),
        ["step", name] => steps::one(name),
        ["tidy"] => tidy::run(),
        ["crash", rest @ ..] => crash::long(rest),
        ["dist"] => dist::run(),
        ["bench", rest @ ..] => bench::run(rest),
        ["revisions"] => revisions::write(),
        ["revisions", "--check"] => revisions::check(),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
