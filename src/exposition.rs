//! A [`Report`] as text, in the two formats that Prometheus reads.
//!
//! The only place that names metrics, and the only one that knows prometheus-client.

mod encoder;
mod family;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use self::encoder::Encoder;
use crate::report::Report;

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition {
        report: report.clone(),
        format,
    }));
    let mut text = String::with_capacity(16 << 10);
    encode_registry(&mut text, &registry)?;
    if format == Format::OpenMetrics {
        encode_eof(&mut text)?;
    }
    Ok(text)
}

/// A report and its format, as prometheus-client's registry collects them.
#[derive(Debug)]
struct Exposition {
    report: Arc<Report>,
    format: Format,
}

impl Collector for Exposition {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        family::encode(&self.report, &mut Encoder::new(encoder, self.format))
    }
}

#[cfg(test)]
mod tests;
