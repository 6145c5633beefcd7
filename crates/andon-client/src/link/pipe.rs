//! Connections over a pair of byte streams, and what has such a pair: programs, sockets, servers of this process.

use std::sync::Arc;

use andon_core::client::Loss;
use tokio::io::{AsyncRead, AsyncWrite};

use super::child::ChildLink;
use super::lines::Lines;
#[cfg(feature = "server")]
use super::local::Local;
use super::{Ear, Link};
use crate::target::Kind;

/// Over streams that somebody else has opened.
pub(crate) fn streams(
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    line_bytes_max: usize,
    ear: Ear,
) -> Arc<dyn Link> {
    let end = async { "the server closed the connection".to_owned() };
    Arc::new(Lines::new(input, output, line_bytes_max, ear, std::future::pending(), end))
}

/// Starts or connects what can be so again and again.
///
/// Borrowed exclusively, because streams that wait to be used cannot be shared between threads.
pub(crate) async fn open(kind: &mut Kind, line_bytes_max: usize, ear: Ear) -> Result<Arc<dyn Link>, Loss> {
    let unreachable = |error: std::io::Error| Loss::Unreachable(error.to_string());
    Ok(match kind {
        Kind::Command(command) => Arc::new(ChildLink::start(command, line_bytes_max, ear).await?),
        Kind::Tcp(address) => {
            let (input, output) = tokio::net::TcpStream::connect(&*address).await.map_err(unreachable)?.into_split();
            streams(input, output, line_bytes_max, ear)
        }
        #[cfg(unix)]
        Kind::Unix(path) => {
            let (input, output) = tokio::net::UnixStream::connect(&*path).await.map_err(unreachable)?.into_split();
            streams(input, output, line_bytes_max, ear)
        }
        #[cfg(feature = "server")]
        Kind::Host(host, principal) => Arc::new(Local::new(host, principal.clone(), ear)),
        Kind::Streams(..) | Kind::Url(_) | Kind::Bad(_) => {
            unreachable!("streams are used once, URLs go over HTTP, and what is bad is refused before")
        }
    })
}
