//! HTTP/1.1 from the client's side, as much of it as the peers answer with: few allocations, and events as they come.

use std::net::SocketAddr;

use crate::Error;
use crate::wire::{self, Era};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that is kept alive. Its buffers are used again for each exchange.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` has been taken.
    taken: usize,
    body: Vec<u8>,
}

/// The head of a response.
#[derive(Debug, Default)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Whether the body is a stream of events.
    pub is_events: bool,
    /// The session that the server opened.
    pub session_id: Option<String>,
    length: Option<usize>,
    is_chunked: bool,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// Those of the operating system.
    pub async fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4096), taken: 0, body: Vec::with_capacity(1024) })
    }

    /// Takes a socket that is connected, with buffers that grow when they have to.
    pub fn of(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new(), taken: 0, body: Vec::new() }
    }

    /// The socket, for what is not HTTP. What was received and not taken is lost.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends a request and reads all of its response. The body is then in [`Connection::body`].
    ///
    /// # Errors
    /// The connection is lost, or what comes is not HTTP.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Error> {
        self.send(request).await?;
        let answer = self.head().await?;
        match answer.length {
            Some(length) => self.take_body(length).await?,
            None if answer.is_chunked => self.take_chunks().await?,
            None => return Err("a response without a length".into()),
        }
        Ok(answer)
    }

    /// Opens a session, handshake and all, if the era and the server have any; its id.
    ///
    /// # Errors
    /// The connection is lost, or the server refuses.
    pub async fn session(&mut self, authority: &str, era: Era) -> Result<Option<String>, Error> {
        if era == Era::Modern {
            return Ok(None);
        }
        let id = self.initialize(authority).await?;
        let answer = self.exchange(wire::request(authority, era, id.as_deref(), wire::INITIALIZED).as_bytes()).await?;
        if answer.status != 202 {
            return Err(format!("initialized was answered with {}", answer.status).into());
        }
        Ok(id)
    }

    /// Sends the first request of a session; the session's id.
    ///
    /// # Errors
    /// The connection is lost, or the server refuses.
    pub async fn initialize(&mut self, authority: &str) -> Result<Option<String>, Error> {
        let request = wire::request(authority, Era::Legacy, None, wire::INITIALIZE);
        let answer = self.exchange(request.as_bytes()).await?;
        if answer.status != 200 {
            return Err(format!("initialize was answered with {}", answer.status).into());
        }
        Ok(answer.session_id)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn send(&mut self, request: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(request).await?)
    }

    /// Sends a request and reads the head of its response, whose body is a stream of events.
    ///
    /// # Errors
    /// The connection is lost, or the response is another.
    pub async fn subscribe(mut self, request: &[u8]) -> Result<Events, Error> {
        self.send(request).await?;
        let answer = self.head().await?;
        if answer.status != 200 || !answer.is_events || !answer.is_chunked {
            return Err(format!("instead of a stream of events there came {answer:?}").into());
        }
        Ok(Events { connection: self, line_at: 0 })
    }

    /// Reads the head of a response.
    ///
    /// # Errors
    /// The connection is lost, or what comes is not HTTP.
    pub async fn head(&mut self) -> Result<Answer, Error> {
        self.received.drain(..self.taken);
        self.taken = 0;
        self.body.clear();
        let mut answer = Answer::default();
        let status = self.line().await?;
        answer.status = std::str::from_utf8(status)?.split(' ').nth(1).ok_or("no status")?.parse()?;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            answer.take_header(line)?;
        }
        Ok(answer)
    }

    /// The body of the last response.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    async fn take_chunks(&mut self) -> Result<(), Error> {
        while self.take_chunk().await? {}
        Ok(())
    }

    /// Appends the next chunk to the body. False: it was the last one.
    async fn take_chunk(&mut self) -> Result<bool, Error> {
        let size = usize::from_str_radix(std::str::from_utf8(self.line().await?)?, 16)?;
        self.take_body(size).await?;
        if !self.line().await?.is_empty() {
            return Err("a chunk is longer than its size".into());
        }
        Ok(size > 0)
    }

    /// Appends `length` bytes of what comes to the body.
    async fn take_body(&mut self, length: usize) -> Result<(), Error> {
        while self.received.len() - self.taken < length {
            self.fill().await?;
        }
        self.body.extend_from_slice(&self.received[self.taken..self.taken + length]);
        self.taken += length;
        Ok(())
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<&[u8], Error> {
        let mut searched = self.taken;
        let end = loop {
            match self.received[searched..].iter().position(|&byte| byte == b'\n') {
                Some(at) => break searched + at,
                None => searched = self.received.len(),
            }
            self.fill().await?;
        };
        let line = &self.received[self.taken..end];
        self.taken = end + 1;
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    async fn fill(&mut self) -> Result<(), Error> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}

/// A response that is a stream of events.
pub struct Events {
    connection: Connection,
    /// Where in the body the first line begins that was not looked at.
    line_at: usize,
}

impl Events {
    /// The data of the next event that has any; here no event has more than one line of it. None: the stream has ended.
    ///
    /// # Errors
    /// The connection is lost, or what comes is not HTTP.
    pub async fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        let (begin, end) = loop {
            let rest = &self.connection.body[self.line_at..];
            if let Some(length) = memchr(b'\n', rest) {
                let (begin, end) = (self.line_at, self.line_at + length);
                self.line_at = end + 1;
                let line = &self.connection.body[begin..end];
                if line.strip_prefix(b"data:").is_some_and(|data| !data.trim_ascii().is_empty()) {
                    break (begin + b"data:".len(), end);
                }
                continue;
            }
            self.connection.body.drain(..self.line_at);
            self.line_at = 0;
            // What was received makes room as soon as it was taken.
            self.connection.received.drain(..self.connection.taken);
            self.connection.taken = 0;
            if !self.connection.take_chunk().await? {
                return Ok(None);
            }
        };
        Ok(Some(self.connection.body[begin..end].trim_ascii()))
    }
}

fn memchr(byte: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&other| other == byte)
}

impl Answer {
    fn take_header(&mut self, line: &[u8]) -> Result<(), Error> {
        let colon = line.iter().position(|&byte| byte == b':').ok_or("a header without a colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let is = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        if is("content-length") {
            self.length = Some(std::str::from_utf8(value)?.parse()?);
        } else if is("transfer-encoding") {
            self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
        } else if is("content-type") {
            self.is_events = value.starts_with(b"text/event-stream");
        } else if is("mcp-session-id") {
            self.session_id = Some(std::str::from_utf8(value)?.to_owned());
        }
        Ok(())
    }
}
