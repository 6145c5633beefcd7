//! Two builds in turns under the load of the program `andon-bench`.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::build::Build;
use crate::tools::target;

/// For each workload, the ratios of processor time per call, new to old, by round.
pub(super) fn turns(old: &Build, new: &Build, rounds: usize) -> Result<Vec<(String, Vec<f64>)>, String> {
    let mut found: Vec<(String, Vec<f64>)> = Vec::new();
    for round in 0..rounds {
        // Who goes first changes: a machine that gets slower harms neither.
        let (before, now) = if round % 2 == 0 {
            let before = speeds(old, new)?;
            (before, speeds(new, new)?)
        } else {
            let now = speeds(new, new)?;
            (speeds(old, new)?, now)
        };
        for (name, speed) in now {
            let Some((_, before)) = before.iter().find(|(known, _)| *known == name) else { continue };
            let ratio = before / speed;
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, ratios)) => ratios.push(ratio),
                None => found.push((name, vec![ratio])),
            }
        }
    }
    Ok(found)
}

/// Calls per second of the processor time of the server of `build`, by workload, under the generator of `generator`.
fn speeds(build: &Build, generator: &Build) -> Result<Vec<(String, f64)>, String> {
    let file = target().join("compare.json");
    let mut command = Command::new(generator.program("andon-bench"));
    command.args(["--only", "andon", "--seconds", "2", "--rounds", "1", "--json"]).arg(&file);
    command.arg("--andon").arg(build.program("andon"));
    // Whether floors hold is no matter here: the file tells.
    let ended = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ended.map_err(|error| format!("andon-bench did not start: {error}"))?;
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let report: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let cases = report["cases"].as_array().ok_or("the report has no cases")?;
    let speed = |case: &Value| {
        let name = format!("echo {}", case["era"].as_str()?);
        Some((name, case["samples"][0]["calls_per_cpu_second"].as_f64()?))
    };
    Ok(cases.iter().filter_map(speed).collect())
}
