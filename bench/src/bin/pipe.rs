//! Measures pipelined echo calls over one byte stream: a server's stdio, and the same code over a pair of sockets and
//! over a pipe in memory, beside the floor: a loop that parses each line and answers the same bytes.
//! `cargo run --release -p andon-bench --bin pipe [-- --seconds 3 --era legacy]`.

use std::env;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use andon::prelude::{Server, tool};
use andon::server::host::Host;
use andon::server::principal::Principal;
use andon::server::transport::{self, serve_lines};
use andon_bench::Error;
use andon_bench::lines::{Drive, drive};
use andon_bench::peer::{self, Peer};
use andon_bench::wire::Era;
use clap::Parser as _;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;

/// Measures pipelined calls over one byte stream. A message is a request or an answer: a call is two of them.
#[derive(clap::Parser)]
struct Options {
    /// How long each case is measured, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How often all cases are measured in turn.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Only this era.
    #[arg(long)]
    era: Option<Era>,
    /// Only this way.
    #[arg(long)]
    way: Option<Way>,
    /// Calls that wait for their answers at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1000])]
    windows: Vec<usize>,
    /// The server over stdio is this program with the arguments `serve --stdio`, such as `andon`. Default: one that only
    /// has the tool, within this program.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Writes what was measured here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Is the server of this way, over standard input and output.
    #[arg(long, hide = true)]
    serve: Option<Way>,
}

/// Through what the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Way {
    /// A child process that parses each line and answers the same bytes.
    Floor,
    /// Standard input and output of a child process.
    Stdio,
    /// A pair of Unix sockets within this process.
    Socket,
    /// A pipe in memory within this process.
    Memory,
}

impl Way {
    const ALL: [Self; 4] = [Self::Floor, Self::Stdio, Self::Socket, Self::Memory];

    fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Stdio => "stdio",
            Self::Socket => "socket",
            Self::Memory => "memory",
        }
    }
}

/// What was measured of one case.
#[derive(Serialize)]
struct Measured {
    way: Way,
    era: Era,
    window: usize,
    calls_per_s: f64,
    /// Requests and answers.
    messages_per_s: f64,
    /// Processor time of the server; of both sides where they are one process.
    cpu_us_per_call: f64,
}

/// Bytes in the pipe in memory, each way; as many as a pipe of Linux has.
const MEMORY_BYTES: usize = 64 << 10;
const WARM_UP: Duration = Duration::from_millis(300);

/// Say the message again.
#[tool]
async fn echo(
    /// What to say.
    message: String,
) -> String {
    message
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.serve {
        None => measure_all(&options),
        Some(Way::Floor) => peer::serve_stdio(Peer::Floor),
        Some(_) => server().run(transport::Stdio).map_err(Error::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pipe: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure_all(options: &Options) -> Result<(), Error> {
    // The client is one thread; what it talks to in this process has others.
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build()?;
    let mut all = Vec::new();
    println!("{:7} {:7} {:>6} {:>12} {:>12} {:>10}", "way", "era", "window", "calls/s", "messages/s", "us/call");
    for _ in 0..options.rounds {
        for era in [Era::Legacy, Era::Modern] {
            for &window in &options.windows {
                for way in Way::ALL {
                    if options.era.is_some_and(|only| only != era) || options.way.is_some_and(|only| only != way) {
                        continue;
                    }
                    let measured = client.block_on(measure(options, &server, way, era, window))?;
                    println!(
                        "{:7} {:7} {window:>6} {:>12.0} {:>12.0} {:>10.2}",
                        way.name(),
                        era.name(),
                        measured.calls_per_s,
                        measured.messages_per_s,
                        measured.cpu_us_per_call
                    );
                    all.push(measured);
                }
            }
        }
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&all)?)?;
    }
    Ok(())
}

async fn measure(
    options: &Options,
    server: &tokio::runtime::Runtime,
    way: Way,
    era: Era,
    window: usize,
) -> Result<Measured, Error> {
    let settings = Drive { era, window, warm_up: WARM_UP, time: Duration::from_secs_f64(options.seconds) };
    let own = std::process::id();
    let driven = match way {
        Way::Floor | Way::Stdio => {
            let mut command = match &options.program {
                Some(program) if way == Way::Stdio => Command::new(program),
                _ => Command::new(env::current_exe()?),
            };
            match &options.program {
                Some(_) if way == Way::Stdio => command.args(["serve", "--stdio"]),
                _ => command.args(["--serve", way.name()]),
            };
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut child = command.spawn()?;
            let pid = child.id().ok_or("the server ended at once")?;
            let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes to the server")?;
            let measured = drive(output, input, settings, pid).await?;
            // Its input ended.
            child.wait().await?;
            measured
        }
        Way::Socket => {
            let (near, far) = std::os::unix::net::UnixStream::pair()?;
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            {
                let _server = server.enter();
                let (input, output) = tokio::net::UnixStream::from_std(far)?.into_split();
                serve(server, input, output)?;
            }
            let (input, output) = tokio::net::UnixStream::from_std(near)?.into_split();
            drive(input, output, settings, own).await?
        }
        Way::Memory => {
            let (near, far) = tokio::io::duplex(MEMORY_BYTES);
            let (input, output) = tokio::io::split(far);
            serve(server, input, output)?;
            let (input, output) = tokio::io::split(near);
            drive(input, output, settings, own).await?
        }
    };
    let calls_per_s = driven.rate();
    let cpu_us_per_call = driven.cpu.as_secs_f64() * 1e6 / driven.calls as f64;
    Ok(Measured { way, era, window, calls_per_s, messages_per_s: calls_per_s * 2.0, cpu_us_per_call })
}

fn server() -> Server {
    Server::new("pipe", env!("CARGO_PKG_VERSION")).with(echo)
}

/// Serves one peer on threads of `runtime`.
fn serve(
    runtime: &tokio::runtime::Runtime,
    input: impl AsyncRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> Result<(), Error> {
    let host: Arc<Host> = server().build()?;
    runtime.spawn(async move {
        let served = serve_lines(&host, Principal::anonymous(), input, output, std::future::pending()).await;
        if let Err(error) = served {
            eprintln!("pipe: the server: {error}");
        }
    });
    Ok(())
}
