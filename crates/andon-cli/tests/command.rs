//! The command as its users start it: real processes, real pipes, real signals.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "each test file uses some of it")]
mod process;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use process::Process;
use serde_json::{Value, json};

fn andon(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_andon"));
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `andon serve --stdio`, after the handshake.
struct Server {
    child: Process,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start() -> Self {
        let mut child = Process::start(andon(&["serve", "--stdio"]).stderr(Stdio::null()));
        let (input, output) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut server = Self { child, input, output };
        let params =
            json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        server.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).to_string());
        assert_eq!(server.hear()["result"]["protocolVersion"], "2025-11-25");
        server.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        server
    }

    fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn say(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    fn call(&mut self, id: u32, tool: &str, arguments: &Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}).to_string());
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("only messages on standard output: {line:?}"))
    }

    /// Waits for its end, which has to come in time.
    fn ended(mut self) -> (i32, String) {
        let mut rest = String::new();
        let began = Instant::now();
        self.output.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(began.elapsed() < Duration::from_secs(6), "p4");
        (status.code().unwrap_or(-1), rest)
    }
}

fn signal(child: &Process, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn p1_a_line_without_end_is_refused_and_the_next_is_read() {
    let mut server = Server::start();
    server.write(&vec![b'x'; 5 << 20]);
    server.say("");
    assert_eq!(server.hear()["error"]["code"], -32700);
    server.call(1, "echo", &json!({"message": "still here"}));
    assert_eq!(server.hear()["result"]["content"][0]["text"], "still here");
}

#[test]
fn p2_lines_may_come_in_any_pieces() {
    let mut server = Server::start();
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {"message": "\u{e9}\u{1f680}"}}});
    for byte in format!("{line}\n").bytes() {
        server.write(&[byte]);
    }
    assert_eq!(server.hear()["result"]["content"][0]["text"], "\u{e9}\u{1f680}");
}

#[test]
fn p3_a13_noise_is_answered_or_passed_over() {
    let mut server = Server::start();
    server.write(b"\r\n\n  \n\"\xff\xfe\"\n{\n");
    for _ in 0..2 {
        let answer = server.hear();
        assert_eq!((answer["error"]["code"].as_i64(), answer.get("id")), (Some(-32700), None));
    }
    server.write(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r\n");
    assert_eq!(server.hear()["result"], json!({}));
}

#[test]
fn p4_io2_the_end_of_input_lets_calls_finish() {
    let mut server = Server::start();
    server.call(1, "slow", &json!({"ms": 300, "message": "finished"}));
    drop(server.input.take());
    let (code, rest) = server.ended();
    assert_eq!(code, 0);
    assert!(rest.contains("finished"), "{rest:?}");
}

#[test]
fn p4_sigterm_ends_it_cleanly() {
    let mut server = Server::start();
    server.call(1, "echo", &json!({"message": "x"}));
    server.hear();
    signal(&server.child, "TERM");
    assert_eq!(server.ended(), (0, String::new()));
}

#[test]
fn io3_both_eras_in_one_process() {
    let mut server = Server::start();
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "add", "arguments": {"a": 1, "b": 2}, "_meta": meta});
    server.say(&json!({"jsonrpc": "2.0", "id": "m", "method": "tools/call", "params": params}).to_string());
    assert_eq!(server.hear()["result"]["resultType"], "complete");
    server.call(1, "add", &json!({"a": 1, "b": 2}));
    assert_eq!(server.hear()["result"].get("resultType"), None);
}

#[test]
fn serve_listens_says_where_and_stops_on_sigterm() {
    let mut child = Process::start(&mut andon(&["serve", "--listen", "127.0.0.1:0"]));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.find_map(|line| line.split_once("listening on http://").map(|(_, url)| url.to_owned())).unwrap();
    let address = url.trim_end_matches("/mcp").to_owned();
    let mut socket = TcpStream::connect(&address).unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(&address).is_err(), "nothing listens any more");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    for (words, said) in [
        (vec!["serve", "--listen", "0.0.0.0:0"], "--public"),
        (vec!["serve", "--listen", "nonsense"], "HOST:PORT"),
        (vec!["serve", "--stdio", "--listen", "127.0.0.1:0"], "cannot be used with"),
        (vec!["--log", "=[", "serve"], "--log"),
    ] {
        let output = andon(&words).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(said), "{words:?}: {told}");
    }
    let completions = andon(&["completions", "bash"]).output().unwrap();
    assert!(String::from_utf8_lossy(&completions.stdout).contains("andon"));
}

/// What a request to `address` with these header lines is answered.
fn answer(address: &str, headers: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn request_id(answer: &str) -> String {
    let line = answer.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    line.unwrap_or_else(|| panic!("no id: {answer}")).to_owned()
}

#[test]
fn every_request_is_named_in_logs_and_to_its_sender() {
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": "slow", "arguments": {"ms": 1}, "_meta": meta});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let routed = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: slow\r\n";
    for format in ["json", "human"] {
        let words = ["--log-format", format, "--log", "andon_http=debug,andon_server=debug", "serve", "--listen"];
        let mut child = Process::start(andon(&words).arg("127.0.0.1:0"));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let url =
            lines.find_map(|line| line.split_once("listening on http://").map(|(_, url)| url.to_owned())).unwrap();
        let address = url.trim_end_matches("/mcp").to_owned();

        let given = answer(&address, &format!("X-Request-Id: my-id/7\r\n{routed}"), &call);
        assert!(given.starts_with("HTTP/1.1 200") && request_id(&given) == "my-id/7", "{given}");
        let too_long = format!("X-Request-Id: {}\r\n", "x".repeat(65));
        let own = answer(&address, &too_long, "{");
        assert!(own.starts_with("HTTP/1.1 400"), "{own}");
        let own = request_id(&own);
        assert!(own.len() == 16 && own.bytes().all(|byte| byte.is_ascii_hexdigit()), "{own}");

        signal(&child, "TERM");
        let log: Vec<String> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let about = |id: &str| log.iter().filter(|line| line.contains("answered") && line.contains(id)).count();
        assert_eq!((about("my-id/7"), about(&own)), (2, 1), "the call and its response, the response: {log:#?}");
        for line in log.iter().filter(|line| format == "json" && line.contains("my-id/7")) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["span"]["request"], "my-id/7");
        }
    }
}

#[test]
fn requests_on_standard_input_are_numbered_in_logs() {
    let mut child =
        Process::start(&mut andon(&["--log", "andon_server=debug", "--log-format", "human", "serve", "--stdio"]));
    let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
    let mut input = child.stdin.take().unwrap();
    for (id, ms) in [(1, 0), (2, 5)] {
        let params = json!({"name": "slow", "arguments": {"ms": ms}, "_meta": meta});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        writeln!(input, "{call}").unwrap();
    }
    drop(input);
    let output = child.output();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let names: Vec<&str> =
        log.lines().filter_map(|line| line.split_once("request=")?.1.split(['}', ' ']).next()).collect();
    assert_eq!(names.len(), 2, "{log}");
    assert_ne!(names[0], names[1], "{log}");
}

#[test]
fn x8_out_of_files_it_waits_and_recovers() {
    let script = format!("ulimit -n 64; exec {} serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_andon"));
    let mut child = Process::start(Command::new("sh").args(["-c", &script]).stderr(Stdio::piped()));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let url = lines.find_map(|line| line.split_once("listening on http://").map(|(_, url)| url.to_owned())).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    let address = url.trim_end_matches("/mcp").to_owned();
    let ask = |socket: &mut TcpStream, path: &str| {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut piece = [0; 12];
        socket.read_exact(&mut piece).map(|()| piece)
    };
    let mut first = TcpStream::connect(&address).unwrap();
    assert_eq!(&ask(&mut first, "/none").unwrap(), b"HTTP/1.1 404");
    let flood: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    assert!(flood.len() > 64, "more than it has files for");
    // What is left of the first answer is read with the next one.
    first.write_all(b"GET /none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    first.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.matches("HTTP/1.1 404").count(), 1, "a connection that was there lives on: {rest}");
    drop(flood);
    let mut last = TcpStream::connect(&address).unwrap();
    assert_eq!(&ask(&mut last, "/healthz").unwrap(), b"HTTP/1.1 200", "it takes connections again");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
