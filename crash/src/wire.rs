//! HTTP/1.1 as a client of MCP needs it, with nothing hidden: each event with its id, each end of a connection.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use andon_types::sse::{Event, EventParser};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest event that is read.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// The longest head, and the longest line of one.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a server that is there may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// POST, GET or DELETE.
    pub verb: &'a str,
    /// The session's id and its revision.
    pub session: Option<(&'a str, &'a str)>,
    /// Where a stream is to go on.
    pub last_event_id: Option<&'a str>,
    /// A JSON-RPC message, for a POST.
    pub body: &'a str,
}

/// An answer whose head has come.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Mcp-Session-Id`.
    pub session_id: Option<String>,
    /// Whether the body is a stream of events.
    pub is_events: bool,
    body: Body,
}

/// The rest of an answer.
#[derive(Debug)]
struct Body {
    stream: TcpStream,
    received: Vec<u8>,
    framing: Framing,
    is_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Bytes that are still to come.
    Length(usize),
    /// Bytes that are still to come of this chunk, with its line end.
    Chunked(usize),
}

/// Sends `request` on a connection of its own.
///
/// # Errors
/// [`ErrorKind::ConnectionRefused`] when nobody listens, so that nothing was sent; anything else says that the request
/// may have arrived.
pub async fn send(address: SocketAddr, request: Request<'_>) -> Result<Answer, Error> {
    let refused = |_| Error::from(ErrorKind::ConnectionRefused);
    let mut stream = TcpStream::connect(address).await.map_err(refused)?;
    let mut text = format!(
        "{} /mcp HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAccept: application/json, text/event-stream\r\n",
        request.verb
    );
    if let Some((id, revision)) = request.session {
        text.push_str(&format!("Mcp-Session-Id: {id}\r\nMCP-Protocol-Version: {revision}\r\n"));
    }
    if let Some(id) = request.last_event_id {
        text.push_str(&format!("Last-Event-ID: {id}\r\n"));
    }
    if request.verb == "POST" {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", request.body.len()));
    }
    text.push_str("\r\n");
    text.push_str(request.body);
    stream.set_nodelay(true)?;
    stream.write_all(text.as_bytes()).await?;
    let silent = |_| Error::new(ErrorKind::TimedOut, "the server does not answer");
    tokio::time::timeout(ANSWER_TIMEOUT, head(stream)).await.map_err(silent)?
}

async fn head(mut stream: TcpStream) -> Result<Answer, Error> {
    let mut received = Vec::with_capacity(1024);
    let end = loop {
        if let Some(end) = received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        if received.len() > HEAD_BYTES_MAX {
            return Err(bad("a head without an end"));
        }
        fill(&mut stream, &mut received).await?;
    };
    let head = String::from_utf8_lossy(&received[..end]).into_owned();
    received.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| bad("no status"))?;
    let (mut session_id, mut is_events, mut framing) = (None, false, Framing::Length(0));
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => framing = Framing::Length(value.parse().map_err(|_| bad("a length"))?),
            "transfer-encoding" => framing = Framing::Chunked(0),
            "content-type" => is_events = value.starts_with("text/event-stream"),
            "mcp-session-id" => session_id = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(Answer { status, session_id, is_events, body: Body { stream, received, framing, is_over: false } })
}

impl Answer {
    /// All of the body.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub async fn text(mut self) -> Result<String, Error> {
        let mut all = Vec::new();
        let read = async {
            while let Some(piece) = self.body.piece().await? {
                all.extend_from_slice(&piece);
            }
            Ok::<_, Error>(())
        };
        let silent = |_| Error::new(ErrorKind::TimedOut, "the answer does not end");
        tokio::time::timeout(ANSWER_TIMEOUT, read).await.map_err(silent)??;
        Ok(String::from_utf8_lossy(&all).into_owned())
    }

    /// The events of the body.
    pub fn events(self) -> Events {
        Events { body: self.body, parser: EventParser::new(EVENT_BYTES_MAX), ready: Vec::new() }
    }
}

/// The events of one answer.
#[derive(Debug)]
pub struct Events {
    body: Body,
    parser: EventParser,
    /// Newest first.
    ready: Vec<Event>,
}

impl Events {
    /// The next event; `None` when the server ended the body. May be dropped and called again.
    ///
    /// # Errors
    /// When the connection ends before the body does.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Ok(Some(event));
            }
            let Some(piece) = self.body.piece().await? else { return Ok(None) };
            let mut events = Vec::new();
            self.parser.push(&piece, |event| events.push(event)).map_err(|_| bad("an event is too large"))?;
            events.reverse();
            self.ready = events;
        }
    }
}

impl Body {
    /// Some bytes of the body; `None` at its end. May be dropped and called again.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match self.framing {
                _ if self.is_over => return Ok(None),
                Framing::Length(0) => self.is_over = true,
                Framing::Length(left) if !self.received.is_empty() => {
                    let count = left.min(self.received.len());
                    self.framing = Framing::Length(left - count);
                    return Ok(Some(self.received.drain(..count).collect()));
                }
                Framing::Chunked(0) => {
                    if let Some(end) = self.received.windows(2).position(|bytes| bytes == b"\r\n") {
                        let size = String::from_utf8_lossy(&self.received[..end]).into_owned();
                        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| bad("the size of a chunk"))?;
                        self.received.drain(..end + 2);
                        self.is_over = size == 0;
                        // With the line end after it.
                        self.framing = Framing::Chunked(size + 2);
                        continue;
                    }
                    fill(&mut self.stream, &mut self.received).await?;
                }
                Framing::Chunked(left) if !self.received.is_empty() => {
                    let count = left.min(self.received.len());
                    let mut piece: Vec<u8> = self.received.drain(..count).collect();
                    // The last two of them are the line end.
                    piece.truncate(left.saturating_sub(2));
                    self.framing = Framing::Chunked(left - count);
                    if !piece.is_empty() {
                        return Ok(Some(piece));
                    }
                }
                Framing::Length(_) | Framing::Chunked(_) => fill(&mut self.stream, &mut self.received).await?,
            }
        }
    }
}

async fn fill(stream: &mut TcpStream, received: &mut Vec<u8>) -> Result<(), Error> {
    match stream.read_buf(received).await? {
        0 => Err(Error::from(ErrorKind::UnexpectedEof)),
        _ => Ok(()),
    }
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests;
