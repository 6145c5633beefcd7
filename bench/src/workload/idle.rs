//! Sessions and streams that nobody uses: how fast they are opened, and the memory they keep.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::connection::{Connection, Events};
use andon_bench::figure::{Figure, Sample};
use andon_bench::machine;
use andon_bench::wire::{self, Era};
use tokio::task::JoinSet;

use super::{Sizes, fan_out};

/// Connections that open sessions or streams at once.
const OPENERS: usize = 32;
/// Sessions and streams before measuring, so that pools and tables have their first size.
const WARM_UP: usize = 64;

/// Opens sessions, then a stream in each; without sessions, streams.
pub(super) async fn measure(served: &Served, era: Era, sizes: &Sizes) -> Result<Sample, Error> {
    let mut sample = Sample::new();
    let count = sizes.idle as f64;
    let mut kept = open_streams(served.address, era, sessions(served.address, era, WARM_UP).await?).await?;
    tokio::time::sleep(sizes.settle / 5).await;

    let before = resident(served)?;
    let began_at = Instant::now();
    let opened = if era == Era::Legacy { sizes.idle_sessions() } else { sizes.idle };
    let mut ids = sessions(served.address, era, opened).await?;
    if era == Era::Legacy {
        sample.insert(Figure::SessionsPerSecond, opened as f64 / began_at.elapsed().as_secs_f64());
        tokio::time::sleep(sizes.settle).await;
        sample.insert(Figure::SessionBytes, (resident(served)? - before) / opened as f64);
    }
    ids.truncate(sizes.idle);
    let (before, kernel_before) = (resident(served)?, kernel()?);
    let began_at = Instant::now();
    kept.extend(open_streams(served.address, era, ids).await?);
    sample.insert(Figure::StreamsPerSecond, count / began_at.elapsed().as_secs_f64());
    tokio::time::sleep(sizes.settle).await;
    sample.insert(Figure::StreamBytes, (resident(served)? - before) / count);
    sample.insert(Figure::KernelBytes, (kernel()? - kernel_before) / count);
    drop(kept);
    Ok(sample)
}

/// Opens `count` sessions; their ids. In the modern era there are none.
async fn sessions(address: SocketAddr, era: Era, count: usize) -> Result<Vec<Option<String>>, Error> {
    if era == Era::Modern {
        return Ok(vec![None; count]);
    }
    let mut openers = JoinSet::new();
    for index in 0..OPENERS {
        let share = count / OPENERS + usize::from(index < count % OPENERS);
        openers.spawn(async move {
            let authority = address.to_string();
            let mut connection = Connection::open(address).await?;
            let mut ids = Vec::with_capacity(share);
            for _ in 0..share {
                ids.push(connection.session(&authority, era).await?);
            }
            Ok::<_, Error>(ids)
        });
    }
    let mut ids = Vec::with_capacity(count);
    while let Some(ended) = openers.join_next().await {
        ids.append(&mut ended??);
    }
    Ok(ids)
}

/// Opens a stream in each session, or as many that listen.
async fn open_streams(address: SocketAddr, era: Era, ids: Vec<Option<String>>) -> Result<Vec<Events>, Error> {
    let ids = Arc::new(std::sync::Mutex::new(ids));
    let mut openers = JoinSet::new();
    for _ in 0..OPENERS {
        let ids = ids.clone();
        openers.spawn(async move {
            let mut streams = Vec::new();
            loop {
                let next = ids.lock().map_err(|_| "a task that opens streams panicked")?.pop();
                match next {
                    Some(id) => streams.push(open_stream(address, era, id).await?),
                    None => return Ok::<_, Error>(streams),
                }
            }
        });
    }
    let mut streams = Vec::new();
    while let Some(ended) = openers.join_next().await {
        streams.append(&mut ended??);
    }
    Ok(streams)
}

async fn open_stream(address: SocketAddr, era: Era, id: Option<String>) -> Result<Events, Error> {
    if era == Era::Modern {
        return fan_out::subscribe(address, era).await;
    }
    let request = wire::standing_request(&address.to_string(), id.as_deref());
    Connection::open(address).await?.subscribe(request.as_bytes()).await
}

fn resident(served: &Served) -> Result<f64, Error> {
    Ok(machine::resident_kib(served.pid())? as f64 * 1024.0)
}

fn kernel() -> Result<f64, Error> {
    Ok((machine::socket_bytes()? + machine::slab_bytes()?) as f64)
}
