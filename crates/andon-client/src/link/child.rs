//! A server as a child process: in a process group of its own, with an environment that is given, ended in steps.

use std::collections::{BTreeSet, VecDeque};
use std::process::Stdio;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use andon_core::client::Loss;
use andon_types::lines::Line;
use andon_types::revision::Revision;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::BufReader;
use tokio::process::{Child, ChildStderr};
use tokio::sync::{oneshot, watch};

use super::lines::{Lines, read_lines};
use super::{Ear, Heard, Link, Round};
use crate::carriage::Carriage;
use crate::target::Command;
use crate::throttle::Throttle;

/// How long each step of the end may take: the end of its input, then a signal to end, then one to kill.
const STEP: Duration = Duration::from_secs(2);
/// How long a child that closed its output may take to end, before we speak of its end without its status.
const STATUS_DELAY: Duration = Duration::from_secs(1);
/// How long its standard error is read when it has ended: a process that left its group may hold it open.
const LAST_WORDS_DELAY: Duration = Duration::from_millis(500);
/// Bytes of one line of standard error.
const STDERR_LINE_BYTES_MAX: usize = 16 << 10;
/// Lines of standard error that are told in a second: more of them help nobody.
const STDERR_LINES_MAX: u32 = 200;
/// Last lines of standard error that explain an end.
const STDERR_LINES_KEPT: usize = 4;

/// A connection to a child process.
pub(crate) struct ChildLink {
    lines: Lines,
    ending: Mutex<Option<oneshot::Sender<()>>>,
    ended: watch::Receiver<Option<String>>,
}

impl ChildLink {
    /// Starts the process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) async fn start(command: &Command, line_bytes_max: usize, ear: Ear) -> Result<Self, Loss> {
        let mut process = tokio::process::Command::new(&command.program);
        process.args(&command.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process.kill_on_drop(true);
        #[cfg(unix)]
        process.process_group(0);
        if !command.inherits_environment {
            process.env_clear();
            process.envs(Command::INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        }
        process.envs(command.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &command.folder {
            process.current_dir(folder);
        }
        // It blocks until the new process has left our memory.
        let spawned = tokio::task::spawn_blocking(move || process.spawn()).await;
        let mut child = spawned.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|error| {
            let missing = command.folder.as_ref().filter(|folder| !folder.is_dir());
            Loss::Unreachable(match missing {
                Some(folder) => format!("there is no folder {folder:?}, in which the program is to start"),
                None => format!("the program {:?} cannot be started: {error}", command.program),
            })
        })?;
        let (Some(input), Some(output), Some(errors)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Loss::Unreachable("the program has no pipes".to_owned()));
        };
        restrict(&child, command);
        let last_words: LastWords = Arc::default();
        let mut errors = tokio::spawn(hear_errors(errors, last_words.clone(), ear.clone()));
        let (ended_sender, ended) = watch::channel(None);
        let (ending, end_wanted) = oneshot::channel();
        let registered = Registered::new(&child);
        tokio::spawn(async move {
            let how = attend(child, end_wanted).await;
            if tokio::time::timeout(LAST_WORDS_DELAY, &mut errors).await.is_err() {
                errors.abort();
            }
            ended_sender.send_replace(Some(how));
            drop(registered);
        });
        let end = describe_end(ended.clone(), last_words);
        let lines = Lines::new(output, input, line_bytes_max, ear, gone(ended.clone()), end);
        Ok(Self { lines, ending: Mutex::new(Some(ending)), ended })
    }
}

impl Link for ChildLink {
    fn send(&self, round: Round) -> Option<Carriage> {
        self.lines.send(round)
    }

    fn say(&self, text: String) -> BoxFuture<'static, ()> {
        self.lines.say(text)
    }

    fn speak(&self, revision: Revision, is_agreed: bool) {
        self.lines.speak(revision, is_agreed);
    }

    fn settle(&self) -> BoxFuture<'_, ()> {
        self.lines.settle()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.lines.close().await;
            self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The attendant needs three steps at most.
            drop(tokio::time::timeout(4 * STEP, gone(self.ended.clone())).await);
        }
        .boxed()
    }
}

type LastWords = Arc<Mutex<VecDeque<String>>>;

async fn hear_errors(errors: ChildStderr, last_words: LastWords, ear: Ear) {
    let mut throttle = Throttle::new(STDERR_LINES_MAX);
    let read = read_lines(BufReader::new(errors), STDERR_LINE_BYTES_MAX, |line| {
        let line = match line {
            Line::Whole(line) => String::from_utf8_lossy(line).into_owned(),
            Line::TooLong(first) => format!("{}…", String::from_utf8_lossy(first)),
        };
        let mut kept = last_words.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == STDERR_LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line.clone());
        drop(kept);
        if let Some(left_out) = throttle.pass() {
            if left_out > 0 {
                ear(Heard::Stderr(format!("[{left_out} lines were left out]")));
            }
            ear(Heard::Stderr(line));
        }
    });
    // Its standard error may end before its standard output, and then says nothing more.
    drop(read.await);
}

/// The numbers of processes, each of which is on Unix the first of a process group of its own.
pub type Children = BTreeSet<u32>;

static CHILDREN: LazyLock<watch::Sender<Children>> = LazyLock::new(watch::Sender::default);

/// The processes that clients of this program started and that are there, now and from now on. One is there until it has
/// ended and what it left of its group was killed.
pub fn children() -> watch::Receiver<Children> {
    CHILDREN.subscribe()
}

/// Returns when no process that a client of this program started is there any more: those of clients that were closed or
/// dropped take a few seconds to end. For programs that end, and leave nobody behind.
pub async fn children_ended() {
    // The sender is never dropped.
    drop(children().wait_for(Children::is_empty).await);
}

/// Held as long as a process is there.
struct Registered(Option<u32>);

impl Registered {
    fn new(child: &Child) -> Self {
        let id = child.id();
        CHILDREN.send_modify(|children| children.extend(id));
        Self(id)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        CHILDREN.send_modify(|children| children.retain(|child| Some(*child) != self.0));
    }
}

/// Sets the limits of a process that was just started.
#[cfg(target_os = "linux")]
fn restrict(child: &Child, command: &Command) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let limits = [
        (Resource::As, command.memory_bytes_max),
        (Resource::Nofile, command.open_files_max),
        (Resource::Nproc, command.processes_max),
    ];
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    for (resource, most) in limits {
        let (Some(most), Some(pid)) = (most, pid) else { continue };
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        if let Err(error) = prlimit(Some(pid), resource, limit) {
            tracing::warn!(?resource, %error, "a limit of a program could not be set");
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn restrict(_child: &Child, _command: &Command) {}

/// Waits for the end of the process. When its link is gone, ends it: its input has ended already; then by signals to
/// its whole group. What the process leaves behind of its group is killed. Says how it ended.
async fn attend(mut child: Child, end_wanted: oneshot::Receiver<()>) -> String {
    let group = group_of(&child);
    let status = tokio::select! {
        status = child.wait() => Some(status),
        // The sender is dropped, or never sends.
        _ = end_wanted => None,
    };
    let status = match status {
        Some(status) => status,
        None => match tokio::time::timeout(STEP, child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                signal(group, Step::Terminate);
                match tokio::time::timeout(STEP, child.wait()).await {
                    Ok(status) => status,
                    Err(_) => {
                        signal(group, Step::Kill);
                        drop(child.start_kill());
                        child.wait().await
                    }
                }
            }
        },
    };
    signal(group, Step::Kill);
    match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("its status is unknown: {error}"),
    }
}

#[derive(Clone, Copy)]
enum Step {
    Terminate,
    Kill,
}

#[cfg(unix)]
type Group = Option<rustix::process::Pid>;
#[cfg(not(unix))]
type Group = ();

/// The process is the first of its group, which has its number.
#[cfg(unix)]
fn group_of(child: &Child) -> Group {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
}

#[cfg(not(unix))]
fn group_of(_child: &Child) -> Group {}

/// To all of the group: a server that was started through a launcher is a grandchild.
#[cfg(unix)]
fn signal(group: Group, step: Step) {
    let signal = match step {
        Step::Terminate => rustix::process::Signal::TERM,
        Step::Kill => rustix::process::Signal::KILL,
    };
    if let Some(group) = group {
        // All of it may have ended by itself in the meantime.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

#[cfg(not(unix))]
fn signal(_group: Group, _step: Step) {}

/// Returns when the process has ended.
async fn gone(mut ended: watch::Receiver<Option<String>>) {
    drop(ended.wait_for(Option::is_some).await);
}

/// Why the output ended, in words that help: the status and what the process said last.
async fn describe_end(mut ended: watch::Receiver<Option<String>>, last_words: LastWords) -> String {
    let status = tokio::time::timeout(STATUS_DELAY, ended.wait_for(Option::is_some)).await;
    let mut why = match status {
        Ok(Ok(status)) => format!("the server's process ended ({})", status.as_deref().unwrap_or("no status")),
        _ => "the server's process closed its output".to_owned(),
    };
    let kept = last_words.lock().unwrap_or_else(PoisonError::into_inner);
    if !kept.is_empty() {
        why.push_str("; its last words: ");
        why.push_str(&kept.iter().map(String::as_str).collect::<Vec<_>>().join(" | "));
    }
    why
}
