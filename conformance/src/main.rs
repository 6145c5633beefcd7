//! The fixture server for the official conformance suite: what its scenarios expect to find, and nothing else.

mod ask;
mod content;
mod rounds;

use andon::prelude::{Http, Server};

#[tokio::main]
async fn main() -> andon::Result {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let address = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--listen", address] => (*address).to_owned(),
        [] => "127.0.0.1:0".to_owned(),
        _ => return Err(andon::Error::misuse("conformance-server [--listen ADDRESS]")),
    };
    let http = Http::bind(&address)?;
    eprintln!("listening on {}", http.url());
    // The order of the tools is part of the contract: the first one is called without arguments.
    let server = Server::new("andon-conformance", env!("CARGO_PKG_VERSION"));
    let server = rounds::register(ask::register(content::register(server)));
    server.serve(http).await
}
