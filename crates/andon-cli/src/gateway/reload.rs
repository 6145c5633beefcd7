//! Serves what the file says now: on SIGHUP, and when it has changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use andon_gateway::{Gateway, config};

/// How often it is looked whether the files have changed.
const LOOK: Duration = Duration::from_secs(1);

/// Heeds changes for as long as the process lasts. A file that is wrong changes nothing but what was approved.
pub(super) async fn watch(gateway: Arc<Gateway>, file: PathBuf, settings: Option<PathBuf>) {
    let files: Vec<PathBuf> = std::iter::once(file.clone()).chain(settings.clone()).collect();
    let mut known = stamps(&files);
    let mut hang_ups = HangUps::new();
    loop {
        let is_asked = tokio::select! {
            () = hang_ups.next() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let now = stamps(&files);
        if now == known && !is_asked {
            continue;
        }
        known = now;
        let checked = config::read(&file, settings.as_deref());
        super::tell(&checked.findings);
        match checked.config {
            Some(config) => {
                let (started, ended) = gateway.reload(&config);
                tracing::info!(file = %file.display(), started, ended, "the configuration was read again");
            }
            None => {
                // It says nothing of what is trusted.
                gateway.heed_approvals();
                tracing::error!(file = %file.display(), "nothing changes until that is mended");
            }
        }
    }
}

/// When each was changed, and how large it is; nothing of a file that cannot be seen.
fn stamps(files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
    let stamp = |file: &PathBuf| {
        let about = std::fs::metadata(file).ok()?;
        Some((about.modified().ok()?, about.len()))
    };
    files.iter().map(stamp).collect()
}

/// SIGHUP, where there is such a thing.
struct HangUps {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl HangUps {
    #[cfg(unix)]
    fn new() -> Self {
        Self { signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok() }
    }

    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal {
            signal.recv().await;
            return;
        }
        std::future::pending::<()>().await;
    }
}
