//! This process: its version, and its numbers in `/proc/self`.

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source's revision, or "unknown".
pub const REVISION: &str = env!("BUILD_REVISION");

/// Version and revision, for people.
pub const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (revision ", env!("BUILD_REVISION"), ")");

/// The numbers behind the standard `process_*` metrics.
///
/// They are those of <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>
/// that are cheap to read on Linux.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// CPU time spent in user and system mode, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub resident_memory_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The soft limit of file descriptors; `None` without one.
    pub max_fds: Option<u64>,
    /// When the process started, in Unix seconds.
    pub start_time_seconds: f64,
}

#[cfg(target_os = "linux")]
impl Process {
    /// Reads the numbers; `None` if `/proc` is not mounted or lacks them.
    #[must_use]
    pub fn read() -> Option<Self> {
        use std::fs::read_to_string;
        use std::sync::OnceLock;

        use rustix::param::page_size;
        use rustix::process::{Resource, getrlimit};
        use rustix::time::{ClockId, clock_gettime};

        static START: OnceLock<Option<f64>> = OnceLock::new();

        // What a system call gives is not read from `/proc`, where each number costs many times as much.
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let resident_pages: usize = field(&read_to_string("/proc/self/statm").ok()?, 1)?;
        Some(Self {
            cpu_seconds: std::time::Duration::try_from(cpu).ok()?.as_secs_f64(),
            resident_memory_bytes: u64::try_from(resident_pages * page_size()).ok()?,
            open_fds: open_fds()?,
            max_fds: getrlimit(Resource::Nofile).current,
            start_time_seconds: (*START.get_or_init(start_time_seconds))?,
        })
    }
}

/// How many file descriptors are open.
#[cfg(target_os = "linux")]
fn open_fds() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match std::fs::metadata(FOLDER).ok()?.len() {
        // Before Linux 6.2, the folder has no size. One of the descriptors that are listed then reads the folder.
        0 => u64::try_from(std::fs::read_dir(FOLDER).ok()?.count() - 1).ok(),
        count => Some(count),
    }
}

/// When this process started, in Unix seconds
/// ([`/proc/self/stat` and `/proc/stat`](https://man7.org/linux/man-pages/man5/proc.5.html)).
#[cfg(target_os = "linux")]
fn start_time_seconds() -> Option<f64> {
    use std::fs::read_to_string;

    let stat = read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name, which may contain anything. The start is the 22nd.
    let (_, after_name) = stat.rsplit_once(')')?;
    let ticks: f64 = field(after_name, 19)?;
    let system = read_to_string("/proc/stat").ok()?;
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    let ticks_per_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(boot.parse::<f64>().ok()? + ticks / f64::from(ticks_per_second))
}

/// A field of a line, from 0.
#[cfg(target_os = "linux")]
fn field<T: std::str::FromStr>(line: &str, index: usize) -> Option<T> {
    line.split_ascii_whitespace().nth(index)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
impl Process {
    /// Only Linux has a `/proc` to read.
    #[must_use]
    pub fn read() -> Option<Self> {
        None
    }
}

/// Protects this process's memory, and the keys in it: the system writes no core file of it, and no other process of the
/// same user can read it
/// ([`PR_SET_DUMPABLE`](https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html)). On Linux only.
///
/// # Errors
///
/// The system refuses it.
pub fn disable_core_dumps() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
