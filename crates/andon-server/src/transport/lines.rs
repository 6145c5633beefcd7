//! One message per line (transports, "stdio"), over any pair of byte streams.

use std::sync::Arc;
use std::time::Duration;

use andon_types::lines::{Line, LineBuffer};
use memchr::memchr2;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};

use crate::host::{Connection, Host, ResponseStream};
use crate::principal::Principal;

/// Bytes of one line. A longer one is answered by an error, and the next line is read.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// How long calls may go on after the input ended or shutdown was asked for.
const FAREWELL: Duration = Duration::from_secs(5);
/// What is read at once, and what is written at most about at once: as much as a pipe of Linux holds.
const PIECE_BYTES: usize = 64 << 10;
/// Messages that are taken before what they were answered is written.
const LINES_AT_ONCE: usize = 128;

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
        let mut reading = std::pin::pin!(read_all(&connection, BufReader::with_capacity(PIECE_BYTES, input)));
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
    let (mut lines, mut taken) = (LineBuffer::new(LINE_BYTES_MAX), 0);
    loop {
        connection.ready().await;
        let available = input.fill_buf().await?;
        let is_over = available.is_empty();
        let (used, line) = lines.take(available);
        match line {
            Some(Line::Whole(line)) => connection.receive(line),
            Some(Line::TooLong(_)) => connection.refuse_bytes("a line has at most 4 MiB"),
            None => {}
        }
        input.consume(used);
        if is_over {
            return Ok(());
        }
        taken += 1;
        if taken == LINES_AT_ONCE {
            taken = 0;
            // The writing side has its turn.
            tokio::task::yield_now().await;
        }
    }
}

async fn write_all(mut stream: ResponseStream, mut output: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let (mut texts, mut piece) = (Vec::new(), Vec::new());
    while stream.texts(&mut texts, PIECE_BYTES).await {
        texts.drain(..).for_each(|text| push_line(&mut piece, text.as_bytes()));
        let written = match output.write_all(&piece).await {
            Ok(()) => output.flush().await,
            refused => refused,
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
        piece.clear();
        piece.shrink_to(2 * PIECE_BYTES);
    }
    Ok(())
}

fn push_line(piece: &mut Vec<u8>, mut rest: &[u8]) {
    // Line ends between tokens, as a handler's own JSON may have them; inside strings JSON has none.
    while let Some(at) = memchr2(b'\n', b'\r', rest) {
        piece.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
    }
    piece.extend_from_slice(rest);
    piece.push(b'\n');
}
