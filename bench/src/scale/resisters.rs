//! Peers that take or send too slowly.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::connect::{connect, open_session};
use super::order::{Manner, Reply, Resist};
use crate::Error;
use crate::connection::Connection;
use crate::wire::{self, Era};

/// How many are connected at once.
const OPENING: usize = 64;
/// What the system keeps for a slow peer at its own end, each way: so the server's side fills up soon.
const BUFFER_BYTES: u32 = 4 << 10;
/// Letters of a message that is asked for.
const MESSAGE_BYTES: usize = 32 << 10;
/// Messages that a peer asks for: more than both systems keep for it, so that the server cannot write the last of them.
const MESSAGES: usize = 3;
/// Messages that one asks for which goes on asking: 2 MiB, so that it cannot write all of it either.
const MESSAGES_MANY: usize = 64;
/// How long a peer tries to ask before it just waits.
const ASKING: Duration = Duration::from_secs(2);

/// The peers of one generator.
#[derive(Default)]
pub(super) struct Resisters {
    peers: JoinSet<Option<Duration>>,
}

impl Resisters {
    /// Connects them; they stay until [`Resisters::ease`].
    pub(super) async fn resist(&mut self, resist: Resist) -> Reply {
        let begun = Instant::now();
        let (mut reply, mut opening) = (Reply::default(), JoinSet::new());
        let Resist { address, from, count, rate_per_s, manner, era } = resist;
        for number in 0..count {
            if let Some(rate_per_s) = rate_per_s {
                sleep_until((begun + Duration::from_secs_f64(number as f64 / rate_per_s)).into()).await;
            }
            if opening.len() >= OPENING
                && let Some(opened) = opening.join_next().await
            {
                self.keep(opened, manner, &mut reply);
            }
            opening.spawn_local(begin(address, from, manner, era));
        }
        while let Some(opened) = opening.join_next().await {
            self.keep(opened, manner, &mut reply);
        }
        reply.seconds = begun.elapsed().as_secs_f64();
        reply
    }

    fn keep(
        &mut self,
        opened: Result<Result<(TcpStream, String), Error>, tokio::task::JoinError>,
        manner: Manner,
        reply: &mut Reply,
    ) {
        match opened {
            Ok(Ok((stream, request))) => {
                reply.done += 1;
                self.peers.spawn_local(go_on(stream, request, manner));
            }
            Ok(Err(why)) => reply.fail(why),
            Err(why) => reply.fail(why),
        }
    }

    /// Closes them: how many the server had cut off before, and after how long.
    pub(super) async fn ease(&mut self) -> Reply {
        let mut reply = Reply::default();
        while let Some(ended) = self.peers.try_join_next() {
            if let Ok(Some(after)) = ended {
                reply.done += 1;
                reply.times.record(after);
            }
        }
        reply.failed = self.peers.len() as u64;
        self.peers.shutdown().await;
        reply
    }
}

/// Connects a peer, in a session if it needs one: what it asks for, again and again.
async fn begin(address: SocketAddr, from: Ipv4Addr, manner: Manner, era: Era) -> Result<(TcpStream, String), Error> {
    let authority = address.to_string();
    let stream = connect(address, from, Some(BUFFER_BYTES)).await?;
    if matches!(manner, Manner::SlowHead | Manner::SlowBody) {
        return Ok((stream, String::new()));
    }
    let mut connection = Connection::of(stream);
    let id = match era {
        Era::Legacy => Some(open_session(&mut connection, &authority).await?),
        Era::Modern => None,
    };
    let body = if manner == Manner::NeverListens {
        // What it says comes on the stream of the call, faster than it is taken.
        let message = "x".repeat(MESSAGE_BYTES / 2);
        format!(
            r#"{{"jsonrpc":"2.0","id":100000000,"method":"tools/call","params":{{"name":"log","arguments":{{"count":60,"message":"{message}"}}}}}}"#
        )
    } else {
        wire::long_body(era, MESSAGE_BYTES)
    };
    let request = wire::request(&authority, era, id.as_deref(), &body);
    Ok((connection.into_stream(), request))
}

/// Asks for much, until it is not taken any more: the server stops reading when its answers are not read.
async fn ask(stream: &mut TcpStream, request: String, manner: Manner) {
    let times = match manner {
        Manner::NeverReads | Manner::ReadsSlowly => MESSAGES,
        Manner::AsksOn => MESSAGES_MANY,
        Manner::NeverListens => 1,
        Manner::SlowHead | Manner::SlowBody => 0,
    };
    let asked = async {
        for _ in 0..times {
            if stream.write_all(request.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(ASKING, asked).await;
}

/// Is slow until the server has enough of it: after how long. None: it never had.
async fn go_on(mut stream: TcpStream, request: String, manner: Manner) -> Option<Duration> {
    let begun = Instant::now();
    ask(&mut stream, request, manner).await;
    match manner {
        Manner::NeverReads | Manner::AsksOn | Manner::NeverListens => {
            // What is not read is never seen to end, other than by a reset.
            let _ = stream.ready(tokio::io::Interest::ERROR).await;
        }
        Manner::ReadsSlowly => {
            let mut byte = [0];
            while matches!(stream.read(&mut byte).await, Ok(1)) {
                sleep(Duration::from_secs(1)).await;
            }
        }
        Manner::SlowHead => {
            trickle(&mut stream, b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: ", Duration::from_secs(1)).await;
        }
        Manner::SlowBody => {
            let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                        Accept: application/json, text/event-stream\r\nContent-Length: 1000\r\n\r\n";
            if stream.write_all(head.as_bytes()).await.is_ok() {
                trickle(&mut stream, b"{", Duration::from_secs(10)).await;
            }
        }
    }
    Some(begun.elapsed())
}

/// Sends `bytes`, and then more of the same, one at a time, until the server closes.
async fn trickle(stream: &mut TcpStream, bytes: &[u8], interval: Duration) {
    let (mut reading, mut writing) = stream.split();
    let read = async {
        let mut answer = [0; 1024];
        while matches!(reading.read(&mut answer).await, Ok(1..)) {}
    };
    let write = async {
        for byte in bytes.iter().chain(std::iter::repeat(&b' ')) {
            if writing.write_all(std::slice::from_ref(byte)).await.is_err() {
                return;
            }
            sleep(interval).await;
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
