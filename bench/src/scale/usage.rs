//! What a server and all processes that it started take of the machine.

use std::fs;
use std::time::Duration;

use serde::Serialize;

use crate::{Error, machine};

/// What a server takes now, over all its processes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Usage {
    /// User memory that is resident, in bytes; what processes share is divided among them.
    pub memory_bytes: u64,
    /// Memory of TCP buffers in the kernel, of this whole machine, in bytes.
    pub socket_bytes: u64,
    /// Other structures of the kernel, of this whole machine, in bytes.
    pub slab_bytes: u64,
    /// Open files.
    pub files: u64,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: u64,
    /// Processor time used so far.
    pub cpu: Duration,
}

impl Usage {
    /// Of the process `pid` and those that it started.
    ///
    /// # Errors
    /// It has ended, or there is no `/proc`.
    pub fn of(pid: u32) -> Result<Self, Error> {
        let mut usage =
            Self { socket_bytes: machine::socket_bytes()?, slab_bytes: machine::slab_bytes()?, ..Self::default() };
        for pid in machine::family(pid)? {
            usage.processes += 1;
            usage.memory_bytes += number(pid, "smaps_rollup", "Pss:")? << 10;
            usage.threads += number(pid, "status", "Threads:")?;
            usage.files += fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        }
        usage.cpu = machine::CpuClock::of(pid)?.time()?;
        Ok(usage)
    }

    /// Memory in MiB.
    pub fn memory_mib(&self) -> f64 {
        self.memory_bytes as f64 / f64::from(1 << 20)
    }
}

/// The number after `name` in a file of the process.
fn number(pid: u32, file: &str, name: &str) -> Result<u64, Error> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("no {name} in /proc/{pid}/{file}").into())
}
