//! `cargo xtask dist`: the program `andon` as it is released.
//!
//! Where calls come one by one, a good part of the time that one takes goes with code that the processor has to fetch first.
//! A compiler that has seen which code runs puts that together and the rest aside: see docs/performance.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::tools::{cargo, cargo_command, finish, heard, host, output, program, target};

/// The benchmarks that run while the program is observed, and their arguments: calls one by one and many at once, directly
/// and through gateways, in both eras, with sessions and without; streams, updates, workers, clients that are slow or never
/// come back.
const EXERCISES: [(&str, &[&str]); 8] = [
    ("gateway", &["--without-supergateway", "--seconds", "6"]),
    ("gateway", &["--without-supergateway", "--seconds", "6", "--era", "modern"]),
    ("andon-bench", &["--rounds", "1", "--peers", "andon-stateless", "--workloads", "echo", "--http", "1.1,2"]),
    ("andon-bench", &["--rounds", "1", "--peers", "andon", "--workloads", "paced", "--http", "1.1,2"]),
    ("andon-bench", &["--rounds", "1", "--peers", "andon", "--workloads", "progress,create,fan-out"]),
    ("andon-bench", &["--rounds", "1", "--peers", "andon", "--workloads", "stdio"]),
    ("scale", &["soak", "--minutes", "0.5"]),
    ("scale", &["soak", "--minutes", "0.2", "--workers", "2"]),
];

pub(crate) fn run() -> Outcome {
    if cfg!(not(target_os = "linux")) {
        return Err("this works on Linux: the benchmarks that the program is observed with need /proc".to_owned());
    }
    let merge = profdata()?;
    let folder = target().join("dist");
    let (profiles, profile) = (folder.join("profiles"), folder.join("andon.profdata"));
    let optimised = folder.join("optimised");
    // What another build did would be taken for what this one does, and what another profile made of libraries for this one's.
    for old in [&profiles, &optimised].into_iter().filter(|old| old.exists()) {
        fs::remove_dir_all(old).map_err(|error| format!("{}: {error}", old.display()))?;
    }
    // What a process has no other place for, since it does not inherit the environment, it writes there too.
    let observed = build(&folder.join("observed"), "-Cprofile-generate=", &profiles)?;
    cargo(&["build", "--package", "andon-bench", "--bins"], &[])?;
    for (number, (name, words)) in EXERCISES.into_iter().enumerate() {
        observe(&observed, (name, words), &profiles.join(number.to_string()))?;
    }
    let mut command = Command::new(merge);
    // A process that was killed while it wrote is left out, with a warning.
    command.args(["merge", "--failure-mode=warn", "-o"]).arg(&profile).arg(&profiles);
    finish(command)?;
    let andon = build(&optimised, "-Cprofile-use=", &profile)?;
    let released = folder.join(andon.file_name().unwrap_or_default());
    // One that runs cannot be written over.
    drop(fs::remove_file(&released));
    fs::copy(&andon, &released).map_err(|error| format!("{}: {error}", released.display()))?;
    println!("{}", released.display());
    Ok(())
}

/// Builds `andon` below `folder`, with a flag of the compiler that names `path`, and no others: not those of `RUSTFLAGS`.
fn build(folder: &Path, flag: &str, path: &Path) -> Result<PathBuf, String> {
    let host = host()?;
    let mut command = cargo_command();
    // With a target named, build scripts and macros are built without the flag.
    command.args(["build", "--release", "--package", "andon-cli", "--bin", "andon", "--target", &host]);
    command.arg("--target-dir").arg(folder);
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", format!("{flag}{}", path.display()));
    finish(command)?;
    Ok(folder.join(host).join("release").join(format!("andon{}", std::env::consts::EXE_SUFFIX)))
}

/// Lets a benchmark use `andon`, whose processes write to `folder` what ran in them.
fn observe(andon: &Path, (name, words): (&str, &[&str]), folder: &Path) -> Outcome {
    let what = format!("{name} {}", words.join(" "));
    println!("observed: {what}");
    let mut command = Command::new(program(name));
    command.args(words).arg("--andon").arg(andon).env("LLVM_PROFILE_FILE", folder.join("%m.profraw"));
    let (status, said) = heard(command, &format!("dist {what}"))?;
    // With 1 something that is asked for does not hold: a program that is observed is slow.
    let is_observed = fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some());
    let has_run = matches!(status.code(), Some(0 | 1));
    if is_observed && has_run { Ok(()) } else { Err(format!("{what} ended with {status}, and said:\n{said}")) }
}

/// The program that merges what was observed, of the compiler's own version.
fn profdata() -> Result<PathBuf, String> {
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let tools = Path::new(sysroot.trim()).join("lib/rustlib").join(host()?).join("bin");
    let program = tools.join(format!("llvm-profdata{}", std::env::consts::EXE_SUFFIX));
    if program.exists() {
        Ok(program)
    } else {
        Err("llvm-profdata is needed: rustup component add llvm-tools".to_owned())
    }
}
