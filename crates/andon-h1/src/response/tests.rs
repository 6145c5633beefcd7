use bytes::BytesMut;

use super::Head;
use crate::{Malformed, Piece};

/// What an answer says, if it comes in pieces of `step` bytes, and what is left after it.
fn read(text: &[u8], step: usize) -> Result<(u16, Vec<u8>, bool, Vec<u8>), Malformed> {
    let mut bytes = BytesMut::new();
    let mut pieces = text.chunks(step);
    let mut head = loop {
        match Head::take(&mut bytes)? {
            Some(head) => break head,
            None => bytes.extend_from_slice(pieces.next().ok_or(Malformed("no head"))?),
        }
    };
    let mut body = Vec::new();
    loop {
        match head.body.take(&mut bytes)? {
            Piece::Data(data) => body.extend_from_slice(&data),
            Piece::Over => break,
            Piece::Wanting => match pieces.next() {
                Some(piece) => bytes.extend_from_slice(piece),
                None => {
                    head.body.end()?;
                    break;
                }
            },
        }
    }
    bytes.extend(pieces.flatten().copied());
    Ok((head.status.as_u16(), body, head.keeps_alive, bytes.to_vec()))
}

/// The same, however it is cut.
fn answer(text: &str) -> Result<(u16, String, bool, String), Malformed> {
    let whole = read(text.as_bytes(), text.len());
    for step in 1..text.len() {
        assert_eq!(read(text.as_bytes(), step), whole, "in pieces of {step}");
    }
    let text = |bytes| String::from_utf8(bytes).unwrap();
    whole.map(|(status, body, keeps, left)| (status, text(body), keeps, text(left)))
}

fn said(status: u16, body: &str, keeps: bool, left: &str) -> Result<(u16, String, bool, String), Malformed> {
    Ok((status, body.to_owned(), keeps, left.to_owned()))
}

#[test]
fn bodies_end_where_they_say() {
    assert_eq!(answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP"), said(200, "hi", true, "HTTP"));
    assert_eq!(answer("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"), said(202, "", true, ""));
    assert_eq!(answer("HTTP/1.1 204 No Content\r\n\r\nx"), said(204, "", true, "x"));
    assert_eq!(answer("HTTP/1.1 200 OK\r\n\r\nall of it"), said(200, "all of it", false, ""));
    assert_eq!(answer("HTTP/1.1 200\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"), said(200, "a", true, ""));
}

#[test]
fn chunked_bodies_are_put_together() {
    let text =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nab\r\n0A;x=y\r\n0123456789\r\n0\r\nt: 1\r\n\r\nleft";
    assert_eq!(answer(text), said(200, "ab0123456789", true, "left"));
    assert_eq!(answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), said(200, "", true, ""));
}

#[test]
fn connections_end_when_anybody_may_see_another_end() {
    let close = "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 1\r\n\r\na";
    assert_eq!(answer(close), said(200, "a", false, ""));
    assert_eq!(answer("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"), said(200, "a", false, ""));
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    assert_eq!(answer(both), said(200, "a", false, ""));
}

#[test]
fn what_says_that_the_answer_comes_is_passed_over() {
    let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    assert_eq!(answer(text), said(200, "a", true, ""));
}

#[test]
fn what_is_no_answer_is_refused() {
    for text in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        assert!(answer(text).is_err(), "{text:?}");
    }
}

#[test]
fn what_has_no_end_is_bounded() {
    let long = "a".repeat(70 << 10);
    for text in [
        format!("HTTP/1.1 200 OK\r\nx: {long}"),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200)),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;{long}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nt: {long}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{}", "t: u\r\n".repeat(20_000)),
    ] {
        assert!(read(text.as_bytes(), 8 << 10).is_err(), "{}", &text[..60]);
    }
}
