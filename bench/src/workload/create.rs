//! Sessions that are opened and left open, as fast as the server can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::connection::Connection;
use andon_bench::figure::{Figure, Sample};
use andon_bench::histogram::Histogram;
use andon_bench::load::Measured;
use andon_bench::machine::{self, CpuClock};
use tokio::task::JoinSet;

use super::Sizes;

/// Sessions before measuring, for each connection.
const WARM_UP: usize = 20;

/// Opens sessions from `connections` at once until the window is over or there are enough.
pub(super) async fn measure(served: &Served, connections: usize, sizes: &Sizes) -> Result<Sample, Error> {
    let authority = served.address.to_string();
    let mut ready = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = Connection::open(served.address).await?;
        for _ in 0..WARM_UP {
            connection.initialize(&authority).await?;
        }
        ready.push(connection);
    }
    let resident_before = machine::resident_kib(served.pid())?;
    let clock = CpuClock::of(served.pid())?;
    let (began_at, cpu_before) = (Instant::now(), clock.time()?);
    let left = Arc::new(AtomicUsize::new(sizes.sessions));
    let mut openers = JoinSet::new();
    for connection in ready {
        openers.spawn(open(connection, authority.clone(), began_at + sizes.window, left.clone()));
    }
    let mut times = Histogram::default();
    while let Some(ended) = openers.join_next().await {
        times.add(&ended??);
    }
    let (wall, cpu) = (began_at.elapsed(), clock.since(cpu_before)?);
    if times.count() == 0 || cpu.is_zero() {
        return Err("the window was too short to measure anything".into());
    }
    let mut sample = super::rates(&Measured { calls: times.count(), times: times.clone(), wall, cpu });
    let grown = machine::resident_kib(served.pid())?.saturating_sub(resident_before);
    sample.insert(Figure::SessionBytes, grown as f64 * 1024.0 / times.count() as f64);
    Ok(sample)
}

async fn open(
    mut connection: Connection,
    authority: String,
    until: Instant,
    left: Arc<AtomicUsize>,
) -> Result<Histogram, Error> {
    let mut times = Histogram::default();
    let has_more = || left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    while Instant::now() < until && has_more() {
        let began_at = Instant::now();
        connection.initialize(&authority).await?.ok_or("the server opened no session")?;
        times.record(began_at.elapsed());
    }
    Ok(times)
}
