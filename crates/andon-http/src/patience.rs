//! How long an answer may take until it becomes a stream of events. One timer for all of them: setting one for each would
//! cost a call that has to wait for something as much as the wait itself, if that is short.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Ticks in the time that somebody is patient.
const PARTS: u32 = 4;

pub(crate) struct Patience {
    lasts: Duration,
    ticks: Arc<Ticks>,
}

#[derive(Default)]
struct Ticks {
    sender: watch::Sender<()>,
    is_ticking: AtomicBool,
}

impl Patience {
    pub(crate) fn new(lasts: Duration) -> Self {
        Self { lasts, ticks: Arc::default() }
    }

    /// Returns when the time is over that it lasts, or up to a quarter later.
    pub(crate) async fn is_over(&self) {
        let until = Instant::now() + self.lasts;
        let mut ticks = self.ticks.sender.subscribe();
        if !self.ticks.is_ticking.swap(true, Ordering::SeqCst) {
            tokio::spawn(tick(self.ticks.clone(), (self.lasts / PARTS).max(Duration::from_millis(1))));
        }
        while Instant::now() < until {
            // The sender is ours.
            drop(ticks.changed().await);
        }
    }
}

/// Ticks as long as somebody waits.
async fn tick(ticks: Arc<Ticks>, period: Duration) {
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        ticks.sender.send_replace(());
        if ticks.sender.receiver_count() == 0 {
            ticks.is_ticking.store(false, Ordering::SeqCst);
            // Who came just before that relies on us.
            if ticks.sender.receiver_count() == 0 || ticks.is_ticking.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
