//! Plays one hot path in process a number of times, so that its instructions can be counted: `paths NAME CALLS`.
//! With `--idle` it does all but play it; what lies between the two counts is the path's. Without words it names the paths.
//!
//! `cargo xtask bench --compare REV` runs it under valgrind.

use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;

use andon::http::{Http, HttpOptions, HttpService};
use andon::prelude::{Context, Server, ToolError, tool};
use andon_bench::Error;
use andon_bench::connection::Connection;
use andon_bench::peer::read;
use andon_bench::wire::{self, Era, Numbered};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use memchr::memmem;

/// What is counted.
const PATHS: [Path; 8] = [
    Path { name: "call-legacy", era: Era::Legacy, body: Body::Call("echo"), way: Way::Service },
    Path { name: "call-modern", era: Era::Modern, body: Body::Call("echo"), way: Way::Service },
    Path { name: "progress-legacy", era: Era::Legacy, body: Body::Call("progress"), way: Way::Service },
    Path { name: "progress-modern", era: Era::Modern, body: Body::Call("progress"), way: Way::Service },
    Path { name: "list-legacy", era: Era::Legacy, body: Body::List, way: Way::Service },
    Path { name: "initialize", era: Era::Legacy, body: Body::Initialize, way: Way::Service },
    Path { name: "http1-legacy", era: Era::Legacy, body: Body::Call("echo"), way: Way::Http1 },
    Path { name: "http1-modern", era: Era::Modern, body: Body::Call("echo"), way: Way::Http1 },
];

/// Played before anything is counted, so that pools and maps have their size.
const WARM_UP_CALLS: usize = 200;

struct Path {
    name: &'static str,
    era: Era,
    body: Body,
    way: Way,
}

enum Body {
    /// A call of this tool.
    Call(&'static str),
    List,
    /// A session that is left open.
    Initialize,
}

/// What belongs to a path.
enum Way {
    /// From the request as an HTTP library hands it over to the last byte of the answer.
    Service,
    /// All that server, client and runtime do for a call over one connection.
    Http1,
}

/// Say the message again.
#[tool]
async fn echo(
    /// What to say.
    message: String,
) -> String {
    message
}

/// Say the message again, after ten steps.
#[tool]
async fn progress(
    /// What to say.
    message: String,
    context: Context,
) -> Result<String, ToolError> {
    for step in 1..=10 {
        context.progress(f64::from(step), Some(10.0), None).await?;
    }
    Ok(message)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        [] => {
            PATHS.iter().for_each(|path| println!("{}", path.name));
            Ok(())
        }
        [name, calls] => play(name, calls, true),
        [name, calls, "--idle"] => play(name, calls, false),
        _ => Err("paths [NAME CALLS [--idle]]".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn play(name: &str, calls: &str, is_counted: bool) -> Result<(), Error> {
    let path = PATHS.iter().find(|path| path.name == name).ok_or("no such path: without words they are named")?;
    let calls: usize = calls.parse()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let host = Server::new("paths", env!("CARGO_PKG_VERSION")).with(echo).with(progress).build()?;
        let mut door = Door::open(&path.way, host).await?;
        let session_id = door.session(path).await?;
        let mut text = text(path);
        for request in door.requests(path, session_id.as_deref(), &mut text, WARM_UP_CALLS) {
            door.answer(request).await?;
        }
        // Made beforehand: what they cost is the client's.
        for request in door.requests(path, session_id.as_deref(), &mut text, calls) {
            if is_counted {
                door.answer(request).await?;
            }
        }
        Ok(())
    })
}

/// Where requests go in.
enum Door {
    Service(HttpService),
    Http1 { connection: Connection, authority: String },
}

enum Prepared {
    Message(Box<Request<Full<Bytes>>>),
    Text(String),
}

impl Door {
    async fn open(way: &Way, host: Arc<andon::server::host::Host>) -> Result<Self, Error> {
        match way {
            Way::Service => Ok(Self::Service(HttpService::new(host, HttpOptions::default()))),
            Way::Http1 => {
                let http = Http::bind("127.0.0.1:0")?;
                let address = http.address();
                tokio::spawn(http.run(host, pending()));
                Ok(Self::Http1 { connection: Connection::open(address).await?, authority: address.to_string() })
            }
        }
    }

    /// Opens a session, if the path has one.
    async fn session(&mut self, path: &Path) -> Result<Option<String>, Error> {
        if path.era == Era::Modern || matches!(path.body, Body::Initialize) {
            return Ok(None);
        }
        match self {
            Self::Http1 { connection, authority } => connection.session(authority, path.era).await,
            Self::Service(service) => {
                let response = service.handle(wire::http_request(Era::Legacy, None, wire::INITIALIZE)).await;
                let session_id = response.headers().get("mcp-session-id").ok_or("no session")?.to_str()?.to_owned();
                read(response.into_body()).await?;
                service.handle(wire::http_request(Era::Legacy, Some(&session_id), wire::INITIALIZED)).await;
                Ok(Some(session_id))
            }
        }
    }

    /// The next requests of a path: no two are the same, but for those that open sessions.
    fn requests(&self, path: &Path, session_id: Option<&str>, text: &mut Numbered, calls: usize) -> Vec<Prepared> {
        let make = |_| {
            let body = String::from_utf8_lossy(text.advance().0).into_owned();
            match self {
                Self::Service(_) => Prepared::Message(wire::http_request(path.era, session_id, &body).into()),
                Self::Http1 { authority, .. } => Prepared::Text(wire::request(authority, path.era, session_id, &body)),
            }
        };
        (0..calls).map(make).collect()
    }

    async fn answer(&mut self, request: Prepared) -> Result<(), Error> {
        match (self, request) {
            (Self::Service(service), Prepared::Message(request)) => {
                let body = read(service.handle(*request).await.into_body()).await?;
                // Tasks that end after their answer belong to the call as well.
                tokio::task::yield_now().await;
                check(&body)
            }
            (Self::Http1 { connection, .. }, Prepared::Text(text)) => {
                connection.exchange(text.as_bytes()).await?;
                check(connection.body())
            }
            _ => Err("invariant: a request goes in where it was made for".into()),
        }
    }
}

/// An error in place of a result would be a short path.
fn check(body: &[u8]) -> Result<(), Error> {
    match memmem::find(body, br#""result":{"#) {
        Some(_) => Ok(()),
        None => Err(format!("there is no result in {}", String::from_utf8_lossy(body)).into()),
    }
}

/// What is said in each request of a path.
fn text(path: &Path) -> Numbered {
    Numbered::new(match path.body {
        Body::Call("echo") => wire::call_body(path.era).to_owned(),
        Body::Call(tool) => {
            let meta = r#""_meta":{"progressToken":100000000"#;
            let text = wire::call_body(path.era).replace(r#""echo""#, &format!("{tool:?}"));
            match path.era {
                Era::Legacy => text.replace(r#""params":{"#, &format!(r#""params":{{{meta}}},"#)),
                Era::Modern => text.replace(r#""_meta":{"#, &format!("{meta},")),
            }
        }
        Body::List => r#"{"jsonrpc":"2.0","id":100000000,"method":"tools/list"}"#.to_owned(),
        Body::Initialize => wire::INITIALIZE.to_owned(),
    })
}
