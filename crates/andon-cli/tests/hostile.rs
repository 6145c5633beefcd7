//! The command under hostile clients: what it takes of memory, and what it writes down.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "each test file uses some of it")]
mod process;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use process::Process;
use serde_json::{Value, json};

/// `andon serve`, with all that it writes down.
struct Server {
    child: Process,
    address: String,
    log: Receiver<String>,
}

impl Server {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_andon"));
        command.args(words).args(["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
        let mut child = Process::start(&mut command);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (sender, log) = channel();
        let url = lines.find_map(|line| {
            let url = line.split_once("listening on http://").map(|(_, url)| url.trim_end_matches("/mcp").to_owned());
            sender.send(line).unwrap();
            url
        });
        std::thread::spawn(move || lines.try_for_each(|line| sender.send(line)));
        Self { child, address: url.unwrap(), log }
    }

    fn send(&self, request: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The most that it ever had in memory.
    fn peak_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    /// Ends it; all that it wrote down.
    fn stop(mut self) -> String {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.log.iter().collect::<Vec<_>>().join("\n")
    }
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn initialize() -> String {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string()
}

fn call(id: u32, arguments: Value) -> String {
    let params = json!({"name": "echo", "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string()
}

fn session_of(answer: &str) -> String {
    let line = answer.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
    line.unwrap_or_else(|| panic!("no session: {answer}")).to_owned()
}

#[test]
fn x9_a_flood_of_large_bodies_and_sessions_takes_bounded_memory() {
    let server = Server::start(&[]);
    let large = post("", &call(1, json!({"message": "x".repeat((4 << 20) - 1_000)})));
    let most = &large.as_bytes()[..large.len() - 1];
    let mut flood: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
    // Those that are refused are closed while they still write.
    flood.iter_mut().for_each(|socket| drop(socket.write_all(most)));
    for _ in 0..2_000 {
        session_of(&server.send(&post("", &initialize())));
    }
    let peak = server.peak_bytes();
    assert!(peak < 256 << 20, "{} MiB", peak >> 20);
    drop(flood);
    server.stop();
}

#[test]
fn s14_l2_secrets_are_in_no_log() {
    let server = Server::start(&["--log", "trace"]);
    let session = session_of(&server.send(&post("", &initialize())));
    let named = format!("Mcp-Session-Id: {session}\r\n");
    let canaries = format!("{named}Authorization: Bearer canary-token\r\nCookie: canary-cookie\r\n");
    let answer = server.send(&post(&canaries, &call(1, json!({"message": "canary-argument"}))));
    assert!(answer.contains("canary-argument"), "{answer}");
    let wrong = server.send(&post(&canaries, &call(2, json!({"message": {"canary-key": "canary-value"}}))));
    assert!(wrong.starts_with("HTTP/1.1 200"), "{wrong}");
    server.send(&format!("DELETE /mcp?canary-query HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{named}\r\n"));
    let mut events = TcpStream::connect(&server.address).unwrap();
    events.write_all(b"GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let mut lines = BufReader::new(events.try_clone().unwrap()).lines().map_while(Result::ok);
    let other = lines.find_map(|line| line.split_once("session_id=").map(|(_, id)| id.to_owned())).unwrap();
    let said = server.send(&post("", "{}").replace("/mcp", &format!("/messages?session_id={other}")));
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    drop((events, lines));
    let log = server.stop();
    assert!(log.lines().count() > 10, "it says nothing: {log}");
    for secret in [session.as_str(), other.as_str(), "canary"] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} is in the log");
    }
}
