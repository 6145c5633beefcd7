use std::collections::HashSet;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::{collect, on_each_thread};

const THREADS: usize = 4;
/// So long the system keeps no thread from running.
const PATIENCE: Duration = Duration::from_secs(10);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(THREADS).build().unwrap()
}

/// Has each thread of the runtime do `work`, called as the command does, and waits until all did who will: those who did.
fn round(runtime: &Runtime, patience: Duration, work: fn()) -> HashSet<ThreadId> {
    let (sender, receiver) = mpsc::channel();
    let call = async move {
        on_each_thread(patience, move || {
            work();
            sender.send(thread::current().id()).unwrap();
        });
    };
    drop(runtime.spawn(call));
    let mut did = HashSet::new();
    // It ends when the last task and with it the last sender is gone.
    while let Ok(thread) = receiver.recv_timeout(PATIENCE * 2) {
        assert!(did.insert(thread), "a thread does it once");
    }
    did
}

#[test]
fn each_thread_does_it_in_one_round() {
    let runtime = runtime();
    for _ in 0..1_000 {
        assert_eq!(round(&runtime, PATIENCE, || ()).len(), THREADS);
    }
}

#[test]
fn one_that_is_busy_is_left_out_and_nobody_does_it_twice() {
    let runtime = runtime();
    let (busy, is_busy) = mpsc::channel();
    let (rest, may_rest) = mpsc::channel::<()>();
    drop(runtime.spawn(async move {
        busy.send(thread::current().id()).unwrap();
        may_rest.recv().unwrap_err();
    }));
    let busy = is_busy.recv().unwrap();
    let did = round(&runtime, Duration::from_millis(100), || ());
    assert!(!did.contains(&busy) && did.len() < THREADS, "{busy:?} is busy: {did:?}");
    drop(rest);
}

#[test]
#[cfg(target_os = "linux")]
fn what_other_threads_freed_goes_back_to_the_system() {
    /// Bytes in a block, and blocks that a task allocates.
    const BLOCK: usize = 200;
    const BLOCKS: usize = 100_000;
    /// What the first round gives back in part, the next one sees to.
    const ROUNDS: usize = 3;
    let runtime = runtime();
    let allocate = || async { (0..BLOCKS).map(|_| vec![1_u8; BLOCK]).collect::<Vec<_>>() };
    let tasks: Vec<_> = (0..THREADS).map(|_| runtime.spawn(allocate())).collect();
    let blocks: Vec<_> = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).collect();
    let (full, kib) = (resident_kib(), (THREADS * BLOCKS * BLOCK) >> 10);
    drop(blocks);
    let freed = resident_kib();
    assert!(
        full.saturating_sub(freed) < kib / 2,
        "{full} KiB with all, {freed} KiB when freed: nothing is left to give back"
    );
    for _ in 0..ROUNDS {
        round(&runtime, PATIENCE, collect);
    }
    let given = resident_kib();
    assert!(
        full.saturating_sub(given) > kib * 9 / 10,
        "{full} KiB with all, {freed} when freed, {given} when given back"
    );
}

#[cfg(target_os = "linux")]
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
