//! What must be true of any input from outside: each function panics if it is not.
//!
//! The property tests generate the input, and so do the fuzzers, which include this file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::OsString;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::http::header::{ACCEPT, HeaderMap, HeaderValue};
use serde_json::Value;
use sonorancad_exporter::account::{Plan, Secrets};
use sonorancad_exporter::client::{
    self, Calls, Endpoint, FetchError, Pass, PauseRequest, Retry, Scope, SnapshotOf, Units,
};
use sonorancad_exporter::clock::Now;
use sonorancad_exporter::community::replay;
use sonorancad_exporter::config::{
    ApiVersion, CommunityConfig, Config, HealthTarget, LabelTexts, Setting, parse_communities,
};
use sonorancad_exporter::exposition::{Format, render};
use sonorancad_exporter::report::{CommunityReport, FeedReport, FeedStatus, Report, ServerReport, VersionReason};
use sonorancad_exporter::toolkit::parse_config;
use sonorancad_exporter::tracker::Track;
use sonorancad_exporter::web::Negotiated;

/// A text that no message may show, wherever it is in a file. It is not a valid alias.
pub(crate) const SECRET: &str = "SE/CRET";

/// 2026-11-23T00:00:00Z.
pub(crate) const TODAY: u64 = 1_795_392_000;

const TTL: Duration = Duration::from_secs(25);

/// All combinations of the labels' values, "other" included, for one server: gauges of calls, counters
/// and histograms (8 bounds each) of their lives, and errors and single ones.
const MAX_SERIES: usize = (4 * 4 * 5 + 2 + 4 + 1 + 1 + 4 + 6 + 2)
    + (2 * 4 * 5 + 2 * 2 + 2)
    + (8 + 3) * (2 * 4 + 2)
    + (4 * 6 + 2 * 4 + 6)
    + 2 * 60;

/// The values of each label, without `error` and `le`.
const LABELS: [(&str, &[&str]); 12] = [
    ("server_id", &["1"]),
    ("name", &[""]),
    ("api_version", &["v1"]),
    ("api_endpoint", &["calls", "units"]),
    ("code", &["10-31", "other"]),
    ("department", &["LSPD", "other"]),
    ("discipline", &["police", "fire", "ems", "other"]),
    ("priority", &["1", "2", "3", "other"]),
    (
        "status",
        &[
            "pending",
            "active",
            "closed",
            "other",
            "unavailable",
            "busy",
            "available",
            "enroute",
            "on_scene",
        ],
    ),
    ("origin", &["caller", "radio_dispatch", "observed", "walk_up", "other"]),
    ("kind", &["emergency", "civil"]),
    ("field", &["priority", "status", "origin", "call", "id", "units"]),
];

/// The metrics after some answers, in both formats.
pub(crate) struct Scrape {
    pub(crate) classic: String,
    pub(crate) open_metrics: String,
}

fn write(report: &Arc<Report>, format: Format) -> String {
    render(report, format).expect("a report can be written")
}

/// Series by name and labels, as they are written.
type Series<'a> = HashMap<&'a str, f64>;

/// Answers with calls that come one after the other, a TTL apart: after the last one, the metrics are numbers of series
/// known in advance, every active call is counted once, and no counter falls.
pub(crate) fn answers(bodies: &[&[u8]]) -> Scrape {
    let (scrape, has_snapshot) = play::<Calls>(bodies, with_calls);
    if let Some(last) = bodies.last().filter(|_| has_snapshot) {
        check_items(last, &series(&scrape.classic));
    }
    scrape
}

/// The same of answers with units, whose rows are counted once if they are on duty.
pub(crate) fn unit_answers(bodies: &[&[u8]]) -> Scrape {
    let (scrape, has_snapshot) = play::<Units>(bodies, with_units);
    if let Some(last) = bodies.last().filter(|_| has_snapshot) {
        check_rows(last, &series(&scrape.classic));
    }
    scrape
}

/// Feeds the bodies to an endpoint. Returns what it shows at last, and whether that includes the last answer.
fn play<E: Endpoint>(bodies: &[&[u8]], report: impl Fn(ReportOf<E>) -> ServerReport) -> (Scrape, bool) {
    let mut tracker = E::Tracker::new(TTL, &LISTED);
    let mut now = today();
    let mut observe = |body: &[u8]| {
        let snapshot = decode::<E>(body).map(Arc::new);
        now = now + TTL;
        if let Some(snapshot) = &snapshot {
            tracker.observe(snapshot, true, now.instant);
        }
        let has_snapshot = snapshot.is_some();
        let feed = FeedReport {
            status: FeedStatus {
                is_up: has_snapshot,
                ttl: TTL,
                ..FeedStatus::default()
            },
            snapshot,
            stats: tracker.stats().clone(),
        };
        (one_server(report(feed), now), has_snapshot)
    };
    let (last, earlier) = bodies.split_last().expect("there is a body");
    // The reports in between are covered by inputs with fewer bodies.
    let before = earlier.iter().map(|body| observe(body)).last();
    let (after, has_snapshot) = observe(last);
    let scrape = Scrape {
        classic: write(&after, Format::Text),
        open_metrics: write(&after, Format::OpenMetrics),
    };
    let series = series(&scrape.classic);
    check_labels(&series);
    if let Some((before, _)) = before {
        check_counters(&self::series(&write(&before, Format::Text)), &series);
    }
    assert!(scrape.open_metrics.ends_with("\n# EOF\n"), "{}", scrape.open_metrics);
    (scrape, has_snapshot)
}

/// Reads an answer in both passes, which must not differ.
pub(crate) fn decode<E: Endpoint>(body: &[u8]) -> Option<SnapshotOf<E>> {
    let [quick, tolerant] = [Pass::Quick, Pass::Tolerant].map(|first| E::decode_from(first, body, &LISTED).ok());
    assert_eq!(quick, tolerant, "{}", String::from_utf8_lossy(body));
    quick
}

/// What is known of one endpoint.
type ReportOf<E> = FeedReport<SnapshotOf<E>, <<E as Endpoint>::Tracker as Track>::Stats>;

fn with_calls(calls: ReportOf<Calls>) -> ServerReport {
    ServerReport { calls, ..server() }
}

fn with_units(units: ReportOf<Units>) -> ServerReport {
    ServerReport {
        units: Some(units),
        ..server()
    }
}

fn one_server(server: ServerReport, at: Now) -> Arc<Report> {
    let community = CommunityReport {
        servers: vec![server],
        at,
    };
    let exporter = None;
    Arc::new(Report { community, exporter })
}

/// A server of which nothing is known.
fn server() -> ServerReport {
    ServerReport {
        id: "1".to_owned(),
        name: None,
        api_version: ApiVersion::V1,
        version_reason: VersionReason::Documented,
        calls: FeedReport::default(),
        units: None,
        history: Vec::new(),
    }
}

/// The texts that are listed in the configuration.
pub(crate) static LISTED: LazyLock<LabelTexts> = LazyLock::new(|| LabelTexts {
    call_codes: ["10-31".to_owned()].into_iter().collect(),
    departments: ["LSPD".to_owned()].into_iter().collect(),
});

/// The series of a text in the classic format. Panics if one occurs twice.
fn series(text: &str) -> Series<'_> {
    let mut series = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no series: {line}"));
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        assert!(series.insert(name, value).is_none(), "twice: {line}");
    }
    series
}

/// Every label with every value that it can have, as written, without the bounds of buckets.
static LABELS_WRITTEN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let closed = LABELS
        .iter()
        .flat_map(|(label, values)| values.iter().map(move |value| (*label, *value)));
    let errors = client::labels().map(|value| ("error", value));
    closed
        .chain(errors)
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect()
});

fn check_labels(series: &Series) {
    assert!(series.len() <= MAX_SERIES, "{} series", series.len());
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

/// Each row of a list of units is counted as at most one unit or dispatcher, and an object is no less than one unless it is
/// offline.
fn check_rows(body: &[u8], series: &Series) {
    let text = String::from_utf8_lossy(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body));
    let Ok(Value::Array(rows)) = serde_json::from_str(&text) else {
        return;
    };
    let objects = rows.iter().filter(|row| row.is_object());
    let sure = objects.clone().filter(|row| row.get("status").is_none());
    let counted = sum(series, "sonorancad_units{") + sum(series, "sonorancad_dispatchers{");
    assert!((sure.count()..=objects.count()).contains(&counted), "{rows:?}");
    let departments = sum(series, "sonorancad_department_units{");
    assert_eq!(departments, sum(series, "sonorancad_units{"), "{rows:?}");
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
        // A time in milliseconds has a remainder.
        assert_eq!(pause.as_secs(), seconds.clamp(1, 3600), "{headers:?}");
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

/// The variables that may contain [`SECRET`] in a configuration that is shown for debugging.
const SECRET_VARIABLES: [&str; 2] = ["SONORANCAD_API_KEY", "SONORANCAD_SHARED_STATE_URL"];

/// An environment is read into a usable configuration or refused, and no message contains [`SECRET`] from a value.
pub(crate) fn environment(variables: &[(OsString, OsString)]) {
    let settings = || Setting::from_environment(variables.iter().cloned());
    let check = |message: &str| assert!(!message.contains(SECRET), "{variables:?}\n{message}");
    match Config::read(settings()) {
        Ok(config) => {
            for (_, community) in config.all_communities() {
                check_community("own", community);
            }
            let may_show = |(name, text): &(OsString, OsString)| {
                let is_secret = SECRET_VARIABLES.iter().any(|secret| name == secret);
                !is_secret && text.to_string_lossy().contains(SECRET)
            };
            if !variables.iter().any(may_show) {
                check(&format!("{config:?}"));
            }
        }
        Err(problems) => check(&problems.to_string()),
    }
    if let Err(problems) = HealthTarget::read(settings()) {
        check(&problems.to_string());
    }
}

/// What the store has under the name of a state can be opened only if it was sealed with the key and for this name.
pub(crate) fn sealed(bytes: &[u8]) {
    static SECRETS: LazyLock<Secrets> = LazyLock::new(|| Secrets::new(("https://api.example.org/", SECRET)));
    assert_eq!(SECRETS.open("name", bytes), None);
    let sealed = SECRETS.seal("name", bytes).expect("there are random numbers");
    assert_eq!(SECRETS.open("name", &sealed).as_deref(), Some(bytes));
    assert_eq!(SECRETS.open("other", &sealed), None);
}

/// A state with calls, as replicas write it, is ignored or taken over: after an answer, the metrics are numbers, no counter
/// has fallen, and the state that is written can be read. Returns whether it was taken over.
pub(crate) fn call_state(state: &[u8], answer: &[u8]) -> bool {
    take_over::<Calls>(state, answer, with_calls)
}

/// The same of a state with units.
pub(crate) fn unit_state(state: &[u8], answer: &[u8]) -> bool {
    take_over::<Units>(state, answer, with_units)
}

fn take_over<E: Endpoint>(state: &[u8], answer: &[u8], report: impl Fn(ReportOf<E>) -> ServerReport) -> bool {
    let plan = Plan {
        requests_per_minute: 4,
        ttl: TTL,
        stale_bound: TTL * 5,
        max_ids: 1000,
        published_limit: 5,
    };
    let now = today();
    let Ok(snapshot) = E::decode(answer, &LISTED) else {
        return false;
    };
    let Some(replayed) = replay::<E>(state, snapshot, &LISTED, plan, now) else {
        return false;
    };
    let texts = [replayed.before, replayed.after].map(|feed| write(&one_server(report(feed), now), Format::Text));
    check_counters(&series(&texts[0]), &series(&texts[1]));
    let again = E::decode(answer, &LISTED).expect("it was read before");
    assert!(replay::<E>(&replayed.written, again, &LISTED, plan, now + TTL).is_some());
    true
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
