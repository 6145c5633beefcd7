//! The store behind a host: whether it answers, and what is on its way there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use andon_core::io::Timestamp;
use andon_core::limits::Limits;
use andon_core::port::{Key, Kind, Record, Store, StoreError};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::seal::random;

/// What outlives the process, and whether it can be written to.
pub(crate) struct Storage {
    store: Arc<dyn Store>,
    limits: Arc<Limits>,
    is_down: AtomicBool,
    up: Notify,
    writing: AtomicUsize,
    quiet: Notify,
}

/// Held while something is on its way to the store.
pub(crate) struct Writing(Arc<Storage>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.writing.fetch_sub(1, Ordering::AcqRel);
        self.0.quiet.notify_waiters();
    }
}

impl Storage {
    pub(crate) fn new(store: Arc<dyn Store>, limits: Arc<Limits>) -> Arc<Self> {
        Arc::new(Self {
            store,
            limits,
            is_down: AtomicBool::new(false),
            up: Notify::new(),
            writing: AtomicUsize::new(0),
            quiet: Notify::new(),
        })
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Whether writing failed, and did not succeed since.
    pub(crate) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Acquire)
    }

    /// To be held while something is written.
    pub(crate) fn writing(self: &Arc<Self>) -> Writing {
        self.writing.fetch_add(1, Ordering::AcqRel);
        Writing(self.clone())
    }

    /// Waits until nothing is on its way; at most `patience`.
    pub(crate) async fn flushed(&self, patience: Duration) -> bool {
        let quiet = async {
            loop {
                let quiet = self.quiet.notified();
                if self.writing.load(Ordering::Acquire) == 0 {
                    return;
                }
                quiet.await;
            }
        };
        tokio::time::timeout(patience, quiet).await.is_ok()
    }

    /// Waits until the store can be written to again after `error`.
    pub(crate) async fn wait_out(self: &Arc<Self>, error: &StoreError) {
        if !self.is_down.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %error,
                "sessions cannot be written down: what has to be durable is answered with 503 until they can"
            );
            tokio::spawn(probe(self.clone(), retry_after(error)));
        }
        loop {
            let up = self.up.notified();
            if !self.is_down() {
                return;
            }
            up.await;
        }
    }
}

fn retry_after(error: &StoreError) -> Duration {
    match error {
        StoreError::Unavailable { retry_after } => (*retry_after).max(Duration::from_millis(100)),
        _ => Duration::from_secs(1),
    }
}

/// Writes and deletes a record until that works.
async fn probe(storage: Arc<Storage>, mut pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let key = Key { kind: Kind::State, id: u128::from_be_bytes(random()) };
        let record = Record { bytes: Arc::default(), owner: 0, expires_at: Some(Timestamp(0)) };
        let written = match storage.store.write(key, record, None).await {
            Ok(_) => storage.store.delete(key, None).await,
            Err(error) => Err(error),
        };
        match written {
            Err(error @ StoreError::Unavailable { .. }) => pause = retry_after(&error),
            _ => break,
        }
    }
    tracing::info!("sessions can be written down again");
    storage.is_down.store(false, Ordering::Release);
    storage.up.notify_waiters();
}

/// 128 bits of SHA-256: what stands for a secret, or for a name, in keys.
pub(crate) fn hash(purpose: &str, bytes: &[u8]) -> u128 {
    let mut digest = Sha256::new();
    digest.update((purpose.len() as u64).to_be_bytes());
    digest.update(purpose.as_bytes());
    digest.update(bytes);
    let digest = digest.finalize();
    let (half, _) = digest.split_first_chunk::<16>().expect("SHA-256 has 32 bytes");
    u128::from_be_bytes(*half)
}
