//! Clients whose sessions have an open stream of events each.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinError, JoinSet};

use super::connect::{connect, delete, epoch_us, open_session, subscribe};
use super::order::{Churn, Hold, Reply};
use crate::Error;
use crate::connection::{Connection, Events};
use crate::wire;

/// What the notification of an update has in it.
const UPDATED: &[u8] = b"notifications/resources/updated";
/// Connections over which sessions are ended.
const ENDING: usize = 32;
/// How long a client that comes and goes waits for an update.
const UPDATE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sessions with streams that one generator holds.
#[derive(Default)]
pub(super) struct Holders {
    streams: JoinSet<()>,
    sessions: Vec<String>,
    place: Option<(SocketAddr, Ipv4Addr)>,
    heard: Rc<Heard>,
}

/// A session and its stream, and how long it took to open them.
type Opened = (Result<(String, Events), Error>, Duration);

/// What came on all streams.
#[derive(Default)]
struct Heard {
    /// Which update is awaited.
    round: Cell<u64>,
    /// Streams that it came to.
    updates: Cell<u64>,
    last_at_us: Cell<u64>,
    /// Streams that ended although nobody hung up.
    lost: Cell<u64>,
    more: Notify,
}

impl Holders {
    pub(super) async fn hold(&mut self, hold: Hold) -> Reply {
        let begun = Instant::now();
        let (mut opening, slots) = (JoinSet::new(), Arc::new(Semaphore::new(hold.at_once.max(1))));
        let authority: Rc<str> = hold.address.to_string().into();
        let mut reply = Reply::default();
        for _ in 0..hold.count {
            let slot = slots.clone().acquire_owned().await.expect("invariant: the semaphore is never closed");
            let authority = authority.clone();
            opening.spawn_local(async move {
                let begun = Instant::now();
                let opened = open(hold.address, hold.from, &authority).await;
                drop(slot);
                (opened, begun.elapsed())
            });
            while let Some(ended) = opening.try_join_next() {
                self.keep(ended, &mut reply);
            }
        }
        while let Some(ended) = opening.join_next().await {
            self.keep(ended, &mut reply);
        }
        self.place = Some((hold.address, hold.from));
        reply.seconds = begun.elapsed().as_secs_f64();
        reply
    }

    fn keep(&mut self, ended: Result<Opened, JoinError>, reply: &mut Reply) {
        match ended {
            Ok((Ok((id, events)), took)) => {
                reply.done += 1;
                reply.times.record(took);
                self.sessions.push(id);
                self.streams.spawn_local(listen(events, self.heard.clone()));
            }
            Ok((Err(why), _)) => reply.fail(why),
            Err(why) => reply.fail(why),
        }
    }

    pub(super) fn arm(&mut self) -> Reply {
        self.heard.round.set(self.heard.round.get() + 1);
        self.heard.updates.set(0);
        Reply { done: self.sessions.len() as u64, failed: self.heard.lost.get(), ..Reply::default() }
    }

    pub(super) async fn await_updates(&mut self, count: u64, timeout_ms: u64) -> Reply {
        let begun = Instant::now();
        let heard = &self.heard;
        let all = async {
            while heard.updates.get() < count {
                heard.more.notified().await;
            }
        };
        drop(tokio::time::timeout(Duration::from_millis(timeout_ms), all).await);
        let (done, last_at_us) = (heard.updates.get(), heard.last_at_us.get());
        Reply { done, last_at_us, seconds: begun.elapsed().as_secs_f64(), ..Reply::default() }
    }

    pub(super) async fn release(&mut self) -> Reply {
        let begun = Instant::now();
        let mut reply = Reply { late: self.heard.lost.take(), ..Reply::default() };
        self.streams.shutdown().await;
        let Some((address, from)) = self.place.take() else { return reply };
        let sessions = Rc::new(RefCell::new(std::mem::take(&mut self.sessions)));
        let mut ending = JoinSet::new();
        for _ in 0..ENDING {
            ending.spawn_local(end_some(address, from, sessions.clone()));
        }
        while let Some(ended) = ending.join_next().await {
            match ended {
                Ok((done, None)) => reply.done += done,
                Ok((done, Some(why))) => {
                    reply.done += done;
                    reply.fail(why);
                }
                Err(why) => reply.fail(why),
            }
        }
        reply.seconds = begun.elapsed().as_secs_f64();
        reply
    }
}

/// Opens a session, its subscription and its stream, all over one connection.
async fn open(address: SocketAddr, from: Ipv4Addr, authority: &str) -> Result<(String, Events), Error> {
    let mut connection = Connection::of(connect(address, from, None).await?);
    let id = open_session(&mut connection, authority).await?;
    subscribe(&mut connection, authority, &id).await?;
    let events = connection.subscribe(wire::standing_request(authority, Some(&id)).as_bytes()).await?;
    Ok((id, events))
}

async fn listen(mut events: Events, heard: Rc<Heard>) {
    let mut told_in = None;
    while let Ok(Some(data)) = events.next().await {
        // One that is told twice does not stand for another.
        let is_update = data.windows(UPDATED.len()).any(|part| part == UPDATED);
        if is_update && told_in.replace(heard.round.get()) != Some(heard.round.get()) {
            heard.updates.set(heard.updates.get() + 1);
            heard.last_at_us.set(epoch_us());
            heard.more.notify_one();
        }
    }
    heard.lost.set(heard.lost.get() + 1);
    heard.more.notify_one();
}

/// Ends sessions as long as there are some: how many, and why one could not be ended.
async fn end_some(address: SocketAddr, from: Ipv4Addr, sessions: Rc<RefCell<Vec<String>>>) -> (u64, Option<Error>) {
    let mut done = 0;
    let authority = address.to_string();
    let mut connection = match connect(address, from, None).await {
        Ok(stream) => Connection::of(stream),
        Err(why) => return (0, Some(why.into())),
    };
    loop {
        let Some(id) = sessions.borrow_mut().pop() else { return (done, None) };
        match delete(&mut connection, &authority, &id).await {
            Ok(()) => done += 1,
            Err(why) => return (done, Some(why)),
        }
    }
}

/// Clients that come, wait for an update, and go, over and over.
pub(super) async fn churn(churn: Churn) -> Reply {
    let begun = Instant::now();
    let until = begun + Duration::from_secs_f64(churn.seconds);
    let mut clients = JoinSet::new();
    for _ in 0..churn.clients {
        clients.spawn_local(async move {
            let mut reply = Reply::default();
            while Instant::now() < until {
                match come_and_go(churn.address, churn.from).await {
                    Ok(()) => reply.done += 1,
                    Err(why) => reply.fail(why),
                }
            }
            reply
        });
    }
    let mut replies = Vec::new();
    while let Some(ended) = clients.join_next().await {
        replies.push(ended.unwrap_or_else(|why| Reply { failed: 1, why: Some(why.to_string()), ..Reply::default() }));
    }
    Reply { seconds: begun.elapsed().as_secs_f64(), ..Reply::sum(replies) }
}

async fn come_and_go(address: SocketAddr, from: Ipv4Addr) -> Result<(), Error> {
    let authority = address.to_string();
    let (id, mut events) = open(address, from, &authority).await?;
    // Whether an update comes in time is for somebody else to say.
    let _ = tokio::time::timeout(UPDATE_TIMEOUT, events.next()).await;
    drop(events);
    let mut connection = Connection::of(connect(address, from, None).await?);
    delete(&mut connection, &authority, &id).await
}
