//! Every setting of the transport, with its unit and default.

use std::sync::Arc;
use std::time::Duration;

use andon_server::host::Host;
use andon_server::principal::TokenVerifier;

/// Other hosts behind the same listener, by path. They may come and go while it listens.
pub trait Mounts: Send + Sync {
    /// The host whose endpoint is at `path`.
    fn host_at(&self, path: &str) -> Option<Arc<Host>>;

    /// What their paths look like, in words, for who asks for another one.
    fn paths(&self) -> String;
}

/// Settings of a Streamable HTTP endpoint.
#[derive(Clone)]
pub struct HttpOptions {
    /// The endpoint's path, matched exactly. Default `/mcp`.
    pub path: String,
    /// Further endpoints beside it. Default none.
    pub mounts: Option<Arc<dyn Mounts>>,
    /// Whether the transport of 2024-11-05 is served too, at `/sse` and `/messages`, for clients that have no other.
    /// Default true.
    pub legacy_sse: bool,
    /// Names under which the server may be reached, without port. Default the loopback names. A request for another
    /// host is refused, which is what stops DNS rebinding.
    pub hosts: Vec<String>,
    /// Origins of web pages that may call the server, such as `https://app.example`. Pages of the server's own
    /// origin always may; programs send no origin.
    pub origins: Vec<String>,
    /// Bytes of a request's body. Default 4 MiB.
    pub body_bytes_max: usize,
    /// Bytes that the bodies of requests above 64 KiB take together, until they are answered; beyond, a request is
    /// refused with 503 and smaller ones are still served. Default 64 MiB.
    pub bodies_bytes_max: usize,
    /// How long a call may run before its answer becomes a stream of events. Default 50 ms.
    pub sse_after: Duration,
    /// How long a stream may be quiet before a comment keeps it alive. Default 20 s.
    pub keep_alive_interval: Duration,
    /// Connections at once. Default 16,000.
    pub connections_max: usize,
    /// How long a request's head may take from its first byte (408 after that), and that byte from the connection on. Default
    /// 10 s.
    pub head_timeout: Duration,
    /// How long a connection may rest, or up to a quarter longer: without a request, or with an answer that its peer
    /// does not take. A call that runs and a stream that waits for events are no rest. Default 60 s.
    pub idle_timeout: Duration,
    /// How long shutdown waits for calls in flight. Default 30 s.
    pub drain_timeout: Duration,
    /// Checks bearer tokens. Without, everybody is anonymous.
    pub verifier: Option<Arc<dyn TokenVerifier>>,
    /// The `resource_metadata` URL of the challenge that a request without a good token gets (RFC 9728).
    pub resource_metadata: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            path: "/mcp".to_owned(),
            mounts: None,
            legacy_sse: true,
            hosts: ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned).to_vec(),
            origins: Vec::new(),
            body_bytes_max: 4 << 20,
            bodies_bytes_max: 64 << 20,
            sse_after: Duration::from_millis(50),
            keep_alive_interval: Duration::from_secs(20),
            connections_max: 16_000,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(30),
            verifier: None,
            resource_metadata: None,
        }
    }
}
