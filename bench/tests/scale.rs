//! Small runs of all parts of the program `scale`, so that they do what they say.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use andon_bench::child;
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_scale");

/// The program `andon`: whoever has built it for the tests says where it is, or else it is built.
fn andon() -> PathBuf {
    static ANDON: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        child::build(&[("andon-cli", "andon")]).unwrap();
        Path::new(PROGRAM).with_file_name("andon")
    };
    ANDON.get_or_init(|| std::env::var_os("ANDON_BUILT").map_or_else(build, PathBuf::from)).clone()
}

/// Runs a part; what it measured, by name. Whether that is as much as is asked for is not looked at: the run is too small.
fn run(words: &[&str]) -> Vec<(String, f64)> {
    let program = PROGRAM;
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let mut command = Command::new(program);
    command.args(words).arg("--andon").arg(andon()).arg("--json").arg(&json).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let text = std::fs::read(&json).unwrap_or_else(|_| panic!("{words:?} wrote nothing: {}", said()));
    let found: Value = serde_json::from_slice(&text).unwrap();
    if words[0] == "soak" {
        let svg = folder.path().join("lines.svg");
        assert!(Command::new(program).arg("draw").args([&json, &svg]).status().unwrap().success());
        assert!(std::fs::read_to_string(&svg).unwrap().ends_with("</svg>\n"));
    }
    let figures = found["figures"].as_array().unwrap().iter();
    figures.map(|figure| (figure["what"].as_str().unwrap().to_owned(), figure["measured"].as_f64().unwrap())).collect()
}

#[track_caller]
fn check(figures: &[(String, f64)], what: &str, expected: f64) {
    let found = figures.iter().find(|(name, _)| name == what);
    assert_eq!(found.map(|(_, measured)| *measured), Some(expected), "{what}: {figures:?}");
}

#[test]
fn streams_are_opened_told_and_closed() {
    let figures = run(&[
        "streams",
        "--streams",
        "40",
        "--seconds",
        "1",
        "--calls-per-s",
        "50",
        "--updates",
        "1",
        "--patience-s",
        "0",
    ]);
    check(&figures, "streams opened", 40.0);
    check(&figures, "streams that an update came to, the least of all updates", 40.0);
    check(&figures, "calls that failed or were not sent", 0.0);
    check(&figures, "sessions ended", 40.0);
}

#[test]
fn workers_hold_streams() {
    let words =
        ["streams", "--streams", "40", "--seconds", "1", "--calls-per-s", "50", "--updates", "1", "--patience-s", "0"];
    let figures = run(&[&words[..], &["--workers", "2"]].concat());
    check(&figures, "streams that an update came to, the least of all updates", 40.0);
    check(&figures, "sessions ended", 40.0);
    check(&figures, "processes of the server", 3.0);
}

#[test]
fn a14_abandoned_sessions_expire() {
    let figures =
        run(&["abandoned", "--sessions", "200", "--idle-timeout-s", "1", "--calls-per-s", "20", "--patience-s", "0"]);
    check(&figures, "sessions opened", 200.0);
    check(&figures, "sessions left", 0.0);
}

#[test]
fn h25_h26_e10_e11_slow_peers_are_let_in_and_closed() {
    let figures = run(&["readers", "--peers", "5", "--calls-per-s", "20", "--seconds", "1", "--rounds", "1"]);
    check(&figures, "peers that never read answers, the least of all turns", 5.0);
    check(&figures, "send heads at 1 B/s: closed by the server", 5.0);
    check(&figures, "send bodies at 0.1 B/s: closed by the server", 5.0);
}

#[test]
fn overload_is_answered() {
    let words = [
        "overload",
        "--seconds",
        "0.5",
        "--rounds",
        "1",
        "--connections",
        "20",
        "--peak-connections",
        "4",
        "--generators",
        "1",
    ];
    let figures = run(&words);
    check(&figures, "2x: calls that failed otherwise", 0.0);
    check(&figures, "4x: looks without an answer", 0.0);
}

#[test]
fn x11_those_who_come_back_at_once_are_served() {
    let figures = run(&["reconnect", "--clients", "100", "--seconds", "0.5", "--generators", "2"]);
    check(&figures, "clients that failed", 0.0);
}

#[test]
fn a_session_goes_on_with_a_server_that_was_killed() {
    let figures = run(&["restart", "--sessions", "50", "--rounds", "2", "--generators", "1"]);
    check(&figures, "sessions opened", 50.0);
}

#[test]
fn a_soak_ends_with_a_verdict() {
    let words = ["soak", "--minutes", "0.7", "--streams", "5", "--calls-per-s", "20", "--churning", "2", "--slow", "2"];
    let figures = run(&words);
    check(&figures, "streams that broke off", 0.0);
    assert!(figures.iter().any(|(name, _)| name == "memory is flat"), "{figures:?}");
}
