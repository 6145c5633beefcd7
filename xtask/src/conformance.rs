//! The official conformance suite under a strict gate: a scenario counts when it has a success, no failure, no
//! warning, and nothing skipped that could have run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Outcome;
use crate::tools::{Server, at_once, node, npm, program, root, target};

const PACKAGES: [&str; 2] = ["@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@22.23.3"];
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];
/// What must have succeeded by itself, since the suite calls it information where it was not tried.
const DEMANDED: [(&str, &str, &str); 1] = [("2025-11-25", "server-sse-polling", "server-sse-disconnect-resume")];

/// What the suite cannot but skip: requests that the revision of the scenario does not have.
const UNAVOIDABLE: [&str; 3] = [
    "ClientMcpMethodHeader_initialize",
    "ClientMcpMethodHeader_notifications_initialized",
    // It has no check yet but this one, which is always skipped.
    "TasksStatusNotificationsScenario",
];
/// A scenario that is nothing but what is unavoidable.
const EMPTY: [&str; 1] = ["tasks-status-notifications"];
/// In no requirement set: authorization of servers that are older than protected resource metadata.
const OLD_AUTHORIZATION: [&str; 2] =
    ["auth/2025-03-26-oauth-metadata-backcompat", "auth/2025-03-26-oauth-endpoint-fallback"];

pub(crate) fn run() -> Outcome {
    let folder = fetch()?;
    let server = Server::start("conformance-server", &["--listen", "127.0.0.1:0"])?;
    let client = program("conformance-client").display().to_string();
    let servers = |revision| leg(&folder, "server", revision, &["--url", &server.url, "--requirements", revision]);
    let clients = |revision| leg(&folder, "client", revision, &["--command", &client, "--requirements", revision]);
    let old = |scenario| {
        let arguments = ["--command", &client, "--scenario", scenario, "--spec-version", "2025-03-26"];
        play(
            &folder,
            &format!("client-{}", scenario.replace('/', "-")),
            "client",
            "2025-03-26",
            (&[scenario], &arguments),
        )
    };
    play_all(vec![
        Box::new(|| Ok([servers(REVISIONS[0])?, servers(REVISIONS[1])?].concat())),
        Box::new(|| clients(REVISIONS[0])),
        Box::new(|| clients(REVISIONS[1])),
        Box::new(|| Ok([old(OLD_AUTHORIZATION[0])?, old(OLD_AUTHORIZATION[1])?].concat())),
    ])
}

/// A leg of the suite; it gives what was missed.
pub(crate) type Leg<'a> = Box<dyn FnOnce() -> Result<Vec<String>, String> + Send + 'a>;

/// Plays legs side by side: each is mostly the suite's own waiting.
pub(crate) fn play_all(legs: Vec<Leg<'_>>) -> Outcome {
    let missed = at_once(legs)?.concat();
    if missed.is_empty() { Ok(()) } else { Err(format!("scenarios missed:\n{}", missed.join("\n"))) }
}

/// The folder of the suite, which is installed when it is not there yet.
pub(crate) fn fetch() -> Result<PathBuf, String> {
    npm("conformance", &PACKAGES)
}

/// The server side of both revisions at `url`, where the fixture is behind something; `excused` has a line for each scenario
/// that cannot pass there: `label` or `*`, revision, name, reason. What was missed.
pub(crate) fn through(label: &str, url: &str, excused: &str) -> Result<Vec<String>, String> {
    let folder = fetch()?;
    let mut missed = Vec::new();
    for revision in REVISIONS {
        let names = expected("server", revision)?;
        let is_excused = |name: &str| {
            excused.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next().is_some_and(|word| word == "*" || word == label)
                    && words.next() == Some(revision)
                    && words.next() == Some(name)
                    && words.next().is_some()
            })
        };
        let names: Vec<&str> = names.lines().filter(|line| !line.is_empty() && !is_excused(line)).collect();
        let arguments = ["--url", url, "--requirements", revision];
        missed.extend(play(&folder, &format!("server-{label}"), "server", revision, (&names, &arguments))?);
    }
    Ok(missed)
}

fn expected(side: &str, revision: &str) -> Result<String, String> {
    std::fs::read_to_string(root().join(format!("conformance/expected/{side}-{revision}.txt")))
        .map_err(|error| format!("the names of the scenarios: {error}"))
}

/// One side at one revision. What was missed.
fn leg(folder: &Path, side: &str, revision: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let names = expected(side, revision)?;
    let names: Vec<&str> = names.lines().filter(|line| !line.is_empty()).collect();
    play(folder, side, side, revision, (&names, arguments))
}

fn play(
    folder: &Path,
    label: &str,
    side: &str,
    revision: &str,
    (names, arguments): (&[&str], &[&str]),
) -> Result<Vec<String>, String> {
    let out = target().join("conformance").join("out").join(format!("{label}-{revision}"));
    // What an earlier run left is no result of this one.
    drop(std::fs::remove_dir_all(&out));
    let suite = folder.join("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    let mut command = Command::new(node(folder));
    command.arg(suite).arg(side).args(arguments).arg("-o").arg(&out);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Its exit code knows neither warnings nor what was skipped: the gate reads the checks.
    let _judged_by_the_gate = command.status().map_err(|error| format!("the suite did not start: {error}"))?;
    let results = read(&out)?;
    let bad: Vec<String> = names.iter().filter_map(|name| judge(revision, name, results.get(*name))).collect();
    println!("{label} {revision}: {}/{} scenarios", names.len() - bad.len(), names.len());
    Ok(bad)
}

/// The checks of each scenario, by its name.
fn read(out: &Path) -> Result<BTreeMap<String, Vec<Value>>, String> {
    let mut results: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let list = |folder: &Path| {
        let entries = std::fs::read_dir(folder).map_err(|error| format!("the suite left no results: {error}"))?;
        Ok::<_, String>(entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>())
    };
    let mut folders = list(out)?;
    // Scenarios of authorization have a folder of their own.
    let nested = out.join("auth");
    if nested.is_dir() {
        folders.extend(list(&nested)?);
    }
    for folder in folders {
        let Ok(text) = std::fs::read_to_string(folder.join("checks.json")) else { continue };
        let checks: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let name = folder.strip_prefix(out).unwrap_or(&folder).to_string_lossy().replace('\\', "/");
        // server-<scenario>-<time>: the time begins with the year.
        let end = time_starts(&name);
        let name = name[..end].strip_prefix("server-").unwrap_or(&name[..end]).to_owned();
        results.entry(name).or_default().extend(checks);
    }
    Ok(results)
}

/// Where `-YYYY-MM-DDT..` begins.
fn time_starts(name: &str) -> usize {
    let bytes = name.as_bytes();
    let is_time = |at: &usize| {
        let shape = bytes.get(*at..at + 12).unwrap_or_default();
        shape.len() == 12
            && shape.iter().enumerate().all(|(index, byte)| match index {
                0 | 5 | 8 => *byte == b'-',
                11 => *byte == b'T',
                _ => byte.is_ascii_digit(),
            })
    };
    (0..name.len()).find(is_time).unwrap_or(name.len())
}

fn judge(revision: &str, name: &str, checks: Option<&Vec<Value>>) -> Option<String> {
    let Some(checks) = checks else { return Some(format!("  {revision} {name}: not run")) };
    let status = |check: &Value| check["status"].as_str().unwrap_or_default().to_owned();
    let tell = |check: &Value| {
        let said = check["errorMessage"].as_str().or(check["description"].as_str()).unwrap_or_default();
        format!("  {revision} {name}: {} {}: {said}", status(check), check["id"].as_str().unwrap_or_default())
    };
    let is_avoidable = |check: &&Value| {
        status(check) != "SKIPPED" || !check["name"].as_str().is_some_and(|name| UNAVOIDABLE.contains(&name))
    };
    let is_bad = |check: &&Value| matches!(status(check).as_str(), "FAILURE" | "WARNING" | "SKIPPED");
    if let Some(bad) = checks.iter().filter(is_avoidable).find(is_bad) {
        return Some(tell(bad));
    }
    let succeeded = |id: Option<&str>| {
        checks.iter().any(|check| status(check) == "SUCCESS" && id.is_none_or(|id| check["id"].as_str() == Some(id)))
    };
    let demanded = DEMANDED.iter().find(|(of, scenario, _)| *of == revision && *scenario == name).map(|row| row.2);
    let is_judged = demanded.is_some() || !EMPTY.contains(&name);
    (is_judged && !succeeded(demanded)).then(|| format!("  {revision} {name}: nothing succeeded"))
}

#[cfg(test)]
mod tests {
    use super::time_starts;

    #[test]
    fn a_time_is_found_whatever_its_milliseconds() {
        for name in
            ["server-tools-call-image-2026-11-21T04-51-31-204Z", "server-json-schema-2020-12-2026-11-21T04-51-31-020Z"]
        {
            assert_eq!(&name[time_starts(name)..][..11], "-2026-11-21");
        }
    }
}
