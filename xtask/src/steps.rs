//! The steps of `cargo xtask test`, in order: cheap ones first.

use std::time::Instant;

use crate::tools::{cargo, output};
use crate::{Outcome, conformance, crash, fuzz, gateway, interop, keyring, revisions, tidy};

struct Step {
    name: &'static str,
    run: fn() -> Outcome,
}

const STEPS: [Step; 13] = [
    Step { name: "fmt", run: || cargo(&["fmt", "--all", "--check"], &[]) },
    Step { name: "tidy", run: tidy::run },
    Step { name: "revisions", run: revisions::check },
    Step { name: "clippy", run: || cargo(&["clippy", "--workspace", "--all-targets", "--", "-Dwarnings"], &[]) },
    Step { name: "tests", run: || cargo(&["test", "--workspace", "--no-fail-fast"], &[]) },
    Step {
        name: "docs",
        run: || cargo(&["doc", "--workspace", "--no-deps", "--quiet"], &[("RUSTDOCFLAGS", "-Dwarnings")]),
    },
    Step { name: "wasm", run: wasm },
    Step { name: "fuzz", run: fuzz::run },
    Step { name: "crash", run: crash::run },
    Step { name: "conformance", run: conformance::run },
    Step { name: "interop", run: interop::run },
    Step { name: "gateway", run: gateway::run },
    Step { name: "keyring", run: keyring::run },
];

/// Runs all steps, or those that `--only` names, and says how each went.
pub(crate) fn run(words: &[&str]) -> Outcome {
    if words == ["--list"] {
        STEPS.iter().for_each(|step| println!("{}", step.name));
        return Ok(());
    }
    let mut only = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match (*word, rest.next()) {
            ("--only", Some(name)) if STEPS.iter().any(|step| step.name == *name) => only.push(*name),
            _ => return Err(format!("{word:?}: use --only with a name that --list gives")),
        }
    }
    let mut summary = Vec::new();
    let mut failed = 0;
    for step in STEPS.iter().filter(|step| only.is_empty() || only.contains(&step.name)) {
        println!("\n== {}", step.name);
        let began_at = Instant::now();
        let outcome = (step.run)();
        let took = began_at.elapsed().as_secs_f32();
        if let Err(why) = &outcome {
            failed += 1;
            println!("{} failed: {why}", step.name);
        }
        summary.push(format!("{:12} {:4} {took:7.1} s", step.name, if outcome.is_ok() { "ok" } else { "FAIL" }));
    }
    println!("\n{}", summary.join("\n"));
    println!("{} passed, {failed} failed", summary.len() - failed);
    if failed == 0 { Ok(()) } else { Err("not everything holds".to_owned()) }
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
