use std::collections::HashSet;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::{collect, on_each_thread};

const THREADS: usize = 4;
/// A thread that the system keeps from running for longer than the others wait is left out of a round, but not of so many.
const ROUNDS_MAX: usize = 1_000;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(THREADS).build().unwrap()
}

/// Has each thread of the runtime do `work`, and waits until that is done: the threads that did it.
fn round(work: fn()) -> Vec<ThreadId> {
    let (sender, receiver) = mpsc::channel();
    on_each_thread(move || {
        work();
        sender.send(thread::current().id()).unwrap();
    });
    let come = || receiver.recv_timeout(Duration::from_secs(20)).expect("it is done as often as there are threads");
    (0..THREADS).map(|_| come()).collect()
}

#[test]
fn each_thread_comes() {
    let runtime = runtime();
    let _within = runtime.enter();
    let mut seen = HashSet::new();
    for _ in 0..ROUNDS_MAX {
        seen.extend(round(|| ()));
        if seen.len() == THREADS {
            return;
        }
    }
    panic!("only {seen:?} came");
}

#[test]
#[cfg(target_os = "linux")]
fn what_other_threads_freed_goes_back_to_the_system() {
    /// Bytes in a block, and blocks that a task allocates.
    const BLOCK: usize = 200;
    const BLOCKS: usize = 100_000;
    let runtime = runtime();
    let allocate = || async { (0..BLOCKS).map(|_| vec![1_u8; BLOCK]).collect::<Vec<_>>() };
    let tasks: Vec<_> = (0..THREADS).map(|_| runtime.spawn(allocate())).collect();
    let blocks: Vec<_> = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).collect();
    let (full, kib) = (resident_kib(), (THREADS * BLOCKS * BLOCK) >> 10);
    drop(blocks);
    let freed = resident_kib();
    let _within = runtime.enter();
    for _ in 0..ROUNDS_MAX {
        round(collect);
        if full.saturating_sub(resident_kib()) > kib * 9 / 10 {
            return;
        }
    }
    panic!("{full} KiB with all, {freed} KiB when freed, {} KiB when given back", resident_kib());
}

#[cfg(target_os = "linux")]
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
