//! Measures the stores beside the disk and the raw engine, in one run:
//! `cargo run --release -p andon-bench --bin stores [-- --directory DIR --seconds 2 --sessions 1000000]`.
//!
//! Floors that depend on how fast the disk is hold too if the store does nearly what the raw engine does on it.

mod figures;
mod floor;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use andon_bench::{Error, machine};
use andon_core::io::Timestamp;
use andon_core::port::{Key, Kind, Record, SessionStore as _, Store};
use andon_store::{DiskStore, Durability, MemoryStore};
use clap::Parser as _;
use tokio::task::JoinSet;

use crate::figures::{Figures, Latency, Rate};

/// What a stored session weighs.
const RECORD_BYTES: usize = 300;
/// Writers at once.
const TASKS: u64 = 100;
/// How many sessions expire in the sweep.
const SWEPT: u64 = 100_000;
/// How often the measurements of the disk take turns.
const TURNS: u32 = 20;
/// How many calls a measurement makes at most.
const CALLS_MAX: u64 = 500_000;
/// How many calls wait at once when sessions are put there beforehand.
const AHEAD: u64 = 4_000;

/// Measures creations, reads, writes, sweeps and starts.
#[derive(Debug, clap::Parser)]
struct Options {
    /// Where to write; a new directory in it is made and removed. Default: the system's for temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Length of each measurement.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many sessions are stored for the measurement of a start.
    #[arg(long, default_value_t = 1_000_000)]
    sessions: u64,
    /// Writes so many sessions into a directory, and ends without closing it.
    #[arg(long, hide = true)]
    fill: Option<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    if let (Some(sessions), Some(directory)) = (options.fill, &options.directory) {
        // Nothing is closed: the process just ends, as if it were killed.
        return runtime.block_on(fill_and_vanish(directory, sessions)).unwrap_or_else(|error| failed(&error));
    }
    let place = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let place = place.join(format!("andon-stores-{}", std::process::id()));
    let measured = std::fs::create_dir_all(&place).map_err(Error::from);
    let measured = measured.and_then(|()| runtime.block_on(measure(&options, &place)));
    let removed = std::fs::remove_dir_all(&place);
    match measured {
        Ok(figures) => {
            println!("{}", figures.text());
            if let Err(error) = removed {
                eprintln!("{}: {error}", place.display());
            }
            if figures.hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn id(number: u64) -> u128 {
    // Spread as hashes are.
    u128::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

fn key(number: u64) -> Key {
    Key { kind: Kind::Session, id: id(number) }
}

fn record(number: u64, expires_at: u64) -> Record {
    Record {
        bytes: Arc::from(vec![b'x'; RECORD_BYTES]),
        owner: id(number % 1_000),
        expires_at: Some(Timestamp(expires_at)),
    }
}

async fn measure(options: &Options, place: &Path) -> Result<Figures, Error> {
    let mut figures = Figures::default();
    let window = Duration::from_secs_f64(options.seconds);
    durable(place, window, &mut figures).await?;
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut sessions = Sessions { store: memory, created: 0 };
    sessions.create_alone(window, &mut Rate::default()).await?;
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    sessions.read(window, &mut reads).await?;
    sessions.write(window, &mut writes).await?;
    figures.latency("memory: read", &Latency::of(reads), Some((0.05, 0.12, None)));
    figures.latency("memory: write", &Latency::of(writes), Some((0.08, 0.18, None)));
    sweeps(place, &mut figures).await?;
    starts(options, place, &mut figures).await?;
    Ok(figures)
}

/// What depends on the disk takes turns with what the disk does by itself, since the speed of a disk changes.
async fn durable(place: &Path, window: Duration, figures: &mut Figures) -> Result<(), Error> {
    let mut pages = floor::Pages::create(place)?;
    let mut engine = floor::Engine::create(&place.join("raw"))?;
    let store: Arc<dyn Store> = Arc::new(DiskStore::open(place.join("disk"), Durability::Commit)?);
    let mut sessions = Sessions { store, created: 0 };
    let [mut syncs, mut transactions, mut reads, mut reads_beside, mut writes] = [const { Vec::new() }; 5];
    let [mut raw, mut raw_batched, mut alone, mut together] = [Rate::default(); 4];
    let turn = window / TURNS;
    for _ in 0..TURNS {
        pages.sync(turn, &mut syncs)?;
        transactions.extend(engine.write(turn, 1, &mut raw)?);
        sessions.create_alone(turn, &mut alone).await?;
        sessions.write(turn, &mut writes).await?;
        engine.write(turn, TASKS, &mut raw_batched)?;
        sessions.create_together(turn, &mut together).await?;
        // A reader that never waits has a core for itself, so that these creations do not count.
        let reader = Sessions { store: sessions.store.clone(), created: sessions.created };
        let reading = tokio::spawn(async move {
            let mut times = Vec::new();
            reader.read(turn, &mut times).await.map(|()| times)
        });
        sessions.create_together(turn, &mut Rate::default()).await?;
        reads_beside.extend(reading.await??);
        sessions.read(turn, &mut reads).await?;
    }
    let (syncs, reads, writes) = (Latency::of(syncs), Latency::of(reads), Latency::of(writes));
    let (by_disk, batched_by_disk) = (0.7 * raw.per_second(), 0.4 * raw_batched.per_second());
    let transactions = Latency::of(transactions);
    let writes_by_disk = Latency { p50_ms: transactions.p50_ms / 0.7, p95_ms: transactions.p95_ms / 0.7 };
    figures.latency("fdatasync of this machine, 4 KiB", &syncs, None);
    figures.rate("raw engine, a record in each durable transaction", raw, None);
    figures.latency("raw engine, each of those transactions", &transactions, None);
    figures.rate("raw engine, a hundred records in each", raw_batched, None);
    figures.rate("disk: sessions created one after the other", alone, Some((1_500.0, by_disk)));
    figures.rate("disk: sessions created from 100 tasks", together, Some((7_200.0, batched_by_disk)));
    figures.latency("disk: read", &reads, Some((0.45, 1.2, None)));
    figures.latency("disk: read beside 100 tasks that create", &Latency::of(reads_beside), Some((0.45, 1.2, None)));
    figures.latency("disk: write", &writes, Some((0.85, 2.1, Some(writes_by_disk))));
    Ok(())
}

/// Sessions in a store.
struct Sessions {
    store: Arc<dyn Store>,
    /// Those with lower numbers are there.
    created: u64,
}

impl Sessions {
    async fn create_alone(&mut self, window: Duration, rate: &mut Rate) -> Result<(), Error> {
        let (began, first) = (Instant::now(), self.created);
        while began.elapsed() < window && self.created - first < CALLS_MAX {
            self.store.write(key(self.created), record(self.created, u64::MAX), None).await?;
            self.created += 1;
        }
        rate.add(self.created - first, began.elapsed());
        Ok(())
    }

    async fn create_together(&mut self, window: Duration, rate: &mut Rate) -> Result<(), Error> {
        let next = Arc::new(AtomicU64::new(self.created));
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for _ in 0..TASKS {
            let (store, next) = (self.store.clone(), next.clone());
            tasks.spawn(async move {
                while began.elapsed() < window {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    store.write(key(number), record(number, u64::MAX), None).await?;
                }
                Ok::<(), Error>(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let created = next.load(Ordering::Relaxed);
        rate.add(created - self.created, began.elapsed());
        self.created = created;
        Ok(())
    }

    async fn read(&self, window: Duration, times: &mut Vec<Duration>) -> Result<(), Error> {
        let (began, mut number) = (Instant::now(), 0_u64);
        for _ in 0..CALLS_MAX {
            if began.elapsed() > window {
                break;
            }
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = Instant::now();
            let found = self.store.load(key((number >> 33) % self.created)).await?;
            times.push(at.elapsed());
            found.ok_or("a session that was created is not there")?;
        }
        Ok(())
    }

    async fn write(&self, window: Duration, times: &mut Vec<Duration>) -> Result<(), Error> {
        let began = Instant::now();
        for number in (0..self.created.min(1_000)).cycle() {
            if began.elapsed() > window {
                break;
            }
            let found = self.store.load(key(number)).await?.ok_or("a session that was created is not there")?;
            let record = record(number, u64::MAX);
            let at = Instant::now();
            self.store.write(key(number), record, Some(found.rev)).await?;
            times.push(at.elapsed());
        }
        Ok(())
    }
}

/// Puts sessions there, as many at once as a transaction takes.
async fn fill(store: &dyn Store, sessions: u64, expires_at: impl Fn(u64) -> u64) -> Result<(), Error> {
    let mut waiting = std::collections::VecDeque::new();
    for number in 0..sessions {
        waiting.push_back(store.write(key(number), record(number, expires_at(number)), None));
        if waiting.len() as u64 > AHEAD
            && let Some(first) = waiting.pop_front()
        {
            first.await?;
        }
    }
    for written in waiting {
        written.await?;
    }
    Ok(())
}

async fn sweeps(place: &Path, figures: &mut Figures) -> Result<(), Error> {
    let own = std::process::id();
    let before_kib = machine::resident_kib(own)?;
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let disk: Arc<dyn Store> = Arc::new(DiskStore::open(place.join("sweep"), Durability::Commit)?);
    for (name, store) in [("memory", memory), ("disk", disk)] {
        // As many again stay.
        fill(&*store, 2 * SWEPT, |number| if number % 2 == 0 { 1 } else { u64::MAX }).await?;
        if name == "memory" {
            let each = (machine::resident_kib(own)?.saturating_sub(before_kib)) * 1_024 / (2 * SWEPT);
            figures.bytes("memory: a session of 300 bytes", each, Some(1_024));
        }
        let began = Instant::now();
        let mut swept = 0;
        let mut longest = Duration::ZERO;
        loop {
            let at = Instant::now();
            let some = store.sweep(Timestamp(1), 1_000).await?;
            longest = longest.max(at.elapsed());
            if some.is_empty() {
                break;
            }
            swept += some.len() as u64;
        }
        let seconds = began.elapsed().as_secs_f64();
        if swept != SWEPT || store.count(Kind::Session).await? != SWEPT {
            return Err(format!("{swept} sessions were swept instead of {SWEPT}").into());
        }
        figures.time(&format!("{name}: sweep of 100,000 expired of 200,000 sessions"), seconds, Some(4.0));
        figures.time(&format!("{name}: its longest pause"), longest.as_secs_f64(), None);
    }
    figures.size("resident memory left by both sweeps", machine::resident_kib(own)?.saturating_sub(before_kib));
    Ok(())
}

async fn starts(options: &Options, place: &Path, figures: &mut Figures) -> Result<(), Error> {
    let place = place.join("start");
    let filled = Command::new(std::env::current_exe()?)
        .args(["--fill", &options.sessions.to_string(), "--directory"])
        .arg(&place)
        .status()?;
    if !filled.success() {
        return Err("the process that fills a store failed".into());
    }
    let began = Instant::now();
    let store = DiskStore::open(&place, Durability::Commit)?;
    let opened = began.elapsed().as_secs_f64();
    let count = store.count(Kind::Session).await?;
    if count != options.sessions {
        return Err(format!("{count} sessions instead of {}", options.sessions).into());
    }
    let what = format!("disk: open with {} sessions, after the process before just ended", options.sessions);
    figures.time(&what, opened, Some(10.0));
    let began = Instant::now();
    let (mut listed, mut after) = (0, None);
    loop {
        let page = store.list(Kind::Session, None, after, 1_000).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        listed += page.len();
    }
    figures.time(&format!("disk: all {listed} of them listed, in pages of 1,000"), began.elapsed().as_secs_f64(), None);
    let file_kib = std::fs::metadata(place.join("andon.redb"))?.len() / 1_024;
    figures.size("size of their file", file_kib);
    Ok(())
}

async fn fill_and_vanish(directory: &Path, sessions: u64) -> Result<ExitCode, Error> {
    let store = DiskStore::open(directory, Durability::Commit)?;
    fill(&store, sessions, |number| 1_000_000 + number).await?;
    std::process::exit(0);
}
