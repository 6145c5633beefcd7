//! A person's terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::Process;

/// A command whose input and errors are a terminal.
pub(crate) struct Seated {
    child: Process,
    terminal: File,
    shown: String,
}

impl Seated {
    pub(crate) fn start(mut command: Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let side =
            || -> OwnedFd { rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap() };
        let child = Process::start(command.stdin(side()).stderr(side()).stdout(Stdio::piped()));
        Self { child, terminal: terminal.into(), shown: String::new() }
    }

    /// Waits until the terminal shows `text`, after what it waited for before.
    pub(crate) fn sees(&mut self, text: &str) {
        let mut bytes = [0; 512];
        loop {
            if let Some(at) = self.shown.find(text) {
                // What follows may be waited for next.
                return drop(self.shown.drain(..at + text.len()));
            }
            match self.terminal.read(&mut bytes) {
                Ok(read) if read > 0 => self.shown.push_str(&String::from_utf8_lossy(&bytes[..read])),
                // The other side is gone.
                _ => panic!("{text:?} was never shown: {:?}", self.shown),
            }
        }
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.terminal.write_all(text.as_bytes()).unwrap();
    }

    /// What it printed, and its exit code.
    pub(crate) fn ends(self) -> (String, Option<i32>) {
        let output = self.child.output();
        (String::from_utf8(output.stdout).unwrap().trim_end().to_owned(), output.status.code())
    }
}
