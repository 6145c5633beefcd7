//! Clients that call a tool, and clients that open sessions and leave them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::connect::{connect, initialize, open_session};
use super::order::{Abandon, Arrival, Load, Reply};
use crate::Error;
use crate::connection::Connection;
use crate::wire::{self, Era, Numbered};

/// How many connections are opened at once, before calls begin.
const OPENING: usize = 64;
/// Calls that are due within this time are given out together.
const GRAIN: Duration = Duration::from_micros(100);
/// Where there are many per second, those of a longer time are: the thread that does it takes processor time from the server.
const GRAIN_OF_MANY: Duration = Duration::from_millis(2);
const MANY_PER_S: f64 = 50_000.0;
/// How long an answer is waited for before the connection counts as broken.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// Calls that are due, and who waits for one.
struct Work {
    due: RefCell<VecDeque<Instant>>,
    idle: Cell<usize>,
    more: Notify,
    is_over: Cell<bool>,
    unsent: Cell<u64>,
    patience: Duration,
}

struct Caller {
    connection: Connection,
    request: Numbered,
}

/// Carries out [`super::order::Order::Call`].
pub(super) async fn call(load: Load) -> Reply {
    let mut reply = Reply::default();
    let callers = open(&load, &mut reply).await;
    let work = Rc::new(Work {
        due: RefCell::default(),
        idle: Cell::new(0),
        more: Notify::new(),
        is_over: Cell::new(false),
        unsent: Cell::new(0),
        patience: Duration::from_millis(load.patience_ms),
    });
    let load = Rc::new(load);
    let begun = Instant::now();
    let (mut running, connections) = (JoinSet::new(), callers.len());
    for caller in callers {
        running.spawn_local(run(caller, load.clone(), work.clone(), begun));
    }
    let begun = match load.rate_per_s {
        Some(rate) => {
            // Everybody waits before the first call is due.
            while work.idle.get() < connections {
                tokio::task::yield_now().await;
            }
            let begun = Instant::now();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "calls of a run")]
            let mut schedule = Schedule::of((load.seconds * rate) as u64, rate, begun);
            while let Some(due) = schedule.next().await {
                due.for_each(|at| work.offer(at));
            }
            // Where hardly a call is due, it still takes as long as was asked for.
            tokio::time::sleep_until((begun + Duration::from_secs_f64(load.seconds)).into()).await;
            begun
        }
        None => {
            tokio::time::sleep(Duration::from_secs_f64(load.seconds)).await;
            begun
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    work.is_over.set(true);
    work.more.notify_waiters();
    let mut replies = vec![reply];
    while let Some(ended) = running.join_next().await {
        replies.push(ended.unwrap_or_else(|why| Reply { failed: 1, why: Some(why.to_string()), ..Reply::default() }));
    }
    let unsent = work.unsent.get() + work.due.borrow().len() as u64;
    Reply { seconds, unsent, ..Reply::sum(replies) }
}

async fn open(load: &Load, reply: &mut Reply) -> Vec<Caller> {
    let (mut callers, mut opening) = (Vec::new(), JoinSet::new());
    let mut keep = |opened: Result<Result<Caller, Error>, tokio::task::JoinError>| match opened {
        Ok(Ok(caller)) => callers.push(caller),
        Ok(Err(why)) => reply.fail(why),
        Err(why) => reply.fail(why),
    };
    for _ in 0..load.connections {
        if opening.len() >= OPENING
            && let Some(opened) = opening.join_next().await
        {
            keep(opened);
        }
        opening.spawn_local(open_caller(load.address, load.from, load.era));
    }
    while let Some(opened) = opening.join_next().await {
        keep(opened);
    }
    callers
}

async fn open_caller(address: SocketAddr, from: Ipv4Addr, era: Era) -> Result<Caller, Error> {
    let authority = address.to_string();
    let mut connection = Connection::of(connect(address, from, None).await?);
    let id = match era {
        Era::Legacy => Some(open_session(&mut connection, &authority).await?),
        Era::Modern => None,
    };
    let request = Numbered::new(wire::request(&authority, era, id.as_deref(), wire::call_body(era)));
    Ok(Caller { connection, request })
}

/// When things are due that come at a fixed rate: calls, or sessions.
struct Schedule {
    counts: UnboundedReceiver<u64>,
    given: u64,
    rate_per_s: f64,
    begun: Instant,
}

impl Schedule {
    /// Of so many in all.
    fn of(count: u64, rate_per_s: f64, begun: Instant) -> Self {
        let (sender, counts) = unbounded_channel();
        // From a thread of its own, which sleeps more exactly than the runtime, and whatever that is busy with: what is due counts
        // from when it was.
        std::thread::spawn(move || say_counts(&sender, count, rate_per_s, begun));
        Self { counts, given: 0, rate_per_s, begun }
    }

    /// Waits for more that is due. None: there is no more.
    async fn next(&mut self) -> Option<impl Iterator<Item = Instant> + use<>> {
        let count = self.counts.recv().await?;
        let given = std::mem::replace(&mut self.given, count);
        let Self { rate_per_s, begun, .. } = *self;
        Some((given + 1..=count).map(move |number| begun + Duration::from_secs_f64(number as f64 / rate_per_s)))
    }
}

/// Says how many were due so far, again and again.
fn say_counts(counts: &UnboundedSender<u64>, all: u64, rate_per_s: f64, begun: Instant) {
    let grain = if rate_per_s < MANY_PER_S { GRAIN } else { GRAIN_OF_MANY };
    loop {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "calls of a run")]
        let count = ((begun.elapsed().as_secs_f64() * rate_per_s) as u64).min(all);
        if counts.send(count).is_err() || count == all {
            return;
        }
        let next = begun + Duration::from_secs_f64((count + 1) as f64 / rate_per_s);
        std::thread::sleep(next.saturating_duration_since(Instant::now()).max(grain));
    }
}

impl Work {
    fn offer(&self, at: Instant) {
        let mut due = self.due.borrow_mut();
        // Without patience, what is there is for those who are free and about to take it.
        let is_late = |first: &Instant| !self.patience.is_zero() && at.duration_since(*first) > self.patience;
        while due.front().is_some_and(is_late) {
            due.pop_front();
            self.unsent.set(self.unsent.get() + 1);
        }
        if due.len() >= self.idle.get() && self.patience.is_zero() {
            self.unsent.set(self.unsent.get() + 1);
            return;
        }
        due.push_back(at);
        self.more.notify_one();
    }

    /// The next call, when it is due. None: there are no more.
    async fn next(&self) -> Option<Instant> {
        self.idle.set(self.idle.get() + 1);
        let due = loop {
            let more = self.more.notified();
            let first = self.due.borrow_mut().pop_front();
            // What is due is called at the end too.
            if first.is_some() || self.is_over.get() {
                break first;
            }
            more.await;
        };
        self.idle.set(self.idle.get() - 1);
        due
    }
}

async fn run(mut caller: Caller, load: Rc<Load>, work: Rc<Work>, begun: Instant) -> Reply {
    let mut reply = Reply::default();
    let deadline = Duration::from_millis(load.deadline_ms);
    let end = begun + Duration::from_secs_f64(load.seconds);
    loop {
        let due = match load.rate_per_s {
            Some(_) => work.next().await,
            None => Some(Instant::now()).filter(|now| *now < end),
        };
        let Some(due) = due else { return reply };
        let (request, number) = caller.request.advance();
        let exchanged = tokio::time::timeout(LOST_AFTER, caller.connection.exchange(request)).await;
        let took = due.elapsed();
        match exchanged {
            Ok(Ok(answer)) if answer.status == 200 => {
                if let Err(why) = wire::check(caller.connection.body(), answer.is_events, number) {
                    reply.fail(why);
                } else if took > deadline {
                    reply.late += 1;
                } else {
                    reply.done += 1;
                }
                reply.times.record(took);
            }
            Ok(Ok(answer)) if matches!(answer.status, 429 | 503) => reply.refused += 1,
            Ok(Ok(answer)) => reply.fail(format!("a call was answered with {}", answer.status)),
            Ok(Err(why)) => {
                reply.fail(why);
                return reply;
            }
            Err(_) => {
                reply.fail("a call was not answered");
                return reply;
            }
        }
    }
}

/// Carries out [`super::order::Order::Abandon`].
pub(super) async fn abandon(abandon: Abandon) -> Reply {
    let begun = Instant::now();
    let reply = Rc::new(RefCell::new(Reply::default()));
    let abandon = Rc::new(abandon);
    let mut clients = JoinSet::new();
    match abandon.arrival {
        Arrival::Over(connections) => {
            let left = Rc::new(Cell::new(abandon.count));
            for _ in 0..connections {
                clients.spawn_local(leave_sessions(abandon.clone(), left.clone(), begun, reply.clone()));
            }
        }
        Arrival::PerSecond(rate) => {
            let mut schedule = Schedule::of(abandon.count as u64, rate, begun);
            while let Some(due) = schedule.next().await {
                for due_at in due {
                    let left = Rc::new(Cell::new(1));
                    clients.spawn_local(leave_sessions(abandon.clone(), left, due_at, reply.clone()));
                }
                while clients.try_join_next().is_some() {}
            }
        }
    }
    while let Some(ended) = clients.join_next().await {
        if let Err(why) = ended {
            reply.borrow_mut().fail(why);
        }
    }
    Reply { seconds: begun.elapsed().as_secs_f64(), ..reply.take() }
}

/// Opens sessions over one connection as long as some are left to open, of which the first was due at `since`.
async fn leave_sessions(abandon: Rc<Abandon>, left: Rc<Cell<usize>>, mut since: Instant, reply: Rc<RefCell<Reply>>) {
    let authority = abandon.address.to_string();
    let deadline = Duration::from_millis(abandon.deadline_ms);
    let mut connection = match connect(abandon.address, abandon.from, None).await {
        Ok(stream) => Connection::of(stream),
        Err(why) => return reply.borrow_mut().fail(why),
    };
    while left.get() > 0 {
        left.set(left.get() - 1);
        let opened = if abandon.is_complete {
            open_session(&mut connection, &authority).await
        } else {
            initialize(&mut connection, &authority).await
        };
        let mut reply = reply.borrow_mut();
        match opened {
            Ok(_) if since.elapsed() > deadline => reply.late += 1,
            Ok(_) => reply.done += 1,
            Err(why) => return reply.fail(why),
        }
        reply.times.record(since.elapsed());
        since = Instant::now();
    }
}
