//! Bytes of an HTTP/1 connection: pieces make no difference, and wherever the guard lets bytes pass, a parser that is
//! no part of it sees requests begin at the same places.
#![no_main]

use libfuzzer_sys::fuzz_target;

// Formatted where it belongs.
#[rustfmt::skip]
#[allow(dead_code, unreachable_pub)]
#[path = "../../crates/andon-http/src/strict/framing.rs"]
mod framing;

use framing::Framing;

/// Where requests begin, as far as the guard lets bytes pass, and how far that is.
fn guard(bytes: &[u8], size: usize) -> (Vec<usize>, usize) {
    let mut framing = Framing::default();
    let mut passed = 0;
    for piece in bytes.chunks(size) {
        if let Err(read) = framing.read(piece) {
            passed += read;
            break;
        }
        passed += piece.len();
    }
    // Byte by byte, to see where.
    let mut framing = Framing::default();
    let mut begins = Vec::new();
    let mut was_within = false;
    for (at, byte) in bytes.iter().enumerate() {
        if framing.read(&[*byte]).is_err() {
            break;
        }
        let is_within = framing.is_within_head();
        if is_within && !was_within {
            begins.push(at);
        }
        was_within = is_within;
    }
    (begins, passed)
}

/// Where requests begin, by the parser that hyper uses and the lenient rules of RFC 9112, until it gives up.
fn reference(bytes: &[u8]) -> Vec<usize> {
    let mut begins = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        begins.push(at);
        let mut headers = [httparse::EMPTY_HEADER; 64];
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
    let (begins, whole) = guard(bytes, bytes.len().max(1));
    let (_, pieces) = guard(bytes, usize::from(*size).max(1));
    assert_eq!(whole < bytes.len(), pieces < bytes.len(), "refused in pieces as in one");
    if bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
        return;
    }
    // A line that is empty before a request is seen as a beginning of its own.
    let is_second = |at: usize| at >= 2 && begins.contains(&(at - 2)) && &bytes[at - 2..at] == b"\r\n";
    let known: Vec<usize> = reference(bytes).into_iter().filter(|at| *at < whole).collect();
    // Behind the request at which the reference gives up there is nothing to compare: the library reads none there.
    let seen: Vec<usize> =
        begins.iter().copied().filter(|at| Some(at) <= known.last().as_ref().copied() && !is_second(*at)).collect();
    assert_eq!(seen, known, "{:?}", String::from_utf8_lossy(&bytes[..whole]));
});
