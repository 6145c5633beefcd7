use std::time::Duration;

use tokio::time::Instant;

use super::{UNREAD_WAIT, UNREAD_WAIT_MAX, Unread};
use crate::catalogue::Lists;

const NONE: Lists = Lists { tools: false, prompts: false, resources: false, templates: false };
const TOOLS: Lists = Lists { tools: true, ..NONE };
const PROMPTS: Lists = Lists { prompts: true, ..NONE };

fn in_how_long(unread: &Unread) -> Duration {
    unread.at - Instant::now()
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_for_good_is_asked_for_less_and_less_often() {
    let mut unread = Unread::new(PROMPTS);
    assert_eq!(in_how_long(&unread), UNREAD_WAIT);
    for _ in 0..20 {
        let waited = unread.wait;
        tokio::time::sleep_until(unread.at).await;
        unread.note(PROMPTS, PROMPTS);
        assert_eq!(in_how_long(&unread), (waited * 2).min(UNREAD_WAIT_MAX));
    }
    assert_eq!(unread.wait, UNREAD_WAIT_MAX);

    // Others that are read, however often, change nothing about it.
    let at = unread.at;
    unread.note(TOOLS, NONE);
    assert_eq!((unread.at, unread.lists), (at, PROMPTS));

    // One that fails for the first time is not made to wait for what the other has.
    unread.note(TOOLS, TOOLS);
    assert_eq!((in_how_long(&unread), unread.lists), (UNREAD_WAIT, TOOLS.and(PROMPTS)));
    unread.note(Lists::ALL, PROMPTS);
    assert_eq!(unread.lists, PROMPTS);
    unread.note(PROMPTS, NONE);
    assert!(!unread.lists.is_any());
}
