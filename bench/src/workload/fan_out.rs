//! One update to all who subscribed to it: how long until the last has it, and what that costs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::connection::{Connection, Events};
use andon_bench::figure::{Figure, Sample};
use andon_bench::histogram::Histogram;
use andon_bench::machine::{self, CpuClock};
use andon_bench::wire::{self, Era, Numbered};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::{Sizes, mib};

/// How long an update may take to the last.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// Updates before measuring.
const WARM_UP: usize = 2;
/// From one update to the next. Andon says of a resource at most every 100 ms that it changed, the first time at once: an
/// update that came sooner would measure that pause.
const INTERVAL: Duration = Duration::from_millis(150);
const UPDATED: &[u8] = b"notifications/resources/updated";

/// Updates a resource again and again, each time when all streams have the update before, and some time after it.
pub(super) async fn measure(served: &Served, era: Era, sizes: &Sizes) -> Result<Sample, Error> {
    let (sender, mut received) = mpsc::channel(sizes.listeners.max(1));
    let mut streams = JoinSet::new();
    for stream in 0..sizes.listeners {
        let events = subscribe(served.address, era).await?;
        streams.spawn(listen(events, stream, sender.clone()));
    }
    drop(sender);
    let mut toucher = Toucher::open(served.address, era).await?;
    let mut next = interval(INTERVAL);
    next.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..WARM_UP {
        next.tick().await;
        toucher.update(&mut received, sizes.listeners).await?;
    }
    let clock = CpuClock::of(served.pid())?;
    let (began_at, cpu_before) = (Instant::now(), clock.time()?);
    let mut until_last = Histogram::default();
    while began_at.elapsed() < sizes.window {
        next.tick().await;
        until_last.record(toucher.update(&mut received, sizes.listeners).await?);
    }
    let (wall, cpu) = (began_at.elapsed(), clock.since(cpu_before)?);
    if cpu.is_zero() {
        return Err("the window was too short to measure anything".into());
    }
    let deliveries = until_last.count() as f64 * sizes.listeners as f64;
    Ok(Sample::from([
        (Figure::PerCpuSecond, deliveries / cpu.as_secs_f64()),
        (Figure::PerSecond, deliveries / wall.as_secs_f64()),
        (Figure::CpuUs, cpu.as_secs_f64() * 1e6 / deliveries),
        (Figure::LastMs, until_last.quantile_us(0.5) / 1e3),
        (Figure::ResidentMib, mib(machine::resident_kib(served.pid())?)),
    ]))
}

/// A stream on which the updates come, subscribed.
pub(super) async fn subscribe(address: SocketAddr, era: Era) -> Result<Events, Error> {
    let authority = address.to_string();
    let mut connection = Connection::open(address).await?;
    let subscribe = wire::subscribe_body(era);
    if era == Era::Modern {
        let mut events = connection.subscribe(wire::request(&authority, era, None, &subscribe).as_bytes()).await?;
        events.next().await?.ok_or("the stream ended before it was acknowledged")?;
        return Ok(events);
    }
    let session = connection.session(&authority, era).await?;
    let answer = connection.exchange(wire::request(&authority, era, session.as_deref(), &subscribe).as_bytes()).await?;
    if answer.status != 200 || !connection.body().windows(8).any(|part| part == b"\"result\"") {
        return Err(format!("subscribing: {}", String::from_utf8_lossy(connection.body())).into());
    }
    connection.subscribe(wire::standing_request(&authority, session.as_deref()).as_bytes()).await
}

/// Says when each update has come on stream number `stream`.
async fn listen(mut events: Events, stream: usize, received: Sender<(usize, Instant)>) -> Result<(), Error> {
    while let Some(data) = events.next().await? {
        if data.windows(UPDATED.len()).any(|part| part == UPDATED) {
            // Nobody counts any more when the measurement is over.
            let _ = received.send((stream, Instant::now())).await;
        }
    }
    Ok(())
}

/// Who updates the resource, over a connection and a session of its own.
struct Toucher {
    connection: Connection,
    request: Numbered,
}

impl Toucher {
    async fn open(address: SocketAddr, era: Era) -> Result<Self, Error> {
        let authority = address.to_string();
        let mut connection = Connection::open(address).await?;
        let session = connection.session(&authority, era).await?;
        let text = wire::request(&authority, era, session.as_deref(), &wire::touch_body(era));
        Ok(Self { connection, request: Numbered::new(text) })
    }

    /// Updates, and waits until all streams have it; how long the last one took.
    async fn update(&mut self, received: &mut Receiver<(usize, Instant)>, streams: usize) -> Result<Duration, Error> {
        let (request, number) = self.request.advance();
        let (mut told, mut waiting) = (vec![false; streams], streams);
        let began_at = Instant::now();
        let all = async {
            let mut last_at = began_at;
            while waiting > 0 {
                let (stream, at) = received.recv().await.ok_or("all streams have ended")?;
                // One that is told twice does not stand for another, and what was said of the update before not for this one.
                if at >= began_at && !std::mem::replace(&mut told[stream], true) {
                    last_at = last_at.max(at);
                    waiting -= 1;
                }
            }
            Ok::<_, Error>(last_at)
        };
        let both = async { tokio::try_join!(self.connection.exchange(request), all) };
        let (answer, last_at) =
            tokio::time::timeout(DELIVERY_TIMEOUT, both).await.map_err(|_| "an update did not reach all streams")??;
        wire::check_answer(self.connection.body(), answer.is_events, number)?;
        Ok(last_at.duration_since(began_at))
    }
}
