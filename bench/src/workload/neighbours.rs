//! Well-behaved clients beside ones that do not read what they asked for, or hardly: what the others' calls take, and what the
//! server keeps meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use andon_bench::child::Served;
use andon_bench::connection::Connection;
use andon_bench::figure::{Figure, Sample};
use andon_bench::load::{self, Call, Load};
use andon_bench::wire::{self, Era};
use andon_bench::{Error, machine};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::{Sizes, Turn};

/// Letters in the message that a bad neighbour wants back.
const MESSAGE_BYTES: usize = 32 << 10;
/// How many of them it asks for at once: more than the kernel keeps for a connection.
const CALLS: usize = 64;
/// What the kernel keeps for it on its side, each way.
const BUFFER_BYTES: u32 = 4096;
/// One that reads takes a byte as often.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// How long they are there before it counts. The systems at both ends ask whether there is room 0.2 s after there was none, and then
/// after twice the time each time, many connections together: until 6.2 s after they came, and again 12.6 s after.
const ARRIVAL: Duration = Duration::from_secs(7);
/// How long the server has for their leave.
const LEAVE: Duration = Duration::from_secs(2);
/// The part of what the server can answer that is asked for.
const RATE: f64 = 0.25;
/// A window has this length at least: ten milliseconds in which the machine does something else would be the p99 of one second.
pub(super) const WINDOW_MIN: Duration = Duration::from_secs(4);

/// Measures answers at a fixed rate, without and with the neighbours, and without once more: what a server that has run for longer
/// does otherwise is not theirs.
pub(super) async fn measure(served: &Served, turn: &Turn, sizes: &Sizes) -> Result<Sample, Error> {
    let load = turn.load(sizes, Call::Echo);
    let peak = load::run(served.address, served.pid(), Load { window: sizes.window / 2, ..load }).await?;
    let load = Load { rate: Some(peak.rate() * RATE), window: sizes.neighbours_window(), ..load };
    let before = load::run(served.address, served.pid(), load).await?.times;
    let resident_before = machine::resident_kib(served.pid())?;
    let mut neighbours = JoinSet::new();
    for index in 0..sizes.neighbours {
        let (stream, request) = connect(served.address, turn.era).await?;
        neighbours.spawn(ask(stream, request, index % 2 == 0));
    }
    tokio::time::sleep(ARRIVAL).await;
    let beside = load::run(served.address, served.pid(), load).await?;
    let grown = machine::resident_kib(served.pid())?.saturating_sub(resident_before);
    if let Some(ended) = neighbours.try_join_next() {
        return Err(format!("a neighbour was cut off before its time: {ended:?}").into());
    }
    neighbours.shutdown().await;
    tokio::time::sleep(LEAVE).await;
    let after = load::run(served.address, served.pid(), load).await?.times;
    let mut alone = before.clone();
    alone.add(&after);
    let p99 = beside.times.quantile_us(0.99);
    Ok(Sample::from([
        (Figure::P99Times, p99 / alone.quantile_us(0.99)),
        (Figure::P99Us, p99),
        (Figure::P99BeforeUs, before.quantile_us(0.99)),
        (Figure::P99AfterUs, after.quantile_us(0.99)),
        (Figure::P999Us, beside.times.quantile_us(0.999)),
        (Figure::PerSecond, beside.rate()),
        (Figure::GrownMib, super::mib(grown)),
    ]))
}

/// Connects a neighbour, with a session if the era has them; and what it asks for.
async fn connect(address: SocketAddr, era: Era) -> Result<(TcpStream, String), Error> {
    let authority = address.to_string();
    let session = Connection::open(address).await?.session(&authority, era).await?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    let request = wire::request(&authority, era, session.as_deref(), &wire::long_body(era, MESSAGE_BYTES));
    Ok((socket.connect(address).await?, request))
}

/// Asks for more than it takes, until it is cut off or stopped.
async fn ask(mut stream: TcpStream, request: String, reads: bool) -> Result<(), Error> {
    let (mut from, mut to) = stream.split();
    let write = async {
        for _ in 0..CALLS {
            to.write_all(request.as_bytes()).await?;
        }
        std::future::pending::<Result<(), Error>>().await
    };
    let read = async {
        if !reads {
            return std::future::pending::<Result<(), Error>>().await;
        }
        let mut byte = [0; 1];
        loop {
            tokio::time::sleep(READ_INTERVAL).await;
            from.read_exact(&mut byte).await?;
        }
    };
    tokio::try_join!(write, read)?;
    Ok(())
}
