//! The types of metrics in either format.
//!
//! prometheus-client writes OpenMetrics: it appends `_total` and `_info` to a family's name. In the
//! classic format the family's name is the sample's name, and there is no type `info`.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::Format;
use crate::histogram::Histogram;

/// The labels of one sample: names and values.
pub(super) type Labels<'a, const N: usize> = [(&'static str, &'a str); N];

/// Writes families in one of the two formats. A family without samples is left out.
pub(super) struct Encoder<'a> {
    encoder: DescriptorEncoder<'a>,
    format: Format,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>, format: Format) -> Self {
        Self { encoder, format }
    }

    /// Writes a family of gauges.
    pub(super) fn gauge<'l, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples, |mut metric, value| {
            metric.encode_gauge(&value)
        })
    }

    /// Writes a family of counters; `name` ends in `_total`.
    pub(super) fn counter<'l, const N: usize, V: EncodeCounterValue + EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
    ) -> fmt::Result {
        match self.format {
            Format::OpenMetrics => {
                let name = name.strip_suffix("_total").unwrap_or(name);
                self.family(name, help, MetricType::Counter, samples, |mut metric, value| {
                    metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
                })
            }
            Format::Text => self.family(name, help, MetricType::Counter, samples, |mut metric, value| {
                metric.encode_gauge(&value)
            }),
        }
    }

    /// Writes a family whose labels carry the information; `name` ends in `_info`.
    pub(super) fn info<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: impl IntoIterator<Item = Labels<'l, N>>,
    ) -> fmt::Result {
        match self.format {
            Format::OpenMetrics => {
                let mut samples = labels.into_iter().peekable();
                if samples.peek().is_none() {
                    return Ok(());
                }
                let name = name.strip_suffix("_info").unwrap_or(name);
                // The library takes the labels of an info as its value, so each sample is one value of the family.
                let mut family = self.encoder.encode_descriptor(name, help, None, MetricType::Info)?;
                samples.try_for_each(|labels| family.encode_info(&labels))
            }
            Format::Text => self.gauge(name, help, labels.into_iter().map(|labels| (labels, 1_u64))),
        }
    }

    /// Writes a family of histograms in seconds.
    pub(super) fn histogram<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l, N>, &'l Histogram)>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Histogram, samples, |mut metric, histogram| {
            let buckets: Vec<_> = histogram.buckets().collect();
            metric.encode_histogram::<NoLabelSet>(histogram.sum().as_secs_f64(), histogram.count(), &buckets, None)
        })
    }

    fn family<'l, const N: usize, V>(
        &mut self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        samples: impl IntoIterator<Item = (Labels<'l, N>, V)>,
        encode: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, None, metric_type)?;
        if N == 0 {
            // The library would write an empty set of labels as `{}`. Without labels there is only one sample.
            return samples.next().map_or(Ok(()), |(_, value)| encode(family, value));
        }
        samples.try_for_each(|(labels, value)| encode(family.encode_family(&labels)?, value))
    }
}
