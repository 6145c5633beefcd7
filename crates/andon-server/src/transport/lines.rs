//! One message per line (transports, "stdio"), over any pair of byte streams.

use std::sync::Arc;
use std::time::Duration;

use andon_types::lines::{Line, LineBuffer};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use crate::host::{Connection, Host, ResponseStream};
use crate::principal::Principal;

/// Bytes of one line. A longer one is answered by an error, and the next line is read.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// How long calls may go on after the input ended or shutdown was asked for.
const FAREWELL: Duration = Duration::from_secs(5);
/// Messages that are ready at once leave in one write of at most about this size.
const PIECE_BYTES: usize = 64 << 10;

/// Serves one peer until its input ends, its output breaks, or `shutdown`; then waits a moment for what is in flight.
///
/// # Errors
/// When reading or writing fails. A pipe that the peer closed is an end and no error.
pub async fn serve_lines(
    host: &Arc<Host>,
    principal: Principal,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let (connection, stream) = host.connect(principal);
    let mut writing = std::pin::pin!(write_all(stream, output));
    let outcome = {
        let mut reading = std::pin::pin!(read_all(&connection, BufReader::new(input)));
        let mut shutdown = std::pin::pin!(shutdown);
        tokio::select! {
            read = &mut reading => read,
            written = &mut writing => return written,
            () = &mut shutdown => Ok(()),
        }
    };
    // What was asked before the end is still answered.
    let quiet = connection.wait_until_quiet();
    tokio::select! {
        _ = tokio::time::timeout(FAREWELL, quiet) => {}
        written = &mut writing => return written,
    }
    drop(connection);
    // A peer that no longer reads does not hold us up.
    match tokio::time::timeout(FAREWELL, writing).await {
        Ok(written) => outcome.and(written),
        Err(_) => outcome,
    }
}

async fn read_all(connection: &Connection, mut input: impl AsyncBufRead + Unpin) -> std::io::Result<()> {
    let mut lines = LineBuffer::new(LINE_BYTES_MAX);
    loop {
        connection.ready().await;
        let available = input.fill_buf().await?;
        let is_over = available.is_empty();
        let used = lines.push(available);
        input.consume(used);
        match lines.line() {
            Some(Line::Whole(line)) => connection.receive(line),
            Some(Line::TooLong(_)) => connection.refuse_bytes("a line has at most 4 MiB"),
            None => {}
        }
        if is_over {
            return Ok(());
        }
    }
}

async fn write_all(mut stream: ResponseStream, mut output: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut text = Vec::new();
    let written = loop {
        let Some(frame) = stream.next().await else { break Ok(()) };
        push_line(&mut text, frame.data.as_deref());
        while text.len() < PIECE_BYTES {
            match futures_util::FutureExt::now_or_never(stream.next()) {
                Some(Some(frame)) => push_line(&mut text, frame.data.as_deref()),
                Some(None) | None => break,
            }
        }
        if let Err(error) = output.write_all(&text).await {
            break Err(error);
        }
        if let Err(error) = output.flush().await {
            break Err(error);
        }
        text.clear();
    };
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn push_line(text: &mut Vec<u8>, data: Option<&str>) {
    let Some(data) = data else { return };
    // Line ends between tokens, as a handler's own JSON may have them; inside strings JSON has none.
    text.extend(data.bytes().filter(|byte| !matches!(byte, b'\n' | b'\r')));
    text.push(b'\n');
}
