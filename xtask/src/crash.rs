//! The crash test: the real server under clients, broken at random moments, and a checker over what they saw.

use std::process::Command;

use crate::tools::{finish, program};
use crate::{Outcome, build};

/// Bounded, for every test run.
pub(crate) fn run() -> Outcome {
    crash(&["--kills", "20"])?;
    crash(&["--kills", "3", "--cuts", "2", "--fulls", "4"])
}

/// As long as it is told to be; the words are those of `crash-test`.
pub(crate) fn long(words: &[&str]) -> Outcome {
    let default = if words.contains(&"--kills") { &[][..] } else { &["--kills", "200"] };
    build::run()?;
    crash(&[default, words].concat())
}

fn crash(words: &[&str]) -> Outcome {
    let mut command = Command::new(program("crash-test"));
    command.args(words);
    finish(command)
}
