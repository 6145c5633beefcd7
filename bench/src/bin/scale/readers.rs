//! Peers that read or send too slowly, beside well-behaved clients.

use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::scale::figures::{Asked, Figures};
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
/// How long the server may take until it has closed what its peers have closed.
const CLOSING: Duration = Duration::from_secs(30);
/// What they ask for at once is done when the others' calls are measured.
const SETTLING: Duration = Duration::from_secs(3);
/// Files that a server without peers may have open.
const FILES_MAX: u64 = 200;
/// Sessions of one peer, of all manners that open one, which nobody ends.
const SESSIONS_EACH: usize = 3;
/// All manners of being slow, and how they are called in the table.
const MANNERS: [(Manner, &str); 5] = [
    (Manner::NeverReads, "never read answers"),
    (Manner::ReadsSlowly, "read 1 B/s"),
    (Manner::NeverListens, "never read events"),
    (Manner::SlowHead, "send heads at 1 B/s"),
    (Manner::SlowBody, "send bodies at 0.1 B/s"),
];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Slow peers of each kind.
    #[arg(long, default_value_t = 10_000)]
    peers: usize,
    /// Calls per second of the others.
    #[arg(long, default_value_t = 1_000.0)]
    calls_per_s: f64,
    /// Length of each phase, in seconds. With peers and without take turns.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often they take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// What the server may take with all peers of one kind connected, in MiB.
    #[arg(long, default_value_t = 1024.0)]
    memory_max_mib: f64,
    /// How long heads and bodies that do not end are followed until the server has closed them, in seconds.
    #[arg(long, default_value_t = 16.0)]
    patience_s: f64,
}

/// What was measured with one kind of peers.
#[derive(Default)]
struct Case {
    without: Vec<Reply>,
    with: Vec<Reply>,
    connected: u64,
    peak: Usage,
    cut: u64,
    cut_p99_s: f64,
    left_mib: f64,
}

pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let cores = common.cores();
    let (connections_max, sessions_max) =
        (options.peers + 1_000, SESSIONS_EACH * options.peers * options.rounds + 1_000);
    let max = [connections_max, sessions_max].map(|max| max.to_string());
    let server = common.serve(&["--connections-max", &max[0], "--sessions-max", &max[1]])?;
    let mut peers = Fleet::start(options.peers.div_ceil(PEERS_EACH), &cores)?;
    let mut callers = Fleet::start(1, &cores)?;
    let settings = json!({
        "peers": options.peers,
        "calls_per_s": options.calls_per_s,
        "rounds": options.rounds,
        "memory_max_mib": options.memory_max_mib,
        "workers": common.workers,
    });
    let mut figures = Figures::new("readers", settings);
    let call = load(options, &server);
    say("warm-up");
    callers.order(|_| Order::Call(call.clone()))?;
    figures.note("memory of the server without any peer", Usage::of(server.pid())?.memory_mib(), "MiB");
    for (kind, (manner, name)) in MANNERS.into_iter().enumerate() {
        let mut case = Case::default();
        for round in 0..options.rounds {
            // Addresses of their own each time: the ports of closed connections rest for a minute.
            let part = u8::try_from(kind * options.rounds + round).unwrap_or(u8::MAX - 2);
            case.without.push(callers.order(|_| Order::Call(call.clone()))?);
            take_turn(options, &server, (&mut peers, &mut callers), (manner, part), &mut case)?;
        }
        say(&format!("{name}: {} connected, {:.0} MiB", case.connected, case.peak.memory_mib()));
        report(options, manner, name, &case, &mut figures);
    }
    Ok(figures)
}

fn load(options: &Options, server: &Served) -> Load {
    Load {
        address: server.address,
        from: source(0, 0),
        connections: CALLERS,
        rate_per_s: Some(options.calls_per_s),
        seconds: options.seconds,
        deadline_ms: 1_000,
        patience_ms: 30_000,
        era: Era::Modern,
    }
}

/// One phase with peers.
fn take_turn(
    options: &Options,
    server: &Served,
    (peers, callers): (&mut Fleet, &mut Fleet),
    (manner, part): (Manner, u8),
    case: &mut Case,
) -> Result<(), Error> {
    let (address, size, begun) = (server.address, peers.size(), Instant::now());
    let connected = peers.order(|each| {
        let (count, from) = (share(options.peers, size, each), source(1 + part, each));
        Order::Resist(Resist { address, from, count, manner })
    })?;
    if let Some(why) = &connected.why {
        say(&format!("{} peers were not let in: {why}", connected.failed));
    }
    case.connected = connected.done;
    std::thread::sleep(SETTLING);
    callers.send(|_| Order::Call(load(options, server)))?;
    std::thread::sleep(Duration::from_secs_f64(options.seconds / 2.0));
    let usage = Usage::of(server.pid())?;
    if usage.memory_bytes > case.peak.memory_bytes {
        case.peak = usage;
    }
    case.with.push(callers.receive()?);
    if matches!(manner, Manner::SlowHead | Manner::SlowBody) {
        let patience = Duration::from_secs_f64(options.patience_s);
        std::thread::sleep(patience.saturating_sub(begun.elapsed()));
    }
    let eased = peers.order(|_| Order::Ease)?;
    (case.cut, case.cut_p99_s) = (eased.done, eased.quantile_ms(0.99) / 1e3);
    let closing = Instant::now();
    while Usage::of(server.pid())?.files > FILES_MAX && closing.elapsed() < CLOSING {
        std::thread::sleep(Duration::from_millis(100));
    }
    case.left_mib = Usage::of(server.pid())?.memory_mib();
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^52")]
fn report(options: &Options, manner: Manner, name: &str, case: &Case, figures: &mut Figures) {
    let peers = options.peers as f64;
    figures.check(format!("peers that {name}"), case.connected as f64, "", Asked::AtLeast(peers));
    figures.check(format!("{name}: user memory"), case.peak.memory_mib(), "MiB", Asked::AtMost(options.memory_max_mib));
    let kernel = (case.peak.socket_bytes + case.peak.slab_bytes) as f64 / f64::from(1 << 20);
    figures.note(format!("{name}: kernel memory of this machine"), kernel, "MiB");
    let (without, with) = (Reply::sum(case.without.clone()), Reply::sum(case.with.clone()));
    figures.note(format!("{name}: p99 of the others without them"), without.quantile_ms(0.99), "ms");
    figures.note(format!("{name}: p99 of the others with them"), with.quantile_ms(0.99), "ms");
    // A turn is compared with the one before it: the machine was the same.
    let turns = case.without.iter().zip(&case.with);
    let mut ratios: Vec<f64> = turns.map(|(a, b)| b.quantile_ms(0.99) / a.quantile_ms(0.99)).collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
    figures.check(format!("{name}: p99 with / without, median of the turns"), ratio, "", Asked::AtMost(1.2));
    let lost = with.failed + with.unsent + with.late;
    figures.check(format!("{name}: calls of the others that failed"), lost as f64, "", Asked::AtMost(0.0));
    if matches!(manner, Manner::SlowHead | Manner::SlowBody) {
        figures.check(
            format!("{name}: closed by the server"),
            case.cut as f64,
            "",
            Asked::AtLeast(case.connected as f64),
        );
        figures.check(format!("{name}: closed after, p99"), case.cut_p99_s, "s", Asked::AtMost(11.0));
    }
    figures.note(format!("{name}: user memory after they went"), case.left_mib, "MiB");
}
