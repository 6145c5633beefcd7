//! Shows what one machine carries, against the real program `andon serve`: many sessions with streams, sessions that nobody
//! ends, peers that are too slow, more load than there is room for, and hours of it.
//! `cargo run --release -p andon-bench --bin scale -- streams|abandoned|readers|overload|reconnect|restart|soak`.

mod abandoned;
mod overload;
mod readers;
mod reconnect;
mod restart;
mod soak;
mod streams;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::child::{self, Served};
use andon_bench::machine::Cores;
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::GENERATE;
use andon_bench::scale::generator;
use andon_bench::scale::usage::Usage;
use clap::Parser as _;

/// The token of operators of servers that live as long as this program.
const ADMIN_TOKEN: &str = "operators-of-a-server-under-test";

/// Shows what one machine carries.
#[derive(clap::Parser)]
struct Scale {
    #[command(subcommand)]
    program: Program,
    #[command(flatten)]
    common: Common,
}

/// What all of them have.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Writes all numbers to this file.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// Cores that only the server uses; the generators have the others. Below four cores none are pinned. Default 0: all share
    /// them; 2 for `readers`.
    #[arg(long, global = true)]
    server_cores: Option<usize>,
    /// Processes that hold the server's connections; 0: the server does itself.
    #[arg(long, global = true, default_value_t = 0)]
    workers: usize,
    /// The program `andon` to measure. Default: it is built, in the profile of this one.
    #[arg(long, global = true, value_name = "FILE")]
    andon: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Program {
    /// Many sessions, each with an open stream and a subscription: opening, one update for all, calls beside it, closing.
    Streams(streams::Options),
    /// Sessions that nobody ends: all expire, and their memory comes back.
    Abandoned(abandoned::Options),
    /// Peers that read or send too slowly, beside well-behaved ones.
    Readers(readers::Options),
    /// Two and four times as many calls as there is room for.
    Overload(overload::Options),
    /// All clients come back at once.
    Reconnect(reconnect::Options),
    /// Killed with many sessions on disk, and started again.
    Restart(restart::Options),
    /// All of it at once, for long: is the memory flat?
    Soak(soak::Options),
    /// Draws the lines of a soak from the file that `--json` wrote.
    Draw {
        /// That file.
        from: PathBuf,
        /// The SVG to write.
        to: PathBuf,
    },
    /// Generates load, as orders on standard input say.
    #[command(name = GENERATE, hide = true)]
    Generate,
}

fn main() -> ExitCode {
    let Scale { program, common } = Scale::parse();
    let measured = match program {
        Program::Generate => generator::run().map(|()| None),
        Program::Streams(options) => run(&common, |common| streams::measure(&options, common)),
        Program::Abandoned(options) => run(&common, |common| abandoned::measure(&options, common)),
        Program::Readers(options) => run(&common, |common| readers::measure(&options, common)),
        Program::Overload(options) => run(&common, |common| overload::measure(&options, common)),
        Program::Reconnect(options) => run(&common, |common| reconnect::measure(&options, common)),
        Program::Restart(options) => run(&common, |common| restart::measure(&options, common)),
        Program::Draw { from, to } => soak::draw(&from, &to).map(|()| None),
        Program::Soak(options) => run(&common, |common| soak::measure(&options, common)),
    };
    let published = measured.and_then(|figures| {
        let Some(figures) = figures else { return Ok(true) };
        figures.publish(common.json.as_deref())?;
        Ok(figures.hold())
    });
    match published {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::from(andon_bench::FAILED)
        }
    }
}

fn run(common: &Common, measure: impl FnOnce(&Common) -> Result<Figures, Error>) -> Result<Option<Figures>, Error> {
    child::give_andon(common.andon.clone());
    child::prepare_andon()?;
    measure(common).map(Some)
}

impl Common {
    /// Whose the cores are; so many are the server's where nothing is said.
    fn cores(&self, of_server: usize) -> Cores {
        Cores::divide(self.server_cores.unwrap_or(of_server))
    }

    /// Starts the server, with more arguments than it needs to listen.
    fn serve(&self, cores: &Cores, arguments: &[&str]) -> Result<Served, Error> {
        let mut command = Command::new(child::andon()?);
        command.args(["--log", "warn", "serve", "--listen", "127.0.0.1:0"]).args(arguments);
        command.env("ANDON_ADMIN_TOKEN", ADMIN_TOKEN);
        if self.workers > 0 {
            command.args(["--workers", &self.workers.to_string()]);
        }
        Served::of(command, cores)
    }
}

/// A port that nobody listens on.
fn free_address() -> Result<SocketAddr, Error> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until the memory of `server` is at most `wanted` bytes, for `patience` at most: what it takes then, and how long
/// that was.
fn settle(server: &Served, wanted: f64, patience: Duration) -> Result<(Usage, Duration), Error> {
    let begun = Instant::now();
    loop {
        let usage = Usage::of(server.pid())?;
        if usage.memory_bytes as f64 <= wanted || begun.elapsed() >= patience {
            return Ok((usage, begun.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn say(what: &str) {
    eprintln!("{what}");
}
