//! `andon serve FILE` over servers that are killed, stopped, hang, flood, answer garbage and answer twice, ten at a time,
//! under a hundred clients of both eras: the calls of another server take about as long as without that, nothing crosses,
//! and no process is left.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod scenario;

use std::path::PathBuf;
use std::time::Duration;

use scenario::{Scenario, quantile};

/// What chaos may add to the p99 here. The processes of the bad servers, a build that is not optimised and other tests share
/// the processors with the good one, and its calls take a few milliseconds: a multiple of that says little on a busy machine,
/// so that there is an amount beside it. A call that waits for a bad server takes its timeout longer, which is more. What it
/// is without all that, the benchmark program `chaos` tells.
const TIMES_MAX: u32 = 3;
const ADDED_MAX: Duration = Duration::from_millis(300);

/// The example of this package that is a server, which the tests are built with.
fn unruly() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.set_file_name("examples");
    path.join("unruly-upstream")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bad_servers_cost_nobody_else() {
    let scenario =
        Scenario { andon: PathBuf::from(env!("CARGO_BIN_EXE_andon")), unruly: unruly(), rounds: 2, turns: 12 };
    let outcome = scenario.play().await;
    let (calm, beside) = (quantile(&outcome.calm.concat(), 99), quantile(&outcome.chaos.concat(), 99));
    println!("p99 of the good server {calm:?} in calm, {beside:?} beside chaos");
    assert!(outcome.answered > 0 && outcome.failed > 0, "they do come back in between, and they do fail");
    assert!(outcome.killed > 0 && outcome.stopped > 0);
    assert!(beside <= (calm * TIMES_MAX).max(calm + ADDED_MAX), "{beside:?} beside chaos, {calm:?} in calm");
}
