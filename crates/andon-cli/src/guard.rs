//! `andon guard`: a process beside `andon serve FILE` that ends the servers which that leaves behind when it is killed. It is told
//! over its input whom there is, all of them each time, and when its input ends, whoever told it is gone.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use andon::Error;
use andon_gateway::{Intensity, Next, Restarts};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::workers::program;

/// How long each step of the end may take, as where Andon ends them itself: the end of their input, then a signal to end, then one to
/// kill.
const STEP: Duration = Duration::from_secs(2);
/// How often it is looked whether they have ended.
const LOOK: Duration = Duration::from_millis(50);

/// `andon guard`, which nobody types.
#[derive(Args)]
pub(crate) struct Guard {}

/// Process groups, by the number of the process that each began with; and when that began, where the system says so.
type Groups = BTreeMap<i32, Option<u64>>;

impl Guard {
    pub(crate) fn run(self) -> andon::Result {
        // What ends all of a unit or a terminal tells it to end as well, and then it is needed most: it ends with its input.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(|error| Error::io("a guard cannot start", error))?;
        let _within = runtime.enter();
        let ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        let mut groups = Groups::new();
        let mut line = String::new();
        // The last line may have been cut off, in the middle of a number.
        while std::io::stdin().read_line(&mut line).is_ok() && line.ends_with('\n') {
            let told = line.split_whitespace().filter_map(|word| word.parse().ok());
            let began = |group: i32| groups.get(&group).copied().unwrap_or_else(|| began_at(group));
            groups = told.map(|group| (group, began(group))).collect();
            line.clear();
        }
        end(groups);
        drop(ignored);
        Ok(())
    }
}

/// Ends the groups that do not end by themselves now that their input has.
fn end(mut groups: Groups) {
    left(&mut groups, STEP);
    let count = groups.len();
    for signal in [Signal::TERM, Signal::KILL] {
        for group in groups.keys().filter_map(|group| Pid::from_raw(*group)) {
            // All of it may have ended by itself in the meantime.
            let _ = kill_process_group(group, signal);
        }
        left(&mut groups, STEP);
    }
    // Not before: whoever reads it may have been what hung.
    if count > 0 {
        tracing::warn!(count, "andon was gone without its servers, and they were ended");
    }
}

/// Waits until none of them is there any more, but no longer than `most`. Those that are stay in `groups`.
fn left(groups: &mut Groups, most: Duration) {
    let until = Instant::now() + most;
    loop {
        groups.retain(|group, began| is_there(*group, *began));
        if groups.is_empty() || Instant::now() >= until {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// Whether the group is there, and is the one that was told of: its number may have been given to another since.
fn is_there(group: i32, began: Option<u64>) -> bool {
    let is_other = began_at(group).is_some_and(|now| began != Some(now));
    !is_other && Pid::from_raw(group).is_some_and(|group| test_kill_process_group(group).is_ok())
}

/// When the process with this number began, in ticks since the system did. `None` if there is none, or the system does not say.
fn began_at(process: i32) -> Option<u64> {
    let said = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name of the program, which may have any characters, it is the twentieth (proc_pid_stat(5), "starttime").
    said.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Keeps a guard beside this process from its first server on, which logs as `logs` says. Never returns.
pub(crate) async fn keep(logs: Vec<String>) {
    let mut children = andon::client::children();
    let mut restarts = Restarts::new(Intensity::default());
    loop {
        // The sender is never dropped.
        drop(children.wait_for(|children| !children.is_empty()).await);
        let began = Instant::now();
        let why = match start(&logs) {
            Ok(guard) => tell(guard, &mut children).await,
            Err(error) => error,
        };
        tracing::warn!(%why, "servers may be left behind if this process is killed: there is no guard until the next is started");
        let (Next::Start(wait) | Next::Park(wait)) =
            restarts.ended(Instant::now().into(), Some(began.elapsed()), fastrand::f64());
        tokio::time::sleep(wait).await;
    }
}

fn start(logs: &[String]) -> std::io::Result<Child> {
    let mut command = Command::new(program()?);
    command.arg0("andon").arg("guard").args(logs).env_clear().current_dir("/");
    // Ctrl-C at a terminal is for this process. What it leaves behind at its own end is for the guard.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit()).process_group(0);
    command.spawn()
}

/// Tells the guard whom there is, until it is gone; then says why.
async fn tell(mut guard: Child, children: &mut watch::Receiver<andon::client::Children>) -> std::io::Error {
    let Some(mut input) = guard.stdin.take() else { return std::io::Error::other("it has no input") };
    loop {
        let mut line = String::new();
        for child in children.borrow_and_update().iter() {
            line.push_str(&format!("{child} "));
        }
        line.push('\n');
        if let Err(error) = input.write_all(line.as_bytes()).await {
            return error;
        }
        tokio::select! {
            // The sender is never dropped.
            _ = children.changed() => {}
            status = guard.wait() => return status.map_or_else(|error| error, |status| std::io::Error::other(status.to_string())),
        }
    }
}
