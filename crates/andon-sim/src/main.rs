//! `andon-sim [--seeds COUNT] [--from SEED]`: nodes, a store and clients under so many seeds; with `--clients COUNT`
//! conversations of so many clients instead.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use andon_sim::{Tally, run, run_all};

/// How often it says how far it is.
const NEWS_INTERVAL: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1)?.parse::<u64>().ok()
    };
    let (from, seeds) = (option("--from").unwrap_or(0), option("--seeds").unwrap_or(1));
    match option("--clients").map(usize::try_from) {
        Some(clients) => conversations(from, seeds, clients.unwrap_or(usize::MAX)),
        None => nodes(from, seeds),
    }
}

fn conversations(from: u64, seeds: u64, clients: usize) -> ExitCode {
    for seed in from..from + seeds {
        let summary = run(seed, clients);
        println!("seed {seed}: {summary}");
    }
    ExitCode::SUCCESS
}

fn nodes(from: u64, seeds: u64) -> ExitCode {
    let (mut all, mut news) = (Tally::default(), Instant::now());
    let mut next = from;
    while next < from + seeds {
        let end = (next + 1_000).min(from + seeds);
        match run_all(next..end, None) {
            Ok(tally) => all = all.and(tally),
            Err(broken) => {
                println!("{broken}");
                return ExitCode::FAILURE;
            }
        }
        next = end;
        if news.elapsed() >= NEWS_INTERVAL {
            println!("{} seeds: {all}", next - from);
            news = Instant::now();
        }
    }
    println!("{seeds} seeds from {from}: {all}");
    ExitCode::SUCCESS
}
