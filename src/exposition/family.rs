//! Every metric family, in the order of exposition: name, meaning, labels and values together.

mod api;
mod calls;
mod exporter;
mod sample;
mod units;

use std::fmt;

use super::encoder::Encoder;
use crate::report::Report;

/// Writes all families that have samples.
pub(super) fn encode(report: &Report, out: &mut Encoder) -> fmt::Result {
    let servers = &report.community.servers;
    if !servers.is_empty() {
        calls::encode(&report.community, out)?;
        units::encode(servers, out)?;
        api::encode(servers, out)?;
    }
    match &report.exporter {
        Some(exporter) => exporter::encode(exporter, out),
        None => Ok(()),
    }
}
