//! Measures what the gateway adds to a call, in one run: the same tool of the same server called directly over HTTP, through
//! `andon serve FILE` over HTTP and over stdio, and through the npm package supergateway over stdio, which is all it does.
//! All of them take turns after a few calls each, so that what else the machine does is the same for all; what is added is the
//! median of what was added in each turn. Then all of them take turns with many calls at once.
//! `cargo xtask dist && cargo run --release -p andon-bench --bin gateway -- --andon target/dist/andon` measures what is
//! released; without `--andon` it is the program beside this one, by `cargo build --release -p andon-cli`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use andon::client::Client;
use andon::types::revision::Revision;
use andon_bench::Error;
use andon_bench::child::{self, Served};
use andon_bench::machine::Cores;
use andon_bench::passage::Passage;
use andon_bench::wire::Era;
use clap::Parser as _;
use futures_util::future::try_join_all;
use serde_json::json;

/// Measures what the gateway adds to a call.
#[derive(clap::Parser)]
struct Options {
    /// How long calls are made one by one, and then at once, by all together.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Calls at once.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// Leaves supergateway out, which npx installs otherwise.
    #[arg(long)]
    without_supergateway: bool,
    /// What the clients speak; supergateway has the default only.
    #[arg(long, default_value = "legacy")]
    era: Era,
    /// The program `andon` to measure. Default: the one beside this.
    #[arg(long, value_name = "FILE")]
    andon: Option<PathBuf>,
    /// Serves as one of the proxies that are measured, before the server at `--upstream`.
    #[arg(long, hide = true, requires = "upstream")]
    passage: Option<Passage>,
    #[arg(long, hide = true)]
    upstream: Option<SocketAddr>,
}

/// How long npx may take to install and start something.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Calls in one turn, of which the first are not counted: others had the caches before.
const TURN: usize = 25;
const WARM_UP: usize = 5;
/// How long one turn with calls at once is.
const CROWDED_TURN: Duration = Duration::from_millis(250);
/// What the gateway may add to the median of a call to a server over HTTP.
const ADDED_US_MAX: f64 = 100.0;

fn main() -> ExitCode {
    let options = Options::parse();
    if let (Some(passage), Some(upstream)) = (options.passage, options.upstream) {
        return ended(passage.serve(upstream));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    ended(runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(measure(&options))))
}

fn ended(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gateway: {error}");
            ExitCode::from(andon_bench::FAILED)
        }
    }
}

/// A way to the server, and how long calls took.
struct Case {
    name: &'static str,
    client: Client,
    took_us: Vec<f64>,
    /// The medians of the turns.
    turns_us: Vec<f64>,
    /// With calls at once: calls, and the time they took.
    crowded: (usize, Duration),
}

impl Case {
    async fn open(name: &'static str, address: SocketAddr, era: Era) -> Result<Self, Error> {
        let revision = match era {
            Era::Legacy => Revision::LATEST_LEGACY,
            Era::Modern => Revision::LATEST,
        };
        let client = Client::builder(url(address)).protocol(revision).without_cache().connect().await?;
        Ok(Self { name, client, took_us: Vec::new(), turns_us: Vec::new(), crowded: (0, Duration::ZERO) })
    }

    async fn call(&self) -> Result<f64, Error> {
        let begun = Instant::now();
        let sum: i64 = self.client.call("add", json!({ "a": 1, "b": 2 })).await?;
        let took = begun.elapsed();
        if sum == 3 { Ok(took.as_secs_f64() * 1e6) } else { Err(format!("{}: 1 + 2 is not {sum}", self.name).into()) }
    }

    /// Calls one by one.
    async fn turn(&mut self) -> Result<(), Error> {
        let mut took_us = Vec::with_capacity(TURN);
        for number in 0..TURN + WARM_UP {
            let us = self.call().await?;
            if number >= WARM_UP {
                took_us.push(us);
            }
        }
        self.turns_us.push(quantile(&took_us, 50));
        self.took_us.append(&mut took_us);
        Ok(())
    }

    /// So many calls at once.
    async fn crowded_turn(&mut self, at_once: usize) -> Result<(), Error> {
        let begun = Instant::now();
        let this = &*self;
        let calling = async || {
            let mut calls = 0;
            while begun.elapsed() < CROWDED_TURN {
                this.call().await?;
                calls += 1;
            }
            Ok::<usize, Error>(calls)
        };
        let calls: usize = try_join_all((0..at_once).map(|_| calling())).await?.into_iter().sum();
        self.crowded.0 += calls;
        self.crowded.1 += begun.elapsed();
        Ok(())
    }

    fn calls_per_s(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "calls of a minute")]
        let calls = self.crowded.0 as f64;
        calls / self.crowded.1.as_secs_f64()
    }

    /// What this adds to a call, in microseconds: the median over the turns.
    fn added_us(&self, direct: &Self) -> f64 {
        let added: Vec<f64> = self.turns_us.iter().zip(&direct.turns_us).map(|(us, direct)| us - direct).collect();
        quantile(&added, 50)
    }
}

/// So that `percent` in a hundred are no larger.
fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

async fn measure(options: &Options) -> Result<(), Error> {
    child::give_andon(options.andon.clone());
    let andon = child::andon()?;
    let folder = std::env::temp_dir().join(format!("andon-gateway-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = measure_in(options, &andon, &folder).await;
    drop(std::fs::remove_dir_all(&folder));
    measured
}

async fn measure_in(options: &Options, andon: &Path, folder: &Path) -> Result<(), Error> {
    let direct = serve(andon, None)?;
    let (bytes, http) = (proxy(Passage::Bytes, &direct)?, proxy(Passage::Http, &direct)?);
    let over_http = file(folder, "http.json", &json!({ "url": url(direct.address) }))?;
    let over_http = serve(andon, Some(&over_http))?;
    let over_stdio = file(folder, "stdio.json", &json!({ "command": andon, "args": ["serve", "--stdio"] }))?;
    let over_stdio = serve(andon, Some(&over_stdio))?;
    let mut cases = vec![
        Case::open("directly over HTTP", direct.address, options.era).await?,
        Case::open("bytes passed through", bytes.address, options.era).await?,
        Case::open("HTTP passed through", http.address, options.era).await?,
        Case::open("andon, HTTP upstream", over_http.address, options.era).await?,
        Case::open("andon, stdio upstream", over_stdio.address, options.era).await?,
    ];
    // It lives as long as it is measured.
    let mut _other = None;
    if !options.without_supergateway && options.era == Era::Modern {
        println!("supergateway is left out: it does not speak this era\n");
    } else if !options.without_supergateway {
        match supergateway(andon).await {
            Ok((served, case)) => {
                _other = Some(served);
                cases.push(case);
            }
            Err(error) => println!("supergateway is left out: {error}\n"),
        }
    }
    let time = Duration::from_secs_f64(options.seconds);
    let mut begun = Instant::now();
    while cases[0].turns_us.is_empty() || begun.elapsed() < time {
        for case in &mut cases {
            case.turn().await?;
        }
    }
    begun = Instant::now();
    while cases[0].crowded.0 == 0 || begun.elapsed() < time {
        for case in &mut cases {
            case.crowded_turn(options.at_once).await?;
        }
    }
    report(&cases);
    Ok(())
}

fn report(cases: &[Case]) {
    println!(
        "| {:24} | {:>8} | {:>8} | {:>9} | {:>9} | {:>9} | {:>14} |",
        "way", "calls", "p50 us", "p50 added", "p95 added", "p99 added", "at once, per s"
    );
    println!("|{:-<26}|{:->10}|{:->10}|{:->11}|{:->11}|{:->11}|{:->16}|", "", ":", ":", ":", ":", ":", ":");
    let direct = &cases[0];
    for case in cases {
        let beyond = |percent| quantile(&case.took_us, percent) - quantile(&direct.took_us, percent);
        println!(
            "| {:24} | {:>8} | {:>8.0} | {:>9.0} | {:>9.0} | {:>9.0} | {:>14.0} |",
            case.name,
            case.took_us.len(),
            quantile(&case.took_us, 50),
            case.added_us(direct),
            beyond(95),
            beyond(99),
            case.calls_per_s(),
        );
    }
    let [_, _, floor, http, stdio, others @ ..] = cases else { return };
    let added = http.added_us(direct);
    let verdict = |holds: bool| if holds { "holds" } else { "FAILS" };
    println!(
        "\n{}  added to the p50 over HTTP: {added:.0} us (asked: below {ADDED_US_MAX}), {:.1} times what a bare proxy adds",
        verdict(added < ADDED_US_MAX),
        added / floor.added_us(direct)
    );
    if let [other] = others {
        let (ours, theirs) = (stdio.added_us(direct), other.added_us(direct));
        println!("{}  added over stdio: {ours:.0} us, by supergateway {theirs:.0} us", verdict(ours < theirs));
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/mcp")
}

/// A file of one server.
fn file(folder: &Path, name: &str, server: &serde_json::Value) -> Result<PathBuf, Error> {
    let file = folder.join(name);
    std::fs::write(&file, json!({ "mcpServers": { "demo": server } }).to_string())?;
    Ok(file)
}

/// The demo server over HTTP, or the gateway of `file`.
fn serve(andon: &Path, file: Option<&Path>) -> Result<Served, Error> {
    let mut command = Command::new(andon);
    command.arg("serve").args(file).args(["--listen", "127.0.0.1:0"]);
    Served::of(command, &Cores::default())
}

/// One of the proxies, before `upstream`.
fn proxy(passage: Passage, upstream: &Served) -> Result<Served, Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--passage", passage.name(), "--upstream", &upstream.address.to_string()]);
    Served::of(command, &Cores::default())
}

/// npx with all that it started, which ends when this is dropped.
struct Npx(Child);

impl Drop for Npx {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// supergateway before the same server, once it answers.
async fn supergateway(andon: &Path) -> Result<(Npx, Case), Error> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let mut command = Command::new("npx");
    command
        .args(["--yes", "supergateway", "--stdio", &format!("{} serve --stdio", andon.display())])
        .args(["--outputTransport", "streamableHttp", "--stateful", "--port", &address.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut npx = Npx(command.spawn().map_err(|error| format!("npx: {error}"))?);
    let until = Instant::now() + INSTALL_TIMEOUT;
    loop {
        match Case::open("supergateway, stdio", address, Era::Legacy).await {
            Ok(case) => {
                case.call().await?;
                return Ok((npx, case));
            }
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
        if let Some(status) = npx.0.try_wait()? {
            return Err(format!("npx ended: {status}").into());
        }
    }
}
