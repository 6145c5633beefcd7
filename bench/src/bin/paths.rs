//! Plays one hot path in process a number of times, so that its instructions can be counted: `paths NAME CALLS`.
//! With `--idle` it does all but play it; what lies between the two counts is the path's. Without words it names the paths.
//!
//! `cargo xtask bench --compare REV` runs it under valgrind.

use std::process::ExitCode;
use std::sync::Arc;

use andon::http::{HttpOptions, HttpService};
use andon::prelude::{Context, Server, ToolError, tool};
use andon_bench::Error;
use andon_bench::peer::read;
use andon_bench::wire::{self, Era, Numbered};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

/// What is counted, each from the HTTP request as the server library hands it over to the last byte of the answer.
const PATHS: [Path; 6] = [
    Path { name: "call-legacy", era: Era::Legacy, body: Body::Call("echo") },
    Path { name: "call-modern", era: Era::Modern, body: Body::Call("echo") },
    Path { name: "progress-legacy", era: Era::Legacy, body: Body::Call("progress") },
    Path { name: "progress-modern", era: Era::Modern, body: Body::Call("progress") },
    Path { name: "list-legacy", era: Era::Legacy, body: Body::List },
    Path { name: "initialize", era: Era::Legacy, body: Body::Initialize },
];

/// Played before anything is counted, so that pools and maps have their size.
const WARM_UP_CALLS: usize = 200;

struct Path {
    name: &'static str,
    era: Era,
    body: Body,
}

enum Body {
    /// A call of this tool.
    Call(&'static str),
    List,
    /// A session that is left open.
    Initialize,
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
        let service = HttpService::new(host, HttpOptions::default());
        let session_id = match path.era {
            Era::Legacy => Some(open(&service).await?),
            Era::Modern => None,
        };
        let mut requests = Requests::new(path, session_id);
        for request in requests.take(WARM_UP_CALLS) {
            answer(&service, request).await?;
        }
        // Made beforehand: what they cost is the HTTP library's.
        for request in requests.take(calls) {
            if is_counted {
                answer(&service, request).await?;
            }
        }
        Ok(())
    })
}

async fn answer(service: &HttpService, request: Request<Full<Bytes>>) -> Result<(), Error> {
    let response = service.handle(request).await;
    if !response.status().is_success() {
        return Err(format!("the answer is {}", response.status()).into());
    }
    read(response.into_body()).await?;
    // Tasks that end after their answer belong to the call as well.
    tokio::task::yield_now().await;
    Ok(())
}

async fn open(service: &HttpService) -> Result<Arc<str>, Error> {
    let response = service.handle(wire::http_request(Era::Legacy, None, wire::INITIALIZE)).await;
    let session_id: Arc<str> = response.headers().get("mcp-session-id").ok_or("no session")?.to_str()?.into();
    read(response.into_body()).await?;
    service.handle(wire::http_request(Era::Legacy, Some(&session_id), wire::INITIALIZED)).await;
    Ok(session_id)
}

/// The requests of a path, no two the same.
struct Requests {
    era: Era,
    session_id: Option<Arc<str>>,
    text: Numbered,
}

impl Requests {
    fn new(path: &Path, session_id: Option<Arc<str>>) -> Self {
        let (text, session_id) = match path.body {
            Body::Call("echo") => (wire::call_body(path.era).to_owned(), session_id),
            Body::Call(tool) => {
                let meta = r#""_meta":{"progressToken":100000000"#;
                let text = wire::call_body(path.era).replace(r#""echo""#, &format!("{tool:?}"));
                let text = match path.era {
                    Era::Legacy => text.replace(r#""params":{"#, &format!(r#""params":{{{meta}}},"#)),
                    Era::Modern => text.replace(r#""_meta":{"#, &format!("{meta},")),
                };
                (text, session_id)
            }
            Body::List => (r#"{"jsonrpc":"2.0","id":100000000,"method":"tools/list"}"#.to_owned(), session_id),
            Body::Initialize => (wire::INITIALIZE.to_owned(), None),
        };
        Self { era: path.era, session_id, text: Numbered::new(text) }
    }

    fn take(&mut self, calls: usize) -> Vec<Request<Full<Bytes>>> {
        let make = |_| {
            let body = String::from_utf8_lossy(self.text.advance().0).into_owned();
            let mut request = wire::http_request(self.era, self.session_id.as_deref(), &body);
            if let Some(name) = request.headers_mut().get_mut("mcp-name") {
                let tool = if body.contains(r#""progress""#) { "progress" } else { "echo" };
                *name = http::HeaderValue::from_static(tool);
            }
            request
        };
        (0..calls).map(make).collect()
    }
}
