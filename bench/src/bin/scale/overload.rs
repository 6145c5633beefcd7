//! More calls than there is room for: what still is answered in time, and whether the server says that it is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::figure::Asked;
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::{Fleet, share, source};
use andon_bench::scale::order::{Load, Order, Reply};
use andon_bench::scale::{Looks, watch_health};
use andon_bench::wire::Era;
use serde_json::json;

use crate::{Common, say};

/// An answer that takes longer is worth nothing.
const DEADLINE_MS: u64 = 1_000;
/// How often the server is asked whether it is well.
const HEALTH_INTERVAL: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Connections, each of a client that makes one call at a time: a call that finds none free is not made.
    #[arg(long, default_value_t = 15_000)]
    connections: usize,
    /// Connections of the clients that find the peak, which call as fast as they are answered. Default: as many. Fewer cost those who
    /// make the load less, so that what they then lack would pass for what the server does.
    #[arg(long)]
    peak_connections: Option<usize>,
    /// Length of each phase, in seconds.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How often the phases take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Generators.
    #[arg(long, default_value_t = 2)]
    generators: usize,
}

impl Options {
    fn peak_connections(&self) -> usize {
        self.peak_connections.unwrap_or(self.connections)
    }
}

/// One phase.
struct Phase {
    calls: Reply,
    looks: Looks,
}

pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let cores = common.cores(0);
    let server = common.serve(&cores, &[])?;
    let mut fleet = Fleet::start(options.generators, &cores)?;
    say("warm-up");
    phase(options, &server, &mut fleet, None)?;
    // Peak, twice, four times; in each round beside each other, since the machine changes.
    let mut phases: [Vec<Phase>; 3] = Default::default();
    for round in 1..=options.rounds {
        let peak = phase(options, &server, &mut fleet, None)?;
        let rate = peak.calls.done_per_s();
        say(&format!("round {round}: the peak is {rate:.0} calls per second"));
        phases[0].push(peak);
        for (times, phases) in [2.0, 4.0].into_iter().zip(&mut phases[1..]) {
            let loaded = phase(options, &server, &mut fleet, Some(rate * times))?;
            let (goodput, late) = (loaded.calls.done_per_s(), loaded.calls.late);
            say(&format!("round {round}: at {times} times as many, {goodput:.0} in time, {late} late"));
            phases.push(loaded);
        }
    }
    let settings = json!({
        "connections": options.connections,
        "peak_connections": options.peak_connections(),
        "rounds": options.rounds,
        "seconds": options.seconds,
        "workers": common.workers,
    });
    let mut figures = Figures::new("overload", settings);
    report(&phases, &mut figures);
    Ok(figures)
}

/// Calls at `rate_per_s`, or as fast as they are answered, while somebody looks whether the server is well.
fn phase(options: &Options, server: &Served, fleet: &mut Fleet, rate_per_s: Option<f64>) -> Result<Phase, Error> {
    let (address, pid, size) = (server.address, server.pid(), fleet.size());
    let connections = if rate_per_s.is_some() { options.connections } else { options.peak_connections() };
    let stop = Arc::new(AtomicBool::new(false));
    let watch = std::thread::spawn({
        let stop = stop.clone();
        move || watch_health(address, pid, HEALTH_INTERVAL, &stop)
    });
    let calls = fleet.order(|each| {
        Order::Call(Load {
            address,
            from: source(0, each),
            connections: share(connections, size, each),
            rate_per_s: rate_per_s.map(|rate| rate / size as f64),
            seconds: options.seconds,
            deadline_ms: DEADLINE_MS,
            patience_ms: 0,
            era: Era::Modern,
        })
    });
    stop.store(true, Ordering::Relaxed);
    let looks = watch.join().map_err(|_| "the thread that watches panicked")??;
    let calls = calls?;
    if let Some(why) = &calls.why {
        say(&format!("{} calls failed, the first: {why}", calls.failed));
    }
    Ok(Phase { calls, looks })
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(phases: &[Vec<Phase>; 3], figures: &mut Figures) {
    let [peaks, twice, four_times] = phases;
    let rates: Vec<f64> = peaks.iter().map(|peak| peak.calls.done_per_s()).collect();
    figures.note("peak, calls per second", median(rates), "/s");
    for (name, loaded, asked) in [("2x", twice, 0.9), ("4x", four_times, 0.8)] {
        // Of the peak just before.
        let parts = loaded.iter().zip(peaks).map(|(loaded, peak)| loaded.calls.done_per_s() / peak.calls.done_per_s());
        figures.check(
            format!("{name}: answered within 1 s, of the peak"),
            median(parts.collect()),
            "",
            Asked::AtLeast(asked),
        );
        let calls = Reply::sum(loaded.iter().map(|loaded| loaded.calls.clone()).collect());
        let offered = calls.done + calls.late + calls.refused + calls.failed + calls.unsent;
        figures.note(format!("{name}: calls due"), offered as f64, "");
        figures.note(format!("{name}: calls answered late"), calls.late as f64, "");
        figures.note(format!("{name}: calls refused with 503"), calls.refused as f64, "");
        figures.note(format!("{name}: calls that found no free client"), calls.unsent as f64, "");
        figures.check(format!("{name}: calls that failed otherwise"), calls.failed as f64, "", Asked::AtMost(0.0));
        figures.note(format!("{name}: answer, p50"), calls.quantile_ms(0.5), "ms");
        figures.note(format!("{name}: answer, p99"), calls.quantile_ms(0.99), "ms");
        let mut looks = Looks::default();
        loaded.iter().for_each(|loaded| looks.add(&loaded.looks));
        let health = &looks.times;
        figures.note(format!("{name}: looks whether the server is well"), health.count() as f64, "");
        figures.note(format!("{name}: health, p50"), health.quantile_us(0.5) / 1e3, "ms");
        figures.check(
            format!("{name}: health, the slowest"),
            health.quantile_us(1.0) / 1e3,
            "ms",
            Asked::AtMost(100.0),
        );
        looks.note_waits(figures, &format!("{name}: "));
        figures.check(format!("{name}: looks without an answer"), looks.failed as f64, "", Asked::AtMost(0.0));
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
