//! Echo calls over one byte stream, a message a line: as many in flight as there may be.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use memchr::{memchr, memmem};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::Error;
use crate::histogram::Histogram;
use crate::load::Measured;
use crate::machine::CpuClock;
use crate::wire::{self, Era, Numbered};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Calls that are written at once: about as many bytes as a pipe takes.
const CALLS_AT_ONCE: usize = 256;

/// How long, and how many at once.
#[derive(Debug, Clone, Copy)]
pub struct Drive {
    /// In which era.
    pub era: Era,
    /// Calls that wait for their answers at a time.
    pub window: usize,
    /// Before measuring.
    pub warm_up: Duration,
    /// Of measuring.
    pub time: Duration,
}

/// Opens the conversation with a server, which is the process `pid`, warms it up, and measures.
///
/// # Errors
/// The server ends, or says something else than the answers.
pub async fn drive(
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
    drive: Drive,
    pid: u32,
) -> Result<Measured, Error> {
    let Drive { era, window, warm_up, time } = drive;
    let mut answers = Answers { input, text: vec![0; CHUNK_BYTES], filled: 0, seen: Vec::new() };
    if era == Era::Legacy {
        output.write_all(format!("{}\n", wire::INITIALIZE).as_bytes()).await?;
        output.flush().await?;
        answers.opening().await?;
        output.write_all(format!("{}\n", wire::INITIALIZED).as_bytes()).await?;
    }
    let mut calls = Numbered::new(format!("{}\n", wire::call_body(era)));
    run(&mut calls, &mut answers, &mut output, window, warm_up).await?;
    let clock = CpuClock::of(pid)?;
    let cpu_before = clock.time()?;
    let (calls, wall, times) = run(&mut calls, &mut answers, &mut output, window, time).await?;
    let cpu = clock.since(cpu_before)?;
    output.shutdown().await?;
    drop(output);
    answers.end().await?;
    if calls == 0 || cpu.is_zero() {
        return Err("the window was too short to measure anything".into());
    }
    Ok(Measured { calls, times, wall, cpu })
}

/// Keeps `window` calls in flight for `time`, and waits for the answers to all of them: how many, how long, and how long each.
async fn run<R: AsyncRead + Unpin>(
    calls: &mut Numbered,
    answers: &mut Answers<R>,
    output: &mut (impl AsyncWrite + Unpin),
    window: usize,
    time: Duration,
) -> Result<(u64, Duration, Histogram), Error> {
    let (began_at, credit, more) = (Instant::now(), Cell::new(window), Notify::new());
    let (sent, is_over, last) = (Cell::new(0_usize), Cell::new(false), Notify::new());
    // The first of the calls that were written together, and when.
    let written = RefCell::new(Vec::new());
    let mut text = Vec::with_capacity(2 * CHUNK_BYTES);
    let write = async {
        while began_at.elapsed() < time {
            let count = credit.get().min(CALLS_AT_ONCE);
            if count == 0 {
                more.notified().await;
                continue;
            }
            for index in 0..count {
                let (call, number) = calls.advance();
                text.extend_from_slice(call);
                if index == 0 {
                    written.borrow_mut().push((number, Instant::now()));
                }
            }
            credit.set(credit.get() - count);
            sent.set(sent.get() + count);
            output.write_all(&text).await?;
            output.flush().await?;
            text.clear();
        }
        is_over.set(true);
        last.notify_one();
        Ok::<_, Error>(())
    };
    answers.seen.clear();
    let mut times = Histogram::default();
    let read = async {
        let mut answered = 0;
        while !is_over.get() || answered < sent.get() {
            let count = tokio::select! {
                count = answers.read() => count?,
                () = last.notified() => continue,
            };
            let (now, written) = (Instant::now(), written.borrow());
            for number in &answers.seen[answered..] {
                // One of the last that were written.
                let of = written.iter().rfind(|(first, _)| first <= number);
                let (_, written_at) = of.ok_or("an answer to no call")?;
                times.record(now.duration_since(*written_at));
            }
            answered += count;
            credit.set(credit.get() + count);
            more.notify_one();
        }
        Ok::<_, Error>(answered)
    };
    let ((), calls) = tokio::try_join!(write, read)?;
    answers.check(calls)?;
    Ok((calls as u64, began_at.elapsed(), times))
}

/// What the server says.
struct Answers<R> {
    input: R,
    text: Vec<u8>,
    filled: usize,
    /// The numbers of the calls that were answered.
    seen: Vec<u64>,
}

impl<R: AsyncRead + Unpin> Answers<R> {
    /// Reads some answers, and says how many.
    async fn read(&mut self) -> Result<usize, Error> {
        self.fill().await?;
        let (known, mut at) = (self.seen.len(), 0);
        while let Some(length) = memchr(b'\n', &self.text[at..self.filled]) {
            let line = &self.text[at..at + length];
            self.seen.push(number(line).ok_or_else(|| format!("no answer: {}", String::from_utf8_lossy(line)))?);
            at += length + 1;
        }
        self.text.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(self.seen.len() - known)
    }

    /// Reads the answer to the first request of a session.
    async fn opening(&mut self) -> Result<(), Error> {
        while !self.text[..self.filled].contains(&b'\n') {
            self.fill().await?;
        }
        let line = String::from_utf8_lossy(&self.text[..self.filled]).into_owned();
        self.filled = 0;
        if line.contains(r#""result":"#) { Ok(()) } else { Err(format!("no session: {line}").into()) }
    }

    async fn fill(&mut self) -> Result<(), Error> {
        let count = self.input.read(&mut self.text[self.filled..]).await?;
        self.filled += count;
        if count == 0 { Err("the server ended, or said a line that is too long".into()) } else { Ok(()) }
    }

    /// Whether `count` calls in a row were answered, each once.
    fn check(&mut self, count: usize) -> Result<(), Error> {
        self.seen.sort_unstable();
        let is_in_a_row = self.seen.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if self.seen.len() == count && is_in_a_row { Ok(()) } else { Err("a call was answered twice, or not".into()) }
    }

    /// Whether nothing else is said.
    async fn end(&mut self) -> Result<(), Error> {
        let mut rest = Vec::new();
        self.input.read_to_end(&mut rest).await?;
        if self.filled == 0 && rest.is_empty() { Ok(()) } else { Err("an answer too many".into()) }
    }
}

/// The number of the call that `line` answers with the message that was sent.
fn number(line: &[u8]) -> Option<u64> {
    let digits = |after: &[u8]| {
        let at = memmem::find(line, after)? + after.len();
        std::str::from_utf8(line.get(at..at + 9)?).ok()?.parse::<u64>().ok()
    };
    let id = digits(br#""id":"#)?;
    (digits(b"message number ")? == id).then_some(id)
}
