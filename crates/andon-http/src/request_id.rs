//! `X-Request-Id`: what a request is called in logs, and by whoever sent it.

use std::cell::OnceCell;
use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};

use crate::headers::{Field, Headers};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of an id that is taken over.
const GIVEN_BYTES_MAX: usize = 64;

/// The id of one request: the sender's if it is short and visible ASCII, otherwise one of ours.
#[derive(Debug, Clone)]
pub(crate) enum RequestId {
    Given(HeaderValue),
    /// A number that is drawn when somebody wants to know it: all connections draw from one.
    Own(OnceCell<u64>),
}

/// Where numbers start differs between processes, so that their logs can be put together.
static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(andon_server::observe::random_origin()));

impl RequestId {
    pub(crate) fn of(headers: &Headers<'_>) -> Self {
        match headers.only(Field::RequestId) {
            Some(value) if is_good(value) => HeaderValue::from_bytes(value).map_or_else(|_| Self::own(), Self::Given),
            _ => Self::own(),
        }
    }

    fn own() -> Self {
        Self::Own(OnceCell::new())
    }

    pub(crate) fn to_value(&self) -> HeaderValue {
        match self {
            Self::Given(value) => value.clone(),
            Self::Own(_) => HeaderValue::try_from(self.to_string()).expect("digits are visible ASCII"),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
            Self::Own(number) => write!(f, "{:016x}", number.get_or_init(|| NEXT.fetch_add(1, Ordering::Relaxed))),
        }
    }
}

fn is_good(given: &[u8]) -> bool {
    (1..=GIVEN_BYTES_MAX).contains(&given.len()) && given.iter().all(|byte| (0x21..=0x7E).contains(byte))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::{Headers, REQUEST_ID, RequestId};

    fn id(values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REQUEST_ID, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let id = RequestId::of(&Headers::of(&headers));
        assert_eq!(id.to_value().to_str().expect("visible"), id.to_string());
        id.to_string()
    }

    #[test]
    fn l1_only_short_visible_ids_are_taken_over() {
        assert_eq!(id(&["a-1:{}\"x\""]), "a-1:{}\"x\"");
        let long = "x".repeat(65);
        for bad in [vec![], vec![""], vec!["a b"], vec!["caf\u{e9}"], vec![&long], vec!["a", "a"]] {
            let own = id(&bad);
            assert!(own.len() == 16 && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bad:?}: {own}");
        }
        assert_ne!(id(&[]), id(&[]));
    }
}
