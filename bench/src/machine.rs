//! What the operating system knows of cores and processes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which cores serve and which generate load. Empty lists leave the choice to the operating system.
#[derive(Debug, Clone, Default)]
pub struct Cores {
    /// For the server under test.
    pub server: Vec<usize>,
    /// For the load generator.
    pub generator: Vec<usize>,
}

impl Cores {
    /// Keeps `server_cores_count` cores for the server if the machine has at least four, and pins nothing below.
    pub fn divide(server_cores_count: usize) -> Self {
        let mut generator = allowed();
        if generator.len() < 4 || server_cores_count == 0 || server_cores_count >= generator.len() {
            return Self::default();
        }
        let server = generator.split_off(generator.len() - server_cores_count);
        Self { server, generator }
    }

    /// The same with the generator's cores divided: one for those who are counted, and the others, if there are any, for those
    /// who are only there.
    pub fn divide_generator(self) -> [Self; 2] {
        let mut counted = self.generator;
        let others = if counted.len() > 1 { counted.split_off(1) } else { counted.clone() };
        [counted, others].map(|generator| Self { server: self.server.clone(), generator })
    }
}

/// The cores this thread may run on, in ascending order.
#[cfg(target_os = "linux")]
pub fn allowed() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else { return Vec::new() };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
}

/// The cores this thread may run on: not known here.
#[cfg(not(target_os = "linux"))]
pub fn allowed() -> Vec<usize> {
    Vec::new()
}

/// Pins this thread, and the threads and processes it starts from now on. An empty list changes nothing.
///
/// # Errors
/// The operating system refuses.
#[cfg(target_os = "linux")]
pub fn pin(cores: &[usize]) -> io::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = rustix::thread::CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// Pins nothing here.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn pin(_cores: &[usize]) -> io::Result<()> {
    Ok(())
}

/// The processor time of a process and of those that it has started, in user and in kernel mode.
pub struct CpuClock(Vec<u32>);

impl CpuClock {
    /// Of the process `pid` and those below it now.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self(family(pid)?))
    }

    /// What they have used so far; what those have that ended is lost.
    ///
    /// # Errors
    /// The first of them has ended.
    pub fn time(&self) -> io::Result<Duration> {
        let mut times = self.0.iter().map(|pid| cpu_time(*pid));
        let own = times.next().unwrap_or(Err(io::ErrorKind::NotFound.into()))?;
        Ok(own + times.flatten().sum::<Duration>())
    }

    /// What they have used since they had used `before`.
    ///
    /// # Errors
    /// The first of them has ended.
    pub fn since(&self, before: Duration) -> io::Result<Duration> {
        Ok(self.time()?.saturating_sub(before))
    }
}

/// The process and those below it.
///
/// # Errors
/// There is no `/proc`.
pub fn family(pid: u32) -> io::Result<Vec<u32>> {
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

/// By the clock that the system keeps for each process.
#[cfg(target_os = "linux")]
fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid))?;
    Ok(clock.now()?.into())
}

#[cfg(not(target_os = "linux"))]
fn cpu_time(_pid: u32) -> io::Result<Duration> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Lets this thread have a processor only where others hardly need it.
///
/// # Errors
/// The operating system refuses.
#[cfg(target_os = "linux")]
pub fn give_way() -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, 15)?)
}

/// Changes nothing here.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn give_way() -> io::Result<()> {
    Ok(())
}

/// The thread that calls this.
pub const OWN_THREAD: &str = "/proc/thread-self";

/// The thread of the process `pid` that is called `name`, where the system tells.
pub fn thread(pid: u32, name: &str) -> Option<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut threads = threads.filter_map(|entry| Some(entry.ok()?.path()));
    threads.find(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|own| own.trim_end() == name))
}

/// How long a thread was ready to run and had no processor, since it began; zero where the system does not tell.
pub fn waited_for_processor(thread: &Path) -> Duration {
    // Three numbers: nanoseconds that it ran, nanoseconds that it waited, and how often it had a processor.
    let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    text.split_ascii_whitespace()
        .nth(1)
        .and_then(|field| field.parse().ok())
        .map_or(Duration::ZERO, Duration::from_nanos)
}

/// Memory of a process that is resident now, in KiB.
///
/// # Errors
/// There is no such process, or no `/proc`.
pub fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no VmRSS in /proc/<pid>/status"))
}

/// Memory that the kernel uses for the buffers of all TCP sockets of this machine, in bytes. Of a connection between two
/// processes here both ends are in it.
///
/// # Errors
/// There is no `/proc`.
pub fn socket_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let pages =
        text.lines().find_map(|line| line.strip_prefix("TCP:")?.rsplit_once(" mem ")?.1.trim().parse::<u64>().ok());
    let pages =
        pages.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no memory of TCP in /proc/net/sockstat"))?;
    Ok(pages * PAGE_BYTES)
}

/// Memory that the kernel uses for its own structures, such as sockets and descriptors, on this machine, in bytes.
///
/// # Errors
/// There is no `/proc`.
pub fn slab_bytes() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let kib =
        text.lines().find_map(|line| line.strip_prefix("Slab:")?.split_ascii_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no Slab in /proc/meminfo"))? << 10)
}

/// What runs here, in one line: processor, cores, kernel.
pub fn describe() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor =
        text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{}, {cores} cores, {} {}", processor.unwrap_or("unknown processor"), std::env::consts::OS, kernel.trim())
}

/// Of the kernels and processors that this is run on.
const PAGE_BYTES: u64 = 4096;
