//! The endpoint for operators: real sockets, raw bytes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use andon_core::port::Store;
use andon_http::{Admin, AdminToken, Ask, Refusal, Resource};
use andon_server::sessions::Sessions;
use andon_store::{FaultyStore, MemoryStore};
use common::{Open, Response, Running, call, open, parse_events, post, read, send, start_in, start_keeping};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;

const TOKEN: &str = "a-token-of-operators";

/// A server, and its endpoint for operators, by both doors.
struct Operated {
    server: Running,
    folder: TempDir,
    port: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Operated {
    async fn start() -> Self {
        Self::of(start_keeping(Sessions::memory(), |_| (), |_| ()).await)
    }

    fn of(server: Running) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let admin = Admin::new().socket(folder.path().join("admin.sock")).unwrap();
        let admin = admin.address("127.0.0.1:0", AdminToken::new(TOKEN).unwrap()).unwrap().with("seats", Seats);
        let port = admin.addresses()[0];
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(admin.run(server.host.clone(), async { drop(stopped.await) }));
        Self { server, folder, port, stop, serving }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// What is said to who sends `bytes` to the port.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut socket = std::net::TcpStream::connect(self.port).unwrap();
        socket.write_all(bytes).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let answer = by_socket(&self.socket(), method, path, "").await;
        (answer.status, answer.json())
    }

    /// The only session.
    async fn name(&self) -> String {
        let (_, listed) = self.ask("GET", "/v1/sessions").await;
        assert_eq!(listed["sessions"].as_array().unwrap().len(), 1, "{listed}");
        listed["sessions"][0]["name"].as_str().unwrap().to_owned()
    }
}

/// A resource of somebody else's.
struct Seats;

impl Resource for Seats {
    fn answer(&self, ask: Ask) -> BoxFuture<'_, Result<Value, Refusal>> {
        Box::pin(async move {
            match (ask.method().as_str(), ask.item()) {
                ("GET", None) => Ok(json!({ "seats": ["a"] })),
                ("DELETE", Some("a")) => Ok(json!({ "ended": "a" })),
                ("GET" | "DELETE", Some(other)) => Err(Refusal::NotFound(format!("there is no seat {other}"))),
                _ => Err(Refusal::NotAllowed("GET, DELETE")),
            }
        })
    }
}

fn ping() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})
}

fn written(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn exchange(mut stream: UnixStream, bytes: &str) -> Response {
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    read(&answer)
}

async fn by_socket(path: &Path, method: &str, target: &str, headers: &str) -> Response {
    let (path, bytes) = (path.to_owned(), written(method, target, headers));
    tokio::task::spawn_blocking(move || exchange(UnixStream::connect(path).unwrap(), &bytes)).await.unwrap()
}

async fn by_port(port: SocketAddr, target: &str, headers: &str) -> u16 {
    common::raw(port, written("GET", target, headers).as_bytes()).await.status
}

fn of(session: &str) -> [(&str, &str); 1] {
    [("Mcp-Session-Id", session)]
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_look_at_sessions_and_end_them() {
    let operated = Operated::start().await;
    let address = operated.server.address;
    let id = open(address, "2025-11-25", &[]).await;
    let mut answer = Open::new(address, "POST", &of(&id), &call(7, "wait").to_string()).await;
    answer.until("notifications/progress").await;
    let (status, listed) = operated.ask("GET", "/v1/sessions").await;
    let view = &listed["sessions"][0];
    assert_eq!(
        (status, &view["state"], &view["requests"], &view["streamsOpen"]),
        (200, &json!("active"), &json!(1), &json!(1))
    );
    let name = operated.name().await;
    let (status, shown) = operated.ask("GET", &format!("/v1/sessions/{name}")).await;
    let running = &shown["detail"]["requests"][0];
    assert_eq!((status, &running["method"], &running["name"]), (200, &json!("tools/call"), &json!("wait")));
    assert!(!shown.to_string().contains(&id) && !listed.to_string().contains(&id), "no secrets: {shown}");
    let (_, status) = operated.ask("GET", "/v1/status").await;
    assert_eq!(
        (&status["sessions"], &status["callsRunning"], &status["store"]),
        (&json!(1), &json!(1), &json!("memory"))
    );

    assert_eq!(operated.ask("DELETE", &format!("/v1/sessions/{name}")).await, (200, json!({ "ended": name })));
    answer.finish().await;
    assert_eq!(post(address, &of(&id), &ping()).await.status, 404);
    for method in ["GET", "DELETE"] {
        let (status, refused) = operated.ask(method, &format!("/v1/sessions/{name}")).await;
        assert_eq!((status, refused["error"].as_str().unwrap().contains(&name)), (404, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn k8_what_was_ended_stays_so_in_the_next_process() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let first = start_in(&store).await;
    let id = open(first.address, "2025-11-25", &[]).await;
    let mut standing = Open::new(first.address, "GET", &of(&id), "").await;
    let opened = standing.until("id: ").await.to_owned();
    let (last, _) = parse_events(&format!("{}\n\n", opened.split_once("\r\n\r\n").unwrap().1)).swap_remove(0);
    first.kill();
    let operated = Operated::of(start_in(&store).await);
    let (_, listed) = operated.ask("GET", "/v1/sessions").await;
    assert_eq!(
        (&listed["sessions"][0]["isInMemory"], &listed["sessions"][0]["state"]),
        (&json!(false), &json!("suspended"))
    );
    let name = operated.name().await;
    assert_eq!(operated.ask("DELETE", &format!("/v1/sessions/{name}")).await.0, 200);
    for server in [operated.server, start_in(&store).await] {
        assert_eq!(post(server.address, &of(&id), &ping()).await.status, 404);
        let resume = [("Mcp-Session-Id", id.as_str()), ("Last-Event-ID", last.as_str())];
        assert_eq!(send(server.address, "GET", &resume, "").await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l4_without_the_token_or_from_elsewhere_nobody_comes_in() {
    for elsewhere in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = Admin::new().address(elsewhere, AdminToken::new(TOKEN).unwrap());
        assert!(refused.unwrap_err().to_string().contains("from this machine only"), "{elsewhere}");
    }
    let operated = Operated::start().await;
    let port = operated.port;
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    assert_eq!(by_port(port, "/v1/status", &bearer(TOKEN)).await, 200);
    for (headers, status) in [
        (String::new(), 401),
        (bearer(""), 401),
        (bearer("another-token-of-it"), 401),
        (bearer(&TOKEN[1..]), 401),
        (format!("Authorization: Basic {TOKEN}\r\n"), 401),
        (format!("Cookie: token={TOKEN}\r\n"), 401),
        (bearer(TOKEN) + &bearer(TOKEN), 400),
        (bearer(TOKEN) + "Host: localhost\r\n", 400),
        (bearer(TOKEN) + "Origin: http://localhost\r\n", 403),
        (bearer(TOKEN) + &format!("Origin: http://{port}\r\n"), 403),
    ] {
        assert_eq!(by_port(port, "/v1/status", &headers).await, status, "{headers}");
    }
    assert_eq!(by_port(port, &format!("/v1/status?token={TOKEN}"), "").await, 401);
    let rebound = format!("GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n{}\r\n", bearer(TOKEN));
    assert_eq!(common::raw(port, rebound.as_bytes()).await.status, 403);
    // Nothing of it is where clients are, and nothing of theirs here.
    assert_eq!(send(operated.server.address, "GET", &[], "").await.status, 400);
    assert_eq!(
        common::raw(operated.server.address, written("GET", "/v1/status", "Connection: close\r\n").as_bytes())
            .await
            .status,
        404
    );
    assert_eq!(by_port(port, "/mcp", &bearer(TOKEN)).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_wrong_are_told_what_is() {
    let operated = Operated::start().await;
    open(operated.server.address, "2025-11-25", &[]).await;
    let name = operated.name().await;
    for (method, path, status, said) in [
        ("GET", "/", 404, "/v1/seats, /v1/sessions, /v1/status"),
        ("GET", "/v2/sessions", 404, "/v1/sessions"),
        ("GET", "/v1/sessions/", 404, "no such path"),
        ("GET", "/v1/status/x", 404, "one"),
        ("GET", "/v1/sessions/../status", 404, "no such path"),
        ("GET", &format!("/v1/sessions/{name}/x"), 404, "no such path"),
        ("GET", "/v1/sessions/nobody", 400, "16 digits"),
        ("DELETE", "/v1/sessions/0000000000000000", 404, "no session 0000000000000000"),
        ("DELETE", "/v1/sessions", 405, "GET"),
        ("POST", &format!("/v1/sessions/{name}"), 405, "GET, DELETE"),
        ("GET", "/v1/sessions?max=0", 400, "from 1 to 1000"),
        ("GET", "/v1/sessions?max=1001", 400, "from 1 to 1000"),
        ("GET", "/v1/sessions?max=many", 400, "from 1 to 1000"),
        ("GET", "/v1/sessions?after=x", 400, "after"),
        ("GET", "/v1/sessions?phase=idle", 400, "initialized"),
        ("GET", "/v1/sessions?state=idle", 400, "suspended"),
        ("GET", "/v1/sessions?subject=alice", 400, "principal"),
        ("DELETE", &format!("/v1/sessions/{name}?force=1"), 400, "parameters"),
        ("GET", "/v1/seats/b", 404, "no seat b"),
    ] {
        let (answered, refused) = operated.ask(method, path).await;
        let why = refused["error"].as_str().unwrap_or_default();
        assert!(answered == status && why.contains(said), "{method} {path}: {answered} {refused}");
    }
    let not_allowed = by_socket(&operated.socket(), "PUT", "/v1/seats", "").await;
    assert_eq!((not_allowed.status, not_allowed.header("allow")), (405, Some("GET, DELETE")));
    assert_eq!(operated.ask("DELETE", "/v1/seats/a").await, (200, json!({ "ended": "a" })));
    for bad in ["Host : x\r\n", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"] {
        assert_eq!(by_socket(&operated.socket(), "GET", "/v1/status", bad).await.status, 400, "{bad}");
    }
    let large = format!("X-Large: {}\r\n", "x".repeat(40_000));
    assert_eq!(by_socket(&operated.socket(), "GET", "/v1/status", &large).await.status, 431);
    assert_eq!(operated.name().await, name, "it is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn x10_while_the_store_is_down_what_is_in_memory_is_seen() {
    let faulty = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new())));
    let operated = Operated::of(start_in(&(faulty.clone() as Arc<dyn Store>)).await);
    let id = open(operated.server.address, "2025-11-25", &[]).await;
    let name = operated.name().await;
    faulty.outage(true);
    let (status, listed) = operated.ask("GET", "/v1/sessions").await;
    assert_eq!((status, &listed["isStoreDown"], &listed["sessions"][0]["name"]), (200, &json!(true), &json!(name)));
    assert_eq!(operated.ask("GET", "/v1/sessions/0000000000000000").await.0, 503, "nobody knows");
    assert_eq!(operated.ask("DELETE", &format!("/v1/sessions/{name}")).await.0, 503);
    faulty.outage(false);
    assert_eq!(operated.ask("DELETE", &format!("/v1/sessions/{name}")).await.0, 200);
    assert_eq!(post(operated.server.address, &of(&id), &ping()).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_its_users_and_replaces_only_what_nobody_has() {
    let operated = Operated::start().await;
    let socket = operated.socket();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!operated.folder.path().join(".admin").exists(), "nothing else is left there");
    let taken = Admin::new().socket(&socket).unwrap_err().to_string();
    assert!(taken.contains("another server has"), "{taken}");
    assert_eq!(operated.ask("GET", "/v1/status").await.0, 200, "which goes on");
    let Operated { stop, serving, folder, .. } = operated;
    drop(stop);
    serving.await.unwrap().unwrap();
    assert!(!socket.exists(), "it went with its server");

    // One that was killed leaves its socket behind.
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let second = Admin::new().socket(&socket).unwrap();
    // One that somebody put in its place is left alone.
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "somebody else's").unwrap();
    drop(second);
    let refused = Admin::new().socket(&socket).unwrap_err().to_string();
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&socket).unwrap(), "somebody else's");
    let deep = folder.path().join("x".repeat(120));
    assert!(Admin::new().socket(deep.join("admin.sock")).is_err(), "such a path is too long for a socket");
}

/// Only root can become somebody else, so that for others there is nothing to see here.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn l4_another_user_is_refused_even_if_the_socket_lets_them_in() {
    use rustix::process::{Uid, geteuid};
    if !geteuid().is_root() {
        return;
    }
    let operated = Operated::start().await;
    let socket = operated.socket();
    let as_nobody = |path: PathBuf| {
        // Of this thread alone, which ends with it.
        let thread = std::thread::spawn(move || {
            rustix::thread::set_thread_uid(Uid::from_raw(65534)).unwrap();
            UnixStream::connect(path).map(|stream| exchange(stream, &written("GET", "/v1/status", "")).status)
        });
        tokio::task::spawn_blocking(move || thread.join().unwrap())
    };
    std::fs::set_permissions(operated.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let kept_out = as_nobody(socket.clone()).await.unwrap().unwrap_err();
    assert_eq!(kept_out.kind(), std::io::ErrorKind::PermissionDenied, "by its mode");
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(as_nobody(socket).await.unwrap().unwrap(), 403, "and by who they are");
    assert_eq!(operated.ask("GET", "/v1/status").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_have_one_request_a_connection() {
    let operated = Operated::start().await;
    let preface = operated.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    assert!(preface.starts_with("HTTP/1.1 400"), "{preface}");
    let status = format!("GET /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    let answers = operated.raw(status.repeat(2).as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 1, "{answers}");
}
