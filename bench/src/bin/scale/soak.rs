//! All of it at once, for long.

use std::path::Path;
use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::figure::Asked;
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::{Fleet, source};
use andon_bench::scale::order::{Abandon, Arrival, Churn, Hold, Load, Manner, Order, Reply, Resist};
use andon_bench::scale::usage::Usage;
use andon_bench::scale::{Control, Line, Slope, slope};
use andon_bench::wire::Era;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Common, say};

/// A figure of which it is certain that it grows by less than this part of its mean, in the time that is judged, is flat.
const FLAT: f64 = 0.05;
/// How often memory and the like are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// Updates in each interval. A session keeps the last thousand for a client that comes back: they are there after 200 s.
const UPDATES: u32 = 5;
/// How often slow readers are closed and others come.
const RESISTERS_INTERVAL: Duration = Duration::from_secs(90);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// Sessions with streams that stay.
    #[arg(long, default_value_t = 1_000)]
    streams: usize,
    /// Calls per second, in each of the two eras.
    #[arg(long, default_value_t = 500.0)]
    calls_per_s: f64,
    /// Clients that open sessions with streams and end them, over and over.
    #[arg(long, default_value_t = 50)]
    churning: usize,
    /// Sessions per second that nobody ends.
    #[arg(long, default_value_t = 20.0)]
    abandoned_per_s: f64,
    /// Peers that read nothing.
    #[arg(long, default_value_t = 100)]
    slow: usize,
}

/// What was seen each second.
#[derive(Default, Serialize, Deserialize)]
struct Seen {
    memory_mib: Vec<f64>,
    files: Vec<f64>,
    threads: Vec<f64>,
}

/// All who make load.
struct Crowd {
    legacy: Fleet,
    modern: Fleet,
    churning: Fleet,
    leaving: Fleet,
    holding: Fleet,
    slow: Fleet,
}

pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let cores = common.cores(0);
    // Idle sessions go within a minute, so that what is opened and what expires balance soon.
    let server = common.serve(&cores, &["--session-idle-timeout", "30"])?;
    let start = || Fleet::start(1, &cores);
    let mut crowd = Crowd {
        legacy: start()?,
        modern: start()?,
        churning: start()?,
        leaving: start()?,
        holding: start()?,
        slow: start()?,
    };
    let seconds = options.minutes * 60.0;
    begin(options, &server, &mut crowd, seconds)?;
    let seen = watch(options, &server, &mut crowd, Duration::from_secs_f64(seconds))?;
    let calls = [crowd.legacy.receive()?, crowd.modern.receive()?];
    let (churned, left) = (crowd.churning.receive()?, crowd.leaving.receive()?);
    let held = crowd.holding.order(|_| Order::Arm)?;
    let settings = json!({
        "minutes": options.minutes,
        "streams": options.streams,
        "calls_per_s": options.calls_per_s,
        "churning": options.churning,
        "abandoned_per_s": options.abandoned_per_s,
        "slow": options.slow,
        "workers": common.workers,
    });
    let mut figures = Figures::new("soak", settings);
    report(&calls, (&churned, &left, &held), &mut figures);
    judge(&seen, &mut figures);
    figures.draw(serde_json::to_value(seen)?);
    Ok(figures)
}

/// Lets everybody begin.
fn begin(options: &Options, server: &Served, crowd: &mut Crowd, seconds: f64) -> Result<(), Error> {
    let address = server.address;
    let call = |part: u8, era: Era| {
        Order::Call(Load {
            address,
            from: source(part, 0),
            connections: 32,
            rate_per_s: Some(options.calls_per_s),
            seconds,
            deadline_ms: 1_000,
            patience_ms: 30_000,
            era,
        })
    };
    let held = Hold { address, from: source(0, 0), count: options.streams, at_once: 64 };
    let held = crowd.holding.order(|_| Order::Hold(held.clone()))?;
    if let Some(why) = held.why {
        return Err(format!("{} streams were not opened: {why}", held.failed).into());
    }
    crowd.legacy.send(|_| call(1, Era::Legacy))?;
    crowd.modern.send(|_| call(2, Era::Modern))?;
    let clients = options.churning;
    crowd.churning.send(|_| Order::Churn(Churn { address, from: source(3, 0), clients, seconds }))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sessions of a run")]
    let count = (options.abandoned_per_s * seconds) as usize;
    crowd.leaving.send(|_| {
        Order::Abandon(Abandon {
            address,
            from: source(4, 0),
            count,
            arrival: Arrival::PerSecond(options.abandoned_per_s),
            is_complete: true,
            deadline_ms: 1_000,
        })
    })?;
    resist(options, server, crowd)
}

/// Peers that read nothing: half of them answers, half of them events.
fn resist(options: &Options, server: &Served, crowd: &mut Crowd) -> Result<(), Error> {
    let (address, count) = (server.address, options.slow / 2);
    for manner in [Manner::NeverReads, Manner::NeverListens] {
        crowd.slow.order(|_| {
            Order::Resist(Resist { address, from: source(5, 0), count, rate_per_s: None, manner, era: Era::Legacy })
        })?;
    }
    Ok(())
}

/// Says updates all the time, and looks each second what the server takes.
fn watch(options: &Options, server: &Served, crowd: &mut Crowd, time: Duration) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    let mut control = Control::open(server.address)?;
    let (begun, mut resisted_at) = (Instant::now(), Instant::now());
    while begun.elapsed() < time {
        let next = Instant::now() + INTERVAL;
        for _ in 1..UPDATES {
            control.touch()?;
            std::thread::sleep(INTERVAL / UPDATES);
        }
        control.touch()?;
        let usage = Usage::of(server.pid())?;
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        {
            seen.memory_mib.push(usage.memory_mib());
            seen.files.push(usage.files as f64);
            seen.threads.push(usage.threads as f64);
        }
        if seen.memory_mib.len() % 60 == 0 {
            let (minutes, memory, files) = (seen.memory_mib.len() / 60, usage.memory_mib(), usage.files);
            say(&format!("{minutes} min: {memory:.1} MiB, {files} files"));
        }
        if resisted_at.elapsed() >= RESISTERS_INTERVAL {
            crowd.slow.order(|_| Order::Ease)?;
            resist(options, server, crowd)?;
            resisted_at = Instant::now();
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(seen)
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(calls: &[Reply; 2], (churned, left, held): (&Reply, &Reply, &Reply), figures: &mut Figures) {
    for (name, calls) in ["sessions", "stateless"].into_iter().zip(calls) {
        figures.note(format!("{name}: calls answered in time"), calls.done as f64, "");
        let lost = calls.lost() - calls.late;
        figures.check(format!("{name}: calls that failed"), lost as f64, "", Asked::AtMost(0.0));
        figures.note(format!("{name}: calls that took more than 1 s"), calls.late as f64, "");
        figures.note(format!("{name}: call, p99"), calls.quantile_ms(0.99), "ms");
    }
    figures.note("sessions with streams that came and went", churned.done as f64, "");
    figures.check("of those that came and went failed", churned.failed as f64, "", Asked::AtMost(0.0));
    figures.note("sessions that nobody ended", left.done as f64, "");
    figures.check("of those that nobody ended failed", left.failed as f64, "", Asked::AtMost(0.0));
    figures.check("streams that broke off", held.failed as f64, "", Asked::AtMost(0.0));
}

/// The second half of the time: in the first one everything fills up.
fn judge(seen: &Seen, figures: &mut Figures) {
    let lines = [("memory", &seen.memory_mib, "MiB/h"), ("files", &seen.files, "/h"), ("threads", &seen.threads, "/h")];
    for (name, values, unit) in lines {
        let judged = &values[values.len() / 2..];
        let hours = INTERVAL.as_secs_f64() * judged.len() as f64 / 3600.0;
        let found = slope(judged);
        let is_flat = found.is_some_and(|found| found.is_flat(FLAT, hours));
        figures.check(format!("{name} is flat"), f64::from(u8::from(is_flat)), "", Asked::AtLeast(1.0));
        let Some(Slope { per_hour, low_per_hour, high_per_hour, mean }) = found else {
            say(&format!("{name}: {} values are too few to see whether it grows", judged.len()));
            continue;
        };
        figures.note(format!("{name}: mean of the second half"), mean, unit.strip_suffix("/h").unwrap_or(""));
        figures.note(format!("{name}: growth"), per_hour, unit);
        figures.note(format!("{name}: growth, low end of 95 %"), low_per_hour, unit);
        figures.note(format!("{name}: growth, high end of 95 %"), high_per_hour, unit);
    }
}

/// Draws what the run saw that wrote the file `from`.
pub(crate) fn draw(from: &Path, to: &Path) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Written {
        series: Seen,
    }
    let Written { series } = serde_json::from_slice(&std::fs::read(from)?)?;
    let line = |name, values| Line { name, values };
    let lines = [
        line("memory of the server, MiB", series.memory_mib),
        line("open files", series.files),
        line("threads", series.threads),
    ];
    Ok(std::fs::write(to, Line::svg(&lines, "seconds"))?)
}
