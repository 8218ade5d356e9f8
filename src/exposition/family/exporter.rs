//! The exporter itself: its build, its configuration, its process.

use std::fmt;

use crate::exposition::encoder::Encoder;
use crate::process::{Process, REVISION, VERSION};
use crate::report::ExporterReport;

/// Writes the families of the exporter itself.
pub(super) fn encode(exporter: &ExporterReport, out: &mut Encoder) -> fmt::Result {
    let process = exporter.process.as_ref();
    out.info(
        "sonorancad_exporter_build_info",
        "The exporter's version and the revision of its source.",
        [[("version", VERSION), ("revision", REVISION)]],
    )?;
    out.gauge(
        "sonorancad_config_last_reload_successful",
        "Whether the configuration that was read last is in use (1), or an earlier one (0).",
        [([], u64::from(exporter.is_reload_successful))],
    )?;
    out.counter(
        "sonorancad_exporter_panics_total",
        "Requests to the exporter that hit a fault in it and got status 500.",
        [([], exporter.panics)],
    )?;
    out.gauge(
        "sonorancad_shared_state_up",
        "Whether the store that replicas share answered when it was asked last (1), or not (0); only with SONORANCAD_SHARED_STATE_URL.",
        exporter.is_shared_state_up.map(|is_up| ([], u64::from(is_up))),
    )?;
    let of_process = |read: fn(&Process) -> f64| process.map(|process| ([], read(process)));
    out.counter(
        "process_cpu_seconds_total",
        "CPU time the exporter spent in user and system mode.",
        of_process(|process| process.cpu_seconds),
    )?;
    out.gauge(
        "process_resident_memory_bytes",
        "Resident memory of the exporter.",
        process.map(|process| ([], process.resident_memory_bytes)),
    )?;
    out.gauge(
        "process_open_fds",
        "File descriptors the exporter has open.",
        process.map(|process| ([], process.open_fds)),
    )?;
    out.gauge(
        "process_max_fds",
        "File descriptors the exporter may have open.",
        process.and_then(|process| Some(([], process.max_fds?))),
    )?;
    out.gauge(
        "process_start_time_seconds",
        "When the exporter started, in Unix time.",
        of_process(|process| process.start_time_seconds),
    )
}
