//! May this request come in at all? Host and Origin on every verb, then sizes.

use andon_h1::decimal;
use http::Method;

use crate::head::RequestHead;
use crate::headers::Field;
use crate::options::HttpOptions;

/// Headers in one request.
const HEADERS_MAX: usize = 64;
/// Bytes of all headers.
const HEADER_BYTES_MAX: usize = 32 << 10;
/// Bytes of the target.
const URI_BYTES_MAX: usize = 8 << 10;

/// Why a request does not come in: status and words.
pub(crate) type Refusal = (u16, String);

/// Checks sizes, `Host`, `Origin`, and what a request may expect.
pub(crate) fn check(head: &RequestHead<'_>, options: &HttpOptions) -> Result<(), Refusal> {
    let headers = &head.headers;
    if headers.len() > HEADERS_MAX || headers.bytes() > HEADER_BYTES_MAX {
        return Err((431, format!("at most {HEADERS_MAX} headers with {HEADER_BYTES_MAX} bytes in all")));
    }
    if head.target.bytes() > URI_BYTES_MAX {
        return Err((414, format!("a target of at most {URI_BYTES_MAX} bytes")));
    }
    if head.method == Method::CONNECT {
        // Its target is no path, and a host that it wants to be connected to is not the one that it asks.
        return Err((405, "the server is no proxy".to_owned()));
    }
    let asked = asked(head)?;
    if !is_named(options, asked) {
        return Err((403, "this server is not known by the host in the request".to_owned()));
    }
    let origin = headers.single(Field::Origin).map_err(|bad| (403, bad.0))?;
    let is_known = |origin: &str| options.origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
    if origin.is_some_and(|origin| !is_known(origin) && !is_own(origin, asked, options)) {
        return Err((403, "web pages of this origin may not call the server".to_owned()));
    }
    // Refused with and without a verifier: what stands in front may have read another one.
    headers.single(Field::Authorization).map_err(|bad| (400, bad.0))?;
    let expectation = headers.single(Field::Expect).map_err(|bad| (417, bad.0))?;
    if expectation.is_some_and(|expectation| !expectation.eq_ignore_ascii_case("100-continue")) {
        return Err((417, "nothing but 100-continue can be expected".to_owned()));
    }
    Ok(())
}

/// A host and its port (RFC 3986, 3.2), without a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Authority<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        let end = match text.strip_prefix(b"[") {
            Some(address) => address.iter().position(|byte| *byte == b']')? + "[]".len(),
            None => text.iter().position(|byte| *byte == b':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(end);
        let is_mark = |byte| matches!(byte, b'!' | b'$'..=b'.' | b':' | b';' | b'=' | b'[' | b']' | b'_' | b'~');
        let may_stand = |byte: &u8| byte.is_ascii_alphanumeric() || is_mark(*byte);
        let port = match rest {
            [] => None,
            [b':', digits @ ..] => Some(u16::try_from(decimal(digits)?).ok()?),
            _ => return None,
        };
        (!host.is_empty() && host.iter().all(may_stand)).then_some(Self { host, port })
    }
}

/// The authority that the request is for: the target's, or else `Host`; where both stand they agree.
fn asked<'a>(head: &RequestHead<'a>) -> Result<Authority<'a>, Refusal> {
    let bad = |why: &str| (400, why.to_owned());
    let header = head.headers.once(Field::Host).map_err(|error| (400, error.0))?;
    let authority = match (head.target.authority.map(str::as_bytes), header) {
        (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header) => {
            return Err(bad("the target and the header Host disagree"));
        }
        (Some(target), _) => target,
        (None, Some(header)) => header,
        (None, None) => return Err(bad("the header Host is missing")),
    };
    Authority::parse(authority).ok_or_else(|| bad("what the request is for is not a host and its port"))
}

/// Whether a page of this server's own origin calls: an allowed name, with the very port that the request is for.
fn is_own(origin: &str, asked: Authority<'_>, options: &HttpOptions) -> bool {
    const DEFAULT_PORT: u16 = 80;
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let Some(page) = Authority::parse(authority.as_bytes()) else { return false };
    let same_port = page.port.unwrap_or(DEFAULT_PORT) == asked.port.unwrap_or(DEFAULT_PORT);
    is_named(options, page) && scheme.eq_ignore_ascii_case("http") && same_port
}

/// Whether the server is known by this host.
fn is_named(options: &HttpOptions, authority: Authority<'_>) -> bool {
    options.hosts.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(authority.host))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::{Authority, check};
    use crate::head::RequestHead;
    use crate::options::HttpOptions;

    fn status(target: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check(&RequestHead::of(&parts), &HttpOptions::default()).map_or_else(|(status, _)| status, |()| 200)
    }

    #[test]
    fn h1_h3_h5_the_host_is_one_and_agrees() {
        assert_eq!(status("/mcp", &[]), 400);
        assert_eq!(status("/mcp", &[("host", "localhost"), ("host", "localhost")]), 400);
        for bad in ["", "a b", "localhost:80:80", "c@localhost"] {
            assert_eq!(status("/mcp", &[("host", bad)]), 400, "{bad:?}");
        }
        assert_eq!(status("http://localhost/mcp", &[("host", "evil.example")]), 400);
        assert_eq!(status("http://evil.example/mcp", &[("host", "evil.example")]), 403);
    }

    #[test]
    fn authorities_are_hosts_with_a_port_and_nothing_else() {
        for (text, host, port) in
            [("localhost", "localhost", None), ("a.b:80", "a.b", Some(80)), ("[::1]:8080", "[::1]", Some(8080))]
        {
            assert_eq!(Authority::parse(text.as_bytes()), Some(Authority { host: host.as_bytes(), port }), "{text}");
        }
        for bad in ["", ":80", "a:", "a:b", "a:65536", "a:+1", "a:80/", "u@a", "[::1", "[::1]x", "a/b", "a b", "::1"] {
            assert_eq!(Authority::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a1_h4_other_hosts_are_refused() {
        for bad in [
            "evil.example",
            "localhost.evil.com",
            "127.0.0.1.nip.io",
            "0",
            "2130706433",
            "localhost.",
            "127.0.0.2",
            "[::2]",
            "127.1",
            "0.0.0.0",
        ] {
            assert_eq!(status("/mcp", &[("host", bad)]), 403, "{bad}");
        }
        for good in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:8080"] {
            assert_eq!(status("/mcp", &[("host", good)]), 200, "{good}");
        }
    }

    #[test]
    fn a2_h6_h7_other_origins_are_refused() {
        let origin = |origin| status("/mcp", &[("host", "127.0.0.1:8080"), ("origin", origin)]);
        for bad in [
            "null",
            "http://evil.example",
            "http://localhost@evil",
            "http://localhost:8081",
            "https://localhost:8080",
            "http://localhost",
            "",
            "localhost:8080",
            "http://localhost:8080/",
            "file://",
            "http://localhost.evil:8080",
        ] {
            assert_eq!(origin(bad), 403, "{bad}");
        }
        for good in ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080", "HTTP://LOCALHOST:8080"] {
            assert_eq!(origin(good), 200, "{good}");
        }
        let twice = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(status("/mcp", &twice), 403);
        assert_eq!(status("/mcp", &[("host", "localhost"), ("origin", "http://localhost:80")]), 200, "default port");
        assert_eq!(status("/mcp", &[("host", "localhost:80"), ("origin", "http://localhost")]), 200, "default port");
    }

    #[test]
    fn h8_programs_send_no_origin() {
        assert_eq!(status("/mcp", &[("host", "localhost")]), 200);
    }

    #[test]
    fn h16_h17_heads_are_bounded() {
        let many: Vec<(String, String)> = (0..70).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
        let mut headers: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
        headers.push(("host", "localhost"));
        assert_eq!(status("/mcp", &headers), 431);
        let large = "x".repeat(64 << 10);
        assert_eq!(status("/mcp", &[("host", "localhost"), ("x-large", &large)]), 431);
        assert_eq!(status(&format!("/{}", "x".repeat(9000)), &[("host", "localhost")]), 414);
    }
}
