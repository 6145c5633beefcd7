//! `cargo xtask bench`: two builds against each other. Instructions of the hot paths are counted under valgrind, so a
//! verdict does not depend on what else the machine does; and both take turns under load.

mod build;
mod estimate;
mod instructions;
mod load;

use std::path::Path;

use crate::Outcome;
use crate::tools::{finish, output, target};
use build::{Build, GENERATOR, PATHS, SERVER};
use estimate::Verdict;

/// What counts as worse: more than a twentieth.
const WORSE: f64 = 1.05;

const USAGE: &str = "\
cargo xtask bench --compare REV [--rounds N] [--path NAME]...
      counts instructions of the hot paths of REV and of the tree as it is; then both take turns under load,
      N times (5; 0 leaves it out). More than 5 % worse is a regression, and the command fails.
cargo xtask bench --bisect GOOD --path NAME
      names the commit after GOOD since which NAME takes more than 5 % more instructions than at GOOD
";

/// Turns under load, unless another number is said.
const ROUNDS: usize = 5;

/// What was asked for.
struct Asked<'a> {
    compare: Option<&'a str>,
    bisect: Option<&'a str>,
    /// Said by `--bisect` to the same program: how many instructions are too many here.
    judge: Option<u64>,
    rounds: usize,
    paths: Vec<&'a str>,
}

pub(crate) fn run(words: &[&str]) -> Outcome {
    let asked = parse(words).ok_or(USAGE)?;
    match asked {
        Asked { compare: Some(rev), bisect: None, judge: None, .. } => compare(rev, &asked),
        Asked { bisect: Some(good), compare: None, judge: None, .. } if asked.paths.len() == 1 => {
            bisect(good, asked.paths[0])
        }
        Asked { judge: Some(limit), compare: None, bisect: None, .. } if asked.paths.len() == 1 => {
            judge(limit, asked.paths[0])
        }
        _ => Err(USAGE.to_owned()),
    }
}

fn parse<'a>(words: &[&'a str]) -> Option<Asked<'a>> {
    let mut asked = Asked { compare: None, bisect: None, judge: None, rounds: ROUNDS, paths: Vec::new() };
    let mut words = words.iter().copied();
    while let Some(word) = words.next() {
        match (word, words.next()?) {
            ("--compare", rev) => asked.compare = Some(rev),
            ("--bisect", rev) => asked.bisect = Some(rev),
            ("--judge", limit) => asked.judge = Some(limit.parse().ok()?),
            // From fewer than three nothing follows.
            ("--rounds", rounds) => asked.rounds = rounds.parse().ok().filter(|rounds| !matches!(rounds, 1 | 2))?,
            ("--path", name) => asked.paths.push(name),
            _ => return None,
        }
    }
    Some(asked)
}

/// Both builds, and a verdict for each figure.
fn compare(rev: &str, asked: &Asked<'_>) -> Outcome {
    let (mut wanted_old, mut wanted_new) = (vec![PATHS], vec![PATHS]);
    if asked.rounds > 0 {
        wanted_old.push(SERVER);
        wanted_new.push(SERVER);
        // It loads both.
        wanted_new.push(GENERATOR);
    }
    let (old, new) = (Build::of(rev, &wanted_old)?, Build::here(&wanted_new)?);
    let known = instructions::paths(&new)?;
    let paths: Vec<&str> =
        known.iter().map(String::as_str).filter(|path| asked.paths.is_empty() || asked.paths.contains(path)).collect();
    if let Some(unknown) = asked.paths.iter().find(|path| !paths.contains(path)) {
        return Err(format!("no path is called {unknown:?}: {}", known.join(", ")));
    }
    let mut worse = Vec::new();
    let mut tell = |name: &str, verdict: Verdict, text: String, hint: &str| {
        println!("{name:20} {text}  {verdict}");
        if verdict == Verdict::Worse {
            worse.push(format!("{name}{hint}"));
        }
    };
    println!("instructions per call: {rev}, here, and where the ratio lies");
    let known = if old.has(PATHS.1) { instructions::paths(&old)? } else { Vec::new() };
    for path in paths {
        if !known.iter().any(|known| known == path) {
            println!("{path:20} {rev} does not have it");
            continue;
        }
        let (before, now) = (instructions::count(&old, path)?, instructions::count(&new, path)?);
        let (low, high) = now.ratio(before);
        let text = format!("{:>9} {:>9} {low:>6.3} to {high:.3}", before.middle(), now.middle());
        let hint = format!(" (cargo xtask bench --bisect {rev} --path {path} looks for the commit)");
        tell(path, Verdict::of((low, high), WORSE), text, &hint);
    }
    if asked.rounds > 0 {
        println!("processor time per call under load: {rev} and here in turns, the ratio and where it lies (95 %);");
        println!("where that is unclear, more rounds tell more");
        for (name, ratios) in load::turns(&old, &new, asked.rounds)? {
            let (low, middle, high) = estimate::interval(&ratios).ok_or("invariant: there are three rounds")?;
            tell(&name, Verdict::of((low, high), WORSE), format!("{middle:>6.3} ({low:.3} to {high:.3})"), "");
        }
    }
    if worse.is_empty() { Ok(()) } else { Err(format!("more than 5 % worse than {rev}: {}", worse.join(", "))) }
}

/// Lets git find the commit, with this very program as the judge.
fn bisect(good: &str, path: &str) -> Outcome {
    let head = commit("HEAD")?;
    let before = instructions::count(&Build::of(good, &[PATHS])?, path)?.middle();
    let now = instructions::count(&Build::of(&head, &[PATHS])?, path)?.middle();
    let limit = estimate::scaled(before, WORSE);
    println!("{path}: {before} instructions at {good}, {now} at HEAD; from {limit} on a commit is bad");
    if now < limit {
        return Err("HEAD is good: there is nothing to look for".to_owned());
    }
    let tree = build::checked_out(&head)?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    git(&tree, &["bisect", "start", "HEAD", good])?;
    let mut command = std::process::Command::new("git");
    command.args(["bisect", "run"]).arg(own).args(["bench", "--judge", &limit.to_string(), "--path", path]);
    command.env("CARGO_TARGET_DIR", target()).current_dir(&tree);
    let found = finish(command);
    git(&tree, &["bisect", "reset"])?;
    found
}

/// For `git bisect run`, in the tree where it stands: 0 is good, 1 is bad, 125 cannot be judged.
fn judge(limit: u64, path: &str) -> Outcome {
    let here = std::env::current_dir().map_err(|error| error.to_string())?;
    let counted = Build::in_tree(&here, &[PATHS], "judged").and_then(|build| instructions::count(&build, path));
    match counted.map(estimate::Range::middle) {
        Ok(count) if count < limit => Ok(()),
        Ok(count) => Err(format!("{path}: {count} instructions, {limit} are too many")),
        Err(why) => {
            eprintln!("this commit cannot be judged: {why}");
            std::process::exit(125)
        }
    }
}

fn git(tree: &Path, words: &[&str]) -> Outcome {
    let mut command = std::process::Command::new("git");
    command.args(words).current_dir(tree);
    finish(command)
}

/// The commit that `rev` names.
fn commit(rev: &str) -> Result<String, String> {
    let text = output("git", &["rev-parse", "--verify", "--quiet", &format!("{rev}^{{commit}}")])?;
    let name = text.trim();
    if name.is_empty() { Err(format!("{rev:?} names no commit")) } else { Ok(name.to_owned()) }
}
