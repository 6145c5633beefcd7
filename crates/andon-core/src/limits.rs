//! Every bound that the machines enforce, with its unit and default.

use std::time::Duration;

/// Bounds of one conversation.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From the opening of a session to `notifications/initialized`. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a session without calls and without connections is kept. Default 30 min.
    pub idle_timeout: Duration,
    /// How long any session is kept once it is idle. Default 24 h.
    pub session_ttl: Duration,
    /// Calls in flight in one session. Default 64.
    pub calls_max: usize,
    /// How long a call may take without progress. Default 30 s.
    pub call_timeout: Duration,
    /// How long a call may take whatever it reports. Default 5 min.
    pub call_timeout_max: Duration,
    /// Questions to the client in flight in one call. Default 16.
    pub asks_max: usize,
    /// Questions to the client in one call altogether, one after the other. Default 100.
    pub asks_per_call_max: u32,
    /// How long the client may take to answer a question. Default 5 min.
    pub ask_timeout: Duration,
    /// Streams of one session, open or kept for resumption. Default 8 standing ones.
    pub standing_streams_max: usize,
    /// Subscriptions of one session or of one listen request. Default 1,000.
    pub subscriptions_max: usize,
    /// Resumptions per second and session; a burst of as many is let through. Default 20.
    pub resumes_per_s: u32,
    /// Events kept for resumption per stream. Default 1,000.
    pub replay_events_max: usize,
    /// Bytes kept for resumption per session; the newest message of each stream is kept even if it is larger. Default
    /// 1 MiB.
    pub replay_bytes_max: usize,
    /// Finished streams kept for resumption per session; first to go are those whose end went out on a connection.
    /// Default 100.
    pub replay_streams_max: usize,
    /// How long a finished stream is kept for resumption. Default 5 min.
    pub replay_timeout: Duration,
    /// Bytes of what handlers keep in one session, or under one handle. Default 64 KiB.
    pub values_bytes_max: usize,
    /// Progress notifications per second and token; a burst of as many is let through. Default 10.
    pub progress_per_s: u32,
    /// Log notifications per second and session; a burst of as many is let through. Default 50.
    pub logs_per_s: u32,
    /// The least time between two announcements of the same change. Default 100 ms.
    pub change_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30 * 60),
            session_ttl: Duration::from_secs(24 * 60 * 60),
            calls_max: 64,
            call_timeout: Duration::from_secs(30),
            call_timeout_max: Duration::from_secs(5 * 60),
            asks_max: 16,
            asks_per_call_max: 100,
            ask_timeout: Duration::from_secs(5 * 60),
            standing_streams_max: 8,
            subscriptions_max: 1_000,
            resumes_per_s: 20,
            replay_events_max: 1_000,
            replay_bytes_max: 1 << 20,
            replay_streams_max: 100,
            replay_timeout: Duration::from_secs(5 * 60),
            values_bytes_max: 64 << 10,
            progress_per_s: 10,
            logs_per_s: 50,
            change_interval: Duration::from_millis(100),
        }
    }
}
