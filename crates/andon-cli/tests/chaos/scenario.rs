//! A hundred clients of both eras use a good server, and ten bad ones beside it: in calm, and while those are killed,
//! stopped and made to flood, hang, answer garbage and answer twice. The test plays it briefly; the benchmark program
//! `chaos` plays it for as long as it takes to compare the two.

use std::collections::{BTreeSet, HashSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use andon::client::{Client, Error, Options};
use andon::types::revision::Revision;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value, json};
use tokio::time::{Interval, MissedTickBehavior};

const BAD: usize = 10;
const CLIENTS: usize = 100;
/// How often each client calls the good server, and as often a bad one.
const PACE: Duration = Duration::from_millis(250);
/// How often the processes of one bad server are killed, and those of another are stopped.
const HARM_EVERY: Duration = Duration::from_millis(300);
/// No call may take longer, whatever happens to the others.
const SOON: Duration = Duration::from_secs(30);
/// Of a call to a bad server.
const TIMEOUT_S: f64 = 1.0;
/// How often a server that says nothing is asked whether it is there.
const PING_S: f64 = 0.5;

/// How long a server may take to start: one that is stopped then is not found out before.
const START_S: f64 = 5.0;

/// The variables that every process below the gateway inherits: whose scenario it is, and which server.
const MARK: &str = "ANDON_TEST_CHAOS";
const NAME: &str = "ANDON_TEST_SERVER";

/// What is played.
pub(crate) struct Scenario {
    /// The program `andon`.
    pub(crate) andon: PathBuf,
    /// The program that is a server, good or bad.
    pub(crate) unruly: PathBuf,
    /// How often calm and chaos take turns.
    pub(crate) rounds: usize,
    /// Calls of the good server by each client in each of them.
    pub(crate) turns: usize,
}

/// What the calls of the good server took, by round.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) calm: Vec<Vec<Duration>>,
    pub(crate) chaos: Vec<Vec<Duration>>,
    /// Calls of bad servers beside chaos that were answered, and that failed.
    pub(crate) answered: usize,
    pub(crate) failed: usize,
    /// Processes that were killed, and that were stopped and found out.
    pub(crate) killed: usize,
    pub(crate) stopped: usize,
}

/// The time that `percent` of a hundred calls do not exceed.
pub(crate) fn quantile(took: &[Duration], percent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort();
    sorted[sorted.len() * percent / 100]
}

impl Scenario {
    /// Plays it, and checks that each answer is that of its call, that the good server is never restarted, that those which
    /// were stopped are found out, and that no process is left.
    pub(crate) async fn play(&self) -> Outcome {
        let folder = std::env::temp_dir().join(format!("andon-chaos-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("mcp.json");
        std::fs::write(&file, json!({ "mcpServers": self.servers() }).to_string()).unwrap();
        let mut gateway = Gateway::start(&self.andon, &file);
        let clients = (0..CLIENTS).map(|number| {
            let revision = Revision::parse(if number % 2 == 0 { "2025-11-25" } else { "2026-07-28" }).unwrap();
            Client::builder(gateway.url.as_str()).protocol(revision).without_cache().connect()
        });
        let clients: Vec<Client> = futures_util::future::try_join_all(clients).await.unwrap();
        until_all_are_well(&clients[0]).await;
        let good = call(&clients[0], "good__pid", json!({})).await.unwrap();
        let (mut outcome, in_calm, in_chaos) = (Outcome::default(), Seen::default(), Seen::default());
        // In turn, so that what else the machine does falls upon both.
        for _ in 0..self.rounds {
            let calm = self.round(&clients, Weather::Calm, &in_calm, &mut outcome).await;
            outcome.calm.push(calm);
            let chaos = self.round(&clients, Weather::Chaos, &in_chaos, &mut outcome).await;
            outcome.chaos.push(chaos);
            until_all_are_well(&clients[1]).await;
        }
        (outcome.answered, outcome.failed) = (in_chaos.answered.into_inner(), in_chaos.failed.into_inner());
        assert_eq!(call(&clients[0], "good__pid", json!({})).await.unwrap(), good, "the good one was never restarted");
        assert!(processes().len() > BAD, "they are found by their environment");
        signal(i32::try_from(gateway.child.id()).unwrap(), Signal::TERM);
        assert!(gateway.child.wait().unwrap().success());
        assert_eq!(processes(), [], "no process is left behind");
        drop(std::fs::remove_dir_all(folder));
        outcome
    }

    fn servers(&self) -> Value {
        let env = |name: &str| json!({ MARK: mark(), NAME: name });
        let unruly = self.unruly.display();
        let good = json!({ "command": self.unruly, "env": env("good"), "andon": { "in_flight_max": 1000 } });
        let mut servers = Map::from_iter([("good".to_owned(), good)]);
        for number in 0..BAD {
            let name = format!("bad{number}");
            let andon = json!({
                "timeout_s": TIMEOUT_S, "restarts_max": 1000, "breaker_rest_s": 0.3, "in_flight_max": 1000,
                "ping_interval_s": PING_S, "start_timeout_s": START_S,
            });
            // Some as launchers start them, some that do not end when they are asked to.
            let (command, args) = match number % 3 {
                0 => (unruly.to_string(), vec![]),
                1 => (unruly.to_string(), vec!["--deaf".to_owned()]),
                _ => ("sh".to_owned(), vec!["-c".to_owned(), format!("'{unruly}' --deaf; true")]),
            };
            servers
                .insert(name.clone(), json!({ "command": command, "args": args, "env": env(&name), "andon": andon }));
        }
        Value::Object(servers)
    }

    /// One round of all clients: what the calls of the good server took.
    async fn round(&self, clients: &[Client], weather: Weather, seen: &Seen, outcome: &mut Outcome) -> Vec<Duration> {
        let people = clients.iter().enumerate().map(|(number, client)| self.person(client, number, weather, seen));
        let people = futures_util::future::join_all(people);
        let (mut stopped, mut killed) = (HashSet::new(), 0);
        let harming = async {
            let mut turns = tokio::time::interval(HARM_EVERY);
            for turn in 0_usize.. {
                turns.tick().await;
                // In calm it is looked for them too, so that this costs the same in both.
                let there = tokio::task::spawn_blocking(processes).await.unwrap();
                if weather == Weather::Calm {
                    continue;
                }
                // Of those that are there: many wait to be started again.
                let bad: BTreeSet<&String> =
                    there.iter().map(|(_, name)| name).filter(|name| name.starts_with("bad")).collect();
                let bad: Vec<&String> = bad.into_iter().collect();
                let victim = |after: usize| bad.get((turn + after) % bad.len().max(1)).copied();
                let (first, second) = (victim(0), victim(bad.len() / 2));
                for (pid, name) in &there {
                    // Of those that were started by another, which does not answer by itself, both.
                    if Some(name) == first {
                        killed += usize::from(signal(*pid, Signal::KILL));
                    } else if Some(name) == second && signal(*pid, Signal::STOP) {
                        stopped.insert(*pid);
                    }
                }
            }
        };
        let took: Vec<Duration> = tokio::select! {
            took = people => took.into_iter().flatten().collect(),
            () = harming => unreachable!("it goes on until the round is over"),
        };
        // Nobody wakes them: only who notices that they do not answer can be rid of them.
        let rid = async {
            let mut turns = tokio::time::interval(Duration::from_millis(50));
            while processes().iter().any(|(pid, _)| stopped.contains(pid)) {
                turns.tick().await;
            }
        };
        tokio::time::timeout(SOON, rid).await.expect("those that were stopped are found out");
        outcome.killed += killed;
        outcome.stopped += stopped.len();
        took
    }

    /// One client for one round: uses the good server and, beside that, the bad ones.
    async fn person(&self, client: &Client, number: usize, weather: Weather, seen: &Seen) -> Vec<Duration> {
        let good = async {
            let mut turns = turns(number);
            let mut took = Vec::new();
            for turn in 0..self.turns {
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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Calm,
    Chaos,
}

/// What became of the calls of the bad servers.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    failed: AtomicUsize,
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
                // Whatever went wrong, it was this server, and that is said.
                assert!(error.to_string().contains(&server), "{error}");
                seen.failed.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
}

/// When a client makes its calls: as often as the others, and not at the same time.
fn turns(number: usize) -> Interval {
    let first = tokio::time::Instant::now() + PACE * u32::try_from(number).unwrap() / u32::try_from(CLIENTS).unwrap();
    let mut turns = tokio::time::interval_at(first, PACE);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns
}

async fn call(client: &Client, tool: &str, arguments: Value) -> Result<String, Error> {
    let arguments = arguments.as_object().cloned().unwrap_or_default();
    let result = client.call_tool(tool, arguments, Options::default().timeout(SOON)).await?;
    Ok(result.content.iter().filter_map(|content| content.as_text()).collect())
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

fn mark() -> String {
    format!("{}", std::process::id())
}

/// The processes of this scenario's servers, and whose they are.
fn processes() -> Vec<(i32, String)> {
    let mine = format!("{MARK}={}", mark());
    let of = |pid: i32| {
        // Zombies have no environment; what ends while it is looked at is not there.
        let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let is_mine = variables.clone().any(|variable| variable == mine);
        let name = variables.find_map(|variable| variable.strip_prefix(NAME)?.strip_prefix('=').map(str::to_owned))?;
        is_mine.then_some((pid, name))
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(of).collect()
}

/// Whether it was still there.
fn signal(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// A gateway that is killed with the scenario.
struct Gateway {
    child: Child,
    url: String,
}

impl Gateway {
    fn start(andon: &Path, file: &Path) -> Self {
        let mut command = Command::new(andon);
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
        for (pid, _) in processes() {
            signal(pid, Signal::KILL);
        }
    }
}
