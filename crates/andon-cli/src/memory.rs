//! Memory that a burst of clients needed goes back to the system when they are gone.
//!
//! The allocator gives each thread memory of its own. What one thread allocated and another freed is found only when the first asks
//! for more of that size: threads that rest keep what sessions needed that ended long ago.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

/// How often memory is given back.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long threads wait for each other, from when they are called.
const PATIENCE: Duration = Duration::from_millis(2);

/// Has the threads of this runtime give back memory that they do not need, every now and then, for as long as it is polled.
pub(crate) async fn give_back() {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        on_each_thread(PATIENCE, collect);
    }
}

/// Has each thread of this runtime do `work` once. One that is busy for longer than `patience` may be left out.
fn on_each_thread(patience: Duration, work: impl FnOnce() + Clone + Send + 'static) {
    let threads = Handle::current().metrics().num_workers();
    let until = Instant::now() + patience;
    let gathering = Arc::new(Gathering { threads, until, here: Mutex::default(), all: Condvar::new() });
    for _ in 0..threads {
        let (work, gathering) = (work.clone(), gathering.clone());
        tokio::spawn(async move {
            if gathering.come() {
                work();
            }
        });
    }
}

/// Threads that wait for each other: one that went on at once would take the task that is meant for another.
struct Gathering {
    threads: usize,
    /// Nobody waits for longer than that, in all.
    until: Instant,
    here: Mutex<Vec<ThreadId>>,
    all: Condvar,
}

impl Gathering {
    /// Waits for the other threads. Whether this one has not been here before.
    fn come(&self) -> bool {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let (me, left) = (thread::current().id(), self.until.saturating_duration_since(Instant::now()));
        if here.contains(&me) {
            return false;
        }
        here.push(me);
        if here.len() == self.threads {
            self.all.notify_all();
        }
        drop(self.all.wait_timeout_while(here, left, |here| here.len() < self.threads));
        true
    }
}

/// Gives back what this thread does not need, and what is left of threads that ended.
fn collect() {
    // SAFETY: it may be called at any time by a thread that is not within the allocator.
    #[allow(unsafe_code, reason = "the allocator offers this to C alone")]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

#[cfg(test)]
mod tests;
