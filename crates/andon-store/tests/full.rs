//! A disk that is full: nothing is acknowledged that is not there, what is there can be read, and the store goes on when
//! there is room again.
//!
//! The disk is a small file system in memory, where the system lets us mount one. Everywhere, a process that may write files
//! only up to a size stands for it: the operating system refuses its writes. The process is this test again, started by a
//! shell that tells it not to die of the signal that comes with the refusal.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use andon_core::port::{Key, Kind, Record, Rev, SessionStore as _, StoreError};
use andon_store::{DiskStore, Durability};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

/// Where the process of limited size writes.
const PLACE: &str = "ANDON_STORE_FULL_PLACE";
/// The file in that place that takes up room, on a small file system.
const BALLAST: &str = "ANDON_STORE_FULL_BALLAST";
/// Larger than an empty store, smaller than what is written. There is so much more of it in each round.
const LIMIT_BYTES: u64 = 4 << 20;
const ROUNDS: u64 = 3;

fn key(id: u128) -> Key {
    Key { kind: Kind::Session, id }
}

fn record() -> Record {
    Record { bytes: Arc::from(vec![b'x'; 16_000]), owner: 1, expires_at: None }
}

/// There is room for so much from now on, or for all that is written.
fn set_limit(bytes: Option<u64>) {
    let Ok(ballast) = std::env::var(BALLAST) else {
        let maximum = getrlimit(Resource::Fsize).maximum;
        setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum }).expect("sets the limit");
        return;
    };
    let rest = bytes.map_or(0, |bytes| (ROUNDS + 1) * LIMIT_BYTES - bytes);
    std::fs::write(ballast, vec![0; usize::try_from(rest).expect("fits")]).expect("takes up room");
}

/// Writes until the disk is full; gives the ids that were acknowledged.
async fn fill(store: &DiskStore, first_id: u128) -> Vec<u128> {
    let mut ids = Vec::new();
    for id in first_id.. {
        match store.write(key(id), record(), None).await {
            Ok(Rev(_)) => ids.push(id),
            Err(StoreError::Unavailable { .. }) => break,
            Err(other) => panic!("{other:?} on a full disk"),
        }
    }
    ids
}

/// The process with the limit. Without its environment this is no test.
#[tokio::test]
async fn fill_the_disk() {
    let Ok(place) = std::env::var(PLACE) else { return };
    let store = DiskStore::open(&place, Durability::Commit).expect("opens");
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        set_limit(Some(LIMIT_BYTES * (round + 1)));
        let ids = fill(&store, 1_000_000 * u128::from(round)).await;
        assert!(ids.len() > 50, "{} records fit", ids.len());
        all.extend(ids);
        // Full is full, however often one asks; and what is there can be read.
        for turn in 0..5 {
            let written = store.write(key(u128::MAX - turn), record(), None).await;
            assert!(matches!(written, Err(StoreError::Unavailable { .. })), "{written:?}");
        }
        for id in all.iter().step_by(17) {
            assert!(store.load(key(*id)).await.expect("loads").is_some(), "record {id} is there");
        }
        assert_eq!(store.count(Kind::Session).await, Ok(all.len() as u64));
        // Room again.
        set_limit(None);
        let id = 1_000_000 * u128::from(round) + 999_999;
        store.write(key(id), record(), None).await.expect("writes again");
        all.push(id);
    }
    drop(store);
    let store = DiskStore::open(&place, Durability::Commit).expect("opens again");
    for id in &all {
        assert!(store.load(key(*id)).await.expect("loads").is_some(), "record {id} is there");
    }
    assert_eq!(store.count(Kind::Session).await, Ok(all.len() as u64));
    println!("filled");
}

/// Runs the process above after what `before` does in a shell; `None` if that failed.
fn filled(before: &str, environment: &[(&str, &Path)]) -> Option<()> {
    let script = format!("{before} || exit 77; trap '' XFSZ; exec \"$0\" --exact fill_the_disk --nocapture");
    let (shell, arguments) = if before == "true" { ("sh", &[][..]) } else { ("unshare", &["-rm", "sh"][..]) };
    let child = Command::new(shell)
        .args(arguments)
        .args(["-c", &script])
        .arg(std::env::current_exe().expect("is known"))
        .envs(environment.iter().copied())
        .output()
        .ok()?;
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    let began = output.contains("running 1 test");
    assert!(!began || (child.status.success() && output.contains("filled")), "{output}\n{errors}");
    began.then_some(())
}

#[test]
fn a_file_that_may_not_grow_refuses_and_comes_back() {
    let folder = TempDir::new().expect("a folder");
    filled("true", &[(PLACE, folder.path())]).expect("runs");
}

#[test]
fn a_full_file_system_refuses_and_comes_back() {
    let folder = TempDir::new().expect("a folder");
    let (place, ballast) = (folder.path().join("store"), folder.path().join("ballast"));
    let mount = format!("mount -t tmpfs -o size={} none \"$MOUNT\"", (ROUNDS + 1) * LIMIT_BYTES);
    let ran = filled(&mount, &[("MOUNT", folder.path()), (PLACE, &place), (BALLAST, &ballast)]);
    if ran.is_none() {
        println!("nothing can be mounted here: the limit of a file's size stands for it");
    }
}
