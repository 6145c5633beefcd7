use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

use super::{Fault, Scan, fields, read, write};
use crate::{Piece, push_field};

/// The requests that `bytes` have when they come in pieces of `size`: what each says in its first line, and its body. Then why
/// what follows is none, or how many bytes of one there are that is not whole.
type Requests = (Vec<(String, Vec<u8>)>, Result<usize, Fault>);

fn requests(bytes: &[u8], size: usize) -> Requests {
    let mut requests = Vec::new();
    let outcome = take_all(bytes, size, &mut requests);
    (requests, outcome)
}

fn take_all(bytes: &[u8], size: usize, requests: &mut Vec<(String, Vec<u8>)>) -> Result<usize, Fault> {
    let (mut unread, mut text) = (BytesMut::new(), Vec::new());
    let (mut rest, mut begun) = (bytes, 0);
    let more = |unread: &mut BytesMut, rest: &mut &[u8]| {
        let (piece, left) = rest.split_at(size.max(1).min(rest.len()));
        unread.extend_from_slice(piece);
        *rest = left;
        !piece.is_empty()
    };
    loop {
        let mut scan = Scan::default();
        while !scan.take(&mut unread, &mut text)? {
            if !more(&mut unread, &mut rest) {
                return Ok(bytes.len() - begun);
            }
        }
        let mut count = 0;
        let head = read(&text, |_, _| count += 1)?;
        assert_eq!(fields(&text).count(), count, "each header stands there");
        let mut body = head.body;
        let mut said = Vec::new();
        loop {
            match body.take(&mut unread)? {
                Piece::Data(data) => said.extend_from_slice(&data),
                Piece::Over => break,
                Piece::Wanting if more(&mut unread, &mut rest) => {}
                Piece::Wanting => return Ok(bytes.len() - begun),
            }
        }
        requests.push((format!("{} {}", head.method, head.target), said));
        begun = bytes.len() - unread.len() - rest.len();
    }
}

/// Whether nothing is taken of `bytes`, in whatever pieces, because they are no request.
fn is_refused(bytes: impl AsRef<[u8]>) -> bool {
    let bytes = bytes.as_ref();
    let whole = requests(bytes, bytes.len());
    for size in [1, 2, 3, 7] {
        let (taken, outcome) = requests(bytes, size);
        assert_eq!((taken, outcome.is_err()), (whole.0.clone(), whole.1.is_err()), "in pieces of {size}");
    }
    whole.1.is_err()
}

fn head(fields: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

#[test]
fn h9_a_length_beside_chunks_is_refused_in_either_order() {
    assert!(is_refused(head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")));
    assert!(is_refused(head("transfer-encoding: chunked\r\ncontent-length: 3\r\n")));
}

#[test]
fn h10_a_length_is_one_number_that_stands_once() {
    for value in [
        "3\r\nContent-Length: 3",
        "3\r\nContent-Length: 4",
        "3, 3",
        "+3",
        "-1",
        "0x3",
        "",
        "3 3",
        "18446744073709551616",
    ] {
        assert!(is_refused(head(&format!("Content-Length: {value}\r\n"))), "{value:?}");
    }
    assert!(!is_refused(head("Content-Length:   3  \r\n") + "abc"));
    assert!(is_refused(head("Content-Length : 3\r\n")));
    assert!(is_refused(head("Content-Length\r\n")));
    assert!(!is_refused(head("Content-Length-Limit: none\r\n")), "another name");
}

#[test]
fn h12_only_chunked_and_only_once() {
    for value in [
        "identity",
        "xchunked",
        "chunked, identity",
        "gzip, chunked",
        "\u{b}chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked, chunked",
    ] {
        assert!(is_refused(head(&format!("Transfer-Encoding: {value}\r\n"))), "{value:?}");
    }
    assert!(is_refused(head("Transfer-Encoding : chunked\r\n")));
    assert!(is_refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"));
}

#[test]
fn h13_h14_lines_end_with_both_and_are_not_folded() {
    assert!(is_refused("GET / HTTP/1.1\nHost: localhost\r\n\r\n"));
    assert!(is_refused("GET / HTTP/1.1\r\nHost: localhost\n\r\n"));
    assert!(is_refused("GET / HTTP/1.1\r\nHost: localhost\r\n\n"));
    assert!(is_refused(head("X: a\r\n folded\r\n")));
    assert!(is_refused(head("X: a\r\n\tfolded: x\r\n")));
    assert!(is_refused(head("X: a\rb\r\n")));
    assert!(is_refused(head("X: a\0b\r\n")));
    assert!(is_refused(head(": a\r\n")));
}

#[test]
fn h18_chunks_are_framed_exactly() {
    let chunked = |body: &str| head("Transfer-Encoding: chunked\r\n") + body;
    for body in [
        "10000000000000000\r\n",
        "-1\r\n",
        "0x3\r\nabc\r\n",
        "3\nabc\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n\r\n",
        "\r\n",
        " 3\r\nabc\r\n",
        "g\r\n",
        "3;\r;\r\nabc\r\n",
        "3\r\r\nabc\r\n0\r\n\r\n",
        "3\x0c\r\nabc\r\n0\r\n\r\n",
        "0\r\n\r\r\n\r\n",
        "0\r\na: b\rc\r\n\r\n",
    ] {
        assert!(is_refused(chunked(body)), "{body:?}");
    }
    assert!(is_refused(chunked(&format!("3;{}\r\nabc\r\n", "x".repeat(1 << 20)))));
    assert!(is_refused(chunked(&format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(5))), "of all pieces together");
    assert!(!is_refused(chunked("3;a=b\r\nabc\r\n00\r\n\r\n")));
}

#[test]
fn h19_a_flood_of_trailers_is_refused() {
    let chunked = |trailers: &str| head("Transfer-Encoding: chunked\r\n") + "0\r\n" + trailers + "\r\n";
    assert!(!is_refused(chunked("Authorization: x\r\nContent-Length: 5\r\n")));
    assert!(is_refused(chunked(&"A: b\r\n".repeat(1000))));
}

#[test]
fn h16_h17_a_head_is_bounded() {
    let fault = |bytes: &[u8]| requests(bytes, 1000).1.expect_err("too much");
    assert_eq!(fault(&[b"GET /".as_slice(), &[b'x'; 70 << 10]].concat()), Fault::TargetTooLong);
    assert_eq!(fault(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(70 << 10)).as_bytes()), Fault::TooLarge);
    assert_eq!(fault(head(&"A: b\r\n".repeat(100)).as_bytes()), Fault::TooLarge);
    assert!(requests(head(&"A: b\r\n".repeat(99)).as_bytes(), 1000).1.is_ok());
}

#[test]
fn h30_what_is_no_text_is_not_waited_for() {
    for bytes in [b"\x16\x03\x01\x02".as_slice(), b"\0\0\0\0", b"\xff", b"\n", b" GET"] {
        assert!(is_refused(bytes), "{bytes:?}");
    }
    assert!(is_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "not here");
    assert!(is_refused("GET / HTTP/1.1\r\nHost: x\r\n\r\nPRI * HTTP/2.0\r\n\r\n"));
}

#[test]
fn one_empty_line_before_a_request_is_passed_over() {
    let get = "GET / HTTP/1.1\r\n\r\n";
    assert_eq!(requests(format!("\r\n{get}\r\n{get}").as_bytes(), 1).0.len(), 2);
    assert!(is_refused(format!("\r\n\r\n{get}")));
}

#[test]
fn a_head_says_what_follows() {
    let says = |fields: &str| {
        let text = head(fields);
        let head = read(text.as_bytes(), |_, _| ()).expect("a head");
        (head.keeps_alive, head.is_old)
    };
    assert_eq!(says(""), (true, false));
    assert_eq!(says("Connection: x, Close\r\n"), (false, false));
    assert_eq!(says("Connection: closed\r\n"), (true, false));
    let old = read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", |_, _| ()).expect("a head");
    assert!(old.is_old && !old.keeps_alive);
    let text = head("A:b\r\nc-d :  e: f  \r\n").replace(" :", ":");
    let expected = [("Host", "localhost"), ("A", "b"), ("c-d", "e: f")].map(|(name, value)| (name, value.as_bytes()));
    assert_eq!(fields(text.as_bytes()).collect::<Vec<_>>(), expected);
}

#[test]
fn a_request_says_once_how_long_it_is() {
    let lines = |head: &mut Vec<u8>| {
        for (name, value) in
            [("x-own", "1"), ("content-length", "7"), ("transfer-encoding", "chunked"), ("connection", "close")]
        {
            push_field(head, &HeaderName::from_static(name), &HeaderValue::from_static(value));
        }
    };
    let head = |method, body_bytes| String::from_utf8(write(method, "/mcp?a", lines, body_bytes)).unwrap();
    assert_eq!(head(&Method::POST, 2), "POST /mcp?a HTTP/1.1\r\nx-own: 1\r\ncontent-length: 2\r\n\r\n");
    assert_eq!(head(&Method::GET, 0), "GET /mcp?a HTTP/1.1\r\nx-own: 1\r\n\r\n");
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(prop::sample::select(b"a\r\n\0:0G".to_vec()), 0..40);
    let chunks = prop::collection::vec(prop::collection::vec(prop::sample::select(b"a\r\n0".to_vec()), 1..20), 0..4);
    prop_oneof![
        Just(b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nCookie: a\r\nTE: trailers\r\n\r\n".to_vec()),
        body.prop_map(|body| [head(&format!("Content-Length: {}\r\n", body.len())).into_bytes(), body].concat()),
        chunks.prop_map(|chunks| {
            let mut bytes = head("Transfer-Encoding: chunked\r\n").into_bytes();
            for chunk in chunks {
                bytes.extend(format!("{:X}\r\n", chunk.len()).bytes().chain(chunk).chain(*b"\r\n"));
            }
            bytes.extend(b"0\r\nX-Trailer: y\r\n\r\n");
            bytes
        }),
    ]
}

proptest! {
    #[test]
    fn well_framed_requests_are_taken_in_any_pieces(given in prop::collection::vec(request(), 1..6), size in 1usize..50) {
        let (taken, outcome) = requests(&given.concat(), size);
        assert_eq!((taken.len(), outcome), (given.len(), Ok(0)));
    }

    #[test]
    fn pieces_make_no_difference(bytes in prop::collection::vec(prop::sample::select(b"POST / HTTP/1.1\r\n\r\nContent-Length: 5chunkedTransfer-Encoding".to_vec()), 0..200), size in 1usize..20) {
        let (whole, pieces) = (requests(&bytes, bytes.len()), requests(&bytes, size));
        assert_eq!((whole.0, whole.1.is_ok()), (pieces.0, pieces.1.is_ok()));
    }
}
