//! Sessions that are opened and never ended.

use std::time::{Duration, Instant};

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::figure::Asked;
use andon_bench::scale::Control;
use andon_bench::scale::figures::Figures;
use andon_bench::scale::fleet::{Fleet, share, source};
use andon_bench::scale::order::{Abandon, Arrival, Load, Order, Reply};
use andon_bench::scale::usage::Usage;
use andon_bench::wire::Era;
use serde_json::json;

use crate::{ADMIN_TOKEN, Common, free_address, say, settle};

/// Connections over which one generator opens sessions.
const CONNECTIONS: usize = 32;
/// Connections of the clients that call while sessions expire.
const CALLERS: usize = 16;

/// User memory of a session that nobody uses.
const SESSION_BYTES_MAX: f64 = 600.0;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Sessions.
    #[arg(long, default_value_t = 1_000_000)]
    sessions: usize,
    /// How long an idle session is kept, in seconds.
    #[arg(long, default_value_t = 60)]
    idle_timeout_s: u32,
    /// Leaves the handshake undone, too: such sessions are kept for ten seconds.
    #[arg(long)]
    without_handshake: bool,
    /// Calls per second while sessions expire.
    #[arg(long, default_value_t = 1_000.0)]
    calls_per_s: f64,
    /// Generators that open sessions.
    #[arg(long, default_value_t = 2)]
    generators: usize,
    /// How long memory may take to come back after the last session is gone, in seconds.
    #[arg(long, default_value_t = 20.0)]
    patience_s: f64,
}

struct Round {
    before: Usage,
    full: Usage,
    after: Usage,
    opened: Reply,
    standing: u64,
    left: u64,
    /// From the last one opened.
    gone_after: Duration,
    back_after: Duration,
    /// While sessions expired.
    calls: Reply,
    calm: Reply,
}

pub(crate) fn measure(options: &Options, common: &Common) -> Result<Figures, Error> {
    let admin = free_address()?;
    let cores = common.cores(0);
    let (sessions_max, idle_timeout) = ((options.sessions * 2).to_string(), options.idle_timeout_s.to_string());
    let bounds = ["--sessions-max", &sessions_max, "--session-idle-timeout", &idle_timeout];
    let server = common.serve(&cores, &[&bounds[..], &["--admin", &admin.to_string()]].concat())?;
    let mut openers = Fleet::start(options.generators, &cores)?;
    let mut callers = Fleet::start(1, &cores)?;
    let first = Usage::of(server.pid())?;
    say("warm-up: the same once before");
    let mut rounds = Vec::new();
    for name in ["warm-up", "measured"] {
        let round = round(options, &server, admin, (&mut openers, &mut callers))?;
        say(&format!(
            "{name}: {} opened, {} gone after {:.1} s",
            round.opened.done,
            round.standing - round.left,
            round.gone_after.as_secs_f64()
        ));
        rounds.push(round);
    }
    let settings = json!({
        "sessions": options.sessions,
        "idle_timeout_s": options.idle_timeout_s,
        "handshake": !options.without_handshake,
        "workers": common.workers,
    });
    let mut figures = Figures::new("abandoned", settings);
    figures.note("memory of the server before the warm-up", first.memory_mib(), "MiB");
    report(options, &rounds[1], &mut figures);
    Ok(figures)
}

fn round(
    options: &Options,
    server: &Served,
    admin: std::net::SocketAddr,
    (openers, callers): (&mut Fleet, &mut Fleet),
) -> Result<Round, Error> {
    let address = server.address;
    let control = Control::open(address)?;
    let before = Usage::of(server.pid())?;
    let call = |seconds: f64| {
        Order::Call(Load {
            address,
            from: source(1, 0),
            connections: CALLERS,
            rate_per_s: Some(options.calls_per_s),
            seconds,
            deadline_ms: 1_000,
            patience_ms: 30_000,
            era: Era::Modern,
        })
    };
    let calm = callers.order(|_| call(5.0))?;
    let size = openers.size();
    let opened = openers.order(|each| {
        Order::Abandon(Abandon {
            address,
            from: source(0, each),
            count: share(options.sessions, size, each),
            arrival: Arrival::Over(CONNECTIONS),
            is_complete: !options.without_handshake,
            deadline_ms: 30_000,
        })
    })?;
    let last_at = Instant::now();
    let standing = control.sessions(admin, ADMIN_TOKEN)?;
    let full = Usage::of(server.pid())?;
    // Calls are made until the last session is gone, and in one piece, so that no moment is left out.
    let kept_s = if options.without_handshake { 10 } else { options.idle_timeout_s };
    let grace = Duration::from_secs(u64::from(kept_s) + 10);
    callers.send(|_| call(grace.as_secs_f64()))?;
    let mut left = standing;
    let mut gone_after = Duration::ZERO;
    // The session of `control` is one of them, and expires with them.
    while left > 0 && last_at.elapsed() < grace {
        std::thread::sleep(Duration::from_millis(100));
        left = control.sessions(admin, ADMIN_TOKEN)?;
        gone_after = last_at.elapsed();
    }
    let calls = callers.receive()?;
    let (after, back_after) =
        settle(server, before.memory_bytes as f64 * 1.05, Duration::from_secs_f64(options.patience_s))?;
    Ok(Round { before, full, after, opened, standing, left, gone_after, back_after, calls, calm })
}

#[allow(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^52")]
fn report(options: &Options, round: &Round, figures: &mut Figures) {
    let sessions = options.sessions as f64;
    figures.check("sessions opened", round.opened.done as f64, "", Asked::AtLeast(sessions));
    figures.note("opened per second", round.opened.done_per_s(), "/s");
    figures.note("of them there at once, when the last was opened", round.standing as f64, "");
    let grown = round.full.memory_bytes.saturating_sub(round.before.memory_bytes) as f64;
    let each = grown / round.standing.max(1) as f64;
    figures.check("user memory of each that was there", each, "B", Asked::AtMost(SESSION_BYTES_MAX));
    figures.check("sessions left", round.left as f64, "", Asked::AtMost(0.0));
    figures.note("all gone after the last was opened", round.gone_after.as_secs_f64(), "s");
    figures.note("call before, p99", round.calm.quantile_ms(0.99), "ms");
    figures.note("call while sessions expire, p50", round.calls.quantile_ms(0.5), "ms");
    figures.note("call while sessions expire, p99", round.calls.quantile_ms(0.99), "ms");
    figures.note("call while sessions expire, the slowest", round.calls.quantile_ms(1.0), "ms");
    figures.check("calls that failed or took more than 1 s", round.calls.lost() as f64, "", Asked::AtMost(0.0));
    figures.note("user memory before", round.before.memory_mib(), "MiB");
    figures.note("user memory with all of them", round.full.memory_mib(), "MiB");
    figures.note("user memory after", round.after.memory_mib(), "MiB");
    let ratio = round.after.memory_bytes as f64 / round.before.memory_bytes as f64;
    figures.check("after / before", ratio, "", Asked::AtMost(1.05));
    figures.note("it was back after another", round.back_after.as_secs_f64(), "s");
}
