//! A process that writes is killed at any moment: what it acknowledged is there, and what it ended stays ended.
//!
//! The process is this test again, told by its environment to write. It says what was acknowledged on its output, line by
//! line; the lines that were read before the kill are the promises.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use andon_core::io::StreamId;
use andon_core::port::{Batch, Event, EventLog as _, Key, Kind, Record, Rev, SessionStore as _, StoreError};
use andon_store::{DiskStore, Durability, OpenError};
use tempfile::TempDir;

/// Where the writing process writes.
const PLACE: &str = "ANDON_STORE_CRASH_PLACE";
/// Which durability it asks for.
const DURABILITY: &str = "ANDON_STORE_CRASH_DURABILITY";
/// The first id that this process may use.
const FIRST_ID: &str = "ANDON_STORE_CRASH_FIRST_ID";

const KILLS: usize = 25;
const TASKS: u128 = 8;
/// How many ids a process has to itself.
const IDS: u128 = 1_000_000;
/// After so many events a session is deleted, and its task begins with another one.
const EVENTS_PER_SESSION: u32 = 20;

fn session(id: u128) -> Key {
    Key { kind: Kind::Session, id }
}

fn batch(expect: Option<Rev>, number: u32) -> Batch {
    let text: Arc<[u8]> = Arc::from(number.to_string().as_bytes());
    let record = Record { bytes: text.clone(), owner: 1, expires_at: None };
    let events = vec![Event { stream: StreamId(1), sequence: number, bytes: text }];
    let forget = if number.is_multiple_of(5) { vec![(StreamId(1), number - 4)] } else { Vec::new() };
    Batch { expect, record: Some(record), events, forget }
}

fn durability() -> Durability {
    match std::env::var(DURABILITY).as_deref() {
        Ok("interval") => Durability::Interval(Duration::from_millis(2)),
        Ok("memory") => Durability::Memory,
        _ => Durability::Commit,
    }
}

/// The process that is killed. Without its environment this is no test.
#[test]
fn write_until_killed() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let first_id: u128 = std::env::var(FIRST_ID).expect("is set").parse().expect("is a number");
    let store = Arc::new(DiskStore::open(place, durability()).expect("opens"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(write(store.clone(), (first_id + task..).step_by(8)));
        }
        tasks.join_all().await;
    });
}

/// Says on the output what was acknowledged, one line at once.
fn say(line: &str) {
    let mut output = std::io::stdout().lock();
    if output.write_all(format!("\n@{line}\n").as_bytes()).and_then(|()| output.flush()).is_err() {
        // Nobody reads any more, and nobody may be left to kill it.
        std::process::exit(1);
    }
}

async fn write(store: Arc<DiskStore>, ids: impl Iterator<Item = u128>) {
    for id in ids {
        let mut rev = None;
        for number in 1..=EVENTS_PER_SESSION {
            rev = Some(store.commit(id, batch(rev, number)).await.expect("commits"));
            say(&format!("{id} {number}"));
        }
        store.delete(session(id), rev).await.expect("deletes");
        say(&format!("{id} dead"));
    }
}

/// What was acknowledged of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Number(u32),
    Dead,
}

struct Writer {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    fn start(place: &Path, durability: &str, round: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("is known"))
            .args(["--exact", "write_until_killed", "--nocapture", "--test-threads=1"])
            .env(PLACE, place)
            .env(DURABILITY, durability)
            .env(FIRST_ID, (round as u128 * IDS).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let output = child.stdout.take().expect("is piped");
        Self { child, lines: BufReader::new(output).lines() }
    }

    /// The next thing that is said, if there is any.
    fn hear(&mut self) -> Option<(u128, Said)> {
        // Other lines are the test harness's; the last one may be torn.
        let line =
            self.lines.by_ref().map_while(Result::ok).find_map(|line| line.strip_prefix('@').map(str::to_owned))?;
        let (id, said) = line.split_once(' ')?;
        let said = if said == "dead" { Said::Dead } else { Said::Number(said.parse().ok()?) };
        Some((id.parse().ok()?, said))
    }

    /// Kills it, and hears what it said before.
    fn kill(mut self, heard: &mut BTreeMap<u128, Said>) {
        self.child.kill().expect("kills");
        while let Some((id, said)) = self.hear() {
            heard.insert(id, said);
        }
        self.child.wait().expect("ends");
    }
}

/// A writer that has the directory open is killed after a random number of lines. Gives what it said.
fn crash(place: &Path, durability: &str, round: usize) -> BTreeMap<u128, Said> {
    let mut writer = Writer::start(place, durability, round);
    let mut heard = BTreeMap::new();
    for _ in 0..fastrand::usize(1..400) {
        let (id, said) = writer.hear().expect("says something");
        heard.insert(id, said);
    }
    if round == 0 {
        let error = DiskStore::open(place, Durability::Commit).expect_err("another process has it");
        assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    }
    writer.kill(&mut heard);
    heard
}

/// How far the record of a session came; `None` if it is not there.
async fn found(store: &DiskStore, id: u128) -> Option<u32> {
    let stored = store.load(session(id)).await.expect("loads")?;
    let number: u32 = String::from_utf8_lossy(&stored.record.bytes).parse().expect("is a number");
    // The events are those of the same turns.
    let replay = store.replay(id, StreamId(1), 0, 1_000).await.expect("replays");
    let numbers: Vec<u32> = replay.events.iter().map(|event| event.sequence).collect();
    let forgotten = if number < 5 { 0 } else { number / 5 * 5 - 4 };
    assert_eq!(numbers, (forgotten + 1..=number).collect::<Vec<_>>(), "session {id} at {number}");
    Some(number)
}

async fn is_dead(store: &DiskStore, id: u128) -> bool {
    let created = store.commit(id, batch(None, 1)).await;
    created == Err(StoreError::Conflict { current: None })
}

/// Looks for what was acknowledged and is not there.
async fn missing(store: &DiskStore, promises: &BTreeMap<u128, Said>) -> Result<(), String> {
    for (id, said) in promises {
        let found = found(store, *id).await;
        let holds = match (said, found) {
            (Said::Number(said), Some(number)) => number >= *said,
            // Perhaps it was deleted, but did not come to say so.
            (Said::Number(EVENTS_PER_SESSION) | Said::Dead, None) => is_dead(store, *id).await,
            (Said::Number(_), None) | (Said::Dead, Some(_)) => false,
        };
        if !holds {
            return Err(format!("session {id}: said {said:?}, found {found:?}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_missing_after_a_kill() {
    let folder = TempDir::new().expect("a folder");
    let (mut promises, mut all) = (0, BTreeMap::new());
    for round in 0..KILLS {
        let heard = crash(folder.path(), "commit", round);
        promises += heard.len();
        all.extend(heard.clone());
        let store = DiskStore::open(folder.path(), Durability::Commit).expect("opens after a kill");
        // Those of this round, and now and then all that there ever were.
        let checked = if round % 8 == 7 { &all } else { &heard };
        missing(&store, checked).await.expect("nothing is missing");
        let listed = store.list(Kind::Session, None, None, usize::MAX).await.expect("lists");
        assert_eq!(store.count(Kind::Session).await, Ok(listed.len() as u64));
    }
    assert!(promises >= 2 * KILLS, "only {promises} promises in {KILLS} kills");
}

/// The test above can fail: a store that acknowledges before anything is durable is found out.
#[tokio::test]
async fn what_is_not_durable_is_found_missing() {
    let folder = TempDir::new().expect("a folder");
    let heard = crash(folder.path(), "memory", 0);
    let store = DiskStore::open(folder.path(), Durability::Commit).expect("opens after a kill");
    missing(&store, &heard).await.expect_err("something is missing");
}

/// Durable later: what is left is all up to some moment, though not all that was acknowledged.
#[tokio::test]
async fn what_is_durable_later_is_whole_after_a_kill() {
    let folder = TempDir::new().expect("a folder");
    for round in 0..5 {
        crash(folder.path(), "interval", round);
        let store = DiskStore::open(folder.path(), Durability::Commit).expect("opens after a kill");
        let listed = store.list(Kind::Session, None, None, usize::MAX).await.expect("lists");
        for stored in &listed {
            assert!(found(&store, stored.id).await.is_some());
        }
        assert_eq!(store.count(Kind::Session).await, Ok(listed.len() as u64));
        // Each task wrote one session after the other, so that those before its last one are dead.
        let first = round as u128 * IDS;
        for stored in listed.iter().filter(|stored| stored.id >= first) {
            for before in (first + (stored.id - first) % TASKS..stored.id).step_by(8) {
                assert!(is_dead(&store, before).await, "session {before} before {}", stored.id);
            }
        }
    }
}
