//! One message per line over a pair of byte streams (transports, "stdio").

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use andon_core::client::Loss;
use andon_types::lines::{Beginning, Line, LineBuffer, beginning};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::{Ear, Heard, Link, Round, read_messages};
use crate::carriage::Carriage;

/// Messages that wait to be written. A server that reads nothing fills it, and further calls fail.
const QUEUE_MAX: usize = 1024;
/// How long a peer may take to read what is left at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection over lines.
pub(crate) struct Lines {
    ear: Ear,
    queue: Mutex<Option<mpsc::Sender<String>>>,
    reader: AbortHandle,
    writer: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Lines {
    /// Starts reading and writing. After the input ended, `end` says why.
    pub(crate) fn new(
        input: impl AsyncRead + Send + Unpin + 'static,
        mut output: impl AsyncWrite + Send + Unpin + 'static,
        line_bytes_max: usize,
        ear: Ear,
        end: impl Future<Output = String> + Send + 'static,
    ) -> Self {
        let (queue, mut queued) = mpsc::channel::<String>(QUEUE_MAX);
        let writer = tokio::spawn(async move {
            while let Some(mut text) = queued.recv().await {
                text.push('\n');
                while let Ok(more) = queued.try_recv() {
                    text.push_str(&more);
                    text.push('\n');
                }
                // A broken pipe is told by the reader, which sees the end.
                if output.write_all(text.as_bytes()).await.is_err() || output.flush().await.is_err() {
                    return;
                }
            }
            drop(output.shutdown().await);
        });
        let heard = ear.clone();
        let reader = tokio::spawn(async move {
            let take = |line: Line<'_>| match line {
                Line::Whole(line) => read_messages(line, &heard),
                Line::TooLong(first) => heard(too_long(first, line_bytes_max)),
            };
            let why = match read_lines(BufReader::new(input), line_bytes_max, take).await {
                Ok(()) => end.await,
                Err(error) => format!("reading failed: {error}"),
            };
            heard(Heard::Closed(Loss::Disconnected(why)));
        })
        .abort_handle();
        Self { ear, queue: Mutex::new(Some(queue)), reader, writer: Mutex::new(Some(writer)) }
    }

    fn put(&self, text: String) -> Result<(), Loss> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return Err(Loss::Disconnected("it was closed".to_owned())) };
        // A message is one line: JSON has line ends between tokens only.
        let text = if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text };
        queue.try_send(text).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Loss::Refused { status: None, why: "the server does not read what is sent to it".to_owned() }
            }
            mpsc::error::TrySendError::Closed(_) => Loss::Disconnected("the server closed its input".to_owned()),
        })
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.reader.abort();
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
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
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

/// Hands over each line as soon as it is there.
pub(crate) async fn read_lines(
    mut input: impl AsyncBufRead + Unpin,
    bytes_max: usize,
    mut take: impl FnMut(Line<'_>),
) -> std::io::Result<()> {
    let mut lines = LineBuffer::new(bytes_max);
    loop {
        let available = input.fill_buf().await?;
        let is_over = available.is_empty();
        let (used, line) = lines.take(available);
        if let Some(line) = line {
            take(line);
        }
        input.consume(used);
        if is_over {
            return Ok(());
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
