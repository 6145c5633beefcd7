//! What a server and all processes that it started take of the machine.

use std::collections::HashMap;
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
        for pid in family(pid)? {
            usage.processes += 1;
            usage.memory_bytes += number(pid, "smaps_rollup", "Pss:")? << 10;
            usage.threads += number(pid, "status", "Threads:")?;
            usage.files += fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
            usage.cpu += machine::cpu_time(pid)?;
        }
        Ok(usage)
    }

    /// Memory in MiB.
    pub fn memory_mib(&self) -> f64 {
        self.memory_bytes as f64 / f64::from(1 << 20)
    }
}

/// Processor time that the process `pid` and those that it started have used so far.
///
/// # Errors
/// It has ended, or there is no `/proc`.
pub fn cpu_time(pid: u32) -> Result<Duration, Error> {
    let own = machine::cpu_time(pid)?;
    // One that it started may have ended since.
    let others = family(pid)?.into_iter().skip(1).filter_map(|pid| machine::cpu_time(pid).ok());
    Ok(own + others.sum::<Duration>())
}

/// The process and those below it.
fn family(pid: u32) -> Result<Vec<u32>, Error> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(child) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended since it was listed.
        let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(1)?.parse().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(child);
    }
    let (mut found, mut next) = (vec![pid], 0);
    while let Some(parent) = found.get(next) {
        found.extend(children.remove(parent).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// The number after `name` in a file of the process.
fn number(pid: u32, file: &str, name: &str) -> Result<u64, Error> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("no {name} in /proc/{pid}/{file}").into())
}
