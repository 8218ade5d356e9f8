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

        use procfs::WithCurrentSystemInfo as _;
        use procfs::process::{LimitValue, Process as Proc};

        /// When the machine started. Reading it costs more than all the rest, so it is read once.
        static BOOT_SECONDS: OnceLock<Option<u64>> = OnceLock::new();

        let proc = Proc::myself().ok()?;
        let stat = proc.stat().ok()?;
        let limit = proc.limits().ok()?.max_open_files.soft_limit;
        let boot_seconds = (*BOOT_SECONDS.get_or_init(|| procfs::boot_time_secs().ok()))?;
        let seconds = |ticks: u64| to_f64(ticks) / to_f64(procfs::ticks_per_second());
        Some(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            resident_memory_bytes: stat.rss_bytes().get(),
            open_fds: u64::try_from(proc.fd_count().ok()?).ok()?,
            max_fds: match limit {
                LimitValue::Value(limit) => Some(limit),
                LimitValue::Unlimited => None,
            },
            start_time_seconds: to_f64(boot_seconds) + seconds(stat.starttime),
        })
    }
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
