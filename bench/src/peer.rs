//! The servers under test.

use std::convert::Infallible;
use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::Error;
use crate::wire::Era;

mod floor;
mod rmcp;

pub use floor::answer as floor_answer;
pub use rmcp::{Echo, sessions as rmcp_sessions, stateless as rmcp_stateless};

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// A bare hyper handler: what HTTP and JSON cost without a protocol.
    Floor,
    /// `rmcp` with a session per client, kept by its `LocalSessionManager`.
    RmcpSessions,
    /// `rmcp` without sessions, which answers in JSON.
    RmcpStateless,
    /// The demo server of the command `andon`.
    Andon,
}

impl Peer {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 4] = [Self::Floor, Self::RmcpSessions, Self::RmcpStateless, Self::Andon];

    /// The peer's name in a table and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::RmcpSessions => "rmcp-sessions",
            Self::RmcpStateless => "rmcp-stateless",
            Self::Andon => "andon",
        }
    }

    /// The workloads it is measured with. Sessions do not exist in the modern era.
    pub fn eras(self) -> &'static [Era] {
        match self {
            Self::RmcpSessions => &[Era::Legacy],
            Self::Floor | Self::RmcpStateless | Self::Andon => &[Era::Legacy, Era::Modern],
        }
    }
}

/// Serves one of the peers that live in this program, until the process is ended.
///
/// # Errors
/// No socket, no runtime, or a peer that is a program of its own.
pub fn serve(peer: Peer) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match peer {
            Peer::Floor => listen(floor_answer).await,
            Peer::RmcpSessions => {
                let service = rmcp_sessions();
                listen(move |request| {
                    let service = service.clone();
                    async move { service.handle(request).await }
                })
                .await
            }
            Peer::RmcpStateless => {
                let service = rmcp_stateless();
                listen(move |request| {
                    let service = service.clone();
                    async move { service.handle(request).await }
                })
                .await
            }
            Peer::Andon => Err("andon is a program of its own".into()),
        }
    })
}

/// Listens on a free port and says on stderr which.
async fn listen<H, F, B>(handler: H) -> Result<(), Error>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handler = handler.clone();
        let service = service_fn(move |request| {
            let answered = handler(request);
            async move { Ok::<_, Infallible>(answered.await) }
        });
        tokio::spawn(async move {
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                eprintln!("a connection failed: {error}");
            }
        });
    }
}

/// Reads a body that usually comes in one piece, without a copy then.
///
/// # Errors
/// Those of the body.
pub async fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Bytes, B::Error> {
    let mut whole = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        whole = if whole.is_empty() { data } else { [whole, data].concat().into() };
    }
    Ok(whole)
}
