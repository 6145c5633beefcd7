//! The fixture server for the official conformance suite: what its scenarios expect to find, and nothing else.

mod ask;
mod content;
mod ledger;
mod rounds;
mod tasks;

use std::path::PathBuf;

use andon::prelude::{Http, Server, Sessions};
use andon::server::transport::Stdio;

const USAGE: &str = "conformance-server [--listen ADDRESS|stdio] [--data DIR] [--ledger FILE]";

/// What the command line says.
#[derive(Default)]
struct Options {
    listen: Option<String>,
    /// Where sessions are kept; without it they end with the process.
    data: Option<PathBuf>,
    /// Where the tool `ledger` writes; without it there is no such tool.
    ledger: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> andon::Result {
    let options = options(std::env::args().skip(1))?;
    let listen = options.listen.as_deref().unwrap_or("127.0.0.1:0");
    let http = if listen == "stdio" { None } else { Some(Http::bind(listen)?) };
    // The order of the tools is part of the contract: the first one is called without arguments.
    let server = Server::new("andon-conformance", env!("CARGO_PKG_VERSION"));
    let mut server = tasks::register(rounds::register(ask::register(content::register(server))));
    if let Some(directory) = options.data {
        server = server.sessions(Sessions::disk(directory));
    }
    if let Some(path) = &options.ledger {
        server = ledger::register(server, path)?;
    }
    match http {
        None => server.serve(Stdio).await,
        Some(http) => {
            eprintln!("listening on {}", http.url());
            server.serve(http).await
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> andon::Result<Options> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| andon::Error::misuse(USAGE))?;
        match word.as_str() {
            "--listen" => options.listen = Some(value),
            "--data" => options.data = Some(value.into()),
            "--ledger" => options.ledger = Some(value.into()),
            _ => return Err(andon::Error::misuse(USAGE)),
        }
    }
    Ok(options)
}
