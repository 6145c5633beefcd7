//! Breaks the server: kills it, ends it, cuts its connections, at moments that a seed gives.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::Error;
use crate::history::{Event, FaultKind};
use crate::server::{Launch, Running};
use crate::small_disk::SmallDisk;
use crate::world::World;

/// One of so many kills asks the process to end instead.
const TERMINATE_EVERY: u8 = 12;
/// How long the disk is full.
const FULL_MS: std::ops::Range<u64> = 500..3000;
/// One of so many kills is followed by another one while the next process starts.
const TWICE_EVERY: u8 = 8;

/// What is still to be broken.
type Kinds = std::iter::Peekable<std::vec::IntoIter<FaultKind>>;

/// How much is broken.
#[derive(Debug, Clone, Copy)]
pub struct Breakage {
    /// Processes that end.
    pub kills: u64,
    /// Times that all connections are cut.
    pub cuts: u64,
    /// Times that the disk has no room.
    pub fulls: u64,
}

impl Breakage {
    /// All faults.
    pub fn faults(&self) -> u64 {
        self.kills + self.cuts + self.fulls
    }
}

/// What breaks a server.
struct Nemesis {
    world: Arc<World>,
    launch: Launch,
    server: Running,
    disk: Option<SmallDisk>,
    faults: u64,
    rng: fastrand::Rng,
}

/// Breaks `server` as often as it is told to, and leaves it whole.
///
/// # Errors
/// When a process does not start or does not end: then there is nothing more to be learnt.
pub async fn run(
    world: Arc<World>,
    launch: Launch,
    (server, disk): (Running, Option<SmallDisk>),
    breakage: Breakage,
    mut rng: fastrand::Rng,
) -> Result<(Running, Option<SmallDisk>), Error> {
    let mut kinds = vec![FaultKind::Cut; usize::try_from(breakage.cuts)?];
    for _ in 0..breakage.kills {
        kinds.push(if rng.u8(..TERMINATE_EVERY) == 0 { FaultKind::Terminate } else { FaultKind::Kill });
    }
    kinds.extend(vec![FaultKind::Full; usize::try_from(breakage.fulls)?]);
    rng.shuffle(&mut kinds);
    let mut nemesis = Nemesis { world, launch, server, disk, faults: 0, rng };
    let mut kinds = kinds.into_iter().peekable();
    while let Some(kind) = kinds.next() {
        nemesis.rest().await?;
        match kind {
            FaultKind::Cut => nemesis.cut(),
            FaultKind::Full => nemesis.full().await?,
            FaultKind::Kill | FaultKind::Terminate => nemesis.replace(kind, &mut kinds).await?,
        }
    }
    nemesis.rest().await?;
    Ok((nemesis.server, nemesis.disk))
}

impl Nemesis {
    fn record(&self, event: Event) {
        self.world.record(0, event);
    }

    /// Lets the server work for a while; it must not end by itself.
    async fn rest(&mut self) -> Result<(), Error> {
        let rest_ms = if self.rng.u8(..5) == 0 { self.rng.u64(0..60) } else { self.rng.u64(60..900) };
        if let Ok(ended) = timeout(Duration::from_millis(rest_ms), self.server.ended()).await {
            self.record(Event::Died { how: ended?.to_string() });
            return Err(format!("the server ended by itself: see {}", self.launch.log.display()).into());
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.faults += 1;
        let fault = self.faults;
        self.record(Event::FaultStart { fault, kind: FaultKind::Cut });
        self.world.cuts.send_modify(|cuts| *cuts += 1);
        self.record(Event::FaultStop { fault });
    }

    /// Fills the disk for a while. Sometimes the process is killed before there is room again: what it acknowledged
    /// meanwhile has to be there.
    async fn full(&mut self) -> Result<(), Error> {
        let Some(disk) = self.disk.take() else { return Err("there is no disk that can be filled".into()) };
        self.faults += 1;
        let fault = self.faults;
        self.record(Event::FaultStart { fault, kind: FaultKind::Full });
        disk.fill()?;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(FULL_MS))).await;
        if self.rng.bool() {
            self.faults += 1;
            let fault = self.faults;
            self.record(Event::FaultStart { fault, kind: FaultKind::Kill });
            self.server.kill().await?;
            self.record(Event::FaultDown { fault });
            disk.free()?;
            self.record(Event::FaultUp { fault });
            self.server = self.launch.start().await?;
            self.record(Event::FaultStop { fault });
        } else {
            disk.free()?;
            self.record(Event::FaultStop { fault });
        }
        self.disk = Some(disk);
        Ok(())
    }

    /// Ends the process, and starts another one; sometimes another one before that, which is killed as it starts.
    async fn replace(&mut self, kind: FaultKind, more: &mut Kinds) -> Result<(), Error> {
        let mut kind = kind;
        loop {
            self.faults += 1;
            let fault = self.faults;
            self.record(Event::FaultStart { fault, kind });
            if kind == FaultKind::Terminate {
                self.server.terminate().await?;
            } else {
                self.server.kill().await?;
            }
            self.record(Event::FaultDown { fault });
            if self.rng.bool() {
                tokio::time::sleep(Duration::from_millis(self.rng.u64(0..150))).await;
            }
            self.record(Event::FaultUp { fault });
            self.server = self.launch.spawn()?;
            if self.rng.u8(..TWICE_EVERY) == 0
                && let Some(next) = more.next_if(|next| next.ends_process())
            {
                tokio::time::sleep(Duration::from_millis(self.rng.u64(0..120))).await;
                // What does not listen yet does not hear either.
                kind = if next == FaultKind::Terminate { FaultKind::Kill } else { next };
                continue;
            }
            self.server.listens(&self.launch).await?;
            self.record(Event::FaultStop { fault });
            return Ok(());
        }
    }
}
