//! Runs the programs of tests side by side, which cargo runs one after another; each is mostly waiting.

use std::collections::VecDeque;
use std::num::NonZero;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::Outcome;
use crate::build::{self, EVERYTHING, Test};
use crate::tools::{at_once, cargo_command, heard, output, program};

/// Has a step of its own.
pub(crate) const KEYRING: &str = "tests/keyring";
/// Package and name of those that take the longest: they begin first.
const LONG: [(&str, &str); 6] = [
    ("andon-bench", "tests/scale"),
    ("andon", "tests/messages"),
    ("andon-cli", "tests/workers"),
    ("andon-gateway", "tests/gateway"),
    ("andon-client", "tests/hostile"),
    ("andon-http", "tests/vanish"),
];
/// Package and name of those that compare times or amounts of memory of this machine: nothing runs beside them.
const ALONE: [(&str, &str); 1] = [("andon-cli", "tests/chaos")];

/// Runs all tests but those that need a keyring, and those in the documentation.
pub(crate) fn run() -> Outcome {
    let is_in = |list: &[(&str, &str)], test: &Test| list.contains(&(&*test.package, &*test.name));
    let (alone, mut beside): (Vec<Test>, Vec<Test>) =
        build::tests()?.into_iter().filter(|test| test.name != KEYRING).partition(|test| is_in(&ALONE, test));
    beside.sort_by_key(|test| !is_in(&LONG, test));
    let queue = Mutex::new(VecDeque::from(beside));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let lane = || {
        let mut failed = Vec::new();
        while let Some(test) = next() {
            failed.extend(play(&test)?);
        }
        Ok(failed)
    };
    // The first lane has to build before it joins the others.
    let first = || Ok([documentation()?.into_iter().collect(), lane()?].concat());
    // A core is left to what each of them starts.
    let lanes = (0..cores.saturating_sub(1).max(2)).map(|number| move || if number == 0 { first() } else { lane() });
    let mut failed = at_once(lanes)?.concat();
    for test in alone {
        failed.extend(play(&test)?);
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("these failed: {}", failed.join(", "))) }
}

/// Runs a program of tests; its name if it failed.
fn play(test: &Test) -> Result<Option<String>, String> {
    let mut command = Command::new(&test.program);
    command.current_dir(&test.folder);
    // What cargo would tell it, and what it need not build.
    command.env("CARGO_MANIFEST_DIR", &test.folder).env("CARGO_PKG_NAME", &test.package);
    command.env("ANDON_BUILT", program("andon")).env("LD_LIBRARY_PATH", libraries()?);
    told(command, &format!("{} {}", test.package, test.name))
}

/// The examples in the documentation.
fn documentation() -> Result<Option<String>, String> {
    let mut command = cargo_command();
    command.args(["test", "--doc"]).args(EVERYTHING.iter().filter(|word| **word != "--all-targets"));
    told(command, "documentation")
}

/// Where the compiler's own libraries are, which the tests of macros need.
fn libraries() -> Result<String, String> {
    Ok(output("rustc", &["--print", "target-libdir"])?.trim().to_owned())
}

/// Runs `command`, and says how it went; what it said only if it failed. Its `name` if it did.
fn told(command: Command, name: &str) -> Result<Option<String>, String> {
    let began_at = Instant::now();
    let (status, said) = heard(command, name)?;
    let took = began_at.elapsed().as_secs_f32();
    if !status.success() {
        println!("{said}\n{name}: {status} after {took:.1} s");
        return Ok(Some(name.to_owned()));
    }
    let passed = said.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed"));
    let passed: u32 = passed.filter_map(|(count, _)| count.parse::<u32>().ok()).sum();
    println!("{took:7.1} s  {name}: {passed} passed");
    Ok(None)
}
