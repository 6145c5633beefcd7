//! Measures how many echo calls a server answers per second of processor time, beside its peers in the same run.
//!
//! `cargo run --release -p andon-bench` builds and starts each server as a process of its own, loads it over
//! keep-alive connections, and prints one table and whether the floors hold. See `bench/README.md`.

mod load;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use andon_bench::Error;
use andon_bench::child::{self, Served};
use andon_bench::machine::{self, Cores};
use andon_bench::peer::{self, Peer};
use andon_bench::wire::Http;
use clap::Parser as _;

use crate::load::Load;
use crate::report::{Case, Report};

/// Measures echo calls per CPU second of andon and its peers.
#[derive(Debug, clap::Parser)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Connections at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Length of each window of measuring.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Time under load before the window.
    #[arg(long, default_value_t = 1.0)]
    warm_up_seconds: f64,
    /// Rounds; in each one every server has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Cores that only the server under test uses; the generator has the others. Below four cores none are pinned.
    #[arg(long, default_value_t = 1)]
    server_cores: usize,
    /// Writes all numbers to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measures these servers only.
    #[arg(long)]
    only: Vec<Peer>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Serves as one of the peers.
    #[command(hide = true)]
    Peer {
        /// Which.
        name: Peer,
        /// The version of HTTP that it speaks.
        #[arg(long, default_value = "1.1")]
        http: Http,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.command {
        Some(Command::Peer { name, http }) => peer::serve(name, http).map(|()| ExitCode::SUCCESS),
        None => bench(&options),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

fn bench(options: &Options) -> Result<ExitCode, Error> {
    let peers = if options.only.is_empty() { &Peer::IN_PROCESS[..] } else { &options.only };
    if peers.contains(&Peer::Andon) {
        Peer::Andon.prepare()?;
        child::build(&[("andon-bench", "allocs")])?;
    }
    let cores = Cores::divide(options.server_cores);
    let cases = measure(options, peers, &cores)?;
    let allocations = if peers.contains(&Peer::Andon) { child::allocations()? } else { Vec::new() };
    let mut report = Report {
        server_cores: cores.server,
        generator_cores: cores.generator,
        connections: options.connections.into(),
        seconds: options.seconds,
        cases,
        allocations,
        verdicts: Vec::new(),
    };
    report.judge();
    println!("{}", report.text());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    let holds = report.verdicts.iter().all(|verdict| verdict.holds);
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gives each server its turn in each round.
fn measure(options: &Options, peers: &[Peer], cores: &Cores) -> Result<Vec<Case>, Error> {
    let load = Load {
        connections: options.connections.into(),
        warm_up: Duration::try_from_secs_f64(options.warm_up_seconds)?,
        window: Duration::try_from_secs_f64(options.seconds)?,
    };
    // The threads of the runtime are started by this one and stay on its cores.
    machine::pin(&cores.generator)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let turns = peers.iter().flat_map(|&peer| peer.eras().iter().map(move |&era| (peer, era)));
    let mut cases: Vec<Case> = turns.map(|(peer, era)| Case { peer, era, samples: Vec::new() }).collect();
    for round in 1..=options.rounds {
        for Case { peer, era, samples } in &mut cases {
            let served = Served::start(*peer, Http::One, cores)?;
            let sample = runtime.block_on(load::run(served.address, served.pid(), *era, load));
            let sample = sample.map_err(|error| format!("{}, {}: {error}", peer.name(), era.name()))?;
            let (name, speed) = (peer.name(), sample.calls_per_cpu_second);
            eprintln!("round {round}: {name:14} {:6} {speed:>8.0} calls per CPU second", era.name());
            samples.push(sample);
        }
    }
    Ok(cases)
}
