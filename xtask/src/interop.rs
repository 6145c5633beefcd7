//! Other people's clients against the demo server, and our client against other people's servers; over HTTP and over
//! stdio.

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::tools::{NODE, Server, finish, node, npm, program, python, root};

/// Folder, package, script.
const TYPESCRIPT: [(&str, &str, &str); 2] = [
    ("interop-typescript-1", "@modelcontextprotocol/sdk@1.32.2", "typescript1.mjs"),
    ("interop-typescript-2", "@modelcontextprotocol/client@2.4.0", "typescript2.mjs"),
];
const PYTHON: &str = "mcp==2.3.0";
const EVERYTHING: &str = "@modelcontextprotocol/server-everything@2026.8.31";
const REVISIONS: [&str; 5] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"];

pub(crate) fn run() -> Outcome {
    clients()?;
    servers()
}

/// Our client against servers that others have written, and against ours on every revision.
fn servers() -> Outcome {
    let folder = npm("interop-everything", &[EVERYTHING, NODE])?;
    let script = folder.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    let (node, script) = (node(&folder).display().to_string(), script.display().to_string());
    visit("everything", &["--", &node, &script, "stdio"])?;
    let (everything, url) = everything_over_http(&node, &script)?;
    visit("everything", &[&url])?;
    drop(everything);

    let (python, script) =
        (python("interop-python", PYTHON)?.display().to_string(), scripts().join("server2.py").display().to_string());
    let mut http = Command::new(&python);
    http.args([&script, "--http"]);
    let http = Server::of(http)?;
    for revision in ["2025-11-25", "2026-07-28"] {
        visit("python", &["--protocol", revision, "--", &python, &script])?;
        visit("python", &["--protocol", revision, &http.url])?;
    }

    let rmcp = Server::start("andon-bench", &["peer", "rmcp-sessions"])?;
    visit("rmcp", &["--protocol", "2025-11-25", &rmcp.url])?;

    let demo = Server::start("andon", &["serve", "--listen", "127.0.0.1:0"])?;
    let two_endpoints = format!("{}/sse", demo.url.trim_end_matches("/mcp"));
    let andon = program("andon").display().to_string();
    for revision in REVISIONS {
        visit("demo", &["--protocol", revision, &demo.url])?;
        visit("demo", &["--protocol", revision, "--", &andon, "serve", "--stdio"])?;
    }
    visit("demo", &["--protocol", "2024-11-05", &two_endpoints])
}

fn visit(whose: &str, words: &[&str]) -> Outcome {
    let mut command = Command::new(program("interop-client"));
    command.arg(whose).args(words);
    finish(command)
}

/// It wants to be told its port, and says when it listens in words of its own.
pub(crate) fn everything_over_http(node: &str, script: &str) -> Result<(Server, String), String> {
    let start = || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| format!("no free port: {error}"))?.port().to_string();
        let mut command = Command::new(node);
        command.args([script, "streamableHttp"]).env("PORT", &port);
        let server = Server::of(command)?;
        Ok((server, format!("http://127.0.0.1:{port}/mcp")))
    };
    // Somebody else may have taken the port in between.
    start().or_else(|_: String| start())
}

/// Other people's clients against the demo server.
fn clients() -> Outcome {
    let server = Server::start("andon", &["serve", "--listen", "127.0.0.1:0"])?;
    let binary = program("andon").display().to_string();
    let places = [vec![server.url.clone()], vec!["--stdio".to_owned(), binary]];
    let sse = vec!["--sse".to_owned(), format!("{}/sse", server.url.trim_end_matches("/mcp"))];
    for (folder, package, script) in TYPESCRIPT {
        let folder = npm(folder, &[package, NODE])?;
        for file in ["checks.mjs", script] {
            let own = folder.join(file);
            std::fs::copy(scripts().join(file), own).map_err(|error| format!("{file}: {error}"))?;
        }
        // One line of the SDK is enough for a transport that both have alike.
        for place in places.iter().chain((script == "typescript1.mjs").then_some(&sse)) {
            let mut command = Command::new(node(&folder));
            command.arg(script).args(place).current_dir(&folder);
            finish(command)?;
        }
    }
    tasks()?;
    stateless()?;
    let python = python("interop-python", PYTHON)?;
    for place in places.iter().chain([&sse]) {
        let mut command = Command::new(&python);
        command.arg(scripts().join("python2.py")).args(place);
        finish(command)?;
    }
    Ok(())
}

/// Core tasks, which of the official SDKs only the 1.x line of TypeScript has a client for.
fn tasks() -> Outcome {
    let server = Server::start("conformance-server", &["--listen", "127.0.0.1:0"])?;
    typescript1("tasks1.mjs", &[&server.url])
}

/// Two processes without sessions, of which each answers every other request of one client.
fn stateless() -> Outcome {
    let start = || Server::start("andon", &["serve", "--stateless", "--listen", "127.0.0.1:0"]);
    let (first, second) = (start()?, start()?);
    typescript1("stateless1.mjs", &[&first.url, &second.url])
}

/// Runs a script on the 1.x line of the TypeScript SDK.
fn typescript1(script: &str, words: &[&str]) -> Outcome {
    let (folder, package, _) = TYPESCRIPT[0];
    let folder = npm(folder, &[package, NODE])?;
    std::fs::copy(scripts().join(script), folder.join(script)).map_err(|error| format!("{script}: {error}"))?;
    let mut command = Command::new(node(&folder));
    command.arg(script).args(words).current_dir(&folder);
    finish(command)
}

fn scripts() -> PathBuf {
    root().join("conformance").join("interop")
}
