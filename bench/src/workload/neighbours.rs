//! Well-behaved clients beside ones that do not read what they asked for, or hardly: what the others' calls take, and what the
//! server keeps meanwhile.

use std::time::Duration;

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::figure::{Figure, Sample};
use andon_bench::load::{self, Call, Load};
use andon_bench::machine::{self, Cores};
use andon_bench::scale::fleet::{Fleet, source};
use andon_bench::scale::order::{Manner, Order, Resist};

use super::{Sizes, Turn};

/// Half of them ask for 2 MiB and read nothing, the others for 96 KiB, of which they read a byte per second.
const MANNERS: [Manner; 2] = [Manner::AsksOn, Manner::ReadsSlowly];
/// So many come per second. All at once, they and both systems would do ever after at the same moment what they do in turns.
const ARRIVALS_PER_S: f64 = 500.0;
/// How long the last one is there before it counts. The systems at both ends ask whether there is room 0.2 s after there was none, and
/// then after twice the time each time, many connections together: 3.0 s, 6.2 s and 12.6 s after they came.
const ARRIVAL: Duration = Duration::from_secs(7);
/// How long the server has for their leave.
const LEAVE: Duration = Duration::from_secs(2);
/// The part of what the server can answer that is asked for.
const RATE: f64 = 0.25;
/// A window has this length at least: ten milliseconds in which the machine does something else would be the p99 of one second.
pub(super) const WINDOW_MIN: Duration = Duration::from_secs(4);

/// Measures answers at a fixed rate, without and with the neighbours, and without once more: what a server that has run for longer
/// does otherwise is not theirs.
pub(super) async fn measure(served: &Served, turn: &Turn, sizes: &Sizes, cores: &Cores) -> Result<Sample, Error> {
    let load = turn.load(sizes, Call::Echo);
    let peak = load::run(served.address, served.pid(), Load { window: sizes.window / 2, ..load }).await?;
    let load = Load { rate: Some(peak.rate() * RATE), window: sizes.neighbours_window(), ..load };
    let before = load::run(served.address, served.pid(), load).await?.times;
    let resident_before = machine::resident_kib(served.pid())?;
    // A process of their own: they do not share a runtime with those whose calls are measured.
    let [_, others] = cores.clone().divide_generator();
    let mut neighbours = Fleet::start(1, &others)?;
    for manner in MANNERS {
        let count = sizes.neighbours / MANNERS.len();
        let rate_per_s = Some(ARRIVALS_PER_S);
        let resist = Resist { address: served.address, from: source(0, 0), count, rate_per_s, manner, era: turn.era };
        let come = neighbours.order(|_| Order::Resist(resist.clone()))?;
        if let Some(why) = come.why {
            return Err(format!("{} neighbours were not let in: {why}", come.failed).into());
        }
    }
    tokio::time::sleep(ARRIVAL).await;
    let beside = load::run(served.address, served.pid(), load).await?;
    let grown = machine::resident_kib(served.pid())?.saturating_sub(resident_before);
    let cut = neighbours.order(|_| Order::Ease)?.done;
    if cut > 0 {
        return Err(format!("{cut} neighbours were cut off before their time").into());
    }
    tokio::time::sleep(LEAVE).await;
    let after = load::run(served.address, served.pid(), load).await?.times;
    let mut alone = before.clone();
    alone.add(&after);
    let p99 = beside.times.quantile_us(0.99);
    Ok(Sample::from([
        (Figure::P99Times, p99 / alone.quantile_us(0.99)),
        (Figure::P99Us, p99),
        (Figure::P99BeforeUs, before.quantile_us(0.99)),
        (Figure::P99AfterUs, after.quantile_us(0.99)),
        (Figure::P999Us, beside.times.quantile_us(0.999)),
        (Figure::PerSecond, beside.rate()),
        (Figure::GrownMib, super::mib(grown)),
    ]))
}
