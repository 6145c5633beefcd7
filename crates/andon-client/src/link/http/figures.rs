//! Counts of what the transport did.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hyper_util::client::legacy::connect::HttpInfo;

use super::send::Answer;

/// Connections that are remembered to tell which were used before.
const KNOWN_MAX: usize = 4096;

/// Counts of what the transport did.
#[derive(Debug, Default)]
pub struct Figures {
    requests: AtomicU64,
    resumed: AtomicU64,
    duplicates: AtomicU64,
    challenges: AtomicU64,
    connections: AtomicU64,
    reused: AtomicU64,
    known: Mutex<HashSet<(SocketAddr, SocketAddr)>>,
}

impl Figures {
    /// HTTP requests sent.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Connections whose first answer was for one of them. Clients of a process share connections, unless they are given a pool
    /// of their own: one that an earlier client opened is not counted again.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Answers on a connection that had brought an answer before. Connections that are idle for 60 s are closed, which
    /// the pool does not tell: the next request then opens another.
    pub fn reused_connections(&self) -> u64 {
        self.reused.load(Ordering::Relaxed)
    }

    /// Streams that were lost and taken up again with `Last-Event-ID`.
    pub fn resumed_streams(&self) -> u64 {
        self.resumed.load(Ordering::Relaxed)
    }

    /// Events that came twice and were heard once.
    pub fn duplicate_events(&self) -> u64 {
        self.duplicates.load(Ordering::Relaxed)
    }

    /// Challenges (401, 403) that were answered with new credentials.
    pub fn challenges(&self) -> u64 {
        self.challenges.load(Ordering::Relaxed)
    }

    pub(super) fn add_resumed(&self) {
        self.resumed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_challenge(&self) {
        self.challenges.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_answer(&self, answer: &Answer) {
        let is_new = match answer {
            Answer::Wire(answer) => answer.is_first(),
            Answer::Pooled(response) => match response.extensions().get::<HttpInfo>() {
                Some(info) => self.is_new((info.local_addr(), info.remote_addr())),
                None => return,
            },
        };
        let count = if is_new { &self.connections } else { &self.reused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection of somebody else's pool is known by its two ends.
    fn is_new(&self, ends: (SocketAddr, SocketAddr)) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(ends)
    }
}
