//! Measures pipelined echo calls over one byte stream: a server's stdio, and the same code over a pair of sockets and
//! over a pipe in memory, beside the floor: a loop that parses each line and answers the same bytes.
//! `cargo run --release -p andon-bench --bin pipe [-- --seconds 3 --era legacy]`.

use std::cell::Cell;
use std::env;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use andon::prelude::{Server, tool};
use andon::server::host::Host;
use andon::server::principal::Principal;
use andon::server::transport::{self, serve_lines};
use andon_bench::wire::{self, Era, Numbered};
use andon_bench::{Error, machine};
use clap::Parser as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Notify;

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

/// Bytes that the client reads at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Calls that it writes at once: about as many bytes as a pipe takes.
const CALLS_AT_ONCE: usize = 256;
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
        Some(Way::Floor) => floor(),
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
    let time = Duration::from_secs_f64(options.seconds);
    let own = std::process::id();
    let (counted, cpu) = match way {
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
            let measured = drive(output, input, era, window, time, pid).await?;
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
            drive(input, output, era, window, time, own).await?
        }
        Way::Memory => {
            let (near, far) = tokio::io::duplex(MEMORY_BYTES);
            let (input, output) = tokio::io::split(far);
            serve(server, input, output)?;
            let (input, output) = tokio::io::split(near);
            drive(input, output, era, window, time, own).await?
        }
    };
    let calls_per_s = counted.calls as f64 / counted.took.as_secs_f64();
    let cpu_us_per_call = cpu.as_secs_f64() * 1e6 / counted.calls as f64;
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

/// Calls that were answered, and in what time.
struct Counted {
    calls: u64,
    took: Duration,
}

/// Opens the conversation, warms it up, and measures for `time`: calls and processor time of the process `pid`.
async fn drive(
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    era: Era,
    window: usize,
    time: Duration,
    pid: u32,
) -> Result<(Counted, Duration), Error> {
    let mut answers = Answers { input, text: vec![0; CHUNK_BYTES], filled: 0, seen: Vec::new() };
    if era == Era::Legacy {
        output.write_all(format!("{}\n{}\n", wire::INITIALIZE, wire::INITIALIZED).as_bytes()).await?;
        answers.opening().await?;
    }
    let mut calls = Numbered::new(format!("{}\n", wire::call_body(era)));
    run(&mut calls, &mut answers, &mut output, window, WARM_UP).await?;
    let cpu_before = machine::cpu_time(pid)?;
    let counted = run(&mut calls, &mut answers, &mut output, window, time).await?;
    let cpu = machine::cpu_time(pid)?.saturating_sub(cpu_before);
    output.shutdown().await?;
    drop(output);
    answers.end().await?;
    Ok((counted, cpu))
}

/// Keeps `window` calls in flight for `time`, and waits for the answers to all of them.
async fn run<R: AsyncRead + Unpin>(
    calls: &mut Numbered,
    answers: &mut Answers<R>,
    output: &mut (impl AsyncWrite + Unpin),
    window: usize,
    time: Duration,
) -> Result<Counted, Error> {
    let (began_at, credit, more) = (Instant::now(), Cell::new(window), Notify::new());
    let (sent, is_over, last) = (Cell::new(0_usize), Cell::new(false), Notify::new());
    let mut text = Vec::with_capacity(2 * CHUNK_BYTES);
    let write = async {
        while began_at.elapsed() < time {
            let count = credit.get().min(CALLS_AT_ONCE);
            if count == 0 {
                more.notified().await;
                continue;
            }
            for _ in 0..count {
                text.extend_from_slice(calls.advance().0);
            }
            credit.set(credit.get() - count);
            sent.set(sent.get() + count);
            output.write_all(&text).await?;
            output.flush().await?;
            text.clear();
        }
        is_over.set(true);
        last.notify_one();
        Ok::<_, Error>(())
    };
    answers.seen.clear();
    let read = async {
        let mut answered = 0;
        while !is_over.get() || answered < sent.get() {
            let count = tokio::select! {
                count = answers.read() => count?,
                () = last.notified() => continue,
            };
            answered += count;
            credit.set(credit.get() + count);
            more.notify_one();
        }
        Ok::<_, Error>(answered)
    };
    let ((), answered) = tokio::try_join!(write, read)?;
    answers.check(answered)?;
    Ok(Counted { calls: answered as u64, took: began_at.elapsed() })
}

/// What the server says.
struct Answers<R> {
    input: R,
    text: Vec<u8>,
    filled: usize,
    /// The numbers of the calls that were answered.
    seen: Vec<u64>,
}

impl<R: AsyncRead + Unpin> Answers<R> {
    /// Reads some answers, and says how many.
    async fn read(&mut self) -> Result<usize, Error> {
        self.fill().await?;
        let (known, mut at) = (self.seen.len(), 0);
        while let Some(length) = memchr::memchr(b'\n', &self.text[at..self.filled]) {
            let line = &self.text[at..at + length];
            self.seen.push(number(line).ok_or_else(|| format!("no answer: {}", String::from_utf8_lossy(line)))?);
            at += length + 1;
        }
        self.text.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(self.seen.len() - known)
    }

    /// Reads the answer to the first request of a session.
    async fn opening(&mut self) -> Result<(), Error> {
        while !self.text[..self.filled].contains(&b'\n') {
            self.fill().await?;
        }
        let line = String::from_utf8_lossy(&self.text[..self.filled]).into_owned();
        self.filled = 0;
        if line.contains(r#""result":"#) { Ok(()) } else { Err(format!("no session: {line}").into()) }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let count = self.input.read(&mut self.text[self.filled..]).await?;
        self.filled += count;
        if count == 0 { Err("the server ended, or said a line that is too long".into()) } else { Ok(()) }
    }

    /// Whether `count` calls in a row were answered, each once.
    fn check(&mut self, count: usize) -> Result<(), Error> {
        self.seen.sort_unstable();
        let is_in_a_row = self.seen.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if self.seen.len() == count && is_in_a_row { Ok(()) } else { Err("a call was answered twice, or not".into()) }
    }

    /// Whether nothing else is said.
    async fn end(&mut self) -> Result<(), Error> {
        let mut rest = Vec::new();
        self.input.read_to_end(&mut rest).await?;
        if self.filled == 0 && rest.is_empty() { Ok(()) } else { Err("an answer too many".into()) }
    }
}

/// The number of the call that `line` answers with the message that was sent.
fn number(line: &[u8]) -> Option<u64> {
    let digits = |after: &[u8]| {
        let at = memchr::memmem::find(line, after)? + after.len();
        std::str::from_utf8(line.get(at..at + 9)?).ok()?.parse::<u64>().ok()
    };
    let id = digits(br#""id":"#)?;
    (digits(b"\"message number ")? == id).then_some(id)
}

#[derive(Deserialize)]
struct FloorRequest<'a> {
    id: u64,
    #[serde(borrow)]
    method: &'a str,
    #[serde(borrow)]
    params: FloorParams<'a>,
}

#[derive(Deserialize)]
struct FloorParams<'a> {
    #[serde(borrow)]
    name: Option<&'a str>,
    #[serde(borrow)]
    arguments: Option<FloorArguments<'a>>,
}

#[derive(Deserialize)]
struct FloorArguments<'a> {
    #[serde(borrow)]
    message: &'a str,
}

/// What any server at least has to do: read, parse each line, and write the same answers, many at once.
fn floor() -> Result<(), Error> {
    let mut input = std::io::BufReader::with_capacity(CHUNK_BYTES, std::io::stdin());
    let mut output = std::io::stdout().lock();
    let (mut line, mut text) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if let Ok(request) = serde_json::from_slice::<FloorRequest<'_>>(&line) {
            let id = request.id;
            match (request.method, request.params.name, request.params.arguments) {
                ("tools/call", Some("echo"), Some(FloorArguments { message })) => writeln!(
                    text,
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[{{\"type\":\"text\",\"text\":{}}}]}}}}",
                    serde_json::to_string(message)?
                )?,
                _ => writeln!(text, r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)?,
            }
        }
        if !text.is_empty() && !input.buffer().contains(&b'\n') {
            output.write_all(&text)?;
            output.flush()?;
            text.clear();
        }
    }
}
