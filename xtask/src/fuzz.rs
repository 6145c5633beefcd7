//! A bounded run of every fuzz target. Needs no nightly compiler: the coverage that libFuzzer wants is a pass of LLVM.

use std::num::NonZero;
use std::process::Command;

use crate::Outcome;
use crate::tools::{at_once, cargo_command, finish, host, root, target};

const TARGETS: [&str; 8] = ["envelope", "events", "uri", "template", "framing", "session", "exchange", "dialogue"];
/// Of each target.
const SECONDS: u32 = 8;
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
                     -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

pub(crate) fn run() -> Outcome {
    let host = host()?;
    let folder = root().join("fuzz");
    let built = target().join("fuzz");
    let mut build = cargo_command();
    // With a target named, build scripts and macros are built without the flags.
    build.args(["build", "--release", "--target", &host, "--target-dir"]).arg(&built).current_dir(&folder);
    build.env("RUSTFLAGS", FLAGS).env_remove("CARGO_TARGET_DIR");
    finish(build)?;
    let fuzz = |name: &'static str| {
        let corpus = built.join("corpus").join(name);
        std::fs::create_dir_all(&corpus).map_err(|error| error.to_string())?;
        let mut fuzz = Command::new(built.join(&host).join("release").join(name));
        fuzz.arg(format!("-max_total_time={SECONDS}"))
            .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=0", "-verbosity=0"])
            .arg(format!("-artifact_prefix={}/", built.display()))
            .arg(&corpus)
            .arg(folder.join("seeds").join(name));
        finish(fuzz).map_err(|why| format!("{name}: {why}"))?;
        println!("{name}: {SECONDS} s without a finding");
        Ok::<_, String>(())
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    for names in TARGETS.chunks(cores) {
        at_once(names.iter().map(|name| || fuzz(name)))?;
    }
    Ok(())
}
