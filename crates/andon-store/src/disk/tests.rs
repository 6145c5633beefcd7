//! What happens when the disk fails, and to files that are not as they should be.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use andon_core::io::{StreamId, Timestamp};
use andon_core::port::{
    Batch, Event, EventLog as _, Key, Kind, Pending, Record, Rev, SessionStore as _, Store, StoreError,
};
use redb::{Database, ReadableDatabase as _};
use tempfile::TempDir;

use super::engine::{Engine, Opener};
use super::tables::{DEAD, DEATHS, EVENTS, FORMAT, FORMAT_NAME, LEFTOVERS, Ledger, META};
use super::write::{Trouble, Writing};
use super::{DiskStore, Durability, OpenError};
use crate::suite::{Outage, outage_suite};
use crate::uptime::DEAD_FOR;

use self::disk::Disk;

mod disk;

const KEY: Key = Key { kind: Kind::Session, id: 1 };

fn record(text: &str) -> Record {
    Record { bytes: Arc::from(text.as_bytes()), owner: 7, expires_at: None }
}

fn event(stream: u32, sequence: u32) -> Event {
    Event { stream: StreamId(stream), sequence, bytes: Arc::from(&b"x"[..]) }
}

fn wait<T>(pending: Pending<T>) -> Result<T, StoreError> {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(pending)
}

fn open(place: &Path, disk: &Disk) -> DiskStore {
    DiskStore::open_with(place, Durability::Commit, disk.opener()).expect("opens")
}

fn file(place: &Path) -> PathBuf {
    place.join("andon.redb")
}

fn is_there(store: &DiskStore, id: u128) -> bool {
    wait(store.load(Key { kind: Kind::Task, id })).expect("loads").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_disk_passes_the_suite() {
    let folder = TempDir::new().expect("a folder");
    let number = AtomicU32::new(0);
    let checks = outage_suite(|| {
        let disk = Disk::default();
        let place = folder.path().join(number.fetch_add(1, Ordering::Relaxed).to_string());
        let store: Arc<dyn Store> = Arc::new(open(&place, &disk));
        let outage: Outage = Arc::new(move |is_on| disk.fail_all(is_on));
        (store, outage)
    });
    assert!(checks.await.expect("passes") >= 4);
}

/// Whatever the disk fails at, an acknowledged write is there, and a refused one is not: now, and when opened again.
#[test]
fn no_failure_of_the_disk_makes_an_acknowledgement_false() {
    let folder = TempDir::new().expect("a folder");
    let (mut outcomes, mut failing_at) = ([0, 0, 0], 0);
    loop {
        let disk = Disk::default();
        let place = folder.path().join(failing_at.to_string());
        let store = open(&place, &disk);
        wait(store.write(Key { kind: Kind::Task, id: 1 }, record("before"), None)).expect("writes");
        disk.fail_once_after(failing_at);
        let outcome = wait(store.write(Key { kind: Kind::Task, id: 2 }, record(&"x".repeat(10_000)), None));
        let has_failed = disk.has_failed();
        disk.fail_all(false);
        let what = format!("failure {failing_at}: {outcome:?}");
        wait(store.write(Key { kind: Kind::Task, id: 3 }, record("after"), None)).expect(&what);
        let now = is_there(&store, 2);
        drop(store);
        let store = open(&place, &disk);
        assert_eq!(is_there(&store, 2), now, "{what}");
        assert!(is_there(&store, 1) && is_there(&store, 3), "{what}");
        assert_eq!(wait(store.count(Kind::Task)), Ok(2 + u64::from(now)), "{what}");
        match outcome {
            Ok(_) => {
                assert!(now, "{what}");
                outcomes[0] += usize::from(has_failed);
            }
            Err(StoreError::Unavailable { .. }) => {
                assert!(!now, "{what}");
                outcomes[1] += 1;
            }
            Err(StoreError::Unknown) => outcomes[2] += 1,
            Err(other) => panic!("failure {failing_at}: {other}"),
        }
        if !has_failed {
            break;
        }
        failing_at += 1;
    }
    assert!(failing_at >= 5, "{failing_at} failures");
    // At the very end it is done, and the store finds out.
    assert!(outcomes[0] >= 1 && outcomes[1] >= 3 && outcomes[2] == 0, "{outcomes:?}");
}

#[test]
fn the_store_goes_on_when_the_disk_is_back() {
    let folder = TempDir::new().expect("a folder");
    let disk = Disk::default();
    let store = open(folder.path(), &disk);
    let key = |id| Key { kind: Kind::Task, id };
    wait(store.write(key(1), record("x"), None)).expect("writes");
    for round in 2..6 {
        disk.fail_all(true);
        for _ in 0..3 {
            assert!(wait(store.write(key(round), record("x"), None)).is_err());
        }
        disk.fail_all(false);
        wait(store.write(key(round + 10), record("x"), None)).expect("writes");
        assert!(is_there(&store, 1) && is_there(&store, round + 10) && !is_there(&store, round));
    }
}

#[test]
fn readers_who_fail_hold_up_no_writer() {
    let folder = TempDir::new().expect("a folder");
    let disk = Disk::default();
    let store = open(folder.path(), &disk);
    wait(store.write(KEY, record("x"), None)).expect("writes");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let loaded = wait(store.load(KEY));
                    assert!(!matches!(loaded, Ok(None) | Err(StoreError::Fatal(_))), "{loaded:?}");
                }
            });
        }
        for round in 0..10 {
            disk.fail_all(true);
            let written = wait(store.write(Key { kind: Kind::Task, id: round }, record("x"), None));
            assert!(written.is_err(), "{written:?}");
            disk.fail_all(false);
            wait(store.write(Key { kind: Kind::Task, id: 100 + round }, record("x"), None)).expect("writes");
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(wait(store.count(Kind::Task)), Ok(10));
}

/// The disk is gone, and in its place is an empty directory, or another store.
#[test]
fn another_file_in_its_place_is_not_taken_for_the_store() {
    let folder = TempDir::new().expect("a folder");
    let (place, elsewhere) = (folder.path().join("store"), folder.path().join("elsewhere"));
    let disk = Disk::default();
    let store = open(&place, &disk);
    let key = |id| Key { kind: Kind::Task, id };
    wait(store.write(key(1), record("x"), None)).expect("writes");
    wait(store.write(key(2), record("x"), None)).expect("writes");
    fs::rename(&place, &elsewhere).expect("moves");
    for has_another in [false, true] {
        if has_another {
            drop(DiskStore::open(&place, Durability::Commit).expect("opens"));
        } else {
            fs::create_dir(&place).expect("makes");
        }
        disk.fail_once_after(0);
        for id in 3..6 {
            assert!(wait(store.write(key(id), record("x"), None)).is_err());
            let loaded = wait(store.load(key(1)));
            assert!(matches!(loaded, Err(StoreError::Unavailable { .. })), "{loaded:?}");
        }
        assert_eq!(file(&place).exists(), has_another);
    }
    fs::remove_dir_all(&place).expect("removes");
    fs::rename(&elsewhere, &place).expect("moves");
    wait(store.write(key(9), record("x"), None)).expect("writes");
    assert!(is_there(&store, 1) && is_there(&store, 2) && !is_there(&store, 3));
}

#[test]
fn calls_that_wait_share_a_transaction() {
    let folder = TempDir::new().expect("a folder");
    let disk = Disk::default();
    let store = open(folder.path(), &disk);
    let write = |id| store.write(Key { kind: Kind::Task, id }, record("x"), None);
    wait(write(0)).expect("writes");
    let syncs_each = disk.syncs_count(|| wait(write(1)).expect("writes"));
    let syncs = disk.syncs_count(|| {
        let held = disk.hold();
        let first = write(2);
        held.wait_for_sync();
        let others: Vec<_> = (3..500).map(write).collect();
        drop(held);
        wait(first).expect("writes");
        for other in others {
            wait(other).expect("writes");
        }
    });
    assert_eq!(syncs, 2 * syncs_each);
    assert_eq!(wait(store.count(Kind::Task)), Ok(500));
}

#[test]
fn what_waits_is_bounded() {
    let folder = TempDir::new().expect("a folder");
    let disk = Disk::default();
    let store = open(folder.path(), &disk);
    let held = disk.hold();
    let first = store.write(KEY, record("x"), None);
    held.wait_for_sync();
    // Each counts as a thousand calls.
    let sweep = || store.sweep(Timestamp(1), 1_000);
    let mut waiting: Vec<_> = (0..100).map(|_| sweep()).collect();
    // Refused at once, though nothing can be written now.
    assert!(matches!(wait(sweep()), Err(StoreError::Unavailable { .. })));
    drop(held);
    wait(first).expect("writes");
    wait(waiting.pop().expect("is there")).expect("sweeps");
    assert_eq!(wait(sweep()), Ok(Vec::new()));
}

#[test]
fn durable_later_is_durable_by_itself() {
    let folder = TempDir::new().expect("a folder");
    let disk = Disk::default();
    let durability = Durability::Interval(Duration::from_millis(1));
    let store = DiskStore::open_with(folder.path(), durability, disk.opener()).expect("opens");
    let held = disk.hold();
    // Acknowledged though the disk does nothing.
    wait(store.write(KEY, record("x"), None)).expect("writes");
    // The disk gets it without another call.
    held.wait_for_sync();
}

#[test]
fn reads_need_no_runtime() {
    let folder = TempDir::new().expect("a folder");
    let store = open(folder.path(), &Disk::default());
    wait(store.commit(1, Batch { record: Some(record("x")), events: vec![event(1, 1)], ..Batch::default() }))
        .expect("commits");
    let listed = futures_util::FutureExt::now_or_never(store.list(Kind::Session, None, None, 9));
    assert_eq!(listed.expect("is done").expect("lists").len(), 1);
    let replay = futures_util::FutureExt::now_or_never(store.replay(1, StreamId(1), 0, 9));
    assert_eq!(replay.expect("is done").expect("replays").events.len(), 1);
}

#[cfg(unix)]
#[test]
fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().expect("a folder");
    let place = folder.path().join("a/b");
    let mode = |path: &Path| fs::metadata(path).expect("is there").permissions().mode() & 0o777;
    drop(DiskStore::open(&place, Durability::Commit).expect("opens"));
    assert_eq!((mode(&place), mode(&folder.path().join("a")), mode(&file(&place))), (0o700, 0o700, 0o600));
    // One that somebody opened to others is closed again.
    fs::set_permissions(file(&place), fs::Permissions::from_mode(0o644)).expect("changes");
    drop(DiskStore::open(&place, Durability::Commit).expect("opens"));
    assert_eq!(mode(&file(&place)), 0o600);
}

#[test]
fn a_store_is_open_once() {
    let folder = TempDir::new().expect("a folder");
    let store = DiskStore::open(folder.path(), Durability::Commit).expect("opens");
    let error = DiskStore::open(folder.path(), Durability::Commit).expect_err("is open");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
    wait(store.write(KEY, record("x"), None)).expect("the first still works");
    drop(store);
    DiskStore::open(folder.path(), Durability::Commit).expect("opens");
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let folder = TempDir::new().expect("a folder");
    drop(DiskStore::open(folder.path(), Durability::Commit).expect("opens"));
    set_meta(folder.path(), FORMAT_NAME, FORMAT + 1);
    let error = DiskStore::open(folder.path(), Durability::Commit).expect_err("is newer");
    assert!(matches!(error, OpenError::NewerFormat { found, known, .. } if found == known + 1), "{error}");
    assert!(error.to_string().contains("newer version"), "{error}");
    assert!(DiskStore::open(folder.path(), Durability::Commit).is_err());
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = TempDir::new().expect("a folder");
    fs::write(file(folder.path()), "not a store, though it is long enough to look at".repeat(1_000)).expect("writes");
    let error = DiskStore::open(folder.path(), Durability::Commit).expect_err("is no store");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let error = DiskStore::open(file(folder.path()), Durability::Commit).expect_err("is no directory");
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}

#[test]
fn a_key_is_dead_for_a_day_of_uptime() {
    let folder = TempDir::new().expect("a folder");
    let day_ms = u64::try_from(DEAD_FOR.as_millis()).expect("fits");
    let store = DiskStore::open(folder.path(), Durability::Commit).expect("opens");
    wait(store.delete(KEY, None)).expect("deletes");
    drop(store);
    let minute_ms = 60_000;
    for (uptime_ms, is_dead) in [(day_ms - minute_ms, true), (day_ms + minute_ms, false)] {
        set_meta(folder.path(), "uptime_ms", uptime_ms);
        let store = DiskStore::open(folder.path(), Durability::Commit).expect("opens");
        // What can be forgotten is, at the latest beside the first call.
        wait(store.write(Key { kind: Kind::Task, id: uptime_ms.into() }, record("x"), None)).expect("writes");
        assert_eq!(wait(store.write(KEY, record("x"), None)).is_err(), is_dead);
    }
}

/// Sets a number in a file that is not open.
fn set_meta(place: &Path, name: &str, value: u64) {
    let database = Database::open(file(place)).expect("opens");
    let transaction = database.begin_write().expect("begins");
    transaction.open_table(META).expect("is there").insert(name, value).expect("inserts");
    transaction.commit().expect("commits");
}

/// Writes in a transaction of its own.
fn transact<T>(database: &Database, ledger: &mut Ledger, work: impl FnOnce(&mut Writing<'_>) -> T) -> T {
    let transaction = database.begin_write().expect("begins");
    let mut writing = Writing::begin(&transaction, *ledger).expect("begins");
    let value = work(&mut writing);
    *ledger = writing.end().expect("ends");
    transaction.commit().expect("commits");
    value
}

#[test]
fn events_of_a_large_dead_session_go_before_its_key_is_forgotten() {
    let folder = TempDir::new().expect("a folder");
    let opener: Opener = super::engine::open_file();
    let (engine, mut ledger) = Engine::open(folder.path(), opener).expect("opens");
    let database = engine.database();
    let database = database.as_ref().expect("is open");
    let rows = |what: &str| {
        let reading = database.begin_read().expect("begins");
        use redb::ReadableTableMetadata as _;
        match what {
            "events" => reading.open_table(EVENTS).expect("is there").len(),
            "leftovers" => reading.open_table(LEFTOVERS).expect("is there").len(),
            "dead" => reading.open_table(DEAD).expect("is there").len(),
            _ => reading.open_table(DEATHS).expect("is there").len(),
        }
        .expect("counts")
    };
    let events = (1..=2_500).map(|sequence| event(1, sequence)).collect();
    let batch = Batch { record: Some(record("x")), events, ..Batch::default() };
    transact(database, &mut ledger, |writing| writing.commit(1, &batch)).expect("commits");
    transact(database, &mut ledger, |writing| writing.delete(KEY, None)).expect("deletes");
    assert_eq!((rows("events"), rows("leftovers"), rows("dead")), (1_500, 1, 1));
    // Long after the day, but its events go first.
    let tidy = |ledger: &mut Ledger| transact(database, ledger, |writing| writing.tidy(Some(u64::MAX), 1_000));
    assert!(tidy(&mut ledger).expect("tidies"));
    assert_eq!((rows("events"), rows("leftovers"), rows("dead")), (500, 1, 1));
    let created = transact(database, &mut ledger, |writing| writing.write(KEY, &record("y"), None));
    assert!(matches!(created, Err(Trouble::Conflict(None))));
    assert!(!tidy(&mut ledger).expect("tidies"));
    assert_eq!((rows("events"), rows("leftovers"), rows("dead"), rows("deaths")), (0, 0, 0, 0));
    let rev = transact(database, &mut ledger, |writing| writing.write(KEY, &record("y"), None));
    assert!(matches!(rev, Ok(Rev(_))));
}

#[test]
fn streams_that_are_over_cost_next_to_nothing() {
    let folder = TempDir::new().expect("a folder");
    let (engine, mut ledger) = Engine::open(folder.path(), super::engine::open_file()).expect("opens");
    let database = engine.database();
    let database = database.as_ref().expect("is open");
    let batch = Batch { record: Some(record("x")), ..Batch::default() };
    let rev = transact(database, &mut ledger, |writing| writing.commit(1, &batch)).expect("commits");
    // In some order, and all but the last of them.
    for number in (0..1_000).map(|number| number * 7 % 1_000).filter(|number| *number != 999) {
        let (events, forget) = (vec![event(number, 1)], vec![(StreamId(number), u32::MAX)]);
        let batch = Batch { expect: Some(rev), record: None, events, forget };
        transact(database, &mut ledger, |writing| writing.commit(1, &batch)).expect("commits");
    }
    let mut rows = |work: fn(&mut Writing<'_>)| {
        transact(database, &mut ledger, |writing| {
            work(writing);
            use redb::ReadableTableMetadata as _;
            [writing.events.len(), writing.forgotten.len(), writing.over.len()].map(|rows| rows.expect("counts"))
        })
    };
    assert_eq!(rows(|_| {}), [0, 0, 1]);
    let late = |writing: &mut Writing<'_>, stream| {
        writing.commit(1, &Batch { expect: Some(rev), events: vec![event(stream, u32::MAX)], ..Batch::default() })
    };
    transact(database, &mut Ledger::default(), |writing| {
        for stream in [0, 1, 500, 998] {
            assert!(matches!(late(writing, stream), Err(Trouble::Conflict(_))));
        }
        assert!(late(writing, 999).is_ok());
    });
    assert_eq!(rows(|writing| writing.delete(KEY, None).expect("deletes")), [0, 0, 0]);
}
