//! The steps of `cargo xtask test`: cheap ones first, and at the end side by side what is mostly waiting.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::build::EVERYTHING;
use crate::tools::{at_once, cargo, heard, output};
use crate::{Outcome, build, conformance, crash, fuzz, gateway, interop, keyring, revisions, tests, tidy};

struct Step {
    name: &'static str,
    run: fn() -> Outcome,
}

/// One after the other: each is for all cores.
const FIRST: [Step; 9] = [
    Step { name: "fmt", run: || cargo(&["fmt", "--all", "--check"], &[]) },
    Step { name: "tidy", run: tidy::run },
    Step { name: "revisions", run: revisions::check },
    Step { name: "clippy", run: || cargo(&[&["clippy"], &EVERYTHING[..], &["--", "-Dwarnings"]].concat(), &[]) },
    Step { name: "build", run: build::run },
    Step { name: "tests", run: tests::run },
    Step {
        name: "docs",
        run: || cargo(&["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "-Dwarnings")]),
    },
    Step { name: "wasm", run: wasm },
    Step { name: "fuzz", run: fuzz::run },
];
/// Side by side, each list in its order, with what the step `build` has built: most of it is waiting. No more than two at
/// once, because other people's clients and servers have timeouts of their own.
const LANES: [&[Step]; 2] = [
    &[Step { name: "gateway", run: gateway::run }],
    &[
        Step { name: "conformance", run: conformance::run },
        Step { name: "interop", run: interop::run },
        Step { name: "keyring", run: keyring::run },
        Step { name: "crash", run: crash::run },
    ],
];
/// Those that need nothing built before.
const ON_THEIR_OWN: [&str; 8] = ["fmt", "tidy", "revisions", "clippy", "build", "docs", "wasm", "fuzz"];

fn all() -> impl Iterator<Item = &'static Step> {
    FIRST.iter().chain(LANES.into_iter().flatten())
}

/// Runs all steps, or those that `--only` names, and says how each went.
pub(crate) fn run(words: &[&str]) -> Outcome {
    if words == ["--list"] {
        all().for_each(|step| println!("{}", step.name));
        return Ok(());
    }
    let mut only = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (*word, rest.next()) {
            ("--only", Some(name)) if all().any(|step| step.name == *name) => only.push(*name),
            _ => return Err(format!("{word:?}: use --only with a name that --list gives")),
        }
    }
    let is_asked_for = |step: &&Step| {
        let needs_build = || only.iter().any(|name| !ON_THEIR_OWN.contains(name));
        only.is_empty() || only.contains(&step.name) || (step.name == "build" && needs_build())
    };
    // The build replaces the file of this program.
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut done = Vec::new();
    for step in FIRST.iter().filter(is_asked_for) {
        println!("\n== {}", step.name);
        let began_at = Instant::now();
        let outcome = (step.run)();
        if let Err(why) = &outcome {
            println!("{} failed: {why}", step.name);
        }
        done.push((step.name, outcome.is_ok(), began_at.elapsed()));
        if step.name == "build" && outcome.is_err() {
            return Err("what does not build cannot be tested".to_owned());
        }
    }
    let lanes = LANES.map(|lane| {
        let own = &own;
        move || lane.iter().filter(is_asked_for).map(|step| apart(own, step.name)).collect::<Result<Vec<_>, _>>()
    });
    done.extend(at_once(lanes)?.concat());
    println!();
    for (name, is_ok, took) in &done {
        println!("{name:12} {:4} {:7.1} s", if *is_ok { "ok" } else { "FAIL" }, took.as_secs_f32());
    }
    let failed = done.iter().filter(|(_, is_ok, _)| !is_ok).count();
    println!("{} passed, {failed} failed", done.len() - failed);
    if failed == 0 { Ok(()) } else { Err("not everything holds".to_owned()) }
}

/// Runs the step `name` after the build.
pub(crate) fn one(name: &str) -> Outcome {
    let step = all().find(|step| step.name == name).ok_or("no such step")?;
    (step.run)()
}

/// Runs a step as a process of its own, the program `own`, so that what it says is in one piece, when it is over.
fn apart(own: &Path, name: &'static str) -> Result<(&'static str, bool, Duration), String> {
    let began_at = Instant::now();
    let mut command = Command::new(own);
    command.args(["step", name]);
    let (status, said) = heard(command, name)?;
    println!("\n== {name}\n{said}");
    Ok((name, status.success(), began_at.elapsed()))
}

/// The core builds where there is no operating system. Without that target, tidy's check of its imports stands in.
fn wasm() -> Outcome {
    const TARGET: &str = "wasm32-unknown-unknown";
    let libraries = output("rustc", &["--print", "target-libdir", "--target", TARGET])?;
    if !std::path::Path::new(libraries.trim()).exists() {
        println!("{TARGET} is not installed: the check of the core's imports in tidy stands in for it");
        return Ok(());
    }
    cargo(&["check", "--package", "andon-core", "--target", TARGET], &[])
}
