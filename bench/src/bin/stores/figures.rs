//! What was measured, beside what is asked for.

use std::fmt::Write as _;
use std::time::Duration;

/// How long calls took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
}

impl Latency {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |hundredths: usize| times.get(times.len() * hundredths / 100).map_or(0.0, Duration::as_secs_f64);
        Self { p50_ms: at(50) * 1_000.0, p95_ms: at(95) * 1_000.0 }
    }
}

/// How often something was done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rate {
    count: u64,
    time: Duration,
}

impl Rate {
    pub(crate) fn add(&mut self, count: u64, time: Duration) {
        self.count += count;
        self.time += time;
    }

    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(crate) fn per_second(self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }
}

/// All that one run has measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    rows: Vec<(String, String, Option<Verdict>)>,
}

#[derive(Debug)]
struct Verdict {
    asked: String,
    holds: bool,
    /// Whether it only holds in comparison with the disk.
    by_disk: bool,
}

impl Figures {
    /// So many per second. At least the first is asked for, or the second, which the disk allows.
    pub(crate) fn rate(&mut self, what: &str, rate: Rate, floor: Option<(f64, f64)>) {
        let rate = rate.per_second();
        let verdict = floor.map(|(asked, allowed)| Verdict {
            asked: format!("{asked:.0}/s"),
            holds: rate >= asked.min(allowed),
            by_disk: rate < asked,
        });
        self.rows.push((what.to_owned(), format!("{rate:.0}/s"), verdict));
    }

    /// At most the first two, in ms, are asked for at half and at nineteen twentieths of the calls; or what the disk needs.
    pub(crate) fn latency(&mut self, what: &str, latency: &Latency, most: Option<(f64, f64, Option<Latency>)>) {
        let Latency { p50_ms, p95_ms } = *latency;
        let verdict = most.map(|(p50, p95, needed)| {
            let is_fast = p50_ms <= p50 && p95_ms <= p95;
            let as_needed = |needed: Latency| p50_ms <= p50.max(needed.p50_ms) && p95_ms <= p95.max(needed.p95_ms);
            let holds = is_fast || needed.is_some_and(as_needed);
            Verdict { asked: format!("{p50} / {p95} ms"), holds, by_disk: !is_fast }
        });
        self.rows.push((what.to_owned(), format!("{p50_ms:.4} / {p95_ms:.4} ms"), verdict));
    }

    /// At most so many seconds are asked for.
    pub(crate) fn time(&mut self, what: &str, seconds: f64, most: Option<f64>) {
        let verdict =
            most.map(|asked| Verdict { asked: format!("{asked} s"), holds: seconds <= asked, by_disk: false });
        self.rows.push((what.to_owned(), format!("{seconds:.3} s"), verdict));
    }

    /// At most so many bytes are asked for.
    pub(crate) fn bytes(&mut self, what: &str, bytes: u64, most: Option<u64>) {
        let verdict = most.map(|asked| Verdict { asked: format!("{asked} B"), holds: bytes <= asked, by_disk: false });
        self.rows.push((what.to_owned(), format!("{bytes} B"), verdict));
    }

    pub(crate) fn size(&mut self, what: &str, kib: u64) {
        self.rows.push((what.to_owned(), format!("{} MiB", kib / 1_024), None));
    }

    pub(crate) fn hold(&self) -> bool {
        self.rows.iter().all(|(_, _, verdict)| verdict.as_ref().is_none_or(|verdict| verdict.holds))
    }

    /// A table.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:<72} {:>22}  asked\n", "", "measured");
        for (what, value, verdict) in &self.rows {
            let verdict = verdict.as_ref().map_or(String::new(), |Verdict { asked, holds, by_disk }| {
                let holds = match (holds, by_disk) {
                    (true, false) => "holds",
                    (true, true) => "holds for this disk",
                    (false, _) => "MISSED",
                };
                format!("{asked}: {holds}")
            });
            let _ = writeln!(text, "{what:<72} {value:>22}  {verdict}");
        }
        text
    }
}
