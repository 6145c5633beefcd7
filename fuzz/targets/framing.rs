//! Bytes of an HTTP/1 connection: pieces make no difference, and as long as requests are taken, a parser with the lenient rules
//! of the specification sees them begin at the same places.
#![no_main]

use andon_h1::Piece;
use andon_h1::request::{Fault, Scan, read};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

/// Where requests that are taken whole begin and end, and why the next one is none, if that is so.
fn taken(bytes: &[u8], size: usize) -> (Vec<(usize, usize)>, Result<(), Fault>) {
    let mut taken = Vec::new();
    let outcome = take_all(bytes, size, &mut taken);
    (taken, outcome)
}

fn take_all(bytes: &[u8], size: usize, taken: &mut Vec<(usize, usize)>) -> Result<(), Fault> {
    let (mut unread, mut text) = (BytesMut::new(), Vec::new());
    let (mut rest, mut begun) = (bytes, 0);
    let more = |unread: &mut BytesMut, rest: &mut &[u8]| {
        let (piece, left) = rest.split_at(size.min(rest.len()));
        unread.extend_from_slice(piece);
        *rest = left;
        !piece.is_empty()
    };
    loop {
        let mut scan = Scan::default();
        while !scan.take(&mut unread, &mut text)? {
            if !more(&mut unread, &mut rest) {
                return Ok(());
            }
        }
        let mut body = read(&text, |_, _| ())?.body;
        loop {
            match body.take(&mut unread)? {
                Piece::Data(_) => {}
                Piece::Over => break,
                Piece::Wanting if more(&mut unread, &mut rest) => {}
                Piece::Wanting => return Ok(()),
            }
        }
        let end = bytes.len() - unread.len() - rest.len();
        taken.push((begun, end));
        begun = end;
    }
}

/// Where requests begin, by the lenient rules of RFC 9112, until it gives up.
fn reference(bytes: &[u8]) -> Vec<usize> {
    let mut begins = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        begins.push(at);
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(length)) = request.parse(&bytes[at..]) else { break };
        at += length;
        let values = |name: &str| {
            let named = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
            named.map(|header| header.value).collect::<Vec<_>>()
        };
        let end = match (values("transfer-encoding").as_slice(), values("content-length").as_slice()) {
            ([], []) => Some(at),
            ([], [length, ..]) => {
                let length = std::str::from_utf8(length).ok().and_then(|length| length.parse::<usize>().ok());
                length.and_then(|length| at.checked_add(length))
            }
            _ => chunks(bytes, at),
        };
        let Some(end) = end else { break };
        at = end;
    }
    begins
}

/// Where a chunked body ends.
fn chunks(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let Ok(httparse::Status::Complete((read, size))) = httparse::parse_chunk_size(bytes.get(at..)?) else {
            return None;
        };
        at += read;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        if bytes.get(at..at.checked_add(2)?)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let line = bytes.get(at..)?;
        let length = line.iter().position(|byte| *byte == b'\n')? + 1;
        at += length;
        if length <= 2 {
            return Some(at);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((size, bytes)) = bytes.split_first() else { return };
    let (whole, outcome) = taken(bytes, bytes.len().max(1));
    let (pieces, outcome_of_pieces) = taken(bytes, usize::from(*size).max(1));
    assert_eq!((&whole, outcome.is_ok()), (&pieces, outcome_of_pieces.is_ok()), "in pieces as in one");
    let known = reference(bytes);
    for (begun, end) in &whole {
        assert!(
            known.contains(begun),
            "a request that nobody else sees: {:?}",
            String::from_utf8_lossy(&bytes[*begun..])
        );
        // Nobody sees another one within it.
        let within = known.iter().filter(|at| (*begun + 1..*end).contains(*at)).count();
        assert_eq!(within, 0, "{:?}", String::from_utf8_lossy(&bytes[*begun..*end]));
    }
});
