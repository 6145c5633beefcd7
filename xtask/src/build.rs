//! The one build that all steps share.
//!
//! Cargo decides the features of a dependency by all that is built together, so that two selections of packages are two
//! builds of nearly everything. There is one selection, and each step takes from it what it runs.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::Outcome;
use crate::tools::{cargo_command, target};

/// All programs, and all tests with those that need a keyring.
pub(crate) const EVERYTHING: [&str; 4] = ["--workspace", "--all-targets", "--features", "andon-cli/test-keyring"];

/// A program of tests.
#[derive(Clone)]
pub(crate) struct Test {
    pub(crate) package: String,
    /// `tests/` and a file, or `src/` and the library or program whose unit tests these are.
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// The folder of the package, where its tests run.
    pub(crate) folder: PathBuf,
}

/// Builds everything, and writes down which programs are tests.
pub(crate) fn run() -> Outcome {
    let mut command = cargo_command();
    command.arg("build").args(EVERYTHING).arg("--message-format=json-render-diagnostics");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cargo did not start: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo build ended with {}", output.status));
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let tests: Vec<Value> =
        told.lines().filter_map(|line| serde_json::from_str(line).ok()).filter_map(|told| test(&told)).collect();
    std::fs::write(list(), Value::from(tests).to_string()).map_err(|error| format!("{}: {error}", list().display()))
}

/// What is kept of what cargo says about an artifact, if that is a program of tests.
fn test(told: &Value) -> Option<Value> {
    let is_test = told["profile"]["test"] == true || told["target"]["kind"][0] == "test";
    let program = told["executable"].as_str().filter(|_| is_test)?;
    let folder = PathBuf::from(told["manifest_path"].as_str()?).parent()?.to_owned();
    // path+file:///folder#name@version, without the name where the folder has it.
    let (path, last) = told["package_id"].as_str()?.rsplit_once('#')?;
    let package = last.split_once('@').map_or_else(|| path.rsplit('/').next(), |(name, _)| Some(name))?;
    let of = if told["target"]["kind"][0] == "test" { "tests" } else { "src" };
    let name = format!("{of}/{}", told["target"]["name"].as_str()?);
    Some(json!({ "package": package, "name": name, "program": program, "folder": folder }))
}

fn list() -> PathBuf {
    target().join("tests.json")
}

/// The programs of tests, as [`run`] wrote them down.
pub(crate) fn tests() -> Result<Vec<Test>, String> {
    let text = std::fs::read(list()).map_err(|error| format!("{}: {error}", list().display()))?;
    let tests: Vec<Value> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let read = |test: &Value| Test {
        package: text(&test["package"]),
        name: text(&test["name"]),
        program: text(&test["program"]).into(),
        folder: text(&test["folder"]).into(),
    };
    Ok(tests.iter().map(read).collect())
}
