//! What a login needs: a server behind a guard that is its own authorization server, a person, and a browser.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::json;
use tempfile::TempDir;

use super::{ANDON, Demo, Process};

type Fields = BTreeMap<String, String>;

/// What the guard knows and saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// How long the next tokens are good for.
    pub(crate) expires_in_s: u64,
    pub(crate) registrations: usize,
    pub(crate) logins: usize,
    /// Grant types, in order.
    pub(crate) grants: Vec<String>,
    /// Characters that make tokens longer.
    pub(crate) padding: usize,
    challenge: String,
    accepted: Vec<String>,
    refresh_tokens: Vec<String>,
}

/// The demo server behind a guard that wants tokens, and grants them to whoever asks.
pub(crate) struct Guarded {
    _demo: Demo,
    pub(crate) url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Guarded {
    pub(crate) fn start() -> Self {
        let demo = Demo::start();
        let behind = demo.url.strip_prefix("http://").unwrap().strip_suffix("/mcp").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen { expires_in_s: 3600, ..Seen::default() }));
        let (url, guard) = (format!("{origin}/mcp"), (origin, behind, seen.clone()));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (origin, behind, seen) = guard.clone();
                std::thread::spawn(move || answer(stream, &origin, &behind, &seen));
            }
        });
        Self { _demo: demo, url, seen }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }
}

fn answer(stream: TcpStream, origin: &str, behind: &str, seen: &Mutex<Seen>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? <= 2 {
            break;
        }
        head.push(line.trim_end().to_owned());
    }
    let header = |name: &str| {
        let of =
            |line: &String| line.to_ascii_lowercase().starts_with(name).then(|| line[name.len()..].trim().to_owned());
        head.iter().find_map(of)
    };
    let mut body = vec![0; header("content-length:").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let target = head.first()?.split(' ').nth(1)?.to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut stream = reader.into_inner();
    let token = header("authorization:").unwrap_or_default().replace("Bearer ", "");
    let (status, location, text) = match path {
        "/mcp" if seen.lock().unwrap().accepted.contains(&token) => return forward(stream, behind, &head, &body),
        "/mcp" => ("401 Unauthorized", None, String::new()),
        _ => guard(path, query, &body, origin, &mut seen.lock().unwrap()),
    };
    let location = location.map(|place| format!("Location: {place}\r\n")).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status}\r\nWWW-Authenticate: Bearer\r\n{location}Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).ok()
}

fn guard(
    path: &str,
    query: &str,
    body: &[u8],
    origin: &str,
    seen: &mut Seen,
) -> (&'static str, Option<String>, String) {
    let ok = |document: serde_json::Value| ("200 OK", None, document.to_string());
    let refused = |error: &str| ("400 Bad Request", None, json!({ "error": error }).to_string());
    match path {
        "/.well-known/oauth-protected-resource/mcp" => {
            ok(json!({ "resource": format!("{origin}/mcp"), "authorization_servers": [origin] }))
        }
        "/.well-known/oauth-authorization-server" => ok(json!({
            "issuer": origin,
            "authorization_endpoint": format!("{origin}/authorize"),
            "token_endpoint": format!("{origin}/token"),
            "registration_endpoint": format!("{origin}/register"),
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        })),
        "/register" => {
            seen.registrations += 1;
            ok(json!({ "client_id": format!("client-{}", seen.registrations) }))
        }
        "/authorize" => {
            let asked = fields(query);
            seen.logins += 1;
            seen.challenge = asked["code_challenge"].clone();
            let (back, state) = (&asked["redirect_uri"], &asked["state"]);
            let place =
                format!("{back}?code=the-code&state={state}&iss={}", origin.replace(':', "%3A").replace('/', "%2F"));
            ("302 Found", Some(place), String::new())
        }
        "/token" => {
            let asked = fields(std::str::from_utf8(body).unwrap());
            let grant = asked["grant_type"].clone();
            seen.grants.push(grant.clone());
            match grant.as_str() {
                "authorization_code" if asked["code"] == "the-code" && asked["code_verifier"].len() >= 43 => {}
                "refresh_token" => match seen.refresh_tokens.iter().position(|it| *it == asked["refresh_token"]) {
                    // Good for one use.
                    Some(at) => drop(seen.refresh_tokens.remove(at)),
                    None => return refused("invalid_grant"),
                },
                _ => return refused("invalid_grant"),
            }
            let number = seen.grants.len();
            let token = format!("access-{number}-{}", "x".repeat(seen.padding));
            seen.accepted = vec![token.clone()];
            seen.refresh_tokens.push(format!("refresh-{number}"));
            ok(json!({
                "access_token": token,
                "token_type": "Bearer",
                "expires_in": seen.expires_in_s,
                "refresh_token": format!("refresh-{number}"),
            }))
        }
        _ => ("404 Not Found", None, String::new()),
    }
}

/// Hands the request on to the server, and its answer back.
fn forward(mut stream: TcpStream, behind: &str, head: &[String], body: &[u8]) -> Option<()> {
    let mut server = TcpStream::connect(behind).ok()?;
    let is_kept = |line: &&String| !["host:", "connection:"].iter().any(|it| line.to_ascii_lowercase().starts_with(it));
    let mut text: String = head.iter().filter(is_kept).map(|line| format!("{line}\r\n")).collect();
    text.push_str(&format!("Host: {behind}\r\nConnection: close\r\n\r\n"));
    server.write_all(text.as_bytes()).ok()?;
    server.write_all(body).ok()?;
    std::io::copy(&mut server, &mut stream).ok().map(drop)
}

fn fields(text: &str) -> Fields {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        rest = match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                &more[2..]
            }
            (b'+', _) => {
                bytes.push(b' ');
                more
            }
            (byte, _) => {
                bytes.push(*byte);
                more
            }
        };
    }
    String::from_utf8(bytes).unwrap()
}

/// The person's browser: a program that tells the test what it was told to open.
pub(crate) struct Browser {
    folder: PathBuf,
}

impl Browser {
    pub(crate) fn new(folder: &Path) -> Self {
        let (program, pipe) = (folder.join("xdg-open"), folder.join("opened"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        // One line for each argument: a URL that is taken apart would be seen.
        std::fs::write(
            &program,
            format!("#!/bin/sh\necho >> '{0}.count'\nprintf '%s\\n' \"$@\" > '{0}'\n", pipe.display()),
        )
        .unwrap();
        assert!(Command::new("chmod").arg("+x").arg(&program).status().unwrap().success());
        Self { folder: folder.to_owned() }
    }

    /// Lets `command` find this browser.
    pub(crate) fn serve(&self, command: &mut Command) {
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.display()));
    }

    /// Waits until a page is opened.
    pub(crate) fn opened(&self) -> String {
        let mut lines = BufReader::new(File::open(self.folder.join("opened")).unwrap()).lines().map_while(Result::ok);
        let url = lines.next().unwrap();
        assert_eq!(lines.next(), None, "one argument");
        url
    }

    /// How often it was started.
    pub(crate) fn opened_so_far(&self) -> usize {
        std::fs::read(self.folder.join("opened.count")).map_or(0, |lines| lines.len())
    }

    /// Goes to `url` and wherever that leads, and says what the last page shows.
    pub(crate) fn visit(&self, url: &str) -> String {
        let (host, target) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut socket = TcpStream::connect(host).unwrap();
        write!(socket, "GET /{target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        match page.lines().find_map(|line| line.strip_prefix("Location: ")) {
            Some(place) => self.visit(place),
            None => page,
        }
    }
}

/// A person with a folder for tokens and a browser.
pub(crate) struct Person {
    folder: TempDir,
    pub(crate) browser: Browser,
    variable: (&'static str, &'static str),
}

impl Person {
    /// Whose tokens are kept in a file of that folder.
    pub(crate) fn with_file() -> Self {
        Self::new(("ANDON_TOKENS", "tokens.json"))
    }

    /// Whose tokens are kept in the keyring, or in the data folder.
    pub(crate) fn with_keyring() -> Self {
        Self::new(("XDG_DATA_HOME", ""))
    }

    fn new(variable: (&'static str, &'static str)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let browser = Browser::new(folder.path());
        Self { folder, browser, variable }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(ANDON);
        command.args(words).env_remove("ANDON_TOKENS").env(self.variable.0, self.path(self.variable.1));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.browser.serve(&mut command);
        command
    }

    pub(crate) fn runs(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    pub(crate) fn logs_in(&self, words: &[&str]) -> Output {
        let child = Process::start(&mut self.command(words));
        let page = self.browser.visit(&self.browser.opened());
        assert!(page.starts_with("HTTP/1.1 200") && page.contains("close this window"), "{page}");
        child.output()
    }
}
