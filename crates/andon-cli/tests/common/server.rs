//! The command as a server of a test.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::{ANDON, Process};

/// The demo server over HTTP; when it is dropped, it is killed as by a machine that loses its power.
pub(crate) struct Demo {
    _child: Process,
    pub(crate) url: String,
}

impl Demo {
    pub(crate) fn start() -> Self {
        Self::serve("127.0.0.1:0", &[])
    }

    /// At `address`, with further words of the command line.
    pub(crate) fn serve(address: &str, words: &[&str]) -> Self {
        for _ in 0..50 {
            let mut command = Command::new(ANDON);
            command.args(["serve", "--listen", address]).args(words);
            let mut child = Process::start(command.stdin(Stdio::null()).stderr(Stdio::piped()));
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
            if let Some(url) = lines.find_map(|line| line.split_once("listening on ").map(|(_, url)| url.to_owned())) {
                std::thread::spawn(move || lines.for_each(drop));
                return Self { _child: child, url };
            }
            // The port of the one before may be in use for another moment.
            drop(child.wait());
        }
        panic!("the server does not start at {address}");
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        self.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned()
    }
}
