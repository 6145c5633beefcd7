//! How operators come in: a socket that only its user can open, or a loopback port.

#[cfg(unix)]
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use andon_server::error::Error;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{AdminToken, CONNECTIONS_MAX, Pass, Resources, attend};
use crate::listener::BindError;

/// A place that is listened on.
pub(super) enum Door {
    #[cfg(unix)]
    Socket {
        listener: std::os::unix::net::UnixListener,
        file: socket::SocketFile,
    },
    Port(std::net::TcpListener, Arc<AdminToken>),
}

/// The same, within a runtime.
pub(super) enum OpenDoor {
    #[cfg(unix)]
    Socket {
        listener: tokio::net::UnixListener,
        _file: socket::SocketFile,
    },
    Port(TcpListener, Arc<AdminToken>),
}

impl Door {
    #[cfg(unix)]
    pub(super) fn socket(path: &std::path::Path) -> Result<Self, Error> {
        let (listener, file) = socket::listen(path)?;
        Ok(Self::Socket { listener, file })
    }

    pub(super) fn address(address: &str, token: AdminToken) -> Result<Self, Error> {
        let address = crate::listener::resolve(address)?;
        if !address.ip().is_loopback() {
            let why = format!("operators come in from this machine only, and {address} is reachable from others");
            return Err(Error::misuse(why));
        }
        let listener = std::net::TcpListener::bind(address).map_err(BindError::Io)?;
        Ok(Self::Port(listener, Arc::new(token)))
    }

    pub(super) fn bound_to(&self) -> Option<SocketAddr> {
        match self {
            #[cfg(unix)]
            Self::Socket { .. } => None,
            Self::Port(listener, _) => listener.local_addr().ok(),
        }
    }

    pub(super) fn open(self) -> std::io::Result<OpenDoor> {
        Ok(match self {
            #[cfg(unix)]
            Self::Socket { listener, file } => {
                listener.set_nonblocking(true)?;
                OpenDoor::Socket { listener: tokio::net::UnixListener::from_std(listener)?, _file: file }
            }
            Self::Port(listener, token) => {
                listener.set_nonblocking(true)?;
                OpenDoor::Port(TcpListener::from_std(listener)?, token)
            }
        })
    }
}

impl OpenDoor {
    /// Takes connections, for ever.
    pub(super) async fn attend(&self, resources: &Arc<Resources>) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
            if let Err(error) = self.take(resources.clone(), slot).await {
                tracing::warn!(%error, "operators cannot come in now; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn take(&self, resources: Arc<Resources>, slot: OwnedSemaphorePermit) -> std::io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Socket { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                let pass = if socket::may_enter(&stream) { Pass::Known } else { Pass::Stranger };
                tokio::spawn(async move {
                    attend(stream, pass, resources).await;
                    drop(slot);
                });
            }
            Self::Port(listener, token) => {
                let (stream, _) = listener.accept().await?;
                let pass = Pass::Token(token.clone());
                tokio::spawn(async move {
                    attend(stream, pass, resources).await;
                    drop(slot);
                });
            }
        }
        Ok(())
    }
}
