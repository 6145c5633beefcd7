//! `andon-sim [--seed N] [--seeds COUNT] [--clients COUNT]`

use std::process::ExitCode;

use andon_sim::run;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let clients = usize::try_from(option("--clients").unwrap_or(1_000)).unwrap_or(1_000);
    let (first, count) = match option("--seed") {
        Some(seed) => (seed, 1),
        None => (0, option("--seeds").unwrap_or(10)),
    };
    for seed in first..first + count {
        let summary = run(seed, clients);
        println!("seed {seed}: {summary}");
    }
    ExitCode::SUCCESS
}
