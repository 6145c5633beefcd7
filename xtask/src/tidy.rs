//! House rules that no compiler checks: direction of dependencies, places of revision differences, sizes, words.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::tools::root;

/// Lower layers first; a crate depends on lower ones only.
const LAYERS: [(&str, u8); 14] = [
    ("andon-h1", 0),
    ("andon-types", 0),
    ("andon-core", 1),
    ("andon-schema", 1),
    ("andon-auth", 2),
    ("andon-sim", 2),
    ("andon-store", 2),
    ("andon-server", 3),
    ("andon-http", 4),
    ("andon-client", 4),
    ("andon-macros", 5),
    ("andon-gateway", 5),
    ("andon", 6),
    ("andon-cli", 7),
];

/// What the pure crates never mention.
const IMPURE: [&str; 9] = [
    "tokio",
    "std::time::Instant",
    "SystemTime",
    "std::net",
    "std::fs",
    "std::thread",
    "getrandom",
    "rand::",
    "tracing",
];

/// Where revisions may be compared: the table, the methods, the spellings.
const REVISION_ROOMS: [&str; 3] =
    ["crates/andon-types/src/revision.rs", "crates/andon-types/src/method.rs", "crates/andon-types/src/adapt.rs"];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// Longer ones, each with its reason.
const LONG: [(&str, &str); 0] = [];

/// Waiting in a test, each with its reason.
const WAITS: [(&str, &str); 1] = [("crates/andon-http/tests/vanish.rs", "its clock is paused: the wait takes no time")];

struct Source {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/") || self.path.starts_with("fuzz/")
    }

    /// The lines before the unit tests, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = if self.is_test() { usize::MAX } else { self.text.find("#[cfg(test)]").unwrap_or(usize::MAX) };
        let text = &self.text[..end.min(self.text.len())];
        text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

pub(crate) fn run() -> Outcome {
    let sources = sources()?;
    let mut problems = directions()?;
    for source in &sources {
        purity(source, &mut problems);
        revisions(source, &mut problems);
        sizes(source, &mut problems);
        words(source, &mut problems);
    }
    if problems.is_empty() { Ok(()) } else { Err(format!("house rules:\n{}", problems.join("\n"))) }
}

fn sources() -> Result<Vec<Source>, String> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs", "*.md", "*.toml"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("git is needed: {error}"))?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let paths: Vec<PathBuf> = names.lines().map(PathBuf::from).filter(|path| root().join(path).exists()).collect();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Source, String> {
    let text = std::fs::read_to_string(root().join(path)).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Source { path: path.to_string_lossy().replace('\\', "/"), text })
}

fn directions() -> Result<Vec<String>, String> {
    let mut problems = Vec::new();
    for (name, layer) in LAYERS {
        let manifest = read(&PathBuf::from(format!("crates/{name}/Cargo.toml")))?;
        let own = manifest.text.split("[dev-dependencies]").next().unwrap_or_default();
        let own = own.split("[dependencies]").nth(1).unwrap_or_default();
        for (other, above) in LAYERS {
            let depends = own.lines().any(|line| line.split([' ', '.', '=']).next() == Some(other));
            if depends && above >= layer {
                problems.push(format!("crates/{name}/Cargo.toml: depends on {other}, which is not below it"));
            }
        }
    }
    Ok(problems)
}

fn purity(source: &Source, problems: &mut Vec<String>) {
    let is_pure =
        ["crates/andon-types/src/", "crates/andon-core/src/"].iter().any(|room| source.path.starts_with(room));
    if !is_pure || source.is_test() {
        return;
    }
    for (number, line) in source.code().filter(|(_, line)| !line.trim_start().starts_with("//")) {
        if let Some(word) = IMPURE.iter().find(|word| line.contains(*word)) {
            problems.push(format!("{}:{number}: {word} in a pure crate", source.path));
        }
    }
}

fn revisions(source: &Source, problems: &mut Vec<String>) {
    if !source.path.starts_with("crates/") || source.is_test() || REVISION_ROOMS.contains(&source.path.as_str()) {
        return;
    }
    for (number, line) in source.code() {
        if line.contains("Revision::V20") {
            problems.push(format!("{}:{number}: ask Rules instead of comparing revisions", source.path));
        }
    }
}

fn sizes(source: &Source, problems: &mut Vec<String>) {
    if !source.path.ends_with(".rs") || source.is_test() {
        return;
    }
    let is_code = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines = source.code().filter(|(_, line)| is_code(line)).count();
    let is_named = |what: &str| LONG.iter().any(|(known, reason)| *known == what && !reason.is_empty());
    if lines > FILE_LINES_MAX && !is_named(&source.path) {
        problems.push(format!("{}: {lines} lines of code; {FILE_LINES_MAX} is the most", source.path));
    }
    let mut open: Option<(usize, usize, String)> = None;
    for (number, line) in source.code() {
        let indent = line.len() - line.trim_start().len();
        let trimmed = line.trim_start();
        let begins = trimmed.split(' ').take(5).any(|word| word == "fn") && trimmed.ends_with('{');
        if begins && open.is_none() {
            open = Some((indent, number, trimmed.to_owned()));
        } else if trimmed == "}" && open.as_ref().is_some_and(|(at, ..)| *at == indent) {
            let Some((_, from, head)) = open.take() else { continue };
            if number - from > FUNCTION_LINES_MAX && !is_named(&source.path) {
                problems.push(format!("{}:{from}: {} lines: {head}", source.path, number - from));
            }
        }
    }
}

fn words(source: &Source, problems: &mut Vec<String>) {
    if source.path == "xtask/src/tidy.rs" {
        return;
    }
    let is_rust = source.path.ends_with(".rs");
    for (number, line) in source.text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        let mut tell = |what: &str| problems.push(format!("{}:{number}: {what}", source.path));
        if ["/home/", "/work/", "/root/", "/Users/"].iter().any(|path| line.contains(path)) {
            tell("a path of one machine");
        }
        if !is_rust {
            continue;
        }
        if line.contains("#[ignore") {
            tell("a test that does not run");
        }
        if ["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("].iter().any(|mark| line.contains(mark)) {
            tell("an unfinished mark");
        }
        if line.trim_start().starts_with("use ") && line.trim_end().ends_with("::*;") && !line.contains("prelude::*") {
            tell("a glob import");
        }
        let sleeps = line.contains("time::sleep(") || line.contains("thread::sleep(");
        let waits = source.is_test()
            && sleeps
            && !WAITS.iter().any(|(known, reason)| *known == source.path && !reason.is_empty());
        if waits {
            tell("a test that waits for luck");
        }
    }
}
