//! The servers under test.

use std::convert::Infallible;
use std::future::Future;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use xtask::tools;

use crate::wire::{Era, Http};
use crate::{Error, child};

mod floor;
mod rmcp;

pub use floor::Floor;
pub use rmcp::{sessions as rmcp_sessions, stateless as rmcp_stateless};

/// A server under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// A bare hyper handler: what HTTP and JSON cost without a protocol.
    Floor,
    /// The same handler behind axum.
    Axum,
    /// The demo server of the command `andon`.
    Andon,
    /// The same without sessions, as `rmcp-stateless` is, for clients of the era that has them.
    AndonStateless,
    /// `rmcp` with a session per client, kept by its `LocalSessionManager`.
    RmcpSessions,
    /// `rmcp` without sessions, made to answer in JSON: the fastest that it has.
    RmcpStateless,
    /// `rmcp` without sessions, which answers by events, as it does by default.
    RmcpStatelessSse,
    /// The official TypeScript SDK, on the Node.js that npm brings.
    Typescript,
    /// The official Python SDK.
    Python,
    /// The Rust SDK `turbomcp`.
    Turbomcp,
    /// The Rust SDK `pmcp`, with its router that serves requests at once.
    Pmcp,
}

/// The official TypeScript SDK and what its server needs.
const TYPESCRIPT: [&str; 4] =
    ["@modelcontextprotocol/server@2.4.0", "@modelcontextprotocol/node@2.1.2", "zod@4", tools::NODE];
/// The official Python SDK.
const PYTHON: &str = "mcp==2.3.0";

impl Peer {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 11] = [
        Self::Floor,
        Self::Axum,
        Self::Andon,
        Self::AndonStateless,
        Self::RmcpSessions,
        Self::RmcpStateless,
        Self::RmcpStatelessSse,
        Self::Typescript,
        Self::Python,
        Self::Turbomcp,
        Self::Pmcp,
    ];

    /// Those whose handlers can be called in this process.
    pub const IN_PROCESS: [Self; 4] = [Self::Floor, Self::RmcpSessions, Self::RmcpStateless, Self::Andon];

    /// Whether it is what all this is about.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Andon | Self::AndonStateless)
    }

    /// The peer's name in a table and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Axum => "axum",
            Self::Andon => "andon",
            Self::AndonStateless => "andon-stateless",
            Self::RmcpSessions => "rmcp-sessions",
            Self::RmcpStateless => "rmcp-stateless",
            Self::RmcpStatelessSse => "rmcp-stateless-sse",
            Self::Typescript => "typescript",
            Self::Python => "python",
            Self::Turbomcp => "turbomcp",
            Self::Pmcp => "pmcp",
        }
    }

    /// The eras it is measured in. Sessions do not exist in the modern era, where it makes no difference to have none, and `pmcp`
    /// needs another build of itself for it.
    pub fn eras(self) -> &'static [Era] {
        match self {
            Self::AndonStateless | Self::RmcpSessions | Self::Pmcp => &[Era::Legacy],
            _ => &[Era::Legacy, Era::Modern],
        }
    }

    /// Whether it is built with this program: no other language, and no workspace of its own, brings it.
    pub fn is_built_here(self) -> bool {
        !matches!(self, Self::Typescript | Self::Python | Self::Turbomcp | Self::Pmcp)
    }

    /// The versions of HTTP that it is measured with.
    pub fn https(self) -> &'static [Http] {
        match self {
            Self::Axum | Self::Typescript | Self::Python | Self::Turbomcp | Self::Pmcp => &[Http::One],
            _ => &[Http::One, Http::Two],
        }
    }

    /// Whether it is measured with echo calls only: it has no other tool, or another peer shows the rest.
    pub fn only_echoes(self) -> bool {
        matches!(self, Self::AndonStateless | Self::RmcpStatelessSse | Self::Turbomcp | Self::Pmcp)
    }

    /// Whether it keeps sessions in the legacy era.
    pub fn has_sessions(self) -> bool {
        !matches!(self, Self::AndonStateless | Self::RmcpStateless | Self::RmcpStatelessSse)
    }

    /// How long it needs at least until it is as fast as it gets.
    pub fn warm_up(self) -> Duration {
        match self {
            // It compiles what is called often.
            Self::Typescript => Duration::from_secs(3),
            _ => Duration::ZERO,
        }
    }

    /// Builds or fetches what it needs that this program is not.
    ///
    /// # Errors
    /// It does not build, or a registry cannot be reached.
    pub fn prepare(self) -> Result<(), Error> {
        match self {
            Self::Andon | Self::AndonStateless => child::prepare_andon(),
            Self::Typescript => {
                let folder = tools::npm("bench-typescript", &TYPESCRIPT)?;
                let script = tools::root().join("bench/peers/typescript/server.mjs");
                std::fs::copy(script, folder.join("server.mjs"))?;
                Ok(())
            }
            Self::Python => Ok(tools::python("bench-python", PYTHON).map(drop)?),
            Self::Turbomcp | Self::Pmcp => {
                let manifest = tools::root().join("bench/peers/rust/Cargo.toml").display().to_string();
                let target = others().display().to_string();
                let package = format!("bench-{}", self.name());
                let words = ["build", "--release", "--quiet", "--locked", "--manifest-path", &manifest];
                Ok(tools::cargo(&[&words[..], &["--target-dir", &target, "--package", &package]].concat(), &[])?)
            }
            _ => Ok(()),
        }
    }

    /// The command that serves on a free port. It says on its standard error which.
    ///
    /// # Errors
    /// The operating system does not say where this program is.
    pub fn command(self, http: Http) -> Result<Command, Error> {
        Ok(match self {
            Self::Andon | Self::AndonStateless => {
                let mut command = Command::new(child::andon()?);
                command.args(["serve", "--listen", "127.0.0.1:0"]);
                command.args((self == Self::AndonStateless).then_some("--stateless"));
                command
            }
            Self::Typescript => {
                let folder = tools::target().join("bench-typescript");
                let mut command = Command::new(tools::node(&folder));
                command.arg("server.mjs").current_dir(&folder);
                command
            }
            Self::Python => {
                let mut command = Command::new(tools::python("bench-python", PYTHON)?);
                command.arg(tools::root().join("bench/peers/python/server.py"));
                command
            }
            Self::Turbomcp | Self::Pmcp => {
                let program = format!("bench-{}{}", self.name(), std::env::consts::EXE_SUFFIX);
                Command::new(others().join("release").join(program))
            }
            _ => {
                let mut command = Command::new(child::beside("andon-bench")?);
                command.args(["peer", self.name(), "--http", http.name()]);
                command
            }
        })
    }

    /// The command that serves the process that starts it, over standard input and output.
    ///
    /// # Errors
    /// The operating system does not say where this program is.
    pub fn stdio_command(self) -> Result<Command, Error> {
        let mut command = self.command(Http::One)?;
        match self {
            Self::Andon => {
                command = Command::new(child::andon()?);
                command.args(["serve", "--stdio"]);
            }
            _ => {
                command.arg("--stdio");
            }
        }
        Ok(command)
    }
}

/// Where servers on other SDKs in this language are built: a workspace of their own, with dependencies of its own.
fn others() -> PathBuf {
    tools::target().join("bench-rust")
}

/// Serves one of the peers that live in this program, until the process is ended.
///
/// # Errors
/// No socket, no runtime, or a peer that is a program of its own.
pub fn serve(peer: Peer, http: Http) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match peer {
            Peer::Floor => {
                let floor = Arc::new(Floor::default());
                listen(http, move |request| floor.clone().answer(request)).await
            }
            Peer::Axum => axum(Arc::new(Floor::default())).await,
            Peer::RmcpSessions => listen_with(http, rmcp_sessions()).await,
            Peer::RmcpStateless => listen_with(http, rmcp_stateless()).await,
            Peer::RmcpStatelessSse => listen_with(http, rmcp::stateless_sse()).await,
            _ => Err("this server is a program of its own".into()),
        }
    })
}

/// Serves one of the peers that live in this program over standard input and output, until there is no more input.
///
/// # Errors
/// No runtime, or a peer that is a program of its own.
pub fn serve_stdio(peer: Peer) -> Result<(), Error> {
    match peer {
        Peer::Floor => {
            let input = BufReader::with_capacity(64 << 10, std::io::stdin());
            Ok(floor::serve_lines(input, std::io::stdout().lock())?)
        }
        Peer::RmcpSessions | Peer::RmcpStateless => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(rmcp::stdio())
        }
        _ => Err("this server is a program of its own".into()),
    }
}

/// Serves one of the kinds of `rmcp`.
async fn listen_with(version: Http, service: Arc<rmcp::Endpoint>) -> Result<(), Error> {
    let answer = move |request| {
        let service = service.clone();
        async move { service.handle(request).await }
    };
    listen(version, answer).await
}

/// Listens on a free port and says on stderr which.
async fn listen<H, F, B>(version: Http, handler: H) -> Result<(), Error>
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let listener = bind().await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(version, stream, handler.clone()));
    }
}

async fn connection<H, F, B>(version: Http, stream: TcpStream, handler: H)
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Error>,
{
    let service = service_fn(move |request| {
        let answered = handler(request);
        async move { Ok::<_, Infallible>(answered.await) }
    });
    let stream = TokioIo::new(stream);
    // A client that goes is no failure of the server.
    let _ = match version {
        Http::One => http1::Builder::new().timer(TokioTimer::new()).serve_connection(stream, service).await,
        Http::Two => http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await,
    };
}

async fn axum(floor: Arc<Floor>) -> Result<(), Error> {
    use axum::serve::ListenerExt as _;
    let answer = move |request: axum::extract::Request| {
        let floor = floor.clone();
        async move { floor.answer(request).await.map(axum::body::Body::new) }
    };
    let router = axum::Router::new().route("/mcp", axum::routing::any(answer));
    let listener = bind().await?.tap_io(|stream| {
        // Without it the connection works as well.
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, router).await?)
}

async fn bind() -> Result<TcpListener, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);
    Ok(listener)
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
