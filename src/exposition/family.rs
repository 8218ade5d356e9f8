//! Every metric family, in the order of exposition: name, meaning, labels and values together.

mod api;
mod calls;
mod exporter;
mod sample;
mod units;

use std::fmt;

use super::encoder::Encoder;
use crate::report::Report;

/// The metrics in two parts, by how often they change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The first families, which are the same as long as `CommunityReport::shows_the_same` holds.
    Lasting,
    /// The rest, which each scrape changes.
    Live,
}

/// Writes the families of a part that have samples.
pub(super) fn encode(report: &Report, part: Part, out: &mut Encoder) -> fmt::Result {
    let Report { community, exporter } = report;
    let servers = &community.servers;
    match part {
        Part::Lasting => {
            calls::encode(community, out)?;
            units::encode(servers, out)?;
            api::encode_requests(servers, out)
        }
        Part::Live => {
            api::encode_cache(servers, out)?;
            exporter
                .as_ref()
                .map_or(Ok(()), |exporter| exporter::encode(exporter, out))
        }
    }
}
