//! Header values: one where one is allowed, visible ASCII, and the wrapper for values that are not.

use andon_h1::request;
use andon_schema::headers::unwrap;
use andon_server::host::Head;
use http::{HeaderMap, HeaderName};

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadHeader(pub(crate) String);

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PARAM_PREFIX: &str = "mcp-param-";
const BAD_WRAPPER: &str = "the base64 wrapper of the header Mcp-Name holds no base64 of UTF-8";
/// What nearly all clients say that they take (Streamable HTTP, "Sending Messages to the Server").
const USUAL_ACCEPT: &[u8] = b"application/json, text/event-stream";
/// Bytes of one MCP header.
const VALUE_BYTES_MAX: usize = 8 << 10;

/// Headers that are looked at. All but `Accept` may stand once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Accept,
    Authorization,
    ContentEncoding,
    ContentLength,
    ContentType,
    Expect,
    Host,
    IdempotencyKey,
    LastEventId,
    Method,
    Name,
    Origin,
    ProtocolVersion,
    RequestId,
    SessionId,
}

impl Field {
    /// The one of this name, in whatever case.
    fn of(name: &str) -> Option<Self> {
        // Few have the same length.
        match name.len() {
            4 => find::<4>(name, [Self::Host]),
            6 => find::<6>(name, [Self::Accept, Self::Origin, Self::Expect]),
            8 => find::<8>(name, [Self::Name]),
            10 => find::<10>(name, [Self::Method]),
            12 => find::<12>(name, [Self::ContentType, Self::RequestId]),
            13 => find::<13>(name, [Self::Authorization, Self::LastEventId]),
            14 => find::<14>(name, [Self::ContentLength, Self::SessionId]),
            15 => find::<15>(name, [Self::IdempotencyKey]),
            16 => find::<16>(name, [Self::ContentEncoding]),
            20 => find::<20>(name, [Self::ProtocolVersion]),
            _ => None,
        }
    }
}

/// The one among `known` that has this name, of so many bytes: a loop of known length is none when it is compiled.
fn find<const BYTES: usize>(name: &str, known: impl IntoIterator<Item = Field>) -> Option<Field> {
    // Known names are letters and hyphens. What else becomes one of these by this bit, is a letter too, or CR, which is in no name.
    let name = name.as_bytes().first_chunk::<BYTES>()?.map(|byte| byte | 0x20);
    known.into_iter().find(|known| NAMES[*known as usize].as_bytes() == name)
}

/// In the order of the enum.
const NAMES: [&str; 15] = [
    "accept",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "origin",
    "mcp-protocol-version",
    "x-request-id",
    "mcp-session-id",
];

/// The headers of one request, found in one pass: looking each of them up would hash its name each time.
pub(crate) struct Headers<'a> {
    source: Source<'a>,
    count: usize,
    bytes: usize,
    slots: [Slot<'a>; NAMES.len()],
    has_params: bool,
}

/// Where all of them stand.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    Map(&'a HeaderMap),
    /// The text of a head that was read.
    Text(&'a [u8]),
}

#[derive(Debug, Clone, Copy)]
enum Slot<'a> {
    Absent,
    Once(&'a [u8]),
    Repeated,
}

impl<'a> Headers<'a> {
    pub(crate) fn of(map: &'a HeaderMap) -> Self {
        let mut found = Self::new(Source::Map(map));
        for (name, value) in map {
            found.add(name.as_str(), value.as_bytes());
        }
        found
    }

    /// Those that stand in `source`, each of which is still to be added.
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self { source, count: 0, bytes: 0, slots: [Slot::Absent; NAMES.len()], has_params: false }
    }

    pub(crate) fn add(&mut self, name: &str, value: &'a [u8]) {
        self.count += 1;
        self.bytes += name.len() + value.len() + ": \r\n".len();
        match Field::of(name) {
            Some(field) => {
                let slot = &mut self.slots[field as usize];
                *slot = if matches!(slot, Slot::Absent) { Slot::Once(value) } else { Slot::Repeated };
            }
            None => self.has_params |= param(name).is_some(),
        }
    }

    /// Each of them: its name as it came, and its value.
    pub(crate) fn each(&self, mut take: impl FnMut(&'a str, &'a [u8])) {
        match self.source {
            Source::Map(map) => map.iter().for_each(|(name, value)| take(name.as_str(), value.as_bytes())),
            Source::Text(text) => request::fields(text).for_each(|(name, value)| take(name, value)),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// What they take on an HTTP/1 connection.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is one of this name, or several.
    pub(crate) fn contains(&self, name: Field) -> bool {
        !matches!(self.slots[name as usize], Slot::Absent)
    }

    /// The value, if there is exactly one of this name.
    pub(crate) fn only(&self, name: Field) -> Option<&'a [u8]> {
        match self.slots[name as usize] {
            Slot::Once(value) => Some(value),
            Slot::Absent | Slot::Repeated => None,
        }
    }

    /// The value of a header that may stand once.
    pub(crate) fn single(&self, name: Field) -> Result<Option<&'a str>, BadHeader> {
        self.once(name)?.map(|value| text(NAMES[name as usize], value)).transpose()
    }

    /// The same for who looks at each byte of it.
    pub(crate) fn once(&self, name: Field) -> Result<Option<&'a [u8]>, BadHeader> {
        match self.slots[name as usize] {
            Slot::Absent => Ok(None),
            Slot::Once(value) => Ok(Some(value)),
            Slot::Repeated => Err(repeated(NAMES[name as usize])),
        }
    }

    /// What the host wants to know of a request.
    pub(crate) fn head(&self) -> Result<Head<'a>, BadHeader> {
        let protocol_version = self.single(Field::ProtocolVersion)?;
        if protocol_version == Some("") {
            return Err(BadHeader("the header MCP-Protocol-Version is empty".to_owned()));
        }
        let name = self.single(Field::Name)?;
        let name = name.map(|value| unwrap(value).ok_or_else(|| BadHeader(BAD_WRAPPER.to_owned()))).transpose()?;
        // A string of structured fields (RFC 9651) has quotation marks; many clients send none.
        let idempotency_key = self.single(Field::IdempotencyKey)?.map(|key| {
            let quoted = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
            quoted.unwrap_or(key)
        });
        let (session_id, method) = (self.single(Field::SessionId)?, self.single(Field::Method)?);
        Ok(Head { protocol_version, session_id, method, name, idempotency_key, params: self.params()? })
    }

    /// Whether the `Accept` headers take JSON, and whether they take events.
    pub(crate) fn accepts(&self) -> Accepts {
        if self.only(Field::Accept) == Some(USUAL_ACCEPT) {
            return Accepts { json: true, events: true };
        }
        let mut accepts = Accepts { json: false, events: false };
        self.each(|name, value| {
            if !name.eq_ignore_ascii_case(NAMES[Field::Accept as usize]) {
                return;
            }
            for item in value.split(|byte| *byte == b',') {
                let (media, parameters) =
                    item.split_at(item.iter().position(|byte| *byte == b';').unwrap_or(item.len()));
                let media = media.trim_ascii();
                let is = |wanted: &[u8]| media.eq_ignore_ascii_case(wanted);
                let json = is(b"application/json") || is(b"*/*") || is(b"application/*");
                let events = is(b"text/event-stream") || is(b"*/*") || is(b"text/*");
                if (json || events) && !has_no_quality(parameters) {
                    accepts.json |= json;
                    accepts.events |= events;
                }
            }
        });
        accepts
    }

    fn params(&self) -> Result<Vec<(&'a str, &'a str)>, BadHeader> {
        if !self.has_params {
            return Ok(Vec::new());
        }
        let mut params: Vec<(&str, &str)> = Vec::new();
        let mut bad = None;
        self.each(|name, value| {
            let Some(suffix) = param(name) else { return };
            let is_repeated = params.iter().any(|(known, _)| known.eq_ignore_ascii_case(suffix));
            match text(name, value) {
                Ok(_) if is_repeated => bad = Some(repeated(name)),
                Ok(value) => params.push((suffix, value)),
                Err(why) => bad = Some(why),
            }
        });
        bad.map_or(Ok(params), Err)
    }
}

/// What follows `Mcp-Param-`.
fn param(name: &str) -> Option<&str> {
    let (prefix, suffix) = name.split_at_checked(PARAM_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PARAM_PREFIX).then_some(suffix)
}

/// What a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) json: bool,
    pub(crate) events: bool,
}

fn repeated(name: &str) -> BadHeader {
    BadHeader(format!("the header {name} stands more than once"))
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str, BadHeader> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(BadHeader(format!("the header {name} is longer than {VALUE_BYTES_MAX} bytes")));
    }
    // All of them: looking at many at once takes less than stopping at the first bad one.
    let is_visible = value.iter().fold(true, |is_good, byte| is_good & matches!(byte, b' '..=b'~' | b'\t'));
    let text = std::str::from_utf8(value).ok().filter(|_| is_visible);
    text.ok_or_else(|| BadHeader(format!("the header {name} is not visible ASCII")))
}

/// Whether the parameters of an item of an `Accept` header say that it is not wanted (RFC 9110, 12.4.2).
fn has_no_quality(parameters: &[u8]) -> bool {
    parameters.split(|byte| *byte == b';').any(|parameter| {
        let quality = parameter.trim_ascii().strip_prefix(b"q=").and_then(|quality| std::str::from_utf8(quality).ok());
        quality.and_then(|quality| quality.parse::<f32>().ok()).is_some_and(|quality| quality <= 0.0)
    })
}

/// Whether the body is what a message may be.
///
/// # Errors
/// What it has to be.
pub(crate) fn check_body(headers: &Headers<'_>) -> Result<(), &'static str> {
    if !is_json(headers) {
        return Err("the body is application/json in UTF-8");
    }
    if headers.contains(Field::ContentEncoding) {
        return Err("the body is not compressed");
    }
    Ok(())
}

/// Whether the body is said to be JSON in UTF-8.
fn is_json(headers: &Headers<'_>) -> bool {
    if headers.only(Field::ContentType) == Some(b"application/json") {
        return true;
    }
    let Ok(Some(value)) = headers.single(Field::ContentType) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let is_utf8 = |part: &str| match part.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json")) && parts.all(is_utf8)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Field, Headers, NAMES, is_json};

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    #[test]
    fn names_stand_in_the_order_of_the_enum() {
        for (name, text) in [
            (Field::Accept, "accept"),
            (Field::Authorization, "authorization"),
            (Field::ContentEncoding, "content-encoding"),
            (Field::ContentLength, "content-length"),
            (Field::ContentType, "content-type"),
            (Field::Expect, "expect"),
            (Field::Host, "host"),
            (Field::IdempotencyKey, "idempotency-key"),
            (Field::LastEventId, "last-event-id"),
            (Field::Method, "mcp-method"),
            (Field::Name, "mcp-name"),
            (Field::Origin, "origin"),
            (Field::ProtocolVersion, "mcp-protocol-version"),
            (Field::RequestId, "x-request-id"),
            (Field::SessionId, "mcp-session-id"),
        ] {
            assert_eq!(NAMES[name as usize], text);
            assert_eq!(Field::of(&text.to_uppercase()), Some(name), "{text}");
        }
    }

    #[test]
    fn h23_only_json_in_utf8_is_json() {
        for good in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\""] {
            assert!(is_json(&Headers::of(&map(&[("content-type", good)]))), "{good}");
        }
        for bad in ["text/plain", "application/jsonx", "application/json; charset=utf-16", "", "multipart/form-data"] {
            assert!(!is_json(&Headers::of(&map(&[("content-type", bad)]))), "{bad}");
        }
        assert!(!is_json(&Headers::of(&map(&[]))));
    }

    #[test]
    fn h24_accept_is_read_with_wildcards_and_qualities() {
        let both = |value: &str| {
            let headers = map(&[("accept", value)]);
            let accepts = Headers::of(&headers).accepts();
            (accepts.json, accepts.events)
        };
        assert_eq!(both("application/json, text/event-stream"), (true, true));
        assert_eq!(both("*/*"), (true, true));
        assert_eq!(both("application/*;q=0.5, text/*"), (true, true));
        assert_eq!(both("application/json"), (true, false));
        assert_eq!(both("text/event-stream;q=0, application/json"), (true, false));
    }

    #[test]
    fn hdr1_names_are_unwrapped_and_bad_wrappers_refused() {
        let name = |value: &str| {
            Headers::of(&map(&[("mcp-name", value)])).head().map(|head| head.name.map(std::borrow::Cow::into_owned))
        };
        assert_eq!(name("=?base64?SGVsbG8=?="), Ok(Some("Hello".to_owned())));
        assert_eq!(name("SGVsbG8="), Ok(Some("SGVsbG8=".to_owned())));
        assert_eq!(name("=?base64?SGVsbG8="), Ok(Some("=?base64?SGVsbG8=".to_owned())));
        assert!(name("=?base64?SGVsbG8?=").is_err());
        assert!(name("=?base64?SGVs!!!bG8=?=").is_err());
    }

    #[test]
    fn hdr6_s6_headers_that_stand_twice_are_refused() {
        for header in ["mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name", "mcp-param-x"] {
            assert!(Headers::of(&map(&[(header, "a"), (header, "b")])).head().is_err(), "{header}");
        }
        assert!(Headers::of(&map(&[("mcp-session-id", "a\u{e9}")])).head().is_err());
    }
}
