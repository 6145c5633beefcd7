//! One thing that many conversations are told, so that whoever calls meanwhile is not behind all of them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::conversation::Conversation;

/// Conversations that are told before others have their turn. Each may wake the task that writes to its client.
const AT_ONCE: usize = 64;
/// Time for so many, at least: 71,000 in a second. Four cores can write to 100,000 clients; what is left is for those who call.
const EACH_TURN: Duration = Duration::from_micros(900);

/// Does `tell` with each of `crowd` that is still there: with the first ones at once, with the others in a task that lets the
/// runtime do what else there is to do, the writing among it, before it goes on.
pub(super) fn tell<T>(crowd: Vec<Weak<dyn Conversation>>, tell: T)
where
    T: Fn(Arc<dyn Conversation>) + Send + 'static,
{
    let mut rest = crowd.into_iter();
    let next = |rest: &mut std::vec::IntoIter<_>, tell: &T| {
        rest.take(AT_ONCE).filter_map(|weak: Weak<dyn Conversation>| weak.upgrade()).for_each(tell);
        rest.len() > 0
    };
    if !next(&mut rest, &tell) {
        return;
    }
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(async move {
            let mut due = Instant::now();
            loop {
                due += EACH_TURN;
                // One that is late has its other turns sooner.
                if due > Instant::now() {
                    sleep_until(due).await;
                } else {
                    yield_now().await;
                }
                if !next(&mut rest, &tell) {
                    return;
                }
            }
        })),
        // Nobody writes meanwhile, and nobody else waits.
        Err(_) => while next(&mut rest, &tell) {},
    }
}
