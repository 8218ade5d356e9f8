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
        use std::sync::OnceLock;

        use procfs::process::Process as Proc;
        use rustix::process::{Resource, getrlimit};
        use rustix::time::{ClockId, clock_gettime};

        /// This process' folder in `/proc`, kept open, and when the process started.
        static MYSELF: OnceLock<Option<(Proc, f64)>> = OnceLock::new();

        let (proc, start_time_seconds) = MYSELF.get_or_init(open).as_ref()?;
        // What a system call gives is not read from `/proc`, where each number costs many times as much.
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Some(Self {
            cpu_seconds: std::time::Duration::try_from(cpu).ok()?.as_secs_f64(),
            resident_memory_bytes: proc.statm().ok()?.resident * procfs::page_size(),
            open_fds: u64::try_from(proc.fd_count().ok()?).ok()?,
            max_fds: getrlimit(Resource::Nofile).current,
            start_time_seconds: *start_time_seconds,
        })
    }
}

#[cfg(target_os = "linux")]
fn open() -> Option<(procfs::process::Process, f64)> {
    let proc = procfs::process::Process::myself().ok()?;
    let ticks = proc.stat().ok()?.starttime;
    let start_time_seconds =
        to_f64(procfs::boot_time_secs().ok()?) + to_f64(ticks) / to_f64(procfs::ticks_per_second());
    Some((proc, start_time_seconds))
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

#[cfg(target_os = "linux")]
#[expect(clippy::cast_precision_loss, reason = "seconds and ticks stay far below 2^53")]
fn to_f64(number: u64) -> f64 {
    number as f64
}
