//! Measures what it costs that workers hold the connections (`andon serve --workers N`), beside the same server without
//! them in the same run: processor time and latency of an echo call, and memory of an idle stream, in all processes
//! together. `cargo build --release -p andon-cli && cargo run --release -p andon-bench --bin workers`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use andon_bench::{Error, child, machine};
use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

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
    /// Idle streams.
    #[arg(long, default_value_t = 15_000)]
    streams: usize,
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
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<(), Error> {
    child::give_andon(options.andon.clone());
    let mut calls: BTreeMap<u16, Vec<(f64, f64)>> = BTreeMap::new();
    for round in 1..=options.rounds {
        for &workers in &options.workers {
            let server = Server::start(workers)?;
            let (cpu_us, p50_us) = calls_of(&server, options).await?;
            println!("round {round}, {workers} workers: {cpu_us:.1} us of processor time a call, p50 {p50_us:.0} us");
            calls.entry(workers).or_default().push((cpu_us, p50_us));
        }
    }
    let median = |workers: u16| {
        let mut all: Vec<f64> = calls.get(&workers)?.iter().map(|(cpu_us, _)| *cpu_us).collect();
        all.sort_by(f64::total_cmp);
        Some(all[all.len() / 2])
    };
    for &workers in options.workers.iter().filter(|workers| **workers > 0) {
        if let Some((with, without)) = median(workers).zip(median(0)) {
            println!("{workers} workers: {:.2} times the processor time of none", with / without);
        }
    }
    for &workers in options.workers.iter().filter(|_| options.streams > 0) {
        streams_of(&Server::start(workers)?, options, workers).await?;
    }
    Ok(())
}

/// A server and its workers. It is killed when this is dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(workers: u16) -> Result<Self, Error> {
        let mut command = Command::new(child::andon()?);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log", "warn"]);
        if workers > 0 {
            command.args(["--workers", &workers.to_string()]);
        }
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().ok_or("no stderr")?).lines().map_while(Result::ok);
        let url = lines.find_map(|line| Some(line.split_once("listening on http://")?.1.to_owned()));
        std::thread::spawn(move || {
            lines.for_each(|line| {
                if line.contains("WARN") {
                    eprintln!("{line}");
                }
            });
        });
        let address = url.as_deref().and_then(|url| url.split('/').next()).ok_or("it does not listen")?.parse()?;
        Ok(Self { child, address })
    }

    /// The process, and those that it started.
    fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let mut all = vec![own];
        // Other threads of it start processes too.
        for task in std::fs::read_dir(format!("/proc/{own}/task")).into_iter().flatten().flatten() {
            let more = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(more.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        all.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        all.sort_unstable();
        all.dedup();
        all
    }

    fn cpu_time(&self) -> Duration {
        self.processes().into_iter().filter_map(|pid| machine::cpu_time(pid).ok()).sum()
    }

    fn resident_kib(&self) -> Vec<u64> {
        let mut processes = self.processes();
        processes.sort_by_key(|pid| *pid != self.child.id());
        processes.into_iter().filter_map(|pid| machine::resident_kib(pid).ok()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Microseconds of processor time that a call takes in all processes of the server, and of the median call in all.
async fn calls_of(server: &Server, options: &Options) -> Result<(f64, f64), Error> {
    let window = Duration::from_secs_f64(options.seconds);
    let mut callers = JoinSet::new();
    let began_at = Instant::now() + Duration::from_millis(500);
    let ends_at = began_at + window;
    for _ in 0..options.connections {
        let socket = TcpStream::connect(server.address).await?;
        callers.spawn(call(socket, began_at, ends_at));
    }
    tokio::time::sleep_until(began_at.into()).await;
    let before = server.cpu_time();
    tokio::time::sleep_until(ends_at.into()).await;
    let cpu = server.cpu_time() - before;
    let mut all_us = Vec::new();
    while let Some(ended) = callers.join_next().await {
        all_us.append(&mut ended??);
    }
    all_us.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = all_us.len() as f64;
    Ok((cpu.as_secs_f64() * 1e6 / count, all_us[all_us.len() / 2]))
}

const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"message":"a message of some length"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;

async fn call(mut socket: TcpStream, began_at: Instant, ends_at: Instant) -> Result<Vec<f64>, Error> {
    socket.set_nodelay(true)?;
    let headers = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n";
    let request = post(headers, CALL);
    let mut all_us = Vec::new();
    loop {
        let now = Instant::now();
        if now >= ends_at {
            return Ok(all_us);
        }
        socket.write_all(request.as_bytes()).await?;
        let answer = answer(&mut socket).await?;
        if !answer.contains("a message of some length") {
            return Err(format!("no echo: {answer}").into());
        }
        if now >= began_at {
            all_us.push(now.elapsed().as_secs_f64() * 1e6);
        }
    }
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One answer with a declared length.
async fn answer(socket: &mut TcpStream) -> Result<String, Error> {
    let (mut bytes, mut filled) = (vec![0; 4096], 0);
    loop {
        let read = socket.read(&mut bytes[filled..]).await?;
        if read == 0 {
            return Err(format!("the connection ended: {}", String::from_utf8_lossy(&bytes[..filled])).into());
        }
        filled += read;
        let text = std::str::from_utf8(&bytes[..filled])?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(Ok(0), str::parse)? {
            return Ok(text.to_owned());
        }
    }
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Opens streams and lets them be.
async fn streams_of(server: &Server, options: &Options, workers: u16) -> Result<(), Error> {
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = server.resident_kib();
    let began_at = Instant::now();
    let mut opening = JoinSet::new();
    let mut open = Vec::new();
    for number in 0..options.streams {
        opening.spawn(stream(server.address, number));
        while opening.len() >= 64 {
            open.extend(opening.join_next().await.transpose()?.transpose()?);
        }
    }
    while let Some(opened) = opening.join_next().await {
        open.push(opened??);
    }
    let took = began_at.elapsed();
    let cpu = server.cpu_time();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = server.resident_kib();
    let grown: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after.saturating_sub(*before)).collect();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = |kib: u64| kib as f64 / options.streams as f64;
    let parts: Vec<String> = grown.iter().map(|kib| format!("{:.2}", each(*kib))).collect();
    println!(
        "{workers} workers: {} streams opened in {:.1} s ({:.1} s of processor time); {:.2} KiB each, by process: {}",
        open.len(),
        took.as_secs_f64(),
        cpu.as_secs_f64(),
        each(grown.iter().sum()),
        parts.join(" + ")
    );
    drop(open);
    let began_at = Instant::now();
    while began_at.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("{workers} workers: after they hung up: KiB {:?}, before: {before:?}", server.resident_kib());
    Ok(())
}

/// A session and its stream. Addresses of the loopback network in turn, for more than 28,000.
async fn stream(server: SocketAddr, number: usize) -> Result<TcpStream, Error> {
    let socket = TcpSocket::new_v4()?;
    let own = u8::try_from(1 + number / 15_000)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, own), 0)))?;
    let mut socket = socket.connect(server).await?;
    socket.set_nodelay(true)?;
    socket.write_all(post("", INITIALIZE).as_bytes()).await?;
    let opened = answer(&mut socket).await?;
    let session = opened.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).ok_or("no session")?;
    let named = format!("Mcp-Session-Id: {session}\r\nMCP-Protocol-Version: 2025-11-25\r\n");
    socket.write_all(post(&named, INITIALIZED).as_bytes()).await?;
    answer(&mut socket).await?;
    let get = format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{named}\r\n");
    socket.write_all(get.as_bytes()).await?;
    let mut head = [0; 64];
    let read = socket.read(&mut head).await?;
    if !head[..read].starts_with(b"HTTP/1.1 200") {
        return Err(format!("no stream: {}", String::from_utf8_lossy(&head[..read])).into());
    }
    Ok(socket)
}
