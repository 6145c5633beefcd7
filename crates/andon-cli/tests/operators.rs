//! Operators at the shell: real servers, real sockets, and what is left when a server is killed.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "common/process.rs"]
#[allow(dead_code, reason = "each test file uses some of it")]
mod process;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use process::Process;
use serde_json::{Value, json};

const ANDON: &str = env!("CARGO_BIN_EXE_andon");
const TOKEN_VARIABLE: &str = "ANDON_ADMIN_TOKEN";

/// A server that was started, and what it said until it listened.
struct Server {
    child: Process,
    said: Vec<String>,
    address: String,
}

impl Server {
    fn start(words: &[&str], token: Option<&str>) -> Self {
        let mut command = andon(words, token);
        let mut child = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said: Vec<String> = Vec::new();
        while !said.last().is_some_and(|line| line.contains("listening on ")) {
            said.push(lines.next().unwrap_or_else(|| panic!("it does not start: {said:?}")));
        }
        std::thread::spawn(move || lines.for_each(drop));
        let address = said.last().unwrap().split_once("http://").unwrap().1.trim_end_matches("/mcp").to_owned();
        Self { child, said, address }
    }

    fn in_folder(data: &str) -> Self {
        Self::start(&["serve", "--listen", "127.0.0.1:0", "--data", data], None)
    }

    /// As a machine does that loses its power.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn post(&self, session: Option<&str>, body: &Value) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let session = session.map(|id| format!("Mcp-Session-Id: {id}\r\n")).unwrap_or_default();
        let body = body.to_string();
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{session}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    fn open(&self) -> String {
        let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tester", "version": "7"}});
        let opening = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let (_, answer) = self.post(None, &opening);
        let header = answer.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).unwrap();
        let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(self.post(Some(header), &ready).0, 202);
        header.to_owned()
    }

    fn ping(&self, session: &str) -> u16 {
        self.post(Some(session), &json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})).0
    }
}

fn andon(words: &[&str], token: Option<&str>) -> Command {
    let mut command = Command::new(ANDON);
    command.args(words).env_remove(TOKEN_VARIABLE);
    if let Some(token) = token {
        command.env(TOKEN_VARIABLE, token);
    }
    command
}

/// Exit code, standard output, standard error.
fn run(words: &[&str], token: Option<&str>) -> (i32, String, String) {
    let Output { status, stdout, stderr } = andon(words, token).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn sessions(words: &[&str]) -> (i32, String, String) {
    run(&[&["sessions"], words].concat(), None)
}

fn listed(data: &str) -> Vec<Value> {
    let (code, out, err) = sessions(&["list", "--json", "--data", data]);
    assert_eq!(code, 0, "{err}");
    serde_json::from_str::<Vec<Value>>(&out).unwrap()
}

fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    (folder, data)
}

#[test]
fn sessions_are_seen_and_ended_across_a_kill() {
    let (_folder, data) = folder();
    let server = Server::in_folder(&data);
    let told = format!("0 sessions found in {data} in ");
    assert!(
        server.said[0].starts_with(&told) && server.said[0].ends_with(&format!("list --data {data}")),
        "{:?}",
        server.said
    );
    assert_eq!(sessions(&["list", "--data", &data]), (0, String::new(), "no sessions\n".to_owned()));
    let ids = [server.open(), server.open()];
    let views = listed(&data);
    assert!(views.len() == 2 && views.iter().all(|view| view["isInMemory"] == true), "{views:?}");
    server.kill();

    assert!(Path::new(&data).join("admin.sock").exists(), "a killed server leaves its socket behind");
    let (code, _, why) = sessions(&["list", "--data", &data]);
    assert!(code == 3 && why.contains(&format!("is andon serve --data {data} running?")), "{why}");
    let server = Server::in_folder(&data);
    assert!(server.said[0].starts_with(&format!("2 sessions found in {data} in ")), "{:?}", server.said);
    let views = listed(&data);
    assert!(views.len() == 2 && views.iter().all(|view| view["isInMemory"] == false), "{views:?}");
    assert_eq!(server.ping(&ids[0]), 200);
    let is_of = |is_in_memory: bool| {
        let views = listed(&data);
        let view = views.iter().find(|view| view["isInMemory"] == is_in_memory).unwrap();
        view["name"].as_str().unwrap().to_owned()
    };
    let (first, second) = (is_of(true), is_of(false));
    let (_, table, _) = sessions(&["list", "--data", &data]);
    for said in ["NAME", "suspended", "2025-11-25", "tester 7", "http", "store", &first, &second] {
        assert!(table.contains(said), "{said}: {table}");
    }
    let (code, shown, _) = sessions(&["show", &second, "--data", &data]);
    assert!(code == 0 && shown.contains("only in the store, epoch 1") && shown.contains("tester 7"), "{shown}");
    let everything = format!("{table}{shown}{views:?}");
    assert!(ids.iter().all(|id| !everything.contains(id)), "s14: no session id is shown");

    assert_eq!(sessions(&["end", &second, "--data", &data]), (0, format!("ended {second}\n"), String::new()));
    let (code, ended, why) = sessions(&["end", &second, &first, "--data", &data]);
    assert_eq!((code, ended, why), (4, format!("ended {first}\n"), format!("andon: there is no session {second}\n")));
    assert!(ids.iter().all(|id| server.ping(id) == 404));
    server.kill();
    let server = Server::in_folder(&data);
    assert!(server.said[0].starts_with("0 sessions found"), "{:?}", server.said);
    assert!(ids.iter().all(|id| server.ping(id) == 404), "for ever");
}

#[test]
fn what_a_list_leaves_out_is_what_it_was_asked_to() {
    let (_folder, data) = folder();
    let server = Server::in_folder(&data);
    let ids: Vec<String> = (0..5).map(|_| server.open()).collect();
    let count = |words: &[&str]| {
        let (code, out, err) = sessions(&[&["list", "--json", "--data", &data], words].concat());
        (code, serde_json::from_str::<Vec<Value>>(&out).map(|list| list.len()).unwrap_or_default(), err)
    };
    assert_eq!(count(&[]).1, ids.len());
    assert_eq!(count(&["--principal", ""]).1, 5, "nobody logged in");
    assert_eq!(count(&["--principal", "alice & bob"]).1, 0);
    assert_eq!(count(&["--state", "suspended", "--phase", "initialized"]).1, 5);
    assert_eq!(count(&["--state", "active"]).1, 0);
    assert_eq!(count(&["--max", "2"]).1, 2);
    let (code, _, why) = count(&["--state", "asleep"]);
    assert!(code == 4 && why.contains("negotiation, active, suspended"), "{why}");
    let (_, out, err) = sessions(&["list", "--max", "3", "--data", &data]);
    assert_eq!((out.lines().count(), err.as_str()), (4, "and more: see --max\n"));
}

#[test]
fn l4_an_address_wants_its_token() {
    const TOKEN: &str = "correct-horse-battery";
    let serve = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let (code, _, why) = run(&serve, None);
    assert!(code == 1 && why.contains("--admin needs a token"), "{why}");
    let (code, _, why) = run(&serve, Some("short"));
    assert!(code == 1 && why.contains("from 16") && !why.contains("short"), "{why}");
    let (code, _, why) = run(&["serve", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0"], Some(TOKEN));
    assert!(code == 1 && why.contains("from this machine only"), "{why}");

    let server = Server::start(&serve, Some(TOKEN));
    server.open();
    let at = server.said.iter().find_map(|line| line.split_once("operators ask at ")).unwrap().1;
    let address = at.split_once(": ").unwrap().0;
    let list = ["sessions", "list", "--admin", address];
    let (code, table, _) = run(&list, Some(TOKEN));
    assert!(code == 0 && table.contains("tester 7"), "{table}");
    for (token, said) in
        [(None, "ANDON_ADMIN_TOKEN"), (Some("another-token-of-it"), "another token"), (Some("a b"), "no spaces")]
    {
        let (code, out, why) = run(&list, token);
        assert!(code == 5 && out.is_empty() && why.contains(said), "{why}");
        assert!(!why.contains("another-token-of-it") && !why.contains(TOKEN), "l2: {why}");
    }
    assert!(!server.said.concat().contains(TOKEN), "l2: {:?}", server.said);

    // With --data the token is in a file there, for both sides.
    let (_folder, data) = folder();
    let server = Server::start(&[&serve[..], &["--data", &data]].concat(), None);
    let at = server.said.iter().find_map(|line| line.split_once("operators ask at ")).unwrap().1;
    let address = at.split_once(": ").unwrap().0;
    assert_eq!(run(&["sessions", "list", "--admin", address, "--data", &data], None).0, 0);
    assert_eq!(run(&["sessions", "list", "--data", &data], None).0, 0, "and by the socket");
}

#[test]
fn mistakes_are_told_by_their_exit_codes() {
    let (_folder, data) = folder();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap().to_string();
    for (words, code, said) in [
        (vec!["list"], 2, "which server?"),
        (vec!["show", "me", "--data", &data], 2, "16 digits"),
        (vec!["end", "--data", &data], 2, "NAME"),
        (vec!["list", "--data", &data], 3, "nobody listens at"),
        (vec!["list", "--admin", &address], 5, "token is missing"),
        (vec!["list", "--admin", &address, "--data", &data], 5, "admin.token"),
    ] {
        let (exited, out, why) = sessions(&words);
        assert!(exited == code && out.is_empty() && why.contains(said), "{words:?}: {exited} {why}");
    }
    let token = Some("correct-horse-battery");
    let (code, _, why) = run(&["sessions", "list", "--admin", "192.0.2.1:80"], token);
    assert!(code == 3 && why.contains("this machine only"), "the token goes nowhere else: {why}");
    // Something else listens there.
    let other = std::thread::spawn(move || {
        let (stream, _) = port.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        while reader.read_line(&mut String::new()).unwrap() > 2 {}
        (&stream).write_all(b"220 mail.example ESMTP\r\n").unwrap();
    });
    let (code, _, why) = run(&["sessions", "list", "--admin", &address], token);
    assert!(code == 3 && why.contains("not a server of Andon's"), "{why}");
    other.join().unwrap();
    // A port that is not given to whoever asks for any.
    let (code, _, why) = run(&["sessions", "list", "--admin", "127.0.0.1:1"], token);
    assert!(code == 3 && why.contains("nobody listens"), "{why}");
}

#[test]
fn a_second_server_takes_nothing_from_the_first() {
    let (_folder, data) = folder();
    let server = Server::in_folder(&data);
    let id = server.open();
    let (code, _, why) = run(&["serve", "--listen", "127.0.0.1:0", "--data", &data], None);
    assert!(code == 1, "{why}");
    assert_eq!((listed(&data).len(), server.ping(&id)), (1, 200));
}
