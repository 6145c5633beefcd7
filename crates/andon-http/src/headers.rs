//! Header values: one where one is allowed, visible ASCII, and the wrapper for values that are not.

use andon_schema::headers::unwrap;
use andon_server::host::Head;
use http::{HeaderMap, HeaderName};

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadHeader(pub(crate) String);

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const PARAM_PREFIX: &str = "mcp-param-";
const BAD_WRAPPER: &str = "the base64 wrapper of the header Mcp-Name holds no base64 of UTF-8";
/// Bytes of one MCP header.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// The value of a header that may stand once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, BadHeader> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(BadHeader(format!("the header {name} stands more than once")));
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(BadHeader(format!("the header {name} is longer than {VALUE_BYTES_MAX} bytes")));
    }
    value.to_str().map(Some).map_err(|_| BadHeader(format!("the header {name} is not visible ASCII")))
}

/// What the host wants to know of a request.
pub(crate) fn head(headers: &HeaderMap) -> Result<Head, BadHeader> {
    let owned = |name: HeaderName| single(headers, &name).map(|value| value.map(str::to_owned));
    let mut params = Vec::new();
    for name in headers.keys() {
        if let Some(suffix) = name.as_str().strip_prefix(PARAM_PREFIX)
            && let Some(value) = single(headers, name)?
        {
            params.push((suffix.to_owned(), value.to_owned()));
        }
    }
    let protocol_version = owned(PROTOCOL_VERSION)?;
    if protocol_version.as_deref() == Some("") {
        return Err(BadHeader("the header MCP-Protocol-Version is empty".to_owned()));
    }
    let name = single(headers, &NAME)?
        .map(|value| unwrap(value).ok_or_else(|| BadHeader(BAD_WRAPPER.to_owned())))
        .transpose()?;
    // A string of structured fields (RFC 9651) has quotation marks; many clients send none.
    let idempotency_key = single(headers, &IDEMPOTENCY_KEY)?.map(|key| {
        let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        quoted.unwrap_or(key).to_owned()
    });
    let (session_id, method) = (owned(SESSION_ID)?, owned(METHOD)?);
    Ok(Head { protocol_version, session_id, method, name, idempotency_key, params })
}

/// Whether an `Accept` header takes `wanted`, a full media type.
pub(crate) fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let range = wanted.split('/').next().unwrap_or_default();
    headers
        .get_all(http::header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| {
            let mut parts = item.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let refused = parts.any(|part| {
                part.strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|quality| quality <= 0.0))
            });
            !refused && (media == wanted || media == "*/*" || media.strip_suffix("/*") == Some(range))
        })
}

/// Whether the body is what a message may be.
///
/// # Errors
/// What it has to be.
pub(crate) fn check_body(headers: &HeaderMap) -> Result<(), &'static str> {
    if !is_json(headers) {
        return Err("the body is application/json in UTF-8");
    }
    if headers.contains_key(http::header::CONTENT_ENCODING) {
        return Err("the body is not compressed");
    }
    Ok(())
}

/// Whether the body is said to be JSON in UTF-8.
fn is_json(headers: &HeaderMap) -> bool {
    let Ok(Some(value)) = single(headers, &http::header::CONTENT_TYPE) else { return false };
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    parts.next().as_deref() == Some("application/json")
        && parts.all(|part| {
            !part.starts_with("charset=") || part.trim_start_matches("charset=").trim_matches('"') == "utf-8"
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{accepts, head, is_json};

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    #[test]
    fn h23_only_json_in_utf8_is_json() {
        for good in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""] {
            assert!(is_json(&map(&[("content-type", good)])), "{good}");
        }
        for bad in ["text/plain", "application/jsonx", "application/json; charset=utf-16", "", "multipart/form-data"] {
            assert!(!is_json(&map(&[("content-type", bad)])), "{bad}");
        }
        assert!(!is_json(&map(&[])));
    }

    #[test]
    fn h24_accept_is_read_with_wildcards_and_qualities() {
        let both = |value: &str| {
            let headers = map(&[("accept", value)]);
            (accepts(&headers, "application/json"), accepts(&headers, "text/event-stream"))
        };
        assert_eq!(both("application/json, text/event-stream"), (true, true));
        assert_eq!(both("*/*"), (true, true));
        assert_eq!(both("application/*;q=0.5, text/*"), (true, true));
        assert_eq!(both("application/json"), (true, false));
        assert_eq!(both("text/event-stream;q=0, application/json"), (true, false));
    }

    #[test]
    fn hdr1_names_are_unwrapped_and_bad_wrappers_refused() {
        let name = |value: &str| head(&map(&[("mcp-name", value)])).map(|head| head.name);
        assert_eq!(name("=?base64?SGVsbG8=?="), Ok(Some("Hello".to_owned())));
        assert_eq!(name("SGVsbG8="), Ok(Some("SGVsbG8=".to_owned())));
        assert_eq!(name("=?base64?SGVsbG8="), Ok(Some("=?base64?SGVsbG8=".to_owned())));
        assert!(name("=?base64?SGVsbG8?=").is_err());
        assert!(name("=?base64?SGVs!!!bG8=?=").is_err());
    }

    #[test]
    fn hdr6_s6_headers_that_stand_twice_are_refused() {
        for header in ["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-x"] {
            assert!(head(&map(&[(header, "a"), (header, "b")])).is_err(), "{header}");
        }
        assert!(head(&map(&[("mcp-session-id", "a\u{e9}")])).is_err());
    }
}
