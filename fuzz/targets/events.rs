//! Bytes of an event stream: read without a panic, in pieces as in one, and within the bound.
#![no_main]

use andon_types::sse::{Event, EventParser};
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 256;

fn read(bytes: &[u8], size: usize) -> (Vec<Event>, bool, String, Option<u64>) {
    let mut parser = EventParser::new(BYTES_MAX);
    let mut events = Vec::new();
    for piece in bytes.chunks(size) {
        if parser.push(piece, |event| events.push(event)).is_err() {
            return (events, false, String::new(), None);
        }
    }
    (events, true, parser.last_event_id().to_owned(), parser.retry_ms())
}

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let one = read(bytes, bytes.len().max(1));
    let many = read(bytes, usize::from(*size).max(1));
    // Where the bound is hit depends on the pieces: a line that is whole is not kept.
    if one.1 && many.1 {
        assert_eq!(one, many);
    }
    for event in one.0.iter().chain(&many.0) {
        // A bad byte becomes three.
        assert!(event.data.len() <= 3 * BYTES_MAX + BYTES_MAX);
    }
});
