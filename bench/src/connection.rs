//! HTTP/1.1 from the client's side, as much of it as the peers answer with.

use std::net::SocketAddr;

use andon_bench::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection that is kept alive. Its buffers are used again for each exchange.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// How much of `received` has been taken.
    taken: usize,
    body: Vec<u8>,
}

/// The head of a response.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Whether the body is a stream of events.
    pub(crate) is_events: bool,
    /// The session that the server opened.
    pub(crate) session_id: Option<String>,
    length: Option<usize>,
    is_chunked: bool,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4096), taken: 0, body: Vec::with_capacity(1024) })
    }

    /// Sends a request and reads all of its response. The body is then in [`Connection::body`].
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer, Error> {
        self.stream.write_all(request).await?;
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
        match answer.length {
            Some(length) => self.take_body(length).await?,
            None if answer.is_chunked => self.take_chunks().await?,
            None => return Err("a response without a length".into()),
        }
        Ok(answer)
    }

    /// The body of the last response.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    async fn take_chunks(&mut self) -> Result<(), Error> {
        loop {
            let size = usize::from_str_radix(std::str::from_utf8(self.line().await?)?, 16)?;
            self.take_body(size).await?;
            if !self.line().await?.is_empty() {
                return Err("a chunk is longer than its size".into());
            }
            if size == 0 {
                return Ok(());
            }
        }
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
