//! One thing that many conversations are told, so that whoever calls meanwhile is not behind all of them.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use crate::conversation::Conversation;

/// Conversations that are told before others have their turn. Each may wake the task that writes to its client.
const AT_ONCE: usize = 64;

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
            loop {
                tokio::task::yield_now().await;
                if !next(&mut rest, &tell) {
                    return;
                }
            }
        })),
        // Nobody writes meanwhile, and nobody else waits.
        Err(_) => while next(&mut rest, &tell) {},
    }
}
