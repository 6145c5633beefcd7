//! Both stores pass the suite.

use std::sync::Arc;
use std::time::Duration;

use andon_core::port::Store;
use andon_store::suite::{Failure, Open, restart_suite, suite};
use andon_store::{DiskStore, Durability, MemoryStore};
use tempfile::TempDir;

fn passes(outcome: Result<usize, Vec<Failure>>, least: usize) {
    match outcome {
        Ok(checks) => assert!(checks >= least, "{checks} checks"),
        Err(failures) => panic!("{}", failures.iter().map(|failure| format!("\n{failure}")).collect::<String>()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_passes() {
    passes(suite(|| Arc::new(MemoryStore::new())).await, 40);
}

async fn disk_passes(durability: Durability) {
    let folder = TempDir::new().expect("a folder");
    let number = std::sync::atomic::AtomicU32::new(0);
    let place = || folder.path().join(number.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string());
    passes(suite(|| Arc::new(DiskStore::open(place(), durability).expect("opens"))).await, 40);
    let reopened = restart_suite(|| -> Open {
        let place = place();
        Arc::new(move || -> Arc<dyn Store> { Arc::new(DiskStore::open(&place, durability).expect("opens")) })
    });
    passes(reopened.await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disk_passes_when_each_commit_is_durable() {
    disk_passes(Durability::Commit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disk_passes_when_durable_later() {
    disk_passes(Durability::Interval(Duration::from_millis(5))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disk_passes_when_durable_at_the_end() {
    disk_passes(Durability::Memory).await;
}
