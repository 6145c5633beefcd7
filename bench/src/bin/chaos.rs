//! What chaos among some servers costs the others behind one gateway: the scenario of the gateway's chaos test, optimised and
//! for longer, calm and chaos in turn. `cargo build --release -p andon-cli --bin andon --example unruly-upstream && cargo run
//! --release -p andon-bench --bin chaos [-- --rounds 20 --turns 20]`.
//!
//! Each round of chaos is compared with the calm round before it. The servers' own processes need the processors too, and what
//! they take of them is nobody's to give back: the more processors, the less of that is in the figures.

#[cfg(target_os = "linux")]
#[path = "../../../crates/andon-cli/tests/chaos/scenario.rs"]
#[allow(clippy::unwrap_used, reason = "a scenario that cannot go on fails")]
mod scenario;

use std::process::ExitCode;

/// Plays chaos.
#[derive(clap::Parser)]
struct Options {
    /// How often calm and chaos take turns.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Calls by each client in each of them, four a second.
    #[arg(long, default_value_t = 20)]
    turns: usize,
    /// The program `andon` to measure. Default: the one beside this.
    #[arg(long, value_name = "FILE")]
    andon: Option<std::path::PathBuf>,
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use clap::Parser as _;
    let options = Options::parse();
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("chaos: processes are found by /proc, which only Linux has");
    ExitCode::FAILURE
}

#[cfg(target_os = "linux")]
fn measure(options: &Options) -> Result<(), andon_bench::Error> {
    use std::time::Duration;

    use andon_bench::child;
    use scenario::quantile;

    /// What chaos may do to the p99 of others.
    const TIMES_MAX: f64 = 1.2;

    child::give_andon(options.andon.clone());
    let here = std::env::current_exe()?;
    let scenario = scenario::Scenario {
        andon: child::andon()?,
        unruly: here.with_file_name("examples").join("unruly-upstream"),
        rounds: options.rounds.max(1),
        turns: options.turns.max(1),
    };
    for program in [&scenario.andon, &scenario.unruly] {
        if !program.exists() {
            return Err(format!("{} is not built", program.display()).into());
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(scenario.play());
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("| round | p50 calm ms | p50 chaos ms | p99 calm ms | p99 chaos ms | times |");
    println!("|------:|------------:|-------------:|------------:|-------------:|------:|");
    let mut ratios = Vec::new();
    for (number, (calm, chaos)) in outcome.calm.iter().zip(&outcome.chaos).enumerate() {
        let (before, beside) = (quantile(calm, 99), quantile(chaos, 99));
        ratios.push(beside.as_secs_f64() / before.as_secs_f64());
        println!(
            "| {:>5} | {:>11.2} | {:>12.2} | {:>11.2} | {:>12.2} | {:>5.2} |",
            number + 1,
            ms(quantile(calm, 50)),
            ms(quantile(chaos, 50)),
            ms(before),
            ms(beside),
            ratios[number]
        );
    }
    ratios.sort_by(f64::total_cmp);
    let (all_calm, all_chaos) = (quantile(&outcome.calm.concat(), 99), quantile(&outcome.chaos.concat(), 99));
    // By round: what else the machine did in one of them is in all of their calls together.
    let times = ratios[ratios.len() / 2];
    println!(
        "\n{} killed, {} stopped and found out; of the bad servers' calls {} were answered and {} failed",
        outcome.killed, outcome.stopped, outcome.answered, outcome.failed
    );
    println!(
        "p99 of all rounds {:.2} ms in calm, {:.2} ms beside chaos; by round {:.2} to {:.2} times",
        ms(all_calm),
        ms(all_chaos),
        ratios[0],
        ratios[ratios.len() - 1]
    );
    println!(
        "{}  p99 of others, in the middle of the rounds: {times:.2} times (asked: {TIMES_MAX})",
        if times <= TIMES_MAX { "holds" } else { "FAILS" }
    );
    Ok(())
}
