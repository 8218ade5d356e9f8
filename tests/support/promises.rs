//! What must be true of any input from outside: each function panics if it is not.
//!
//! The property tests generate the input, and so do the fuzzers, which include this file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::http::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::Value;
use sonorancad_exporter::client::{Calls, Endpoint as _, FetchError, PauseRequest, Retry, Scope, Units, labels};
use sonorancad_exporter::clock::Now;
use sonorancad_exporter::config::{ApiVersion, CommunityConfig, LabelTexts, parse_communities};
use sonorancad_exporter::exposition::{Format, render};
use sonorancad_exporter::report::{CommunityReport, FeedReport, FeedStatus, Report, ServerReport, VersionReason};
use sonorancad_exporter::snapshot::CallSnapshot;
use sonorancad_exporter::toolkit::parse_config;
use sonorancad_exporter::tracker::{CallStats, CallTracker, Track as _};
use sonorancad_exporter::web::Negotiated;

/// A text that no message may show, wherever it is in a file. It is not a valid alias.
pub(crate) const SECRET: &str = "SE/CRET";

/// 2026-11-23T00:00:00Z.
pub(crate) const TODAY: u64 = 1_795_392_000;

const TTL: Duration = Duration::from_secs(25);

/// All combinations of the labels' values, "other" included, for one server: gauges of calls, counters
/// and histograms (8 bounds each) of their lives, and errors and single ones.
const MAX_SERIES: usize = (4 * 4 * 5 + 2 + 4 + 1 + 1 + 4 + 6 + 2) + (2 * 4 * 5 + 2 * 2) + (8 + 3) * (2 * 4 + 2) + 60;

/// The values of each label, without `error` and `le`.
const LABELS: [(&str, &[&str]); 9] = [
    ("server_id", &["1"]),
    ("name", &[""]),
    ("api_version", &["v1"]),
    ("api_endpoint", &["calls"]),
    ("priority", &["1", "2", "3", "other"]),
    ("status", &["pending", "active", "closed", "other"]),
    ("origin", &["caller", "radio_dispatch", "observed", "walk_up", "other"]),
    ("kind", &["emergency", "civil"]),
    ("field", &["priority", "status", "origin", "call", "id", "units"]),
];

/// The metrics after some answers, in both formats.
pub(crate) struct Scrape {
    pub(crate) classic: String,
    pub(crate) open_metrics: String,
}

/// Series by name and labels, as they are written.
type Series<'a> = HashMap<&'a str, f64>;

/// Bodies that come one after the other, a TTL apart: after the last one, the metrics are numbers of series
/// known in advance, every active call is counted once, and no counter falls.
pub(crate) fn answers(bodies: &[&[u8]]) -> Scrape {
    let mut tracker = CallTracker::new(TTL, &LabelTexts::default());
    let mut now = today();
    let mut observe = |body| {
        let snapshot = Calls::decode(body, &LabelTexts::default()).ok().map(Arc::new);
        now = now + TTL;
        if let Some(snapshot) = &snapshot {
            tracker.observe(snapshot, true, now.instant);
        }
        report(snapshot, tracker.stats().clone(), now)
    };
    let (last, earlier) = bodies.split_last().expect("there is a body");
    // The reports in between are covered by inputs with fewer bodies.
    let before = earlier.iter().map(|body| observe(body)).last();
    let after = observe(last);
    let write = |report, format| render(report, format).expect("a report can be written");
    let scrape = Scrape {
        classic: write(&after, Format::Text),
        open_metrics: write(&after, Format::OpenMetrics),
    };
    let series = series(&scrape.classic);
    check_labels(&series);
    if let Some(before) = before {
        check_counters(&self::series(&write(&before, Format::Text)), &series);
    }
    if after.community.servers[0].calls.snapshot.is_some() {
        check_items(last, &series);
    }
    assert!(scrape.open_metrics.ends_with("\n# EOF\n"), "{}", scrape.open_metrics);
    scrape
}

fn report(snapshot: Option<Arc<CallSnapshot>>, stats: CallStats, at: Now) -> Arc<Report> {
    let server = ServerReport {
        id: "1".to_owned(),
        name: None,
        api_version: ApiVersion::V1,
        version_reason: VersionReason::Documented,
        calls: FeedReport {
            status: FeedStatus {
                is_up: snapshot.is_some(),
                ttl: TTL,
                ..FeedStatus::default()
            },
            snapshot,
            stats,
        },
        units: None,
    };
    Arc::new(Report {
        community: CommunityReport {
            servers: vec![server],
            at,
        },
        exporter: None,
    })
}

/// The series of a text in the classic format. Panics if one occurs twice.
fn series(text: &str) -> Series<'_> {
    let mut series = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no series: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(series.insert(name, value).is_none(), "twice: {line}");
    }
    assert!(series.len() <= MAX_SERIES, "{} series", series.len());
    series
}

/// Every label with every value that it can have, as written, without the bounds of buckets.
static LABELS_WRITTEN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let closed = LABELS
        .iter()
        .flat_map(|(label, values)| values.iter().map(move |value| (*label, *value)));
    let errors = labels().map(|value| ("error", value));
    closed
        .chain(errors)
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect()
});

fn check_labels(series: &Series) {
    for series in series.keys() {
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        assert!(name.starts_with("sonorancad_"), "{series}");
        let labels = rest.strip_suffix('}').unwrap_or_else(|| panic!("no end: {series}"));
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let bound = label.strip_prefix("le=\"").and_then(|rest| rest.strip_suffix('"'));
            let is_known = LABELS_WRITTEN.contains(label) || bound.is_some_and(|bound| bound.parse::<f64>().is_ok());
            assert!(is_known, "{series}");
        }
    }
}

fn check_counters(before: &Series, after: &Series) {
    for (series, before) in before {
        let name = series.split('{').next().unwrap_or(series);
        if ["_total", "_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            let after = after.get(series).unwrap_or_else(|| panic!("{series} is gone"));
            assert!(before <= after, "{series} fell from {before} to {after}");
        }
    }
}

/// Each item of the list of active calls is counted, as a call or as unreadable, if there is only one such list.
fn check_items(body: &[u8], series: &Series) {
    let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let answer: Value = serde_json::from_str(&text).unwrap_or_default();
    let lists = (answer.get("activeCalls"), answer.get("ActiveCalls"));
    let ((Some(Value::Array(items)), None) | (None, Some(Value::Array(items)))) = lists else {
        return;
    };
    let (calls, odd): (Vec<_>, Vec<_>) = items.iter().partition(|item| item.is_object());
    assert_eq!(sum(series, "sonorancad_active_calls{"), calls.len(), "{answer}");
    // Among them are those of the emergency calls.
    let unreadable = sum(series, "sonorancad_unreadable_values{server_id=\"1\",field=\"call\"");
    let has_more = ["emergencyCalls", "EmergencyCalls"]
        .iter()
        .any(|key| answer.get(key).is_some());
    assert!(
        unreadable == odd.len() || has_more && unreadable > odd.len(),
        "{answer}"
    );
}

/// The sum of the series whose names start with `start`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small whole numbers, and none below zero"
)]
fn sum(series: &Series, start: &str) -> usize {
    let values = series.iter().filter(|(name, _)| name.starts_with(start));
    values.map(|(_, value)| *value as usize).sum()
}

/// Only a client whose `Accept` could mean `OpenMetrics` gets it.
pub(crate) fn negotiation(headers: &HeaderMap) {
    let mut texts = headers.get_all(ACCEPT).into_iter().map(HeaderValue::as_bytes);
    let is_asked = texts.any(|text| String::from_utf8_lossy(text).to_lowercase().contains("application/"));
    let Negotiated { format, .. } = Negotiated::from_headers(headers);
    assert!(format == Format::Text || is_asked, "{headers:?}");
}

/// A rate limit pauses the account for a second to an hour, and for exactly as long as a plain number says.
pub(crate) fn rate_limit(headers: &HeaderMap) -> Duration {
    let pause = match FetchError::RateLimited(Retry::from_headers(headers)).pause(today()) {
        PauseRequest::For(Scope::Endpoint, pause) => pause,
        other => panic!("{headers:?} asks for {other:?}"),
    };
    let bounds = Duration::from_secs(1)..=Duration::from_secs(3600);
    assert!(bounds.contains(&pause), "{headers:?}: {pause:?}");
    if let Some(seconds) = plain_pause(headers) {
        assert_eq!(pause, Duration::from_secs(seconds.clamp(1, 3600)), "{headers:?}");
    }
    pause
}

/// The pause in the first of the headers, if it is a plain number.
fn plain_pause(headers: &HeaderMap) -> Option<u64> {
    let first = ["retry-after", "ratelimit-reset", "x-ratelimit-reset"]
        .into_iter()
        .find_map(|name| Some((name, headers.get(name)?)));
    let Some((_, value)) = first else {
        return Some(60);
    };
    let text = value.to_str().ok()?.trim();
    let is_plain = (1..=15).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = text.parse().ok().filter(|_| is_plain)?;
    match number {
        // It is seen from the date of the answer.
        1_000_000_001.. if headers.contains_key("date") => None,
        100_000_000_001.. => Some((number / 1000).saturating_sub(TODAY)),
        1_000_000_001.. => Some(number.saturating_sub(TODAY)),
        _ => Some(number),
    }
}

/// A web configuration file is read or refused, and the error message does not contain [`SECRET`].
pub(crate) fn web_config(text: &str) {
    let Err(error) = parse_config(text) else { return };
    let message = error.to_string();
    assert!(!message.contains(SECRET), "{text}\n{message}");
}

/// A file of communities is read into a usable configuration or refused, and the error message does not contain
/// [`SECRET`].
pub(crate) fn communities(text: &str) {
    match parse_communities(text) {
        Ok(communities) => {
            for (alias, community) in communities {
                check_community(&alias, &community);
            }
        }
        Err(problems) => {
            let message = problems.to_string();
            assert!(!message.contains(SECRET), "{text}\n{message}");
        }
    }
}

fn check_community(alias: &str, community: &CommunityConfig) {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    assert!((1..=64).contains(&alias.len()) && alias.bytes().all(is_char), "{alias}");
    let ids: BTreeSet<_> = community.servers.iter().map(|server| server.id).collect();
    assert!(!ids.is_empty() && !ids.contains(&0), "{community:?}");
    assert_eq!(ids.len(), community.servers.len(), "{community:?}");
    for name in community.labels.keys() {
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        assert!(is_word && !name.starts_with("__"), "{community:?}");
    }
    for version in ApiVersion::ALL {
        for plan in [Calls::plan(community, *version), Units::plan(community, *version)] {
            assert!((1..=60).contains(&plan.requests_per_minute), "{community:?}");
            assert!(plan.stale_bound >= plan.ttl * 2, "{community:?}");
        }
    }
    assert!(community.account.servers as usize >= ids.len(), "{community:?}");
    assert!(community.api.url.path().ends_with('/'), "{community:?}");
}

fn today() -> Now {
    Now {
        instant: Instant::now(),
        unix: Duration::from_secs(TODAY),
    }
}
