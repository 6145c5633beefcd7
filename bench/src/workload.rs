//! The workloads: which figures each gives, and who can be measured with it.

use std::time::Duration;

use andon_bench::Error;
use andon_bench::child::Served;
use andon_bench::figure::{Figure, Sample};
use andon_bench::load::{self, Call, Load, Measured};
use andon_bench::machine;
use andon_bench::peer::Peer;
use andon_bench::wire::{Era, Http};
use serde::Serialize;

mod create;
mod fan_out;
mod idle;
mod neighbours;
mod stdio;

/// What servers are made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Echo calls, each connection with one at a time: how many a server answers.
    Echo,
    /// Echo calls at a fixed rate: how long answers take.
    Paced,
    /// Calls with ten progress notifications.
    Progress,
    /// Sessions that are opened and left.
    Create,
    /// Updates of one resource to all who subscribed to it.
    FanOut,
    /// Echo calls beside clients that do not read, or hardly.
    Neighbours,
    /// Sessions and streams that nobody uses.
    Idle,
    /// Echo calls over standard input and output, several at once.
    Stdio,
}

/// Calls at once over standard input and output, where there are many.
pub(crate) const STDIO_WINDOW_MAX: usize = 256;

/// So many times as many rounds have those of whose p99 something is asked.
const TAIL_ROUNDS: usize = 3;

/// How much of each.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sizes {
    /// Rounds; what is asked of p99 has more, see [`Turn::rounds`].
    pub(crate) rounds: usize,
    /// Length of a window of measuring; of `neighbours` see [`Sizes::neighbours_window`].
    pub(crate) window: Duration,
    /// Time under load before it.
    pub(crate) warm_up: Duration,
    /// Calls per second of the workload `paced`.
    pub(crate) rate: f64,
    /// Sessions that `create` opens at most.
    pub(crate) sessions: usize,
    /// Streams of `fan-out`.
    pub(crate) listeners: usize,
    /// Clients that do not read, or hardly.
    pub(crate) neighbours: usize,
    /// Idle streams.
    pub(crate) idle: usize,
    /// How long a server may take to give back what it needed while they were opened.
    pub(crate) settle: Duration,
}

impl Sizes {
    /// Length of a window of `neighbours`.
    pub(crate) fn neighbours_window(&self) -> Duration {
        self.window.max(neighbours::WINDOW_MIN)
    }

    /// Idle sessions, of which some get a stream: at least so many that what else a server keeps of having opened them hardly
    /// counts.
    pub(crate) fn idle_sessions(&self) -> usize {
        self.idle.max(10_000)
    }
}

/// One server under one workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Turn {
    /// What it is made to do.
    pub(crate) workload: Workload,
    /// In which era.
    pub(crate) era: Era,
    /// Over which version of HTTP.
    pub(crate) http: Http,
    /// Calls at once.
    pub(crate) connections: usize,
    /// The server.
    pub(crate) peer: Peer,
}

impl Workload {
    /// All of them, in the order of the tables.
    pub(crate) const ALL: [Self; 8] = [
        Self::Echo,
        Self::Paced,
        Self::Progress,
        Self::Create,
        Self::FanOut,
        Self::Neighbours,
        Self::Idle,
        Self::Stdio,
    ];

    /// The name in a table and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Paced => "paced",
            Self::Progress => "progress",
            Self::Create => "create",
            Self::FanOut => "fan-out",
            Self::Neighbours => "neighbours",
            Self::Idle => "idle",
            Self::Stdio => "stdio",
        }
    }

    /// What it is, in words.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Echo => "Echo calls, as many as the server can answer",
            Self::Paced => "Echo calls at a fixed rate",
            Self::Progress => "Calls with ten progress notifications",
            Self::Create => "Sessions opened and left open",
            Self::FanOut => "One update to all who subscribed to it",
            Self::Neighbours => "Echo calls beside clients that do not read, or hardly",
            Self::Idle => "Idle sessions and idle streams",
            Self::Stdio => "Echo calls over standard input and output",
        }
    }

    /// Its figures, in the order of the table. The first is the one that is compared with the floor's.
    pub(crate) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Echo | Self::Progress => &[
                Figure::PerCpuSecond,
                Figure::PerSecond,
                Figure::CpuUs,
                Figure::P50Us,
                Figure::P99Us,
                Figure::P999Us,
                Figure::ResidentMib,
            ],
            Self::Paced => &[Figure::P99Us, Figure::P50Us, Figure::P999Us, Figure::CpuUs, Figure::PerSecond],
            Self::Create => &[
                Figure::PerCpuSecond,
                Figure::PerSecond,
                Figure::CpuUs,
                Figure::P50Us,
                Figure::P99Us,
                Figure::P999Us,
                Figure::SessionBytes,
            ],
            Self::FanOut => {
                &[Figure::PerCpuSecond, Figure::PerSecond, Figure::CpuUs, Figure::LastMs, Figure::ResidentMib]
            }
            Self::Neighbours => &[
                Figure::P99Times,
                Figure::P99Us,
                Figure::P99BeforeUs,
                Figure::P99AfterUs,
                Figure::P999Us,
                Figure::PerSecond,
                Figure::GrownMib,
            ],
            Self::Idle => &[
                Figure::StreamBytes,
                Figure::SessionBytes,
                Figure::KernelBytes,
                Figure::StreamsPerSecond,
                Figure::SessionsPerSecond,
            ],
            Self::Stdio => {
                &[Figure::PerCpuSecond, Figure::PerSecond, Figure::CpuUs, Figure::P50Us, Figure::P99Us, Figure::P999Us]
            }
        }
    }

    /// Whether connections and versions of HTTP are chosen for it; otherwise it is measured once, over HTTP/1.1.
    pub(crate) fn is_of_calls(self) -> bool {
        matches!(self, Self::Echo | Self::Paced | Self::Progress)
    }

    /// The way in a table: the version of HTTP, if it is HTTP.
    pub(crate) fn way(self, http: Http) -> String {
        if self == Self::Stdio { "stdio".to_owned() } else { format!("HTTP/{}", http.name()) }
    }
}

impl Turn {
    /// Whether both differ in the server only: they are neighbours in a round, and compared.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        *self == Self { peer: self.peer, ..*other }
    }

    /// In how many rounds it is measured.
    pub(crate) fn rounds(&self, sizes: &Sizes) -> usize {
        match self.workload {
            // Memory is the same in each.
            Workload::Idle => 1,
            // Something is asked of their p99, which differs more between rounds than how many calls there are.
            Workload::Paced | Workload::Neighbours if matches!(self.peer, Peer::Floor | Peer::Andon) => {
                sizes.rounds * TAIL_ROUNDS
            }
            _ => sizes.rounds,
        }
    }

    /// Whether the server has what the workload needs.
    pub(crate) fn is_possible(&self) -> bool {
        let Self { workload, era, http, peer, .. } = *self;
        let is_spoken = peer.eras().contains(&era) && peer.https().contains(&http);
        let keeps = era == Era::Modern || peer.has_sessions();
        is_spoken
            && match workload {
                Workload::Echo | Workload::Paced => true,
                // It is the floor again, with a framework that these do not touch.
                _ if peer == Peer::Axum => false,
                Workload::Create | Workload::Idle if peer.only_echoes() => era == Era::Legacy && peer.has_sessions(),
                _ if peer.only_echoes() => false,
                // Without sessions its answers in JSON have no place for progress.
                Workload::Progress => keeps,
                Workload::Create => era == Era::Legacy && peer.has_sessions(),
                // The Python SDK has no updates in sessions.
                Workload::FanOut => keeps && (peer, era) != (Peer::Python, Era::Legacy),
                Workload::Neighbours | Workload::Idle => keeps,
                // Both kinds of `rmcp` are one there.
                Workload::Stdio => keeps,
            }
    }

    /// Starts the server and measures it.
    ///
    /// # Errors
    /// It does not start, or does not answer as it should.
    pub(crate) async fn measure(&self, sizes: &Sizes, cores: &machine::Cores) -> Result<Sample, Error> {
        if self.workload == Workload::Stdio {
            return stdio::measure(self, sizes, cores).await;
        }
        let served = Served::start(self.peer, self.http, cores)?;
        match self.workload {
            Workload::Echo => self.calls(&served, sizes, Call::Echo, None).await,
            Workload::Paced => self.calls(&served, sizes, Call::Echo, Some(sizes.rate)).await,
            Workload::Progress => self.calls(&served, sizes, Call::Steps, None).await,
            Workload::Create => create::measure(&served, self.connections, sizes).await,
            Workload::FanOut => fan_out::measure(&served, self.era, sizes).await,
            Workload::Neighbours => neighbours::measure(&served, self, sizes, cores).await,
            Workload::Idle | Workload::Stdio => idle::measure(&served, self.era, sizes).await,
        }
    }

    async fn calls(&self, served: &Served, sizes: &Sizes, call: Call, rate: Option<f64>) -> Result<Sample, Error> {
        let load = Load { rate, ..self.load(sizes, call) };
        let measured = load::run(served.address, served.pid(), load).await?;
        let mut sample = rates(&measured);
        sample.insert(Figure::ResidentMib, mib(machine::resident_kib(served.pid())?));
        Ok(sample)
    }

    fn load(&self, sizes: &Sizes, call: Call) -> Load {
        let Self { era, http, connections, peer, .. } = *self;
        Load {
            call,
            era,
            http,
            connections,
            warm_up: sizes.warm_up.max(peer.warm_up()),
            window: sizes.window,
            rate: None,
        }
    }
}

/// The figures of what was done over and over.
fn rates(measured: &Measured) -> Sample {
    let Measured { calls, times, wall, cpu } = measured;
    let count = *calls as f64;
    let mut sample = Sample::from([
        (Figure::PerCpuSecond, count / cpu.as_secs_f64()),
        (Figure::PerSecond, count / wall.as_secs_f64()),
        (Figure::CpuUs, cpu.as_secs_f64() * 1e6 / count),
    ]);
    if times.count() > 0 {
        let quantiles = [(Figure::P50Us, 0.5), (Figure::P99Us, 0.99), (Figure::P999Us, 0.999)];
        sample.extend(quantiles.map(|(figure, quantile)| (figure, times.quantile_us(quantile))));
    }
    sample
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
