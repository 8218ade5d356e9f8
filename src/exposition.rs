//! A [`Report`] as text, in the two formats that Prometheus reads.
//!
//! The only place that names metrics, and the only one that knows prometheus-client.

mod encoder;
mod family;
mod gzip;
mod renderer;

use std::fmt;
use std::sync::Arc;

use enum_map::Enum;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use self::encoder::Encoder;
use self::family::Part;
pub use self::renderer::{Coding, Renderer};
use crate::report::Report;

/// How metrics are written.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
pub enum Format {
    /// [OpenMetrics 1.0](https://prometheus.io/docs/specs/om/open_metrics_spec/).
    OpenMetrics,
    /// [Prometheus text 0.0.4](https://prometheus.io/docs/instrumenting/exposition_formats/).
    Text,
}

/// Writes everything in `report`.
///
/// # Errors
///
/// None that a report can cause: the encoder fails only on metrics that it does not support and if writing fails.
pub fn render(report: &Arc<Report>, format: Format) -> Result<String, fmt::Error> {
    let lasting = render_part(report, format, Part::Lasting)?;
    Ok(lasting + &render_part(report, format, Part::Live)?)
}

/// Writes one of the two parts, whose texts follow each other.
fn render_part(report: &Arc<Report>, format: Format, part: Part) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition {
        report: report.clone(),
        format,
        part,
    }));
    let mut text = String::with_capacity(4 << 10);
    encode_registry(&mut text, &registry)?;
    if format == Format::OpenMetrics && part == Part::Live {
        encode_eof(&mut text)?;
    }
    Ok(text)
}

/// A part of a report and its format, as prometheus-client's registry collects them.
#[derive(Debug)]
struct Exposition {
    report: Arc<Report>,
    format: Format,
    part: Part,
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        family::encode(&self.report, self.part, &mut Encoder::new(encoder, self.format))
    }
}

#[cfg(test)]
mod tests;
