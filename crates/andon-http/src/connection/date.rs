//! The header `Date` (RFC 9110, 6.6.1).

use std::cell::RefCell;
use std::time::SystemTime;

use httpdate::HttpDate;

thread_local! {
    /// Written once a second at most.
    static NOW: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Calls `with` with the text for now.
pub(super) fn now<R>(with: impl FnOnce(&str) -> R) -> R {
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    NOW.with_borrow_mut(|(written, text)| {
        if *written != second || text.is_empty() {
            (*written, *text) = (second, HttpDate::from(now).to_string());
        }
        with(text)
    })
}
