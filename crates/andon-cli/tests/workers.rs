//! `andon serve --workers N`: one host behind many processes, which may be killed one by one and all at once.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "each test file uses some of it")]
mod process;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use process::Process;
use serde_json::{Value, json};

/// The demo server behind workers.
struct Server {
    child: Process,
    address: String,
}

impl Server {
    fn start(words: &[&str]) -> Self {
        Self::start_with(&format!("exec \"$0\" serve {} \"$@\"", words.join(" ")))
    }

    /// By a script of the shell, whose `$0` is the command.
    fn start_with(script: &str) -> Self {
        let mut command = Command::new("bash");
        command.args(["-c", script, env!("CARGO_BIN_EXE_andon"), "--log", "info"]);
        if !script.contains("--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let mut child = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let url = line.split_once("listening on http://").map(|(_, url)| url.trim_end_matches("/mcp").to_owned());
            if url.is_none() {
                eprintln!("{line}");
            }
            url
        });
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        let server = Self { child, address: address.expect("it listens") };
        // The first answer says that there is a worker.
        assert_eq!(server.connect().ask("GET", "/healthz", "", "").status, 200);
        server
    }

    fn connect(&self) -> Connection {
        Connection::to(&self.address)
    }

    /// The workers that run now.
    fn workers(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let children = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("children")));
        let children: String = children.map(Result::unwrap_or_default).collect();
        children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Waits until there are `count` workers that are not among `but`.
    fn workers_other_than(&self, but: &[u32], count: usize) -> Vec<u32> {
        until(|| Some(self.workers()).filter(|all| all.len() == count && !all.iter().any(|pid| but.contains(pid))))
    }

    fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address.clone()
    }
}

/// Asks until there is an answer.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "it never comes");
        std::thread::yield_now();
    }
}

fn signal(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// Stops a process for a while; it does nothing any more.
fn stop(pid: u32) {
    signal("-STOP", pid);
    until(|| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let mut states = tasks.map(|task| std::fs::read_to_string(task.path().join("stat")).unwrap_or_default());
        states.all(|stat| stat.contains(") T ")).then_some(())
    });
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/fd")).exists() && std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok()
}

/// Which of `workers` holds the connection, by its socket.
fn holder(connection: &Connection, workers: &[u32]) -> u32 {
    let socket = connection.reader.get_ref();
    let ends =
        [socket.peer_addr().unwrap().port(), socket.local_addr().unwrap().port()].map(|port| format!(":{port:04X}"));
    until(|| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let line = table.lines().find(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            ends.iter().all(|end| fields.next().is_some_and(|address| address.ends_with(end)))
        })?;
        let socket = format!("socket:[{}]", line.split_ascii_whitespace().nth(9)?);
        let holds = |pid: &&u32| {
            let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|link| link.as_os_str() == &*socket)
        };
        workers.iter().find(holds).copied()
    })
}

/// A connection that is kept.
struct Connection {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// The body, or the last message of a stream.
    fn json(&self) -> Value {
        let last = self.body.lines().rev().find_map(|line| line.strip_prefix("data: "));
        serde_json::from_str(last.unwrap_or(&self.body)).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

const LEGACY: &str = "MCP-Protocol-Version: 2025-11-25\r\n";

impl Connection {
    fn to(address: &str) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { reader: BufReader::new(socket) }
    }

    fn write(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn ask(&mut self, verb: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.write(&format!(
            "{verb} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{headers}{length}\r\n{body}"
        ));
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let head = self.head();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        self.reader.read_exact(&mut body).unwrap();
        let mut body = String::from_utf8(body).unwrap();
        if head.contains("transfer-encoding: chunked") {
            while let Some(piece) = self.chunk() {
                body.push_str(&piece);
            }
        }
        Answer { status, head, body }
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.reader.read_line(&mut head).unwrap(), 0, "it ended: {head}");
        }
        head
    }

    /// The next chunk of a body that is sent in chunks; none at its end.
    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let mut piece = vec![0; size + 2];
        self.reader.read_exact(&mut piece).ok()?;
        piece.truncate(size);
        (size > 0).then(|| String::from_utf8(piece).unwrap())
    }

    /// Reads events until one has `text`; all of them.
    fn events_until(&mut self, text: &str) -> String {
        let mut events = String::new();
        while !events.contains(text) {
            events.push_str(&self.chunk().unwrap_or_else(|| panic!("the stream ended without {text}: {events}")));
        }
        events
    }

    fn open_session(&mut self) -> String {
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let opened = self.ask("POST", "/mcp", "", &message.to_string());
        let session = opened.header("mcp-session-id").to_owned();
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let named = format!("{LEGACY}Mcp-Session-Id: {session}\r\n");
        assert_eq!(self.ask("POST", "/mcp", &named, &initialized.to_string()).status, 202);
        named
    }

    fn request(&mut self, named: &str, method: &str, params: Value) -> Answer {
        static NEXT: AtomicU64 = AtomicU64::new(1000);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        self.ask("POST", "/mcp", named, &message.to_string())
    }

    fn call(&mut self, named: &str, tool: &str, arguments: Value) -> Answer {
        self.request(named, "tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Opens the session's stream.
    fn listen(&mut self, named: &str) {
        self.write(&format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{named}\r\n"));
        let head = self.head();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
}

/// A connection that one of `workers` holds.
fn held_by(server: &Server, workers: &[u32]) -> Connection {
    until(|| {
        let connection = server.connect();
        workers.contains(&holder(&connection, &server.workers())).then_some(connection)
    })
}

#[test]
fn a_session_is_reached_from_any_worker_and_hears_what_happens_at_others() {
    let server = Server::start(&["--workers", "2"]);
    let workers = server.workers_other_than(&[], 2);
    let (mut one, mut two) = (held_by(&server, &workers[..1]), held_by(&server, &workers[1..]));
    let named = one.open_session();
    let echoed = two.call(&named, "echo", json!({"message": "over there"}));
    assert_eq!((echoed.status, &echoed.json()["result"]["content"][0]["text"]), (200, &json!("over there")));
    one.request(&named, "resources/subscribe", json!({"uri": "demo://item/3"}));
    one.listen(&named);
    let other = two.open_session();
    two.call(&other, "touch", json!({"uri": "demo://item/3"}));
    one.events_until("demo://item/3");
    let large = two.call(&other, "echo", json!({"message": "x".repeat(1 << 20)}));
    assert_eq!(large.json()["result"]["content"][0]["text"].as_str().unwrap().len(), 1 << 20);
}

#[test]
fn a_killed_worker_takes_its_connections_only_and_comes_back() {
    let server = Server::start(&["--workers", "2"]);
    let workers = server.workers_other_than(&[], 2);
    let (mut doomed, mut other) = (held_by(&server, &workers[..1]), held_by(&server, &workers[1..]));
    let named = other.open_session();
    other.request(&named, "resources/subscribe", json!({"uri": "demo://clock"}));
    doomed.listen(&named);
    let events = doomed.events_until("notifications/resources/updated");
    let last = events.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    signal("-KILL", workers[0]);
    let mut rest = Vec::new();
    drop(doomed.reader.read_to_end(&mut rest));
    assert_eq!(other.call(&named, "echo", json!({"message": "hi"})).status, 200, "the connection is the same");
    let mut resumed = server.connect();
    resumed.listen(&format!("{named}Last-Event-ID: {last}\r\n"));
    resumed.events_until("notifications/resources/updated");
    let next = server.workers_other_than(&workers[..1], 2);
    assert!(next.contains(&workers[1]), "the other one was left alone");
    drop(held_by(&server, &next.iter().copied().filter(|pid| *pid != workers[1]).collect::<Vec<_>>()));
}

#[test]
fn a_worker_that_hangs_is_killed_and_comes_back() {
    let server = Server::start(&["--workers", "1"]);
    let workers = server.workers_other_than(&[], 1);
    stop(workers[0]);
    server.workers_other_than(&workers, 1);
    assert_eq!(server.connect().ask("GET", "/healthz", "", "").status, 200);
}

#[test]
fn workers_end_with_the_process_that_started_them_and_its_successor_carries_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let server = Server::start(&["--workers", "3", "--data", &data]);
    let workers = server.workers_other_than(&[], 3);
    let mut connection = server.connect();
    let named = connection.open_session();
    let mut listening = server.connect();
    listening.listen(&named);
    let address = server.kill();
    until(|| (!workers.iter().any(|pid| is_alive(*pid))).then_some(()));
    drop(TcpListener::bind(&address).expect("the port is free"));
    let server = Server::start(&["--workers", "2", "--data", &data, "--listen", &address]);
    let echoed = server.connect().call(&named, "echo", json!({"message": "again"}));
    assert_eq!(echoed.json()["result"]["content"][0]["text"], "again");
}

#[test]
fn sigterm_lets_calls_finish_and_leaves_no_process() {
    let server = Server::start(&["--workers", "2"]);
    let workers = server.workers_other_than(&[], 2);
    let (mut calling, mut listening) = (held_by(&server, &workers[..1]), held_by(&server, &workers[1..]));
    let named = calling.open_session();
    listening.listen(&named);
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "slow", "arguments": {"ms": 1500, "message": "done"}}});
    let text = message.to_string();
    calling.write(&format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n{named}\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    ));
    let head = calling.head();
    assert!(head.starts_with("HTTP/1.1 200"), "it runs: {head}");
    signal("-TERM", server.child.id());
    let events = calling.events_until("done");
    assert!(events.contains(r#""id":7"#), "{events}");
    let mut rest = Vec::new();
    listening.reader.read_to_end(&mut rest).unwrap();
    let mut server = server;
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    assert!(!workers.iter().any(|pid| is_alive(*pid)));
}

#[test]
fn a_worker_that_is_full_leaves_connections_to_others() {
    // 64 files are reserved: each has room for 16 connections.
    let server = Server::start_with("ulimit -n 80; exec \"$0\" serve --workers 2 \"$@\"");
    let workers = server.workers_other_than(&[], 2);
    let mut held: Vec<Connection> = (0..30).map(|_| server.connect()).collect();
    for connection in &mut held {
        assert_eq!(connection.ask("GET", "/healthz", "", "").status, 200);
    }
    let at_first = held.iter().filter(|connection| holder(connection, &workers) == workers[0]).count();
    assert!((14..=16).contains(&at_first), "{at_first} of 30 at the first");
    // More wait until there is room.
    let mut more: Vec<Connection> = (0..10).map(|_| server.connect()).collect();
    for connection in &mut more {
        connection.write("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    drop(held);
    for connection in &mut more {
        assert_eq!(connection.answer().status, 200);
    }
}

#[test]
fn bodies_are_bounded_at_the_worker() {
    let server = Server::start(&["--workers", "1"]);
    let mut connection = server.connect();
    connection.write("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: 5000000\r\n\r\n");
    assert_eq!(connection.answer().status, 413);
    let mut slow = server.connect();
    slow.write("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\nContent-Length: 100\r\n\r\n{");
    let refused = slow.answer();
    assert_eq!((refused.status, refused.json()["error"]["code"].as_i64()), (408, Some(-32600)));
    for (headers, status) in
        [("Host: evil.example\r\n", 403), ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403)]
    {
        let mut stranger = server.connect();
        stranger.write(&format!("GET /mcp HTTP/1.1\r\nAccept: text/event-stream\r\n{headers}\r\n"));
        assert_eq!(stranger.answer().status, status, "{headers}");
    }
    let mut smuggler = server.connect();
    smuggler.write("POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(smuggler.answer().status, 400);
}

#[test]
fn a_thousand_clients_that_hang_up_at_once_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let server = Server::start(&["--workers", "2", "--data", data]);
    let clients: Vec<Connection> = (0..1000)
        .map(|_| {
            let mut client = server.connect();
            client.write("GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
            assert!(client.head().starts_with("HTTP/1.1 200"));
            client
        })
        .collect();
    let streams = || {
        let shown = shown(&folder.path().join("admin.sock"));
        shown.as_array().unwrap().iter().map(|worker| worker["streams"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(streams(), 1000);
    drop(clients);
    until(|| (streams() == 0).then_some(()));
    let mut connection = server.connect();
    let named = connection.open_session();
    assert_eq!(connection.call(&named, "echo", json!({"message": "hi"})).status, 200);
}

/// What operators see of the workers.
fn shown(socket: &Path) -> Value {
    let mut socket = std::os::unix::net::UnixStream::connect(socket).unwrap();
    socket.write_all(b"GET /v1/workers HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_server_that_hangs_is_said_to() {
    let server = Server::start(&["--workers", "1"]);
    let mut connection = server.connect();
    stop(server.child.id());
    let health = connection.ask("GET", "/healthz", "", "");
    let message = health.json()["error"]["message"].clone();
    assert!(health.status == 503 && message.as_str().unwrap().contains("does not answer"), "{health:?}");
    signal("-CONT", server.child.id());
    assert_eq!(server.connect().ask("GET", "/readyz", "", "").status, 200);
    let mut asking = server.connect();
    let named = asking.open_session();
    stop(server.child.id());
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    asking.write(&format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAccept: */*\r\n{named}\
         Content-Length: {}\r\n\r\n{message}",
        message.len()
    ));
    until(|| (server.workers().len() == 1).then_some(()));
    server.kill();
    let gone = asking.answer();
    assert!(gone.status == 502 && gone.json()["error"]["code"].is_number(), "{gone:?}");
}
