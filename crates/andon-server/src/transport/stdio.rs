//! Standard input and output, for clients that start the server as a child process.

use std::fs::File;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use rustix::stdio::{dup2_stdout, stderr, stdout};

use super::serve_lines;
use crate::error::Error;
use crate::host::Host;
use crate::principal::Principal;
use crate::serve::{Serve, Shutdown};

/// Serves the process that started this one. Whatever else is printed to standard output, by a handler or by a
/// library, goes to standard error: only messages reach the client.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stdio;

impl Stdio {
    /// Serves until standard input ends or `shutdown`.
    ///
    /// # Errors
    /// When standard output cannot be taken, or reading or writing fails.
    pub async fn run(self, host: Arc<Host>, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let own = File::from(rustix::io::fcntl_dupfd_cloexec(stdout(), 3)?);
        dup2_stdout(stderr())?;
        let output = tokio::fs::File::from_std(own);
        serve_lines(&host, Principal::anonymous(), tokio::io::stdin(), output, shutdown).await
    }
}

impl Serve for Stdio {
    fn serve(self, host: Arc<Host>, mut shutdown: Shutdown) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(async move { self.run(host, shutdown.requested()).await.map_err(|error| Error::io("stdio", error)) })
    }
}
