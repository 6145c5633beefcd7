use proptest::prelude::{any, prop, proptest};

use super::{Event, EventParser};

const BYTES_MAX: usize = 1 << 16;

fn read(bytes: &[u8]) -> Vec<Event> {
    read_in_pieces(bytes, bytes.len().max(1)).0
}

fn read_in_pieces(bytes: &[u8], size: usize) -> (Vec<Event>, EventParser) {
    let mut parser = EventParser::new(BYTES_MAX);
    let mut events = Vec::new();
    for piece in bytes.chunks(size) {
        parser.push(piece, |event| events.push(event)).expect("within the bound");
    }
    (events, parser)
}

fn data(bytes: &[u8]) -> Vec<String> {
    read(bytes).into_iter().map(|event| event.data).collect()
}

/// An event that names its own id, if it has any.
fn event(kind: &str, data: &str, id: &str) -> Event {
    Event { kind: kind.into(), data: data.into(), id: id.into(), has_own_id: !id.is_empty() }
}

#[test]
fn examples_of_the_standard() {
    assert_eq!(data(b"data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    let four = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n";
    assert_eq!(read(four), [event("message", "first event", "1"), event("message", "second event", "")]);
    assert_eq!(data(b"data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data(b"data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn lines_end_with_cr_lf_or_both() {
    for stream in [
        &b"data: a\ndata: b\n\n"[..],
        b"data: a\rdata: b\r\r",
        b"data: a\r\ndata: b\r\n\r\n",
        b"data: a\rdata: b\n\r\n",
    ] {
        for size in 1..=stream.len() {
            let (events, _) = read_in_pieces(stream, size);
            assert_eq!(events, [event("message", "a\nb", "")], "{stream:?} in pieces of {size}");
        }
    }
}

#[test]
fn one_byte_order_mark_is_skipped_and_only_at_the_start() {
    assert_eq!(data(b"\xef\xbb\xbfdata: a\n\n"), ["a"]);
    assert_eq!(data(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n"), Vec::<String>::new());
    assert_eq!(data(b"\n\xef\xbb\xbfdata: a\n\ndata: b\n\n"), ["b"]);
    let (events, _) = read_in_pieces(b"\xef\xbb\xbfdata: a\n\n", 1);
    assert_eq!(events.len(), 1);
}

#[test]
fn characters_may_be_split_and_bad_ones_are_replaced() {
    let stream = "data: größe 漢字 🦀\n\n".as_bytes();
    for size in 1..8 {
        assert_eq!(read_in_pieces(stream, size).0[0].data, "größe 漢字 🦀");
    }
    assert_eq!(data(b"data: a\xffb\n\n"), ["a\u{fffd}b"]);
}

#[test]
fn comments_and_unknown_fields_say_nothing() {
    assert_eq!(
        data(b":\n:: x\n: keep-alive\nfoo: bar\n data: led\nData: upper\ndata : spaced\n\n"),
        Vec::<String>::new()
    );
    assert_eq!(data(b"data: a\n: between\ndata: b\n\n"), ["a\nb"]);
}

#[test]
fn an_event_without_data_is_none_but_its_id_and_retry_count() {
    let (events, parser) = read_in_pieces(b"id: 7\nretry: 500\n\n", 3);
    assert_eq!((events.len(), parser.last_event_id(), parser.retry_ms()), (0, "7", Some(500)));
    let (events, parser) = read_in_pieces(b"id: 7\ndata:\n\n", 3);
    assert_eq!((events, parser.last_event_id()), (vec![event("message", "", "7")], "7"));
}

#[test]
fn an_id_counts_when_its_event_is_complete() {
    let (_, parser) = read_in_pieces(b"id: 1\ndata: a\n\nid: 2\ndata: b\n", 4);
    assert_eq!(parser.last_event_id(), "1", "the second event never ended");
    let (_, parser) = read_in_pieces(b"id: 1\n\nid: x\0y\ndata: a\n\n", 4);
    assert_eq!(parser.last_event_id(), "1", "an id with NUL is ignored");
    let (_, parser) = read_in_pieces(b"id: 1\n\nid\ndata: a\n\n", 4);
    assert_eq!(parser.last_event_id(), "", "an empty id takes it back");
}

#[test]
fn an_id_lasts_and_an_event_says_whether_it_is_its_own() {
    let events = read(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\n\ndata: c\n\n");
    let ids: Vec<(&str, bool)> = events.iter().map(|event| (event.id.as_str(), event.has_own_id)).collect();
    assert_eq!(ids, [("1", true), ("1", false), ("2", false)]);
}

#[test]
fn types_last_for_one_event() {
    assert_eq!(
        read(b"event: endpoint\ndata: /messages\n\ndata: a\n\nevent: x\n\ndata: b\n\n"),
        [event("endpoint", "/messages", ""), event("message", "a", ""), event("message", "b", "")]
    );
}

#[test]
fn retry_is_digits_alone() {
    let retry = |text: &[u8]| read_in_pieces(text, 5).1.retry_ms();
    assert_eq!(retry(b"retry: 3000\n\n"), Some(3000));
    assert_eq!(retry(b"retry: 3000x\n\n"), None);
    assert_eq!(retry(b"retry: -1\n\n"), None);
    assert_eq!(retry(b"retry:\n\n"), None);
    assert_eq!(retry(b"retry: 99999999999999999999999\n\n"), Some(u64::MAX));
}

#[test]
fn a_huge_line_and_a_huge_event_are_refused() {
    let mut parser = EventParser::new(1000);
    let endless = [b'x'; 600];
    assert!(parser.push(&endless, |_| {}).is_ok());
    assert!(parser.push(&endless, |_| {}).is_err());
    let mut parser = EventParser::new(1000);
    let line = [&b"data: "[..], &[b'x'; 600], b"\n"].concat();
    assert!(parser.push(&line, |_| {}).is_ok());
    assert!(parser.push(&line, |_| {}).is_err());
    let mut parser = EventParser::new(1000);
    for _ in 0..10_000 {
        parser.push(b": keep-alive\n\n", |_| {}).expect("comments take no room");
    }
}

proptest! {
    #[test]
    fn pieces_make_no_difference(bytes in prop::collection::vec(prop::sample::select(b"data:id\r\n retry1event\x00\xef\xbb\xbf\xc3\xa4".to_vec()), 0..200), size in 1usize..20) {
        let (whole, first) = read_in_pieces(&bytes, bytes.len().max(1));
        let (pieces, second) = read_in_pieces(&bytes, size);
        assert_eq!(whole, pieces);
        assert_eq!(first.last_event_id(), second.last_event_id());
        assert_eq!(first.retry_ms(), second.retry_ms());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        read(&bytes);
    }
}
