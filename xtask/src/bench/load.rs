//! Two builds in turns under the load of the program `andon-bench`.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::build::{Build, GENERATOR, SERVER};

/// What both are made to do.
const WORKLOADS: &str = "echo,progress";

/// For each workload, the ratios of processor time per call, new to old, by round.
pub(super) fn turns(old: &Build, new: &Build, rounds: usize) -> Result<Vec<(String, Vec<f64>)>, String> {
    let mut found: Vec<(String, Vec<f64>)> = Vec::new();
    for round in 0..rounds {
        // Who goes first changes: a machine that gets slower harms neither.
        let (before, now) = if round % 2 == 0 {
            let before = times(old, new)?;
            (before, times(new, new)?)
        } else {
            let now = times(new, new)?;
            (times(old, new)?, now)
        };
        for (name, time) in now {
            let Some((_, before)) = before.iter().find(|(known, _)| *known == name) else { continue };
            let ratio = time / before;
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, ratios)) => ratios.push(ratio),
                None => found.push((name, vec![ratio])),
            }
        }
    }
    Ok(found)
}

/// Processor time per call of the server of `build`, by workload, under the generator of `generator`.
fn times(build: &Build, generator: &Build) -> Result<Vec<(String, f64)>, String> {
    let file = build.program("report.json");
    let mut command = Command::new(generator.program(GENERATOR.1));
    command.arg("--without-in-process").arg("--andon").arg(build.program(SERVER.1));
    command.args(["--peers", "andon", "--workloads", WORKLOADS, "--seconds", "2", "--rounds", "1", "--json"]);
    // What another turn wrote is not this one's.
    drop(std::fs::remove_file(&file));
    let ended = command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let ended = ended.map_err(|error| format!("andon-bench did not start: {error}"))?;
    // With 1 something that is asked for does not hold, which is no matter here.
    if !matches!(ended.code(), Some(0 | 1)) {
        return Err(format!("andon-bench ended with {ended}"));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let time = |case: &Value| {
        let named = case["workload"].as_str().zip(case["era"].as_str());
        let (workload, era) = named.ok_or("a case without a name")?;
        let time = case["rounds"][0]["cpu_us"].as_f64();
        let time = time.ok_or_else(|| format!("{workload} {era} was not measured: {}", case["failed"]))?;
        Ok((format!("{workload} {era}"), time))
    };
    let times = report["cases"].as_array().into_iter().flatten().map(time).collect::<Result<Vec<_>, String>>()?;
    if times.is_empty() { Err("andon-bench measured no processor time".to_owned()) } else { Ok(times) }
}
