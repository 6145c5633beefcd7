//! Kills the server under its clients, and checks what they saw: `crash-test --kills 20 --seed 1 --clients 8`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use andon_crash::Error;
use andon_crash::checker::{Bounds, Checker, Floor};
use andon_crash::history::{self, Event, Recorder};
use andon_crash::nemesis::{self, Breakage};
use andon_crash::server::{Launch, free_address};
use andon_crash::small_disk::SmallDisk;
use andon_crash::world::{Phase, World};
use clap::Parser;
use tokio::task::JoinSet;

/// Acknowledgements for each fault, which a run has to reach to mean anything.
const ACKS_PER_FAULT_MIN: u64 = 50;

/// How large a disk is that can be filled.
const DISK_BYTES: u64 = 64 << 20;

/// Kills a server under its clients and checks that it keeps its promises.
#[derive(Parser)]
struct Options {
    /// The server program and its first words; by default, conformance-server beside this program.
    #[arg(long, num_args = 1.., value_name = "WORD")]
    server: Vec<String>,
    /// How often the process is ended.
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// How often all connections are cut.
    #[arg(long, default_value_t = 5)]
    cuts: u64,
    /// How often the disk has no room. It is a small one then, which has to be mounted.
    #[arg(long, default_value_t = 0)]
    fulls: u64,
    /// What the moments of all that are drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many clients there are.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Without a store: connections are cut, and no process is ended.
    #[arg(long)]
    memory: bool,
    /// Where a folder with the history, the data and the log of the server is made; by default it is gone afterwards.
    #[arg(long)]
    keep: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let options = Options::parse();
    let temporary = tempfile::tempdir()?;
    let folder = match &options.keep {
        // One of its own for each run: what an earlier one left would be taken for this one's.
        Some(keep) => keep.join(format!("seed-{}-{}", options.seed, std::process::id())),
        None => temporary.path().to_owned(),
    };
    std::fs::create_dir_all(&folder)?;
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let beside =
        || Ok::<_, Error>(vec![std::env::current_exe()?.with_file_name("conformance-server").display().to_string()]);
    let mut command = if options.server.is_empty() { beside()? } else { options.server.clone() };
    let disk = match small_disk(&options, &folder).await {
        Ok(disk) => disk,
        Err(why) => {
            println!("A full disk was NOT tested: no small disk can be mounted here ({why}).");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Some(disk) = &disk {
        command = disk.join(command)?;
    }
    let launch = Launch {
        command,
        address: free_address(&mut rng)?,
        data: (!options.memory).then(|| folder.join("data")),
        ledger: folder.join("ledger"),
        log: folder.join("server.log"),
    };
    let path = folder.join("history.jsonl");
    let world = Arc::new(World::new(launch.address, Recorder::create(&path)?));
    let Options { kills, cuts, fulls, .. } = options;
    let breakage = if options.memory {
        Breakage { kills: 0, cuts: kills + cuts, fulls: 0 }
    } else {
        Breakage { kills, cuts, fulls }
    };
    let outcome = break_it(&world, (&launch, disk), breakage, options.clients, &mut rng).await;
    for token in std::fs::read_to_string(&launch.ledger).unwrap_or_default().lines() {
        world.record(0, Event::Ledger { token: token.to_owned() });
    }
    world.recorder.flush()?;
    let mut checker = Checker::new(Bounds::default());
    for entry in history::read(&path)? {
        checker.take(entry?);
    }
    let faults = breakage.faults();
    let report = checker.finish(Floor { acks: faults * ACKS_PER_FAULT_MIN, faults });
    println!("{report}");
    outcome?;
    if report.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    match options.keep {
        Some(_) => println!("check-history {} shows what is about each", path.display()),
        None => println!("seed {}; with --keep FOLDER the history stays", options.seed),
    }
    Ok(ExitCode::FAILURE)
}

/// A disk for the data that can be filled, if it is to be.
async fn small_disk(options: &Options, folder: &Path) -> Result<Option<SmallDisk>, Error> {
    if options.fulls == 0 || options.memory {
        return Ok(None);
    }
    let folder = folder.join("data");
    std::fs::create_dir(&folder)?;
    SmallDisk::mount(&folder.canonicalize()?, DISK_BYTES).await.map(Some)
}

/// The run: clients while the server is broken, and then until all that was outstanding is there.
async fn break_it(
    world: &Arc<World>,
    (launch, disk): (&Launch, Option<SmallDisk>),
    breakage: Breakage,
    clients: u32,
    rng: &mut fastrand::Rng,
) -> Result<(), Error> {
    let server = (launch.start().await?, disk);
    let mut tasks = JoinSet::new();
    for by in 1..=clients {
        for _ in 0..2 {
            tasks.spawn(andon_crash::client::run(world.clone(), by, rng.fork()));
        }
    }
    let server = nemesis::run(world.clone(), launch.clone(), server, breakage, rng.fork()).await;
    world.phase.send_replace(Phase::Settling);
    let resolve = Duration::from_micros(Bounds::default().resolve_us) + Duration::from_secs(5);
    let all = async { while tasks.join_next().await.is_some() {} };
    // What is not there by then is missing, and the checker says so.
    let resolve = if server.is_ok() { resolve } else { Duration::ZERO };
    let _ = tokio::time::timeout(resolve, all).await;
    world.phase.send_replace(Phase::Over);
    while tasks.join_next().await.is_some() {}
    server.map(drop)
}
