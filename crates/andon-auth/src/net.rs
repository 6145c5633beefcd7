//! Requests to addresses that came from somebody else: checked when they are connected to, bounded, never redirected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Method, RequestBuilder, Response};
use url::{Host, Url};

use crate::error::AuthError;

/// Bytes of a document.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// How long one request may take in all.
const TIMEOUT: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);

/// Which addresses may be connected to. Public ones always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// This machine. On when the MCP server itself is on this machine.
    pub loopback: bool,
    /// Private and link-local networks.
    pub private: bool,
}

impl Reach {
    /// What a client of the MCP server at `server` may connect to: a server on this machine may name others on it,
    /// and one in a private network others there. A public one may name neither.
    pub fn of(server: &Url) -> Self {
        match server.host() {
            Some(Host::Domain(name)) => Self { loopback: is_localhost(name), private: false },
            Some(Host::Ipv4(address)) => Self::of_address(address.into()),
            Some(Host::Ipv6(address)) => Self::of_address(address.into()),
            None => Self::default(),
        }
    }

    fn of_address(address: IpAddr) -> Self {
        let (loopback, private) = (is_loopback(address), !is_public(address) && !is_loopback(address));
        Self { loopback, private }
    }

    /// Whether `address` may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        let address = unmapped(address);
        if is_loopback(address) { self.loopback } else { self.private || is_public(address) }
    }
}

/// An HTTP client that connects to what its [`Reach`] allows, and to nothing else.
#[derive(Debug, Clone)]
pub struct Net {
    client: reqwest::Client,
    reach: Reach,
}

impl Net {
    /// A client within `reach`.
    ///
    /// # Errors
    /// When the system's certificates cannot be used.
    pub fn new(reach: Reach) -> Result<Self, AuthError> {
        // Another part of the program may have chosen one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(Guard(reach)))
            .pool_idle_timeout(IDLE)
            .timeout(TIMEOUT)
            .connect_timeout(TIMEOUT)
            .no_proxy()
            .user_agent(concat!("andon/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| AuthError::Network(format!("no HTTP client: {error}")))?;
        Ok(Self { client, reach })
    }

    /// A request to `url`, if that may be asked: HTTPS, or HTTP on this machine.
    ///
    /// # Errors
    /// When it is no such URL, or its address is out of reach.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, AuthError> {
        let parsed = Url::parse(url).map_err(|error| refused(url, &error.to_string()))?;
        let address = match parsed.host() {
            Some(Host::Domain(_)) => None,
            // Whatever way it was written, decimal, octal or mapped: the parser has made it one of these.
            Some(Host::Ipv4(address)) => Some(IpAddr::from(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::from(address)),
            None => return Err(refused(url, "it has no host")),
        };
        if address.is_some_and(|address| !self.reach.allows(address)) {
            return Err(refused(url, "its address is not to be connected to from here"));
        }
        let is_local = match parsed.host() {
            Some(Host::Domain(name)) => is_localhost(name),
            _ => address.is_some_and(is_loopback),
        };
        match parsed.scheme() {
            "https" => {}
            "http" if is_local => {}
            _ => return Err(refused(url, "only https is safe, or http on this machine")),
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(refused(url, "it has a user name or a password"));
        }
        Ok(self.client.request(method, parsed))
    }

    /// The body of a response, within its bound.
    ///
    /// # Errors
    /// When it is too large or ends early.
    pub async fn body(&self, mut response: Response) -> Result<Vec<u8>, AuthError> {
        let too_large = || AuthError::Network(format!("a document is larger than {DOCUMENT_BYTES_MAX} bytes"));
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + piece.len() > DOCUMENT_BYTES_MAX {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// What a failed request says, without the query of its URL, which may hold secrets.
pub(crate) fn failed(error: &reqwest::Error) -> AuthError {
    let place = error.url().map(|url| format!("{}{}", url.origin().ascii_serialization(), url.path()));
    let why = first_cause(error).unwrap_or_else(|| "the request failed".to_owned());
    AuthError::Network(format!("{}: {why}", place.as_deref().unwrap_or("a request")))
}

/// The last error of the chain below `error`, which says what happened; `None` if nothing caused it.
pub fn first_cause(error: &dyn std::error::Error) -> Option<String> {
    std::iter::successors(error.source(), |cause| cause.source()).last().map(ToString::to_string)
}

fn refused(url: &str, why: &str) -> AuthError {
    AuthError::Network(format!("{} is refused: {why}", crate::error::shown(url)))
}

/// Resolves names and leaves out the addresses that are out of reach, so that what was checked is what is connected to.
struct Guard(Reach);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                let why = format!("{} has no address that is to be connected to from here", name.as_str());
                return Err(why.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

pub(crate) fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => match six.to_ipv4_mapped().or_else(|| embedded(six)) {
            Some(four) => four.into(),
            None => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// IPv4 that is wrapped for translation: NAT64 (64:ff9b::/96) and 6to4 (2002::/16).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let octets = address.octets();
    let four = |at: usize| Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]);
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(four(12)),
        [0x2002, ..] => Some(four(2)),
        _ => None,
    }
}

fn is_loopback(address: IpAddr) -> bool {
    unmapped(address).is_loopback()
}

fn is_public(address: IpAddr) -> bool {
    match unmapped(address) {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast()
                || address.is_multicast()
                || address.is_documentation()
                // This network, shared address space, IETF protocol assignments, benchmarking, reserved.
                || a == 0
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
                || a >= 240;
            !special
        }
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            let special = address.is_loopback()
                || address.is_unspecified()
                || address.is_multicast()
                // Unique local, link-local, site-local, documentation.
                || (first & 0xfe00) == 0xfc00
                || (first & 0xffc0) == 0xfe80
                || (first & 0xffc0) == 0xfec0
                || (first == 0x2001 && address.segments()[1] == 0xdb8)
                // Teredo, local translation, discard.
                || (first == 0x2001 && address.segments()[1] == 0)
                || address.segments()[..3] == [0x64, 0xff9b, 1]
                || address.segments()[..4] == [0x100, 0, 0, 0]
                // IPv4-compatible, which nobody should use.
                || address.segments()[..6] == [0; 6];
            !special
        }
    }
}

#[cfg(test)]
mod tests {
    use reqwest::Method;
    use url::Url;

    use super::{Net, Reach};

    fn is_asked(reach: Reach, url: &str) -> bool {
        Net::new(reach).expect("a client").request(Method::GET, url).is_ok()
    }

    #[test]
    fn a16_addresses_of_inner_networks_are_refused_however_they_are_written() {
        for url in [
            "https://127.0.0.1/x",
            "https://2130706433/x",
            "https://0x7f.1/x",
            "https://0177.0.0.1/x",
            "https://[::1]/x",
            "https://[::ffff:127.0.0.1]/x",
            "https://[::ffff:a9fe:a9fe]/x",
            "https://[64:ff9b::7f00:1]/x",
            "https://[2002:7f00:1::]/x",
            "https://169.254.169.254/latest/meta-data",
            "https://10.0.0.1/",
            "https://172.16.5.5/",
            "https://192.168.1.1/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[fd00::1]/",
            "https://[64:ff9b:1::7f00:1]/",
            "https://[2001:0:7f00:1::]/",
            "https://[fe80::1]/",
            "https://255.255.255.255/",
            "http://example.com/",
            "ftp://example.com/",
            "file:///etc/passwd",
            "https://user:pw@example.com/",
            "not a url",
        ] {
            assert!(!is_asked(Reach::default(), url), "{url}");
        }
        assert!(is_asked(Reach::default(), "https://example.com/"));
        assert!(is_asked(Reach::default(), "https://1.1.1.1/"));
    }

    #[test]
    fn a_server_on_this_machine_may_name_others_on_it() {
        let reach = |server: &str| Reach::of(&Url::parse(server).expect("a URL"));
        assert!(is_asked(reach("http://localhost:3000/mcp"), "http://127.0.0.1:4000/token"));
        assert!(is_asked(reach("http://127.0.0.1:3000/mcp"), "http://localhost:4000/token"));
        assert!(
            !is_asked(reach("https://mcp.example.com/mcp"), "http://localhost:4000/token")
                || !reach("https://mcp.example.com/mcp").loopback
        );
        assert!(!is_asked(reach("http://localhost:3000/mcp"), "https://10.0.0.1/token"));
        assert!(is_asked(reach("https://10.0.0.5/mcp"), "https://10.0.0.1/token"));
    }

    #[tokio::test]
    async fn a16_names_are_checked_by_what_they_resolve_to() {
        let net = Net::new(Reach::default()).expect("a client");
        let refused = net.request(Method::GET, "https://localhost:1/x").expect("the name alone is fine").send().await;
        let error = super::failed(&refused.expect_err("its address is not")).to_string();
        assert!(error.contains("no address that is to be connected to"), "{error}");
    }
}
