//! Every bound of the host, with its unit and default.

use std::time::Duration;

use andon_core::limits::Limits;
use andon_types::scan::ScanLimits;

/// Bounds of a host.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Of one conversation.
    pub conversation: Limits,
    /// Of one message.
    pub message: ScanLimits,
    /// Whether clients of the revisions with sessions have none over Streamable HTTP: each of their requests stands alone ([`Sessions::stateless`](crate::sessions::Sessions::stateless)). Default no.
    pub stateless: bool,
    /// Sessions in all. Default 200,000.
    pub sessions_max: usize,
    /// Sessions of one authenticated principal. Default 100.
    pub sessions_per_principal_max: usize,
    /// How long a session that outlives the process is kept in memory when nobody uses it. Default 60 s.
    pub rest_after: Duration,
    /// Handlers that run at once, over all clients. Default 10,000.
    pub handlers_max: usize,
    /// Modern clients that listen for changes. Default 100,000.
    pub listeners_max: usize,
    /// Frames that may wait for one connection. Default 256.
    pub queue_frames_max: usize,
    /// Bytes that may wait for one connection. Default 1 MiB; one frame may be larger.
    pub queue_bytes_max: usize,
    /// Bytes that wait for connections over HTTP, and that sessions keep for clients which may come back, all together, beyond
    /// 16 KiB of each. Where there is no more room, connections for which more waits are cut, and of what sessions keep
    /// the oldest goes. Default 256 MiB.
    pub waiting_bytes_max: usize,
    /// How long a handler waits for a client that takes nothing of what was said already, once half of that waits. Then the
    /// client loses its connection; its session goes on. Default 5 s.
    pub slow_reader_timeout: Duration,
    /// Handles of values that handlers keep, over all principals. Default 100,000.
    pub handles_max: u64,
    /// Replies that are kept for calls which come again with the same idempotency key, over all principals. Default 10,000.
    pub replies_max: u64,
    /// Bytes of a reply that is kept; of a larger one it is only known that it was given. Default 64 KiB.
    pub reply_bytes_max: usize,
    /// How long a reply is kept. Default 24 h.
    pub reply_ttl: Duration,
    /// How long a modern client may take to come back with answers. Default 15 min.
    pub request_state_ttl: Duration,
    /// How many answered questions are remembered, so that a `requestState` is good once: over all modern clients, the
    /// newest ones. Other processes with the same keys do not know of them. Default 100,000.
    pub request_states_max: usize,
    /// Bytes of an echoed `requestState`. Default 64 KiB.
    pub request_state_bytes_max: usize,
    /// Of tasks.
    pub tasks: TaskOptions,
}

/// Bounds of tasks.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// Tasks in all, those that are over included until their time is. Default 10,000.
    pub tasks_max: usize,
    /// Tasks of one principal, those that are over included; without authentication, of one session. Default 100.
    pub tasks_per_principal_max: usize,
    /// How long a task is kept from its creation on, running or over, where the client does not ask for another time.
    /// Default 1 h.
    pub ttl: Duration,
    /// The longest time that a client may ask for. Default 24 h.
    pub ttl_max: Duration,
    /// How long clients are asked to wait between two looks. Default 1 s.
    pub poll_interval: Duration,
    /// Bytes of a result that is kept; a task whose result has more fails. Default 1 MiB.
    pub result_bytes_max: usize,
}

impl Default for TaskOptions {
    fn default() -> Self {
        Self {
            tasks_max: 10_000,
            tasks_per_principal_max: 100,
            ttl: Duration::from_secs(60 * 60),
            ttl_max: Duration::from_secs(24 * 60 * 60),
            poll_interval: Duration::from_secs(1),
            result_bytes_max: 1 << 20,
        }
    }
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            conversation: Limits::default(),
            message: ScanLimits::default(),
            stateless: false,
            sessions_max: 200_000,
            sessions_per_principal_max: 100,
            rest_after: Duration::from_secs(60),
            handlers_max: 10_000,
            listeners_max: 100_000,
            queue_frames_max: 256,
            queue_bytes_max: 1 << 20,
            waiting_bytes_max: 256 << 20,
            slow_reader_timeout: Duration::from_secs(5),
            handles_max: 100_000,
            replies_max: 10_000,
            reply_bytes_max: 64 << 10,
            reply_ttl: Duration::from_secs(24 * 60 * 60),
            request_state_ttl: Duration::from_secs(15 * 60),
            request_states_max: 100_000,
            request_state_bytes_max: 64 << 10,
            tasks: TaskOptions::default(),
        }
    }
}
