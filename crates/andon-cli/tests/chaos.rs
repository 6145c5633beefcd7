//! `andon serve FILE` over servers that are killed, hang, flood, answer garbage and answer twice, ten at a time, under a
//! hundred clients of both eras: the calls of another server take about as long as without that, nothing crosses, and no
//! process is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use andon::client::{Client, Error, Options};
use andon::types::revision::Revision;
use serde_json::{Map, Value, json};
use tokio::time::{Interval, MissedTickBehavior};

const BAD: usize = 10;
const CLIENTS: usize = 100;
/// Calls of the good server by each client, in each of the two rounds of calm and of chaos.
const TURNS: usize = 20;
/// How often each client makes one.
const PACE: Duration = Duration::from_millis(250);
/// How often a process of a bad server is killed.
const KILL_EVERY: Duration = Duration::from_millis(300);
/// No call may take longer, whatever happens to the others.
const SOON: Duration = Duration::from_secs(30);
/// What chaos may add to the p99. The processes of the bad servers, a build that is not optimised and other tests share
/// the processors with the good one, and its calls take a few milliseconds: a multiple of that says little on a busy machine,
/// so that there is an amount beside it. A call that waits for a bad server takes its timeout longer, which is more.
const TIMES_MAX: u32 = 3;
const ADDED_MAX: Duration = Duration::from_millis(300);
/// Of a call to a bad server.
const TIMEOUT_S: f64 = 1.0;

/// The variables that every process below the gateway inherits: whose test it is, and which server.
const MARK: &str = "ANDON_TEST_CHAOS";
const NAME: &str = "ANDON_TEST_SERVER";

/// The example of this package that is a server, which the tests are built with.
fn unruly() -> String {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    path.join("unruly-upstream").display().to_string()
}

fn mark() -> String {
    format!("{}", std::process::id())
}

fn servers() -> Value {
    let env = |name: &str| json!({ MARK: mark(), NAME: name });
    let good = json!({ "command": unruly(), "env": env("good"), "andon": { "in_flight_max": 1000 } });
    let mut servers = Map::from_iter([("good".to_owned(), good)]);
    for number in 0..BAD {
        let name = format!("bad{number}");
        let andon = json!({
            "timeout_s": TIMEOUT_S, "restarts_max": 1000, "breaker_rest_s": 0.3, "in_flight_max": 1000,
        });
        // Some as launchers start them, some that do not end when they are asked to.
        let (command, args) = match number % 3 {
            0 => (unruly(), vec![]),
            1 => (unruly(), vec!["--deaf".to_owned()]),
            _ => ("sh".to_owned(), vec!["-c".to_owned(), format!("'{}' --deaf; true", unruly())]),
        };
        servers.insert(name.clone(), json!({ "command": command, "args": args, "env": env(&name), "andon": andon }));
    }
    Value::Object(servers)
}

/// The processes of this test's servers, and whose they are.
fn processes() -> Vec<(String, String)> {
    let mine = format!("{MARK}={}", mark());
    let of = |pid: String| {
        // Zombies have no environment; what ends while it is looked at is not there.
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let is_mine = variables.clone().any(|variable| variable == mine);
        let name = variables.find_map(|variable| variable.strip_prefix(NAME)?.strip_prefix('=').map(str::to_owned))?;
        is_mine.then_some((pid, name))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().into_string().ok());
    pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter_map(of).collect()
}

fn signal(name: &str, pid: &str) {
    // It may be gone already.
    drop(Command::new("kill").args([format!("-{name}"), pid.to_owned()]).stderr(Stdio::null()).status());
}

/// A gateway that is killed with the test.
struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    fn start(file: &std::path::Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_andon"));
        command.arg("serve").arg(file).args(["--listen", "127.0.0.1:0"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url =
            lines.find_map(|line| line.split_once("listening on ").map(|(_, url)| url.trim().to_owned())).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        processes().iter().for_each(|(pid, _)| signal("KILL", pid));
    }
}

async fn call(client: &Client, tool: &str, arguments: Value) -> Result<String, Error> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let result = client.call_tool(tool, arguments, Options::default().timeout(SOON)).await?;
    Ok(result.content.iter().filter_map(|content| content.as_text()).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Calm,
    Chaos,
}

/// Whom the calls of the bad servers reached, and how.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    failed: AtomicUsize,
}

/// When a client makes its calls: as often as the others, and not at the same time.
fn turns(number: usize) -> Interval {
    let first = tokio::time::Instant::now() + PACE * u32::try_from(number).unwrap() / u32::try_from(CLIENTS).unwrap();
    let mut turns = tokio::time::interval_at(first, PACE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

/// One client for one round: uses the good server and, beside that, the bad ones. How long the good calls took.
async fn person(client: &Client, number: usize, weather: Weather, seen: &Seen) -> Vec<Duration> {
    let good = async {
        let mut turns = turns(number);
        let mut took = Vec::new();
        for turn in 0..TURNS {
            turns.tick().await;
            let own = format!("client {number}, turn {turn}, {weather:?}");
            let begun = Instant::now();
            assert_eq!(call(client, "good__echo", json!({ "message": own })).await.unwrap(), own);
            took.push(begun.elapsed());
        }
        took
    };
    tokio::select! {
        took = good => took,
        () = use_bad_ones(client, number, weather, seen) => unreachable!("it goes on until the round is over"),
    }
}

async fn use_bad_ones(client: &Client, number: usize, weather: Weather, seen: &Seen) {
    const HARM: [&str; 9] = ["crash", "echo", "garbage", "echo", "twice", "never", "echo", "flood", "echo"];
    let mut turns = turns(number);
    for turn in 0_usize.. {
        turns.tick().await;
        let own = format!("client {number}, turn {turn} with a bad one, {weather:?}");
        // A flood is a hundred times as much as the rest together.
        let harm = match HARM[(number * 7 + turn) % HARM.len()] {
            _ if weather == Weather::Calm => "echo",
            "flood" if !(number + turn).is_multiple_of(20) => "echo",
            harm => harm,
        };
        let server = format!("bad{}", (number + turn) % BAD);
        let outcome = call(client, &format!("{server}__{harm}"), json!({ "message": own })).await;
        match (harm, outcome) {
            ("echo", Ok(text)) => {
                assert_eq!(text, own, "an answer of somebody else");
                seen.answered.fetch_add(1, Ordering::SeqCst);
            }
            ("crash" | "never", Ok(text)) => panic!("{harm} has no answer: {text}"),
            (_, Ok(_)) => {}
            (_, Err(error)) => {
                assert_eq!(weather, Weather::Chaos, "{error}");
                // Whatever went wrong, it was this server, and that is said.
                assert!(error.to_string().contains(&server), "{error}");
                seen.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// One round of all clients.
async fn round(clients: &[Client], weather: Weather, seen: &Seen) -> Vec<Duration> {
    let people = clients.iter().enumerate().map(|(number, client)| person(client, number, weather, seen));
    let people = futures_util::future::join_all(people);
    let killing = async {
        let mut turns = tokio::time::interval(KILL_EVERY);
        for turn in 0_usize.. {
            turns.tick().await;
            let victim = format!("bad{}", turn % BAD);
            if weather == Weather::Chaos {
                processes().iter().filter(|(_, name)| *name == victim).for_each(|(pid, _)| signal("KILL", pid));
            }
        }
    };
    tokio::select! {
        took = people => took.into_iter().flatten().collect(),
        () = killing => unreachable!("it goes on until the round is over"),
    }
}

fn p99(took: &mut [Duration]) -> Duration {
    took.sort();
    took[took.len() * 99 / 100]
}

async fn until_all_are_well(client: &Client) {
    for number in 0..BAD {
        let echo = format!("bad{number}__echo");
        let trying = async {
            let mut turns = tokio::time::interval(Duration::from_millis(50));
            while call(client, &echo, json!({ "message": "well" })).await.ok().as_deref() != Some("well") {
                turns.tick().await;
            }
        };
        tokio::time::timeout(SOON, trying).await.unwrap_or_else(|_| panic!("bad{number} comes back"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bad_servers_cost_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mcp.json");
    std::fs::write(&file, json!({ "mcpServers": servers() }).to_string()).unwrap();
    let mut gateway = Gateway::start(&file);
    let clients = (0..CLIENTS).map(|number| {
        let revision = Revision::parse(if number % 2 == 0 { "2025-11-25" } else { "2026-07-28" }).unwrap();
        Client::builder(gateway.url.as_str()).protocol(revision).without_cache().connect()
    });
    let clients: Vec<Client> = futures_util::future::try_join_all(clients).await.unwrap();
    until_all_are_well(&clients[0]).await;
    let good = call(&clients[0], "good__pid", json!({})).await.unwrap();
    let (mut calm, mut chaos) = (Vec::new(), Vec::new());
    let (in_calm, in_chaos) = (Seen::default(), Seen::default());
    // In turn, so that what else the machine does falls upon both.
    for _ in 0..2 {
        calm.extend(round(&clients, Weather::Calm, &in_calm).await);
        chaos.extend(round(&clients, Weather::Chaos, &in_chaos).await);
        until_all_are_well(&clients[1]).await;
    }
    let (without, beside) = (p99(&mut calm), p99(&mut chaos));
    println!(
        "{} calls of the good server in each: p99 {without:?} in calm, {beside:?} beside chaos: {:.2} times",
        calm.len(),
        beside.as_secs_f64() / without.as_secs_f64()
    );
    let (answered, failed) = (in_chaos.answered.into_inner(), in_chaos.failed.into_inner());
    println!("beside chaos the bad servers answered {answered} echoes, and {failed} calls failed");
    assert!(answered > 0 && failed > 0, "they do come back in between, and they do fail");
    assert!(beside <= (without * TIMES_MAX).max(without + ADDED_MAX), "{beside:?} beside chaos, {without:?} in calm");
    assert_eq!(call(&clients[0], "good__pid", json!({})).await.unwrap(), good, "the good one was never restarted");
    assert!(processes().len() > BAD, "they are found by their environment");
    signal("TERM", &gateway.child.id().to_string());
    assert!(gateway.child.wait().unwrap().success());
    assert_eq!(processes(), [], "no process is left behind");
}
