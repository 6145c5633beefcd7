//! All clients come back at once, as after a restart of the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use andon_bench::Error;
use andon_bench::figure::Asked;
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::{Fleet, share, source};
use andon_bench::scale::order::{Abandon, Arrival, Order};
use andon_bench::scale::usage::Usage;
use andon_bench::scale::watch_health;
use serde_json::json;

use crate::{Common, say};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Clients.
    #[arg(long, default_value_t = 100_000)]
    clients: usize,
    /// In how many seconds all of them connect.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How soon a client has to have its session, in seconds.
    #[arg(long, default_value_t = 5.0)]
    deadline_s: f64,
    /// Generators.
    #[arg(long, default_value_t = 5)]
    generators: usize,
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let cores = common.cores(0);
    let server = common.serve(&cores, &["--sessions-max", &(options.clients * 2).to_string()])?;
    let mut fleet = Fleet::start(options.generators, &cores)?;
    let (address, size) = (server.address, fleet.size());
    let come = |fleet: &mut Fleet, part: u8, clients: usize, rate_per_s: f64| {
        fleet.order(|each| {
            Order::Abandon(Abandon {
                address,
                from: source(part, each),
                count: share(clients, size, each),
                arrival: Arrival::PerSecond(rate_per_s / size as f64),
                is_complete: true,
                deadline_ms: Duration::from_secs_f64(options.deadline_s).as_millis().try_into().unwrap_or(u64::MAX),
            })
        })
    };
    let pid = server.pid();
    say("warm-up");
    come(&mut fleet, 0, options.clients / 20, 1_000.0)?;
    let stop = Arc::new(AtomicBool::new(false));
    let watch = std::thread::spawn({
        let stop = stop.clone();
        move || watch_health(address, pid, Duration::from_millis(50), &stop)
    });
    let cpu_before = Usage::of(server.pid())?.cpu;
    let came = come(&mut fleet, 1, options.clients, options.clients as f64 / options.seconds);
    stop.store(true, Ordering::Relaxed);
    let looks = watch.join().map_err(|_| "the thread that watches panicked")??;
    let came = came?;
    if let Some(why) = &came.why {
        say(&format!("{} clients failed, the first: {why}", came.failed));
    }
    let settings = json!({ "clients": options.clients, "seconds": options.seconds, "workers": common.workers });
    let mut figures = Figures::new("reconnect", settings);
    let part = came.done as f64 / options.clients as f64;
    figures.check("clients that had their session in time", part, "", Asked::AtLeast(0.8));
    figures.note("clients that had it late", came.late as f64, "");
    figures.note("clients that failed", came.failed as f64, "");
    figures.note("all were done after", came.seconds, "s");
    figures.note("connection and session, p50", came.quantile_ms(0.5), "ms");
    figures.note("connection and session, p99", came.quantile_ms(0.99), "ms");
    let cpu = Usage::of(server.pid())?.cpu.saturating_sub(cpu_before).as_secs_f64();
    figures.note("processor time of the server for each", cpu / options.clients as f64 * 1e6, "us");
    figures.note("health, p99", looks.times.quantile_us(0.99) / 1e3, "ms");
    figures.note("health, the slowest", looks.times.quantile_us(1.0) / 1e3, "ms");
    looks.note_waits(&mut figures, "");
    figures.note("looks whether the server is well, without an answer", looks.failed as f64, "");
    Ok(figures)
}
