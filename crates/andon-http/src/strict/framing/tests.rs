use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};

use super::Framing;

/// How many bytes pass when they come in pieces of `size`; all of them if all is well framed.
fn passed(bytes: &[u8], size: usize) -> usize {
    let mut framing = Framing::default();
    let mut at = 0;
    for piece in bytes.chunks(size.max(1)) {
        match framing.read(piece) {
            Ok(()) => at += piece.len(),
            Err(passed) => {
                assert!(framing.is_refused() && framing.read(b"GET / HTTP/1.1\r\n\r\n").is_err(), "it stays refused");
                return at + passed;
            }
        }
    }
    at
}

fn is_refused(bytes: &[u8]) -> bool {
    let whole = passed(bytes, bytes.len());
    for size in [1, 2, 3, 7] {
        assert_eq!(passed(bytes, size) < bytes.len(), whole < bytes.len(), "in pieces of {size}");
    }
    whole < bytes.len()
}

fn head(fields: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

#[test]
fn h9_a_length_beside_chunks_is_refused_in_either_order() {
    assert!(is_refused(head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n").as_bytes()));
    assert!(is_refused(head("transfer-encoding: chunked\r\ncontent-length: 3\r\n").as_bytes()));
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
        assert!(is_refused(head(&format!("Content-Length: {value}\r\n")).as_bytes()), "{value:?}");
    }
    assert!(!is_refused((head("Content-Length:   3  \r\n") + "abc").as_bytes()));
    assert!(is_refused(head("Content-Length : 3\r\n").as_bytes()));
    assert!(is_refused(head("Content-Length\r\n").as_bytes()));
    assert!(!is_refused(head("Content-Length-Limit: none\r\n").as_bytes()), "another name");
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
        assert!(is_refused(head(&format!("Transfer-Encoding: {value}\r\n")).as_bytes()), "{value:?}");
    }
    assert!(is_refused(head("Transfer-Encoding : chunked\r\n").as_bytes()));
    assert!(is_refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"));
}

#[test]
fn h13_h14_lines_end_with_both_and_are_not_folded() {
    assert!(is_refused(b"GET / HTTP/1.1\nHost: localhost\r\n\r\n"));
    assert!(is_refused(b"GET / HTTP/1.1\r\nHost: localhost\n\r\n"));
    assert!(is_refused(b"GET / HTTP/1.1\r\nHost: localhost\r\n\n"));
    assert!(is_refused(head("X: a\r\n folded\r\n").as_bytes()));
    assert!(is_refused(head("X: a\r\n\tfolded: x\r\n").as_bytes()));
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
        "3\r\nabc\n",
        "\r\n",
        " 3\r\nabc\r\n",
        "g\r\n",
    ] {
        assert!(is_refused(chunked(body).as_bytes()), "{body:?}");
    }
    assert!(is_refused(chunked(&format!("3;{}\r\nabc\r\n", "x".repeat(1 << 20))).as_bytes()));
    assert!(!is_refused(chunked("3;a=b\r\nabc\r\n00\r\n\r\n").as_bytes()));
}

#[test]
fn h19_a_flood_of_trailers_is_refused() {
    let chunked = |trailers: &str| head("Transfer-Encoding: chunked\r\n") + "0\r\n" + trailers + "\r\n";
    assert!(!is_refused(chunked("Authorization: x\r\nContent-Length: 5\r\n").as_bytes()));
    assert!(is_refused(chunked(&"A: b\r\n".repeat(1000)).as_bytes()));
}

#[test]
fn h30_http2_frames_by_itself_once_its_preface_is_whole() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
    let mut framing = Framing::default();
    for byte in preface {
        assert!(framing.is_within_head(), "the clock runs until it is whole");
        framing.read(&[*byte]).expect("a preface");
    }
    assert!(!framing.is_within_head() && !framing.is_within_request());
    assert!(!is_refused(&[preface, b"\n\n\0\0"].concat()));
    assert!(is_refused(b"PRI * HTTP/2.0\r\nHost: x\r\n\r\n"));
    assert!(is_refused(&[b"\r\n", preface].concat()));
    assert!(is_refused(&[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", preface].concat()));
    assert!(is_refused(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /\n"));
}

#[test]
fn an_endless_line_is_not_kept() {
    assert!(is_refused(&vec![b'x'; 1 << 20]));
    assert!(is_refused(&b"\r\n".repeat(100)));
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
    fn well_framed_requests_pass_whole_in_any_pieces(requests in prop::collection::vec(request(), 1..6), size in 1usize..50) {
        let bytes = requests.concat();
        assert_eq!(passed(&bytes, size), bytes.len());
        let mut framing = Framing::default();
        framing.read(&bytes).expect("well framed");
        assert!(!framing.is_within_head(), "the last request is over");
    }

    #[test]
    fn pieces_make_no_difference(bytes in prop::collection::vec(prop::sample::select(b"POST / HTTP/1.1\r\n\r\nContent-Length: 5chunkedTransfer-Encoding".to_vec()), 0..200), size in 1usize..20) {
        assert_eq!(passed(&bytes, size) < bytes.len(), passed(&bytes, bytes.len()) < bytes.len());
    }
}
