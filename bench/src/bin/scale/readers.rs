//! Peers that read or send too slowly, beside well-behaved clients.

use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::figure::{Asked, Spread};
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::{Fleet, share, source};
use andon_bench::scale::order::{Load, Manner, Order, Reply, Resist};
use andon_bench::scale::usage::Usage;
use andon_bench::wire::Era;
use serde_json::json;

use crate::{Common, say};

/// Connections of well-behaved clients.
const CALLERS: usize = 64;
/// Peers of one generator.
const PEERS_EACH: usize = 10_000;
/// Cores of the server where there are four: it, those who call and those who are slow keep out of each other's way.
const SERVER_CORES: usize = 2;
/// How long the server may take until it has closed what its peers have closed.
const CLOSING: Duration = Duration::from_secs(30);
/// What they ask for at once is done when the others' calls are measured.
const SETTLING: Duration = Duration::from_secs(3);
/// Calls before the first turn, in seconds.
const WARM_UP_S: f64 = 5.0;
/// Those that send slowly are closed soon, heads after ten seconds and bodies after five: length of a phase with them, in seconds. That
/// all of them are closed within a second is not part of it.
const HEADS_S: f64 = 5.0;
const BODIES_S: f64 = 3.5;
/// Files that a server without peers may have open.
const FILES_MAX: u64 = 200;
/// All manners of being slow, and how they are called in the table.
const MANNERS: [(Manner, &str); 6] = [
    (Manner::NeverReads, "never read answers"),
    (Manner::ReadsSlowly, "read 1 B/s"),
    (Manner::AsksOn, "ask on and never read"),
    (Manner::NeverListens, "never read events"),
    (Manner::SlowHead, "send heads at 1 B/s"),
    (Manner::SlowBody, "send bodies at 0.1 B/s"),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Slow peers of each kind.
    #[arg(long, default_value_t = 10_000)]
    peers: usize,
    /// How many of those that do not read come per second. 0: all at once. The systems at both ends ask ever more rarely whether
    /// there is room again, and here both are this machine: of ten thousand that came at once, they ask at once.
    #[arg(long, default_value_t = 500.0)]
    peers_per_s: f64,
    /// Calls per second of the others.
    #[arg(long, default_value_t = 1_000.0)]
    calls_per_s: f64,
    /// Only these kinds.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Manner>,
    /// Length of each phase, in seconds: after 60 s the server closes who does not read. With peers and without take turns.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// How often they take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What the server may take with all peers of one kind connected, in MiB.
    #[arg(long, default_value_t = 1024.0)]
    memory_max_mib: f64,
    /// How long heads and bodies that do not end are followed until the server has closed them, in seconds.
    #[arg(long, default_value_t = 16.0)]
    patience_s: f64,
}

/// What was measured with one kind of peers.
struct Case {
    without: Vec<Reply>,
    with: Vec<Beside>,
}

/// A turn beside peers.
struct Beside {
    calls: Reply,
    connected: u64,
    usage: Usage,
    /// How many the server had closed when they were told to go, and after how long.
    cut: Reply,
    left_mib: f64,
}

/// A server and those who use it.
struct Parties {
    server: Served,
    peers: Fleet,
    callers: Fleet,
}

pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let settings = json!({
        "peers": options.peers,
        "peers_per_s": options.peers_per_s,
        "calls_per_s": options.calls_per_s,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "memory_max_mib": options.memory_max_mib,
        "workers": common.workers,
    });
    let mut figures = Figures::new("readers", settings);
    for (manner, name) in MANNERS {
        if options.only.is_empty() || options.only.contains(&manner) {
            let case = case(options, common, manner, name)?;
            report(options, manner, name, &case, &mut figures);
        }
    }
    Ok(figures)
}

/// Measures beside one kind of peers, with a server of its own.
fn case(options: &Options, common: &Common, manner: Manner, name: &str) -> Result<Case, Error> {
    let (connections_max, sessions_max) = (options.peers + 1_000, options.peers * options.rounds + 1_000);
    let max = [connections_max, sessions_max].map(|max| max.to_string());
    let cores = common.cores(SERVER_CORES);
    let [counted, others] = cores.clone().divide_generator();
    let mut parties = Parties {
        server: common.serve(&cores, &["--connections-max", &max[0], "--sessions-max", &max[1]])?,
        peers: Fleet::start(options.peers.div_ceil(PEERS_EACH), &others)?,
        callers: Fleet::start(1, &counted)?,
    };
    let call = load(options, manner, &parties.server);
    say(&format!("{name}: warm-up"));
    parties.callers.order(|_| Order::Call(Load { seconds: call.seconds.min(WARM_UP_S), ..call.clone() }))?;
    let mut case = Case { without: Vec::new(), with: Vec::new() };
    for round in 0..options.rounds {
        case.without.push(parties.callers.order(|_| Order::Call(call.clone()))?);
        // Addresses of their own each time: the ports of closed connections rest for a minute.
        let part = u8::try_from(round).unwrap_or(u8::MAX - 2);
        let beside = take_turn(options, &mut parties, manner, part)?;
        let p99 = |calls: &Reply| calls.quantile_ms(0.99);
        say(&format!(
            "{name}: {} connected, {:.0} MiB, p99 {:.2} and {:.2} ms",
            beside.connected,
            beside.usage.memory_mib(),
            case.without.last().map_or(f64::NAN, p99),
            p99(&beside.calls)
        ));
        case.with.push(beside);
    }
    Ok(case)
}

fn load(options: &Options, manner: Manner, server: &Served) -> Load {
    Load {
        address: server.address,
        from: source(0, 0),
        connections: CALLERS,
        rate_per_s: Some(options.calls_per_s),
        seconds: match manner {
            Manner::SlowHead => options.seconds.min(HEADS_S),
            Manner::SlowBody => options.seconds.min(BODIES_S),
            _ => options.seconds,
        },
        deadline_ms: 1_000,
        patience_ms: 30_000,
        era: Era::Modern,
    }
}

/// One phase with peers.
fn take_turn(options: &Options, parties: &mut Parties, manner: Manner, part: u8) -> Result<Beside, Error> {
    let Parties { server, peers, callers } = parties;
    let (address, size, begun) = (server.address, peers.size(), Instant::now());
    // Those that send slowly would be closed before the last is there.
    let rate_per_s = Some(options.peers_per_s / size as f64).filter(|rate| *rate > 0.0 && !sends_slowly(manner));
    let connected = peers.order(|each| {
        let (count, from) = (share(options.peers, size, each), source(1 + part, each));
        Order::Resist(Resist { address, from, count, rate_per_s, manner, era: Era::Legacy })
    })?;
    if let Some(why) = &connected.why {
        say(&format!("{} peers were not let in: {why}", connected.failed));
    }
    if !sends_slowly(manner) {
        std::thread::sleep(SETTLING);
    }
    let usage = Usage::of(server.pid())?;
    let calls = callers.order(|_| Order::Call(load(options, manner, server)))?;
    if sends_slowly(manner) {
        let patience = Duration::from_secs_f64(options.patience_s);
        std::thread::sleep(patience.saturating_sub(begun.elapsed()));
    }
    let cut = peers.order(|_| Order::Ease)?;
    let closing = Instant::now();
    while Usage::of(server.pid())?.files > FILES_MAX && closing.elapsed() < CLOSING {
        std::thread::sleep(Duration::from_millis(100));
    }
    let left_mib = Usage::of(server.pid())?.memory_mib();
    Ok(Beside { calls, connected: connected.done, usage, cut, left_mib })
}

/// Whether the server has to end it.
fn sends_slowly(manner: Manner) -> bool {
    matches!(manner, Manner::SlowHead | Manner::SlowBody)
}

#[allow(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^52")]
fn report(options: &Options, manner: Manner, name: &str, case: &Case, figures: &mut Figures) {
    let peers = options.peers as f64;
    let turns = || case.with.iter();
    let connected = turns().map(|turn| turn.connected).min().unwrap_or(0);
    figures.check(format!("peers that {name}, the least of all turns"), connected as f64, "", Asked::AtLeast(peers));
    let usages = turns().map(|turn| turn.usage);
    let peak = usages.max_by_key(|usage| usage.memory_bytes).unwrap_or_default();
    figures.check(format!("{name}: user memory"), peak.memory_mib(), "MiB", Asked::AtMost(options.memory_max_mib));
    let kernel = (peak.socket_bytes + peak.slab_bytes) as f64 / f64::from(1 << 20);
    figures.note(format!("{name}: kernel memory of this machine"), kernel, "MiB");
    let without = Reply::sum(case.without.clone());
    let with = Reply::sum(turns().map(|turn| turn.calls.clone()).collect());
    let p99 = |calls: &Reply| calls.quantile_ms(0.99);
    for (what, calls) in [("without", &without), ("with", &with)] {
        figures.note(format!("{name}: the others' calls {what} them, p50"), calls.quantile_ms(0.5), "ms");
        figures.note(format!("{name}: the others' calls {what} them, p99"), p99(calls), "ms");
    }
    // A turn is compared with the one before it: the machine was the same.
    let ratios = case.without.iter().zip(turns()).map(|(without, with)| p99(&with.calls) / p99(without));
    if let Some(Spread { median, min, max }) = Spread::of(ratios) {
        figures.check(format!("{name}: p99 with / without, median of the turns"), median, "", Asked::AtMost(1.2));
        figures.note(format!("{name}: the same, the least of the turns"), min, "");
        figures.note(format!("{name}: the same, the most of the turns"), max, "");
    }
    figures.check(format!("{name}: calls of the others that failed"), with.lost() as f64, "", Asked::AtMost(0.0));
    if sends_slowly(manner) {
        let cut = turns().map(|turn| turn.cut.done).min().unwrap_or(0);
        figures.check(format!("{name}: closed by the server"), cut as f64, "", Asked::AtLeast(connected as f64));
        let after_s = turns().map(|turn| turn.cut.quantile_ms(0.99) / 1e3).fold(0.0, f64::max);
        figures.check(format!("{name}: closed after, p99"), after_s, "s", Asked::AtMost(11.0));
    } else if manner != Manner::NeverListens {
        // Those would be no neighbours.
        let cut = turns().map(|turn| turn.cut.done).max().unwrap_or(0);
        figures.check(format!("{name}: closed before the calls were made"), cut as f64, "", Asked::AtMost(0.0));
    }
    let left_mib = turns().last().map_or(f64::NAN, |turn| turn.left_mib);
    figures.note(format!("{name}: user memory after they went"), left_mib, "MiB");
}
