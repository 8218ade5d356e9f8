//! Samples that several families write in the same way.

use std::time::Duration;

use crate::exposition::encoder::Labels;
use crate::report::ServerReport;

/// One sample for each server.
pub(super) fn per_server<'a, V>(
    servers: &'a [ServerReport],
    value: impl Fn(&'a ServerReport) -> V,
) -> impl Iterator<Item = (Labels<'a, 1>, V)> {
    servers
        .iter()
        .map(move |server| ([("server_id", &*server.id)], value(server)))
}

/// A Unix time in seconds, to the millisecond; 0 for none.
pub(super) fn timestamp(unix: Option<Duration>) -> f64 {
    unix.map_or(0.0, |unix| (unix.as_secs_f64() * 1000.0).round() / 1000.0)
}
