//! How the API behaves and how the cache works, per endpoint.

use std::fmt;

use super::sample::timestamp;
use crate::exposition::encoder::{Encoder, Labels};
use crate::report::{FeedStatus, ServerReport};

/// Writes the families of requests to the API.
pub(super) fn encode_requests(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    out.gauge(
        "sonorancad_last_success_timestamp_seconds",
        "When the request that brought the newest good answer started, in Unix time; 0 before the first.",
        per_feed(servers, |feed| timestamp(feed.last_success)),
    )?;
    out.counter(
        "sonorancad_api_requests_total",
        "Requests to the API, failed connections included.",
        per_counting_feed(servers, |feed| feed.counts.requests),
    )?;
    out.counter(
        "sonorancad_api_errors_total",
        "Failed requests to the API, by the API's own error string or a fixed name. A text that is not known in advance appears with 1, which increase() does not see.",
        counting_feeds(servers).flat_map(|([server_id, endpoint], feed)| {
            let errors = feed.counts.errors.iter();
            errors.map(move |(error, count)| ([server_id, endpoint, ("error", &**error)], *count))
        }),
    )?;
    out.histogram(
        "sonorancad_api_request_duration_seconds",
        "Time from sending a request to the API until its answer is read, failures included.",
        per_counting_feed(servers, |feed| &feed.counts.request_seconds),
    )?;
    out.gauge(
        "sonorancad_api_retry_timestamp_seconds",
        "Before this Unix time the API is not asked again, after a rate limit or failures; 0 without such a wait.",
        per_feed(servers, |feed| timestamp(feed.retry_at)),
    )
}

/// Writes the families of the cache, which count scrapes, and what follows them.
pub(super) fn encode_cache(servers: &[ServerReport], out: &mut Encoder) -> fmt::Result {
    out.counter(
        "sonorancad_cache_queries_total",
        "Scrapes that asked for this server.",
        per_counting_feed(servers, |feed| feed.counts.queries),
    )?;
    out.counter(
        "sonorancad_cache_hits_total",
        "Scrapes that were answered at once from an answer younger than the TTL.",
        per_counting_feed(servers, |feed| feed.counts.hits),
    )?;
    out.gauge(
        "sonorancad_cache_ttl_seconds",
        "How long an answer counts as fresh: the configured TTL, or longer where the request budget asks for it.",
        per_feed(servers, |feed| feed.ttl.as_secs_f64()),
    )?;
    out.info(
        "sonorancad_server_info",
        "The server's name in the exporter's configuration, if it has one, and the version of the API in use.",
        servers.iter().map(|server| {
            [
                ("server_id", &*server.id),
                ("name", server.name.as_deref().unwrap_or_default()),
                ("api_version", server.api_version.label()),
            ]
        }),
    )
}

/// Every feed with its labels.
fn feeds(servers: &[ServerReport]) -> impl Iterator<Item = (Labels<'_, 2>, &FeedStatus)> {
    servers.iter().flat_map(|server| {
        server.feeds().map(|(endpoint, feed)| {
            let labels = [("server_id", &*server.id), ("api_endpoint", endpoint.label())];
            (labels, feed)
        })
    })
}

/// One sample for each feed.
fn per_feed<'a, V>(
    servers: &'a [ServerReport],
    value: impl Fn(&'a FeedStatus) -> V,
) -> impl Iterator<Item = (Labels<'a, 2>, V)> {
    feeds(servers).map(move |(labels, feed)| (labels, value(feed)))
}

/// The feeds whose counts are shown.
fn counting_feeds(servers: &[ServerReport]) -> impl Iterator<Item = (Labels<'_, 2>, &FeedStatus)> {
    feeds(servers).filter(|(_, feed)| !feed.is_behind)
}

/// One sample for each of these.
fn per_counting_feed<'a, V>(
    servers: &'a [ServerReport],
    value: impl Fn(&'a FeedStatus) -> V,
) -> impl Iterator<Item = (Labels<'a, 2>, V)> {
    counting_feeds(servers).map(move |(labels, feed)| (labels, value(feed)))
}
