//! Measures what it costs that workers hold the connections (`andon serve --workers N`), beside the same server without
//! them in the same run: processor time of an echo call in all processes together, and its latency. What a session and its
//! stream take with workers is measured by `scale streams --workers N`.
//! `cargo build --release -p andon-cli && cargo run --release -p andon-bench --bin workers`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use andon_bench::child::{self, Served};
use andon_bench::load::{self, Call, Load};
use andon_bench::machine::Cores;
use andon_bench::wire::{Era, Http};
use andon_bench::{Error, FAILED};
use clap::Parser as _;

/// Calls that are not measured come for so long.
const WARM_UP: Duration = Duration::from_millis(500);

/// Measures what workers cost.
#[derive(clap::Parser)]
struct Options {
    /// Numbers of workers to measure; 0 is a server without.
    #[arg(long, value_delimiter = ',', default_value = "0,1,2")]
    workers: Vec<u16>,
    /// Connections at once that call.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Length of each window of calls.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds; in each one every server has its turn.
    #[arg(long, default_value_t = 3)]
    rounds: u16,
    /// The program `andon` to measure. Default: the one beside this.
    #[arg(long, value_name = "FILE")]
    andon: Option<PathBuf>,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(measure(&Options::parse()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("workers: {error}");
            ExitCode::from(FAILED)
        }
    }
}

async fn measure(options: &Options) -> Result<(), Error> {
    child::give_andon(options.andon.clone());
    let mut all_us: BTreeMap<u16, Vec<f64>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for &workers in &options.workers {
            let (cpu_us, p50_us) = turn(workers, options).await?;
            println!("round {round}, {workers} workers: {cpu_us:.1} us of processor time a call, p50 {p50_us:.0} us");
            all_us.entry(workers).or_default().push(cpu_us);
        }
    }
    let median = |workers: u16| {
        let mut all_us = all_us.get(&workers)?.clone();
        all_us.sort_by(f64::total_cmp);
        Some(all_us[all_us.len() / 2])
    };
    for &workers in options.workers.iter().filter(|workers| **workers > 0) {
        if let Some((with, without)) = median(workers).zip(median(0)) {
            println!("{workers} workers: {:.2} times the processor time of none", with / without);
        }
    }
    Ok(())
}

/// Microseconds of processor time that a call takes in all processes of the server, and of the median call in all.
async fn turn(workers: u16, options: &Options) -> Result<(f64, f64), Error> {
    let mut command = Command::new(child::andon()?);
    command.args(["--log", "warn", "serve", "--listen", "127.0.0.1:0"]);
    if workers > 0 {
        command.args(["--workers", &workers.to_string()]);
    }
    let server = Served::of(command, &Cores::default())?;
    let load = Load {
        call: Call::Echo,
        era: Era::Modern,
        http: Http::One,
        connections: options.connections,
        warm_up: WARM_UP,
        window: Duration::from_secs_f64(options.seconds),
        rate: None,
    };
    let measured = load::run(server.address, server.pid(), load).await?;
    Ok((measured.cpu.as_secs_f64() * 1e6 / measured.calls as f64, measured.times.quantile_us(0.5)))
}
