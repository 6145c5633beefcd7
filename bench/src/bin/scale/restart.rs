//! A server that is killed and started again: when is a session served that was there before?

use std::path::PathBuf;
use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::figure::{Asked, Spread};
use andon_bench::scale::Control;
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::{Fleet, share, source};
use andon_bench::scale::order::{Abandon, Arrival, Order};
use serde_json::json;

use crate::{ADMIN_TOKEN, Common, free_address, say};

/// Connections over which one generator opens sessions.
const CONNECTIONS: usize = 64;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Sessions on disk.
    #[arg(long, default_value_t = 100_000)]
    sessions: usize,
    /// Where to write; a new directory in it is made and removed. Default: the system's for temporary files.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// How often the server is killed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Generators that open sessions.
    #[arg(long, default_value_t = 2)]
    generators: usize,
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let place = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::tempdir_in(place)?;
    let (data, sessions_max) = (directory.path().to_string_lossy(), (options.sessions * 2).to_string());
    let cores = common.cores(0);
    let admin = free_address()?;
    let operators = admin.to_string();
    let start = || common.serve(&cores, &["--data", &data, "--sessions-max", &sessions_max, "--admin", &operators]);
    let mut server = start()?;
    let (address, mut control) = (server.address, Control::open(server.address)?);
    let opened = {
        let mut fleet = Fleet::start(options.generators, &cores)?;
        let size = fleet.size();
        fleet.order(|each| {
            Order::Abandon(Abandon {
                address,
                from: source(0, each),
                count: share(options.sessions, size, each),
                arrival: Arrival::Over(CONNECTIONS),
                is_complete: true,
                deadline_ms: 30_000,
            })
        })?
    };
    let standing = control.sessions(admin, ADMIN_TOKEN)?;
    if standing < opened.done {
        return Err(format!("the server says that it has {standing} sessions").into());
    }
    let (mut listening, mut served, mut lost) = (Vec::new(), Vec::new(), 0);
    for round in 1..=options.rounds {
        control.touch()?;
        let begun = Instant::now();
        server.kill()?;
        server = start()?;
        listening.push(milliseconds(begun.elapsed()));
        control.go_on_at(server.address)?;
        control.touch()?;
        served.push(milliseconds(begun.elapsed()));
        lost = standing.saturating_sub(control.sessions(admin, ADMIN_TOKEN)?).max(lost);
        say(&format!("round {round}: {:.0} ms", served[round - 1]));
    }
    let settings = json!({ "sessions": options.sessions, "rounds": options.rounds, "workers": common.workers });
    let mut figures = Figures::new("restart", settings);
    figures.check("sessions opened", opened.done as f64, "", Asked::AtLeast(options.sessions as f64));
    figures.note("opened, each written to the disk before it was answered", opened.done_per_s(), "/s");
    figures.check("sessions fewer after than before, the most of all turns", lost as f64, "", Asked::AtMost(0.0));
    let names = ["killed until it listens", "killed until a call in a session from before is answered"];
    for (what, times) in names.into_iter().zip([listening, served]) {
        let Some(Spread { median, min, max }) = Spread::of(times) else { continue };
        figures.note(format!("{what}, median"), median, "ms");
        figures.note(format!("{what}, the least"), min, "ms");
        figures.note(format!("{what}, the most"), max, "ms");
    }
    Ok(figures)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
