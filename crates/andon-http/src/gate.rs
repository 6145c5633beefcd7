//! May this request come in at all? Host and Origin on every verb, then sizes.

use http::Method;
use http::header::{AUTHORIZATION, EXPECT, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;

use crate::headers::single;
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
pub(crate) fn check(parts: &Parts, options: &HttpOptions) -> Result<(), Refusal> {
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if parts.headers.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        return Err((431, format!("at most {HEADERS_MAX} headers with {HEADER_BYTES_MAX} bytes in all")));
    }
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    if target + parts.uri.authority().map_or(0, |authority| authority.as_str().len()) > URI_BYTES_MAX {
        return Err((414, format!("a target of at most {URI_BYTES_MAX} bytes")));
    }
    if parts.method == Method::CONNECT {
        // Its target is no path, and a host that it wants to be connected to is not the one that it asks.
        return Err((405, "the server is no proxy".to_owned()));
    }
    let host = host(parts)?;
    let name = host.host().to_ascii_lowercase();
    if !options.hosts.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
        return Err((403, "this server is not known by the host in the request".to_owned()));
    }
    let origin = single(&parts.headers, &ORIGIN).map_err(|bad| (403, bad.0))?;
    let is_known = |origin: &str| options.origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
    if origin.is_some_and(|origin| !is_known(origin) && !is_own(origin, &host, options)) {
        return Err((403, "web pages of this origin may not call the server".to_owned()));
    }
    // Refused with and without a verifier: what stands in front may have read another one.
    single(&parts.headers, &AUTHORIZATION).map_err(|bad| (400, bad.0))?;
    match parts.headers.get(EXPECT) {
        Some(expectation) if !expectation.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err((417, "nothing but 100-continue can be expected".to_owned()))
        }
        _ => Ok(()),
    }
}

/// The authority that the request is for: the target's, or else `Host`; where both stand they agree.
fn host(parts: &Parts) -> Result<Authority, Refusal> {
    let bad = |why: &str| (400, why.to_owned());
    let header = single(&parts.headers, &HOST).map_err(|error| (400, error.0))?;
    let header = header
        .map(|value| value.parse::<Authority>().ok().filter(|authority| !authority.as_str().contains('@')))
        .map(|authority| authority.ok_or_else(|| bad("the header Host is not a host")))
        .transpose()?;
    match (parts.uri.authority(), header) {
        (Some(target), Some(header)) if *target != header => Err(bad("the target and the header Host disagree")),
        (Some(target), _) if target.as_str().contains('@') => Err(bad("the target names a user")),
        (Some(target), _) => Ok(target.clone()),
        (None, Some(header)) => Ok(header),
        (None, None) => Err(bad("the header Host is missing")),
    }
}

/// Whether a page of this server's own origin calls: an allowed name, with the very port that the request is for.
fn is_own(origin: &str, host: &Authority, options: &HttpOptions) -> bool {
    let lower = origin.to_ascii_lowercase();
    let Some((scheme, rest)) = lower.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(authority) = rest.parse::<Authority>() else { return false };
    if authority.as_str() != rest || rest.contains('@') {
        return false;
    }
    let known = options.hosts.iter().any(|known| known.eq_ignore_ascii_case(authority.host()));
    let port = authority.port_u16().unwrap_or(default_port);
    known && scheme == "http" && port == host.port_u16().unwrap_or(80)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::check;
    use crate::options::HttpOptions;

    fn status(target: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        check(&parts, &HttpOptions::default()).map_or_else(|(status, _)| status, |()| 200)
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
