//! One message per line over a pair of byte streams (transports, "stdio").

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon_core::client::Loss;
use andon_types::lines::{Beginning, Line, LineBuffer, beginning};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::{Ear, Heard, Link, Round, read_messages};
use crate::carriage::Carriage;

/// Messages that wait to be written. A server that reads nothing fills it, and further calls fail.
const QUEUE_MAX: usize = 1024;
/// Lines, and bytes, that are read in one go before others have their turn: a peer that floods is one of many.
const TURN_LINES_MAX: usize = 64;
const TURN_BYTES_MAX: usize = 64 << 10;
/// How long a peer may take to read what is left at the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// Who says nothing for so long has nothing more to say, if it is gone.
const QUIET: Duration = Duration::from_millis(100);

/// A connection over lines.
pub(crate) struct Lines {
    ear: Ear,
    desk: Arc<Desk>,
    reader: AbortHandle,
    writer: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Lines {
    /// Starts reading, and writes when there is something to say. After the input ended, `end` says why. When `gone` returns the
    /// peer is gone, and only what it said before is read, whoever else may hold the input open.
    pub(crate) fn new(
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
        line_bytes_max: usize,
        ear: Ear,
        gone: impl Future<Output = ()> + Send + 'static,
        end: impl Future<Output = String> + Send + 'static,
    ) -> Self {
        let desk = Desk::new(Box::new(output));
        let writer = tokio::spawn(desk.clone().write());
        let heard = ear.clone();
        let reader = tokio::spawn(async move {
            let count = AtomicUsize::new(0);
            let take = |line: Line<'_>| {
                count.fetch_add(1, Ordering::Relaxed);
                match line {
                    Line::Whole(line) => read_messages(line, &heard),
                    Line::TooLong(first) => heard(too_long(first, line_bytes_max)),
                }
            };
            let mut reading = pin!(read_lines(BufReader::new(input), line_bytes_max, take));
            let read = tokio::select! {
                read = &mut reading => read,
                () = gone => rest(reading, &count).await,
            };
            let why = match read {
                Ok(()) => end.await,
                Err(error) => format!("reading failed: {error}"),
            };
            heard(Heard::Closed(Loss::Disconnected(why)));
        })
        .abort_handle();
        Self { ear, desk, reader, writer: Mutex::new(Some(writer)) }
    }

    fn put(&self, text: String) -> Result<(), Loss> {
        // A message is one line: JSON has line ends between tokens only.
        let mut line = if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text };
        line.push('\n');
        self.desk.put(line)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.reader.abort();
        self.desk.close();
    }
}

impl Link for Lines {
    fn send(&self, round: Round) -> Option<Carriage> {
        let loss = self.put(round.text).err()?;
        let (ear, call) = (self.ear.clone(), round.call);
        Some(async move { ear(Heard::Failed { call, loss }) }.boxed())
    }

    fn say(&self, text: String) -> BoxFuture<'static, ()> {
        if let Err(loss) = self.put(text) {
            tracing::debug!(%loss, "a message was not delivered");
        }
        async {}.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        // The end of our output is the peer's end of input.
        self.desk.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            if let Some(writer) = writer {
                let abort = writer.abort_handle();
                if tokio::time::timeout(FAREWELL, writer).await.is_err() {
                    abort.abort();
                }
            }
        }
        .boxed()
    }
}

/// Where lines are written: by whoever has one, as far as the peer takes it at once, so that no other task has to be woken
/// for it; the rest, and what comes meanwhile, by a task.
struct Desk {
    tray: Mutex<Tray>,
    /// There is something for the task to do.
    bell: Notify,
}

struct Tray {
    /// None while the task writes.
    output: Option<Output>,
    /// What the task is to write. The first line may have been begun.
    waiting: VecDeque<String>,
    /// How much of the first line is written.
    written: usize,
    /// What was written may still be on its way to the output.
    is_unflushed: bool,
    is_closed: bool,
    is_broken: bool,
}

type Output = Box<dyn AsyncWrite + Send + Unpin>;

impl Desk {
    fn new(output: Output) -> Arc<Self> {
        let tray = Tray {
            output: Some(output),
            waiting: VecDeque::new(),
            written: 0,
            is_unflushed: false,
            is_closed: false,
            is_broken: false,
        };
        Arc::new(Self { tray: Mutex::new(tray), bell: Notify::new() })
    }

    fn tray(&self) -> MutexGuard<'_, Tray> {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: String) -> Result<(), Loss> {
        let mut tray = self.tray();
        if tray.is_closed {
            return Err(Loss::Disconnected("it was closed".to_owned()));
        }
        if tray.is_broken {
            return Err(Loss::Disconnected("the server closed its input".to_owned()));
        }
        if tray.waiting.len() >= QUEUE_MAX {
            let why = "the server does not read what is sent to it".to_owned();
            return Err(Loss::Refused { status: None, why });
        }
        tray.waiting.push_back(line);
        if tray.waiting.len() == 1 && tray.output.is_some() {
            tray.try_write();
        }
        if tray.has_work() {
            self.bell.notify_one();
        }
        Ok(())
    }

    /// Nothing more is said: the output ends when what waits is written.
    fn close(&self) {
        self.tray().is_closed = true;
        self.bell.notify_one();
    }

    /// Writes what could not be written at once, until the desk is closed.
    async fn write(self: Arc<Self>) {
        loop {
            let work = self.tray().take_work();
            let Some((mut output, text)) = work else {
                self.bell.notified().await;
                continue;
            };
            // A broken pipe is told by the reader, which sees the end.
            let is_broken = output.write_all(&text).await.is_err() || output.flush().await.is_err();
            let given_up = self.tray().go_on(output, is_broken);
            if let Some(mut output) = given_up {
                drop(output.shutdown().await);
                return;
            }
        }
    }
}

impl Tray {
    fn has_work(&self) -> bool {
        self.is_unflushed || !self.waiting.is_empty() || self.is_broken
    }

    /// Writes the first line as far as it can be written at once.
    fn try_write(&mut self) {
        let (Some(output), Some(line)) = (&mut self.output, self.waiting.front()) else { return };
        let cx = &mut Context::from_waker(Waker::noop());
        while self.written < line.len() {
            match Pin::new(&mut *output).poll_write(cx, &line.as_bytes()[self.written..]) {
                Poll::Ready(Ok(count)) if count > 0 => self.written += count,
                Poll::Ready(_) => return self.is_broken = true,
                Poll::Pending => return,
            }
        }
        self.waiting.pop_front();
        self.written = 0;
        match Pin::new(output).poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.is_broken = true,
            Poll::Pending => self.is_unflushed = true,
        }
    }

    /// Takes the output back after the task has written. It is given up if there is nothing more to say, ever.
    fn go_on(&mut self, output: Output, is_broken: bool) -> Option<Output> {
        if is_broken || (self.is_closed && self.waiting.is_empty()) {
            self.is_broken = true;
            self.waiting.clear();
            return Some(output);
        }
        self.output = Some(output);
        None
    }

    /// The output and all that waits, if there is something to do.
    fn take_work(&mut self) -> Option<(Output, Vec<u8>)> {
        if !self.has_work() && !self.is_closed {
            return None;
        }
        let output = self.output.take()?;
        let mut text = Vec::new();
        let mut written = std::mem::take(&mut self.written);
        for line in self.waiting.drain(..) {
            text.extend_from_slice(&line.as_bytes()[written..]);
            written = 0;
        }
        self.is_unflushed = false;
        Some((output, text))
    }
}

/// Goes on `reading` what was said before, until nothing more comes of which lines are counted.
async fn rest(mut reading: Pin<&mut impl Future<Output = io::Result<()>>>, count: &AtomicUsize) -> io::Result<()> {
    let until = Instant::now() + FAREWELL;
    loop {
        let before = count.load(Ordering::Relaxed);
        if let Ok(read) = tokio::time::timeout(QUIET, &mut reading).await {
            return read;
        }
        if count.load(Ordering::Relaxed) == before || Instant::now() >= until {
            return Ok(());
        }
    }
}

/// Hands over each line as soon as it is there.
pub(crate) async fn read_lines(
    mut input: impl AsyncBufRead + Unpin,
    bytes_max: usize,
    mut take: impl FnMut(Line<'_>),
) -> io::Result<()> {
    let mut lines = LineBuffer::new(bytes_max);
    let (mut turn_lines, mut turn_bytes) = (0, 0);
    loop {
        let available = input.fill_buf().await?;
        let is_over = available.is_empty();
        let (used, line) = lines.take(available);
        if let Some(line) = line {
            take(line);
            turn_lines += 1;
        }
        input.consume(used);
        if is_over {
            return Ok(());
        }
        turn_bytes += used;
        if turn_lines >= TURN_LINES_MAX || turn_bytes >= TURN_BYTES_MAX {
            (turn_lines, turn_bytes) = (0, 0);
            tokio::task::yield_now().await;
        }
    }
}

/// A line of which only its first bytes are known. If it is JSON, somebody may wait for it.
fn too_long(first: &[u8], bytes_max: usize) -> Heard {
    let why = format!("a message of the server was longer than {bytes_max} bytes, and is lost");
    match beginning(first) {
        Beginning::Answer(id) => Heard::Unreadable { wire_id: Some(id), why },
        Beginning::Unknown if first.starts_with(b"{") || first.starts_with(b"[") => {
            Heard::Unreadable { wire_id: None, why }
        }
        Beginning::Unasked | Beginning::Unknown => Heard::Noise(why),
    }
}

#[cfg(test)]
mod tests;
