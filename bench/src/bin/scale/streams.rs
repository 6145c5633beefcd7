//! Many sessions, each with an open stream and a subscription.

use std::time::Duration;

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::figure::Asked;
use andon_bench::scale::Control;
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::{Fleet, share, source};
use andon_bench::scale::order::{Hold, Load, Order, Reply};
use andon_bench::scale::usage::Usage;
use andon_bench::wire::Era;
use serde_json::json;

use crate::{Common, say, settle};

/// Streams of one generator: fewer than the files that it may open.
const STREAMS_EACH: usize = 16_000;
/// Sessions that a generator opens at once.
const AT_ONCE: usize = 64;
/// Connections of the clients that call beside.
const CALLERS: usize = 64;
const UPDATE_TIMEOUT_MS: u64 = 30_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Sessions with a stream each.
    #[arg(long, default_value_t = 100_000)]
    streams: usize,
    /// Calls per second beside them.
    #[arg(long, default_value_t = 5_000.0)]
    calls_per_s: f64,
    /// How long calls are made, in seconds.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Updates that are said to all while calls are made.
    #[arg(long, default_value_t = 3)]
    updates: usize,
    /// How long memory may take to come back, in seconds.
    #[arg(long, default_value_t = 20.0)]
    patience_s: f64,
}

/// What was measured from the first connection to the last.
struct Round {
    before: Usage,
    full: Usage,
    after: Usage,
    opened: Reply,
    opened_in_s: f64,
    updates: Vec<Update>,
    calls: Reply,
    closed: Reply,
    back_after: Duration,
}

struct Update {
    received: u64,
    took_s: f64,
}

struct Parties {
    server: Served,
    holders: Fleet,
    callers: Fleet,
}

pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let connections_max = (options.streams * 2 + 1_000).to_string();
    let sessions_max = (options.streams * 2 + 10_000).to_string();
    let cores = common.cores(0);
    let mut parties = Parties {
        server: common.serve(&cores, &["--connections-max", &connections_max, "--sessions-max", &sessions_max])?,
        holders: Fleet::start(options.streams.div_ceil(STREAMS_EACH), &cores)?,
        callers: Fleet::start(1, &cores)?,
    };
    let first = Usage::of(parties.server.pid())?;
    say("warm-up: the same once before");
    let warm_up = round(options, &mut parties, 0)?;
    say("measuring");
    let measured = round(options, &mut parties, 1)?;
    let settings = json!({
        "streams": options.streams,
        "workers": common.workers,
        "generators": parties.holders.size(),
        "calls_per_s": options.calls_per_s,
    });
    let mut figures = Figures::new("streams", settings);
    figures.note("memory of the server before the warm-up", first.memory_mib(), "MiB");
    memory(options, &warm_up, &mut figures);
    report(options, &measured, &mut figures);
    Ok(figures)
}

fn round(options: &Options, parties: &mut Parties, number: u8) -> Result<Round, Error> {
    let Parties { server, holders, callers } = parties;
    let address = server.address;
    let before = Usage::of(server.pid())?;
    let (size, begun) = (holders.size(), std::time::Instant::now());
    // Addresses of their own each time: the ports of closed connections rest for a minute.
    let opened = holders.order(|each| {
        let (count, from) = (share(options.streams, size, each), source(2 * number, each));
        Order::Hold(Hold { address, from, count, at_once: AT_ONCE })
    })?;
    let opened_in_s = begun.elapsed().as_secs_f64();
    say(&format!("{} streams open after {opened_in_s:.1} s, {} failed", opened.done, opened.failed));
    let (full, _) = settle(server, 0.0, Duration::from_secs(1))?;
    callers.send(|_| {
        Order::Call(Load {
            address,
            from: source(2 * number + 1, 0),
            connections: CALLERS,
            rate_per_s: Some(options.calls_per_s),
            seconds: options.seconds,
            deadline_ms: 1_000,
            patience_ms: 30_000,
            era: Era::Legacy,
        })
    })?;
    let mut control = Control::open(address)?;
    let mut updates = Vec::new();
    for _ in 0..options.updates {
        // Apart from each other, in the time in which calls are made.
        std::thread::sleep(Duration::from_secs_f64(options.seconds / (options.updates + 1) as f64 / 2.0));
        updates.push(update(holders, &mut control, options.streams)?);
    }
    let calls = callers.receive()?;
    let closed = holders.order(|_| Order::Release)?;
    say(&format!("{} closed after {:.1} s, {} failed", closed.done, closed.seconds, closed.failed));
    let (after, back_after) =
        settle(server, before.memory_bytes as f64 * 1.05, Duration::from_secs_f64(options.patience_s))?;
    Ok(Round { before, full, after, opened, opened_in_s, updates, calls, closed, back_after })
}

/// Lets the server say an update, and waits until it came to all.
fn update(holders: &mut Fleet, control: &mut Control, streams: usize) -> Result<Update, Error> {
    holders.order(|_| Order::Arm)?;
    let (size, said_at_us) = (holders.size(), control.touch()?);
    let heard = holders.order(|each| Order::AwaitUpdates {
        count: share(streams, size, each) as u64,
        timeout_ms: UPDATE_TIMEOUT_MS,
    })?;
    let took_s = Duration::from_micros(heard.last_at_us.saturating_sub(said_at_us)).as_secs_f64();
    Ok(Update { received: heard.done, took_s })
}

#[allow(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^52")]
fn report(options: &Options, round: &Round, figures: &mut Figures) {
    let streams = options.streams as f64;
    figures.check("streams opened", round.opened.done as f64, "", Asked::AtLeast(streams));
    figures.check("opened per second", streams / round.opened_in_s, "/s", Asked::AtLeast(3_000.0));
    figures.note("a session with its stream opened, p99", round.opened.quantile_ms(0.99), "ms");
    let received = round.updates.iter().map(|update| update.received).min().unwrap_or(0);
    figures.check(
        "streams that an update came to, the least of all updates",
        received as f64,
        "",
        Asked::AtLeast(streams),
    );
    let slowest = round.updates.iter().map(|update| update.took_s).fold(0.0, f64::max);
    figures.check("an update was with all after, the slowest", slowest, "s", Asked::AtMost(2.0));
    let calls = &round.calls;
    let wanted = options.calls_per_s * 0.99;
    figures.check("calls answered per second beside", calls.done_per_s(), "/s", Asked::AtLeast(wanted));
    figures.check("calls that failed or were not sent", (calls.failed + calls.unsent) as f64, "", Asked::AtMost(0.0));
    figures.note("call, p50", calls.quantile_ms(0.5), "ms");
    figures.check("call, p99", calls.quantile_ms(0.99), "ms", Asked::AtMost(20.0));
    figures.note("call, p99.9", calls.quantile_ms(0.999), "ms");
    figures.check("sessions ended", round.closed.done as f64, "", Asked::AtLeast(streams));
    figures.check("streams that broke off", round.closed.late as f64, "", Asked::AtMost(0.0));
    figures.note("ended per second", round.closed.done_per_s(), "/s");
    figures.note("user memory before", round.before.memory_mib(), "MiB");
    figures.note("user memory with all open", round.full.memory_mib(), "MiB");
    figures.note("user memory after", round.after.memory_mib(), "MiB");
    let ratio = round.after.memory_bytes as f64 / round.before.memory_bytes as f64;
    figures.check("after / before", ratio, "", Asked::AtMost(1.05));
    figures.note("it was back after", round.back_after.as_secs_f64(), "s");
    figures.note("files open after / before", round.after.files as f64 / round.before.files as f64, "");
    figures.note("processes of the server", round.full.processes as f64, "");
}

/// What sessions with streams add to a server that has just started: later it has memory at hand that it did not give back.
#[allow(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^52")]
fn memory(options: &Options, round: &Round, figures: &mut Figures) {
    let each = |full: u64, before: u64| full.saturating_sub(before) as f64 / options.streams as f64;
    figures.check(
        "user memory of a session with its stream",
        each(round.full.memory_bytes, round.before.memory_bytes),
        "B",
        Asked::AtMost(6_144.0),
    );
    figures.note(
        "kernel memory of it, both ends: buffers",
        each(round.full.socket_bytes, round.before.socket_bytes),
        "B",
    );
    figures.note(
        "kernel memory of it, both ends: structures",
        each(round.full.slab_bytes, round.before.slab_bytes),
        "B",
    );
}
