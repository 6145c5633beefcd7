//! Measures servers under the same workloads in one run: ours, a bare one, and those of other SDKs.
//!
//! `cargo run --release -p andon-bench` builds and starts each server as a process of its own, loads it, and prints
//! one report with ratios to the bare server and whether what is asked for holds. See `docs/performance.md`.

mod report;
mod verdict;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use andon_bench::machine::{self, Cores};
use andon_bench::peer::{self, Peer};
use andon_bench::scale::fleet::GENERATE;
use andon_bench::scale::generator;
use andon_bench::wire::{Era, Http};
use andon_bench::{Error, child};
use clap::Parser as _;

use crate::report::{Case, Report};
use crate::workload::{STDIO_WINDOW_MAX, Sizes, Turn, Workload};

/// The servers that live in this program have the allocator that the command `andon` has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures servers under the same workloads in one run.
#[derive(Debug, clap::Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Everything: all servers, numbers of connections and versions of HTTP, and more of each. Takes more than an hour.
    #[arg(long)]
    full: bool,
    /// Only these workloads.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Only these servers; `all` are those of other languages too.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Only these eras.
    #[arg(long, value_delimiter = ',')]
    eras: Vec<Era>,
    /// Calls at once. Default 64, and 1, 64 and 1000 for `echo` with --full.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: Vec<u16>,
    /// Versions of HTTP. Default 1.1, and 2 for `echo` with --full.
    #[arg(long, value_delimiter = ',')]
    http: Vec<Http>,
    /// Length of each window of measuring, of `neighbours` at least 4. Default 0.7, with --full 3.
    #[arg(long)]
    seconds: Option<f64>,
    /// Rounds; in each one every server has its turn. Default 2, with --full 3. Three times as many where something is asked of
    /// p99, of those servers of which it is asked.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Calls per second of the workload `paced`.
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Streams that are told of updates. Default 500, with --full 2000.
    #[arg(long)]
    listeners: Option<usize>,
    /// Clients that do not read, or hardly. Default 100, with --full 1000.
    #[arg(long)]
    neighbours: Option<usize>,
    /// Idle sessions and streams. Default 2000, with --full 10000.
    #[arg(long)]
    idle: Option<usize>,
    /// Leaves out what is counted in process beside `echo`.
    #[arg(long)]
    without_in_process: bool,
    /// Cores that only the server under test uses; the generator has the others. Below four cores none are pinned.
    #[arg(long, default_value_t = 1)]
    server_cores: usize,
    /// The program `andon` to measure. Default: it is built, in the profile of this one.
    #[arg(long, value_name = "FILE")]
    andon: Option<PathBuf>,
    /// Writes all numbers to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes plots into this folder. The Markdown refers to them if the folder is beside its file.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Writes the report to this file; where it has the lines `<!-- measured -->` and `<!-- end of measured -->`, between them.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
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
        /// Over standard input and output instead.
        #[arg(long)]
        stdio: bool,
    },
    /// Generates load, as orders on standard input say.
    #[command(name = GENERATE, hide = true)]
    Generate,
}

/// What connections and versions of HTTP are when none are named.
const CONNECTIONS: u16 = 64;
const CONNECTIONS_FULL: [u16; 3] = [1, 64, 1000];
/// Calls at once over standard input and output.
const WINDOWS: [usize; 2] = [1, STDIO_WINDOW_MAX];
/// Between these lines of a file the report stands.
const MARKS: [&str; 2] = ["<!-- measured -->", "<!-- end of measured -->"];

fn main() -> ExitCode {
    let options = Options::parse();
    let ended = match options.command {
        Some(Command::Peer { name, stdio: true, .. }) => peer::serve_stdio(name).map(|()| ExitCode::SUCCESS),
        Some(Command::Peer { name, http, .. }) => peer::serve(name, http).map(|()| ExitCode::SUCCESS),
        Some(Command::Generate) => generator::run().map(|()| ExitCode::SUCCESS),
        None => bench(&options),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::from(andon_bench::FAILED)
    })
}

fn bench(options: &Options) -> Result<ExitCode, Error> {
    let mut peers = options.peers()?;
    child::give_andon(options.andon.clone());
    let (mut left_out, mut ours) = (Vec::new(), Ok(()));
    peers.retain(|peer| match peer.prepare() {
        Ok(()) => true,
        Err(why) if peer.is_ours() => {
            ours = Err(why);
            false
        }
        Err(why) => {
            eprintln!("{} is left out: {why}", peer.name());
            left_out.push(format!("{} ({why})", peer.name()));
            false
        }
    });
    ours?;
    let counted: Vec<Peer> = peers.iter().copied().filter(|peer| Peer::IN_PROCESS.contains(peer)).collect();
    let mut in_process = Vec::new();
    if options.includes(Workload::Echo) && !counted.is_empty() && !options.without_in_process {
        child::build(&[("andon-bench", "allocs")])?;
        in_process = child::in_process(&counted)?;
    }
    // Before this thread is pinned, and knows of fewer cores.
    let machine = machine::describe();
    let cores = Cores::divide(options.server_cores);
    let sizes = options.sizes()?;
    let cases = measure(options, &peers, &sizes, &cores)?;
    let mut report = Report {
        machine,
        server_cores: cores.server,
        generator_cores: cores.generator,
        sizes,
        left_out,
        cases,
        in_process,
        verdicts: Vec::new(),
    };
    report.judge();
    println!("{}", report.text());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    let mut links = String::new();
    if let Some(folder) = &options.svg {
        std::fs::create_dir_all(folder)?;
        for (name, plot) in report.plots() {
            std::fs::write(folder.join(&name), plot)?;
            let beside = folder.file_name().map(|folder| folder.to_string_lossy()).unwrap_or_default();
            links.push_str(&format!("\n![{name}]({beside}/{name})\n"));
        }
    }
    if let Some(path) = &options.markdown {
        write_markdown(path, &format!("{}{links}", report.text()))?;
    }
    Ok(if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Gives each server its turn in each round.
fn measure(options: &Options, peers: &[Peer], sizes: &Sizes, cores: &Cores) -> Result<Vec<Case>, Error> {
    // The threads of the runtime are started by this one and stay on its cores.
    machine::pin(&cores.generator)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let turns = options.turns(peers).into_iter();
    let mut cases: Vec<Case> = turns.map(Case::new).collect();
    for round in 0..cases.iter().map(|case| case.turn.rounds(sizes)).max().unwrap_or(0) {
        for neighbours in cases.chunk_by_mut(|a, b| a.turn.is_beside(&b.turn)) {
            let mut turns: Vec<&mut Case> =
                neighbours.iter_mut().filter(|case| round < case.turn.rounds(sizes) && case.failed.is_none()).collect();
            // Another one begins each time: who comes later in a round finds the machine otherwise.
            let begin = round % turns.len().max(1);
            turns.rotate_left(begin);
            turns.into_iter().for_each(|case| runtime.block_on(case.measure(round, sizes, cores)));
        }
    }
    Ok(cases)
}

impl Case {
    /// Gives the server its turn in a round.
    async fn measure(&mut self, round: usize, sizes: &Sizes, cores: &Cores) {
        let Turn { workload, era, http, connections, peer } = self.turn;
        let (era, way, name) = (era.name(), workload.way(http), peer.name());
        let what = format!("round {}: {:10} {era:6} {way:8} {connections:>4} {name:14}", round + 1, workload.name());
        match self.turn.measure(sizes, cores).await {
            Ok(sample) => {
                let lead = workload.figures()[0];
                eprintln!("{what} {:>10.1} {}", sample.get(&lead).copied().unwrap_or(0.0), lead.heading());
                self.rounds.push(sample);
            }
            Err(error) => {
                eprintln!("{what} failed: {error}");
                self.failed = Some(format!("round {}: {error}", round + 1));
            }
        }
    }
}

impl Options {
    /// Servers by name; by default those that are built with this program, and with `full` all.
    fn peers(&self) -> Result<Vec<Peer>, Error> {
        if self.peers.is_empty() {
            return Ok(Peer::ALL.into_iter().filter(|peer| self.full || peer.is_built_here()).collect());
        }
        if self.peers.iter().any(|name| name == "all") {
            return Ok(Peer::ALL.to_vec());
        }
        let known = |name: &String| {
            let names = || Peer::ALL.map(Peer::name).join(", ");
            let peer = Peer::ALL.into_iter().find(|peer| peer.name() == name);
            peer.ok_or_else(|| format!("{name:?} is no server; there are all, {}", names()).into())
        };
        let named = self.peers.iter().map(known).collect::<Result<Vec<_>, Error>>()?;
        // In the order of the tables.
        Ok(Peer::ALL.into_iter().filter(|peer| named.contains(peer)).collect())
    }

    fn includes(&self, workload: Workload) -> bool {
        self.workloads.is_empty() || self.workloads.contains(&workload)
    }

    fn sizes(&self) -> Result<Sizes, Error> {
        let of = |normal, full| if self.full { full } else { normal };
        Ok(Sizes {
            rounds: self.rounds.map_or(if self.full { 3 } else { 2 }, usize::from),
            window: Duration::try_from_secs_f64(self.seconds.unwrap_or(of(0.7, 3.0)))?,
            warm_up: Duration::try_from_secs_f64(of(0.2, 1.0))?,
            rate: self.rate,
            sessions: 150_000,
            listeners: self.listeners.unwrap_or(if self.full { 2_000 } else { 500 }),
            neighbours: self.neighbours.unwrap_or(if self.full { 1_000 } else { 100 }),
            settle: Duration::try_from_secs_f64(of(2.0, 5.0))?,
            idle: self.idle.unwrap_or(if self.full { 10_000 } else { 2_000 }),
        })
    }

    /// What is measured, in the order of a round: servers that are compared with each other are neighbours.
    fn turns(&self, peers: &[Peer]) -> Vec<Turn> {
        let mut turns = Vec::new();
        for workload in Workload::ALL.into_iter().filter(|workload| self.includes(*workload)) {
            for era in [Era::Legacy, Era::Modern] {
                if !self.eras.is_empty() && !self.eras.contains(&era) {
                    continue;
                }
                for (http, connections) in self.ways(workload) {
                    let turn = |&peer| Turn { workload, era, http, connections, peer };
                    turns.extend(peers.iter().map(turn).filter(Turn::is_possible));
                }
            }
        }
        turns
    }

    /// Versions of HTTP and calls at once of a workload.
    fn ways(&self, workload: Workload) -> Vec<(Http, usize)> {
        if workload == Workload::Stdio {
            return WINDOWS.map(|window| (Http::One, window)).to_vec();
        }
        if !workload.is_of_calls() {
            return vec![(Http::One, CONNECTIONS.into())];
        }
        let varies = self.full && workload == Workload::Echo;
        let chosen = |named: &[u16]| if named.is_empty() { None } else { Some(named.to_vec()) };
        let connections = chosen(&self.connections);
        let connections = connections.unwrap_or(if varies { CONNECTIONS_FULL.to_vec() } else { vec![CONNECTIONS] });
        let https = match (self.http.as_slice(), varies) {
            ([], true) => vec![Http::One, Http::Two],
            ([], false) => vec![Http::One],
            (named, _) => named.to_vec(),
        };
        let with = |&http| connections.iter().map(move |&count| (http, usize::from(count))).collect::<Vec<_>>();
        https.iter().flat_map(with).collect()
    }
}

/// Writes the report, or replaces what stands between the marks.
fn write_markdown(path: &Path, report: &str) -> Result<(), Error> {
    let before = std::fs::read_to_string(path).unwrap_or_default();
    let [begin, end] = MARKS;
    let whole = match before.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1))) {
        Some((head, tail)) => format!("{head}{begin}\n\n{report}\n{end}{tail}"),
        None => report.to_owned(),
    };
    Ok(std::fs::write(path, whole)?)
}
