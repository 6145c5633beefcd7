//! Connections of one client, and what every client does first.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpSocket, TcpStream};

use crate::Error;
use crate::connection::Connection;
use crate::histogram::Histogram;
use crate::machine;
use crate::scale::figures::Figures;
use crate::wire::{self, Era, Numbered};

/// How long a request that is part of opening something may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Now, in microseconds since 1970: processes on one machine agree on it.
pub fn epoch_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The first of the ports that clients connect from: all that need no permission.
const FIRST_PORT: u16 = 1024;
/// Where to look for a port next. Each generator has a source address of its own, so that all ports are its own too.
static NEXT_PORT: AtomicU16 = AtomicU16::new(FIRST_PORT);

/// Connects from `from`, with both buffers of the socket so large, if that is said.
///
/// It takes the ports in turn: asked for any one, the system looks through all that are taken, those of connections that just
/// ended among them, which for ten thousand takes a millisecond of this thread. Meanwhile clients that are connected say nothing,
/// and the server hangs up on them.
pub(super) async fn connect(
    address: SocketAddr,
    from: Ipv4Addr,
    buffer_bytes: Option<u32>,
) -> std::io::Result<TcpStream> {
    let mut looked = 0;
    loop {
        let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
        if port < FIRST_PORT {
            continue;
        }
        match connect_on(address, SocketAddr::from((from, port)), buffer_bytes).await {
            Err(error) if is_taken(&error) && looked < u16::MAX => looked += 1,
            connected => return connected,
        }
    }
}

async fn connect_on(address: SocketAddr, from: SocketAddr, buffer_bytes: Option<u32>) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // The port of a connection that ended may be used again.
    socket.set_reuseaddr(true)?;
    socket.bind(from)?;
    if let Some(bytes) = buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether somebody else has the port.
fn is_taken(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable)
}

/// Opens a session over `connection`, handshake and all; its id.
pub(super) async fn open_session(connection: &mut Connection, authority: &str) -> Result<String, Error> {
    let id = initialize(connection, authority).await?;
    let ready = wire::request(authority, Era::Legacy, Some(&id), wire::INITIALIZED);
    exchange(connection, &ready, 202).await?;
    Ok(id)
}

/// Sends the first request of a session; its id.
pub(super) async fn initialize(connection: &mut Connection, authority: &str) -> Result<String, Error> {
    let first = wire::request(authority, Era::Legacy, None, wire::INITIALIZE);
    exchange(connection, &first, 200).await?.ok_or_else(|| "initialize gave no session".into())
}

/// Subscribes the session to [`wire::WATCHED`].
pub(super) async fn subscribe(connection: &mut Connection, authority: &str, id: &str) -> Result<(), Error> {
    let request = wire::request(authority, Era::Legacy, Some(id), &wire::subscribe_body(Era::Legacy));
    exchange(connection, &request, 200).await.map(drop)
}

/// Ends the session.
pub(super) async fn delete(connection: &mut Connection, authority: &str, id: &str) -> Result<(), Error> {
    let request = format!("DELETE /mcp HTTP/1.1\r\nHost: {authority}\r\nMcp-Session-Id: {id}\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let answer = tokio::time::timeout(PATIENCE, connection.head()).await??;
    if answer.status == 204 { Ok(()) } else { Err(format!("DELETE was answered with {}", answer.status).into()) }
}

/// Sends a request that is answered with `status`; the session that the answer names.
async fn exchange(connection: &mut Connection, request: &str, status: u16) -> Result<Option<String>, Error> {
    let answer = tokio::time::timeout(PATIENCE, connection.exchange(request.as_bytes())).await??;
    if answer.status == status {
        return Ok(answer.session_id);
    }
    let body = String::from_utf8_lossy(connection.body());
    Err(format!("a request was answered with {}: {body}", answer.status).into())
}

/// The client that says when something happens, and looks whether the server is well.
pub struct Control {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
    id: String,
    touch: Numbered,
    address: SocketAddr,
}

impl Control {
    /// Opens a session with the server at `address`.
    ///
    /// # Errors
    /// It does not answer.
    pub fn open(address: SocketAddr) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let authority = address.to_string();
        let (connection, id) = runtime.block_on(async {
            let mut connection = Connection::of(connect(address, Ipv4Addr::LOCALHOST, None).await?);
            let id = open_session(&mut connection, &authority).await?;
            Ok::<_, Error>((connection, id))
        })?;
        Ok(Self { runtime, connection, touch: touch(&authority, &id), id, address })
    }

    /// Goes on in the same session with a server at `address`.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn go_on_at(&mut self, address: SocketAddr) -> Result<(), Error> {
        self.connection = Connection::of(self.runtime.block_on(connect(address, Ipv4Addr::LOCALHOST, None))?);
        (self.address, self.touch) = (address, touch(&address.to_string(), &self.id));
        Ok(())
    }

    /// Lets the server say that [`wire::WATCHED`] changed: when that was asked for, in microseconds since 1970.
    ///
    /// # Errors
    /// It does not answer.
    pub fn touch(&mut self) -> Result<u64, Error> {
        let (request, _) = self.touch.advance();
        let at_us = epoch_us();
        let answer = self.runtime.block_on(async { self.connection.exchange(request).await })?;
        if answer.status == 200 { Ok(at_us) } else { Err(format!("touch was answered with {}", answer.status).into()) }
    }

    /// How long the server takes to say that it is well, on a new connection.
    ///
    /// # Errors
    /// It does not say so.
    pub fn health(&self) -> Result<Duration, Error> {
        health(&self.runtime, self.address)
    }

    /// How many sessions the server has, by what it tells operators at `admin` who have `token`.
    ///
    /// # Errors
    /// It does not answer.
    pub fn sessions(&self, admin: SocketAddr, token: &str) -> Result<u64, Error> {
        let host = format!("localhost:{}", admin.port());
        let request = format!(
            "GET /v1/status HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        self.runtime.block_on(async {
            let mut connection = Connection::of(connect(admin, Ipv4Addr::LOCALHOST, None).await?);
            tokio::time::timeout(PATIENCE, connection.exchange(request.as_bytes())).await??;
            let status: serde_json::Value = serde_json::from_slice(connection.body())?;
            status["sessions"].as_u64().ok_or_else(|| format!("a status without sessions: {status}").into())
        })
    }
}

/// The request that lets [`wire::WATCHED`] change.
fn touch(authority: &str, session_id: &str) -> Numbered {
    Numbered::new(wire::request(authority, Era::Legacy, Some(session_id), &wire::touch_body(Era::Legacy)))
}

/// Asks for the health of the server at `address` on a new connection: how long that took.
fn health(runtime: &tokio::runtime::Runtime, address: SocketAddr) -> Result<Duration, Error> {
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let begun = Instant::now();
    let answer = runtime.block_on(async {
        let asked = async {
            let mut connection = Connection::of(connect(address, Ipv4Addr::LOCALHOST, None).await?);
            connection.exchange(request.as_bytes()).await
        };
        tokio::time::timeout(PATIENCE, asked).await?
    })?;
    if answer.status == 200 { Ok(begun.elapsed()) } else { Err(format!("health is {}", answer.status).into()) }
}

/// What somebody saw who looked again and again whether a server is well.
#[derive(Debug, Default)]
pub struct Looks {
    /// How long each answer took, without the time that the one who looked waited for a processor.
    pub times: Histogram,
    /// The longest that the one who looked waited for a processor in one look.
    pub waited_max: Duration,
    /// The longest that the server's thread which answers waited for a processor in one look; it is counted in `times`.
    pub server_waited_max: Duration,
    /// Looks without an answer.
    pub failed: u64,
}

impl Looks {
    /// Adds what was seen at another time.
    pub fn add(&mut self, other: &Self) {
        self.times.add(&other.times);
        self.waited_max = self.waited_max.max(other.waited_max);
        self.server_waited_max = self.server_waited_max.max(other.server_waited_max);
        self.failed += other.failed;
    }

    /// Says who waited for a processor, and how long at most, in names that begin with `of`.
    pub fn note_waits(&self, figures: &mut Figures, of: &str) {
        let [own_ms, server_ms] = [self.waited_max, self.server_waited_max].map(|waited| waited.as_secs_f64() * 1e3);
        figures.note(format!("{of}who looked waited for a processor, at most; not counted"), own_ms, "ms");
        figures.note(format!("{of}who answered waited for a processor, at most; counted"), server_ms, "ms");
    }
}

/// The server's thread that answers whether it is well, where no workers do.
const ANSWERS: &str = "andon-porch";

/// Asks for the health of the server `pid` at `address` again and again, every `interval`, until `stop` is set.
///
/// # Errors
/// There is no runtime.
pub fn watch_health(address: SocketAddr, pid: u32, interval: Duration, stop: &AtomicBool) -> Result<Looks, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut looks = Looks::default();
    let answers = machine::thread(pid, ANSWERS);
    // All of a look happens in this thread.
    let waited = || {
        let own = machine::waited_for_processor(Path::new(machine::OWN_THREAD));
        (own, answers.as_deref().map_or(Duration::ZERO, machine::waited_for_processor))
    };
    while !stop.load(Ordering::Relaxed) {
        let before = waited();
        let answered = health(&runtime, address);
        let after = waited();
        let own = after.0.saturating_sub(before.0);
        match answered {
            Ok(took) => looks.times.record(took.saturating_sub(own)),
            Err(_) => looks.failed += 1,
        }
        looks.waited_max = looks.waited_max.max(own);
        looks.server_waited_max = looks.server_waited_max.max(after.1.saturating_sub(before.1));
        std::thread::sleep(interval);
    }
    Ok(looks)
}

#[cfg(test)]
mod tests;
