//! Memory that a burst of clients needed goes back to the system when they are gone.
//!
//! The allocator gives each thread memory of its own. What one thread allocated and another freed is found only when the first asks
//! for more of that size: threads that rest keep what sessions needed that ended long ago.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

/// How often memory is given back.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a thread is kept from other work until the others have come.
const PATIENCE: Duration = Duration::from_millis(2);

/// Has the threads of this runtime give back memory that they do not need, every now and then, for as long as it is polled.
pub(crate) async fn give_back() {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        on_each_thread(collect);
    }
}

/// Has each thread of this runtime do `work`, soon. A thread that is busy for long may be left out.
fn on_each_thread(work: impl FnOnce() + Clone + Send + 'static) {
    let threads = Handle::current().metrics().num_workers();
    let gathering = Arc::new(Gathering::default());
    for _ in 0..threads {
        let (work, gathering) = (work.clone(), gathering.clone());
        tokio::spawn(async move {
            work();
            gathering.arrive(threads);
        });
    }
}

/// Threads that wait for each other: one that went on at once would take the task that is meant for another.
#[derive(Default)]
struct Gathering {
    arrived: Mutex<usize>,
    all: Condvar,
}

impl Gathering {
    /// Waits until so many threads are here, for a moment at most.
    fn arrive(&self, threads: usize) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        *arrived += 1;
        if *arrived >= threads {
            self.all.notify_all();
        } else {
            drop(self.all.wait_timeout_while(arrived, PATIENCE, |arrived| *arrived < threads));
        }
    }
}

/// Gives back what this thread does not need.
fn collect() {
    // SAFETY: it looks at the memory of the thread that calls it, which is not within the allocator now.
    #[allow(unsafe_code, reason = "the allocator offers this to C alone")]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

#[cfg(test)]
mod tests;
