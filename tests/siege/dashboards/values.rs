//! Every query of the dashboards, run by a real Prometheus, with the results that a script implies.
//!
//! The exporter reads two hours of a scripted CAD on a manual clock. Its metrics, every 30 s, become
//! blocks of a Prometheus, which then goes on scraping the same exporter. A second instance is invented: 29 days, for
//! the panels that look back for weeks. `cargo test --test siege every_panel -- --nocapture` prints a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sonorancad_exporter::clock::{Clock, ManualClock};
use tempfile::tempdir;

use super::{dashboards, items, panels, text};
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{OPEN_METRICS, Running, eventually, move_to};
use crate::support::tools::{Prometheus, has};

const MINUTE: f64 = 60.0;
const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

/// The script's last minute, which is the present.
const END: f64 = 120.0;

/// The minute at which a rate limit begins; it lasts for 50 s.
const RATE_LIMIT: f64 = 78.0;

/// Within the outage, when all values have been gone for five minutes: blocks that are made of text hold no marks of
/// staleness, which a scraping Prometheus adds at once.
const OUTAGE: f64 = 93.0;

/// The invented instance, in a community of its own.
const INVENTED: &str = "invented:10911";

/// A dispatch call of the script; times in minutes from the script's begin.
struct Call {
    id: u64,
    priority: u8,
    origin: Value,
    opened: f64,
    taken: f64,
    closed: f64,
    units: &'static [u32],
}

/// A time after the script.
const OPEN: f64 = f64::INFINITY;

fn calls() -> Vec<Call> {
    let call = |id, priority, origin: u8, opened, taken, closed, units| Call {
        id,
        priority,
        origin: json!(origin),
        opened,
        taken,
        closed,
        units,
    };
    let mut calls = vec![
        call(1, 3, 1, -10.0, -5.0, OPEN, &[1][..]),
        call(2, 1, 0, 5.0, 6.0, 15.0, &[2]),
        call(3, 2, 1, 10.0, 13.0, 30.0, &[3]),
        call(4, 3, 2, 12.0, 12.0, 20.0, &[4]),
        call(5, 2, 0, 40.0, 41.5, 50.0, &[2]),
        call(6, 1, 3, 62.0, 64.0, 70.0, &[2]),
        call(7, 3, 0, 66.0, 72.0, 74.0, &[3]),
        call(8, 1, 0, 115.0, OPEN, OPEN, &[]),
        call(9, 2, 0, 110.0, OPEN, OPEN, &[]),
        call(10, 3, 2, 100.0, 101.0, OPEN, &[1, 2]),
        call(11, 2, 1, 104.0, 104.5, OPEN, &[2, 3]),
    ];
    // Its origin cannot be read.
    calls[0].origin = json!("?");
    calls
}

/// Calls on the emergency line (true) or the civil one, from one minute to another.
const ON_THE_LINE: [(u64, bool, f64, f64); 6] = [
    (1, true, 20.0, 21.0),
    (2, true, 30.0, 34.0),
    (3, false, 50.0, 55.0),
    (4, true, 119.0, OPEN),
    (5, false, 117.0, OPEN),
    (6, false, 119.0, OPEN),
];

/// A rate limit, and an outage from 84 to 94; else, the state of the calls.
fn answer(minute: f64) -> Answer {
    if minute == RATE_LIMIT {
        return Answer::status(
            429,
            &[("Retry-After", "50")],
            r#"{"message":"API rate limit exceeded"}"#,
        );
    }
    if (84.0..=94.0).contains(&minute) {
        return Answer::status(500, &[], "broken");
    }
    let call = |call: &Call, status: u8| json!({"callId": call.id, "priority": call.priority, "origin": call.origin, "status": status, "idents": call.units});
    let calls = calls();
    let open = calls
        .iter()
        .filter(|call| call.opened <= minute && minute < call.closed);
    let open: Vec<_> = open.map(|open| call(open, u8::from(open.taken <= minute))).collect();
    let closed = calls.iter().rev().filter(|call| call.closed <= minute);
    let closed: Vec<_> = closed.map(|closed| call(closed, 2)).collect();
    let on_the_line = ON_THE_LINE
        .iter()
        .filter(|(_, _, from, to)| *from <= minute && minute < *to);
    let on_the_line: Vec<_> = on_the_line
        .map(|(id, is_emergency, _, _)| json!({"callId": id, "isEmergency": is_emergency}))
        .collect();
    let body =
        json!({"ActiveCalls": open, "EmergencyCalls": on_the_line, "ClosedCalls": closed, "ClosedCallCount": 1843});
    Answer::ok(&body.to_string())
}

/// The time of a query.
#[derive(Clone, Copy, Debug)]
enum At {
    /// A minute of the script.
    Minute(f64),
    /// While Prometheus scrapes.
    Live,
}

/// The expected result of a query: values by labels without job and instance, or any result.
#[derive(Debug)]
enum Implied {
    Values(Vec<(&'static str, f64)>),
    Something,
}

/// The expected result for the target of a panel.
struct Expectation(&'static str, &'static str, At, Implied);

fn at(title: &'static str, target: &'static str, minute: f64, values: &[(&'static str, f64)]) -> Expectation {
    Expectation(title, target, At::Minute(minute), Implied::Values(values.to_vec()))
}

fn live(title: &'static str, target: &'static str) -> Expectation {
    Expectation(title, target, At::Live, Implied::Something)
}

/// The rows about the present and about the time shown.
fn now_and_over_time(hour_now: f64) -> Vec<Expectation> {
    vec![
        at("Open calls", "A", END, &[("", 5.0)]),
        at("Open calls", "A", 99.0, &[("", 1.0)]),
        // In an outage: no number, rather than the last one.
        at("Open calls", "A", OUTAGE, &[("", f64::NAN)]),
        at("Pending calls", "A", END, &[("", 2.0)]),
        at("Pending calls", "A", 99.0, &[("", 0.0)]),
        at("Pending calls", "A", OUTAGE, &[]),
        at("Oldest pending call", "A", END, &[("", 600.0)]),
        at("Oldest pending call", "A", 99.0, &[("", 0.0)]),
        at("Oldest pending call", "A", OUTAGE, &[]),
        at("Priority 1 open", "A", END, &[("", 1.0)]),
        at("Emergency calls", "A", END, &[("", 1.0)]),
        at("Oldest emergency call", "A", END, &[("", 60.0)]),
        at("Oldest emergency call", "A", 99.0, &[("", 0.0)]),
        at("Civil calls", "A", END, &[("", 2.0)]),
        at("New calls", "A", END, &[("", 10.0)]),
        at("Closed calls", "A", END, &[("", 6.0)]),
        at("Data age", "A", END, &[("", 0.0)]),
        at("Data age", "A", OUTAGE, &[("", 570.0)]),
        at(
            "Open calls by priority",
            "A",
            END,
            &[("priority=1", 1.0), ("priority=2", 2.0), ("priority=3", 2.0)],
        ),
        at(
            "New calls per hour",
            "A",
            60.0,
            &[
                ("priority=1", 1.0),
                ("priority=2", 2.0),
                ("priority=3", 1.0),
                ("priority=other", 0.0),
            ],
        ),
        at(
            "Pending and active calls",
            "A",
            END,
            &[("status=active", 3.0), ("status=pending", 2.0)],
        ),
        at("This week and last", "A", END, &[("", 5.0)]),
        at("This week and last", "B", END, &[("", hour_now + 1.0)]),
        at("Dispatch load", "A", END, &[("", 5.0)]),
        at(
            "Emergency and civil calls",
            "A",
            END,
            &[("kind=civil", 2.0), ("kind=emergency", 1.0)],
        ),
        at("Peak open calls", "A", END, &[("", 26.0)]),
    ]
}

/// The rows about response times and the mix of calls.
fn response_and_mix() -> Vec<Expectation> {
    vec![
        // Two of three pending calls in the first hour were taken within 120 s.
        at("Time to active", "A", 60.0, &[("", 90.0)]),
        at("Time to active", "B", 60.0, &[("", 162.0)]),
        at("Time to active", "A", 1.0, &[]),
        // A duration on the edge of a bucket can count in the bucket above.
        at("Call duration", "A", 60.0, &[("", 600.0)]),
        at("Call duration", "B", 60.0, &[("", 1440.0)]),
        // Seven waits: 60, 180, 90, 120, 360, 60 and 30 s. The one of 120 s can be up to 30 s shorter or longer, and counts
        // in the bucket above.
        at("Taken within 2 min", "A", END, &[("", 4.0 / 7.0)]),
        at("Taken within 2 min", "A", 1.0, &[]),
        at("Average wait", "A", END, &[("", 900.0 / 7.0)]),
        at("Average wait", "A", 1.0, &[]),
        at("Emergency calls cleared within 2 min", "A", END, &[("", 0.5)]),
        at("Emergency calls cleared within 2 min", "A", 1.0, &[]),
        at("Units attached", "A", END, &[("", 3.0)]),
        at(
            "Unassigned calls",
            "A",
            END,
            &[("priority=1", 1.0), ("priority=2", 1.0), ("priority=3", 0.0)],
        ),
        at("Units attached over time", "A", END, &[("", 3.0)]),
        at(
            "Calls by origin",
            "A",
            END,
            &[
                ("origin=caller", 5.0),
                ("origin=observed", 2.0),
                ("origin=other", 0.0),
                ("origin=radio_dispatch", 2.0),
                ("origin=walk_up", 1.0),
            ],
        ),
        at(
            "Calls by priority",
            "A",
            END,
            &[
                ("priority=1", 3.0),
                ("priority=2", 4.0),
                ("priority=3", 3.0),
                ("priority=other", 0.0),
            ],
        ),
        at(
            "Calls on the lines",
            "A",
            END,
            &[("kind=civil", 3.0), ("kind=emergency", 3.0)],
        ),
        at(
            "Calls on the lines",
            "B",
            END,
            &[("kind=civil", 1.0), ("kind=emergency", 2.0)],
        ),
    ]
}

fn exporter_health(requests: f64, retry: f64) -> Vec<Expectation> {
    let per_second = 4.0 / 120.0;
    vec![
        live("Exporters up", "A"),
        at("API reachable", "A", END, &[("", 1.0)]),
        at("API reachable", "A", OUTAGE, &[("", 0.0)]),
        at("Data age", "A", OUTAGE, &[("", 570.0)]),
        at("Request success", "A", END, &[("", 1.0 - 6.0 / requests)]),
        at("Errors", "A", END, &[("", 6.0)]),
        at(
            "Version",
            "A",
            END,
            &[(concat!("version=", env!("CARGO_PKG_VERSION")), 1.0)],
        ),
        at("Waiting until", "A", RATE_LIMIT, &[("", retry * 1000.0)]),
        at("Waiting until", "A", END, &[]),
        at("Configuration", "A", END, &[("", 1.0)]),
        live("Firing alerts", "A"),
        at("API reachable over time", "A", END, &[("server_id=1", 1.0)]),
        at("API reachable over time", "A", OUTAGE, &[("server_id=1", 0.0)]),
        at("Errors by error string", "A", 84.5, &[("error=HTTP 5XX", 1.0)]),
        at("Errors by error string", "A", END, &[]),
        at(
            "Top errors",
            "A",
            END,
            &[("error=HTTP 5XX", 5.0), ("error=RATE LIMITED", 1.0)],
        ),
        at("Requests and errors", "A", 84.5, &[("", per_second)]),
        at("Requests and errors", "B", 84.5, &[("", 2.0 / 120.0)]),
        // Every answer took 0.3 s, between the bounds 0.25 and 0.5.
        at("API latency", "A", END, &[("", 0.375)]),
        at("API latency", "B", END, &[("", 0.475)]),
        at("API latency", "C", END, &[("", 0.4975)]),
        at(
            "API latency, distribution",
            "A",
            END,
            &[
                ("le=+Inf", per_second),
                ("le=0.05", 0.0),
                ("le=0.1", 0.0),
                ("le=0.25", 0.0),
                ("le=0.5", per_second),
                ("le=1.0", per_second),
                ("le=10.0", per_second),
                ("le=2.5", per_second),
                ("le=5.0", per_second),
            ],
        ),
        at("API requests per minute", "A", END, &[("", 2.0)]),
        at("Data age and TTL", "A", OUTAGE, &[("server_id=1", 570.0)]),
        at("Data age and TTL", "B", END, &[("server_id=1", 25.0)]),
        // Every answer is scraped twice.
        at("Cache hit share", "A", END, &[("", 0.5)]),
        at(
            "Unreadable values",
            "A",
            END,
            &[
                ("field=call", 0.0),
                ("field=id", 0.0),
                ("field=origin", 1.0),
                ("field=priority", 0.0),
                ("field=status", 0.0),
                ("field=units", 0.0),
            ],
        ),
        at("Servers", "A", END, &[("server_id=1", 1.0)]),
        at("Servers", "B", OUTAGE, &[("server_id=1", 570.0)]),
        at("Servers", "C", END, &[("server_id=1", 25.0)]),
        at("Servers", "D", END, &[("server_id=1", 1843.0)]),
        at("Servers", "E", END, &[("name=Main,server_id=1", 1.0)]),
        live("CPU", "A"),
        live("Memory", "A"),
        live("File descriptors", "A"),
        live("File descriptors", "B"),
        live("Scrape duration", "A"),
        live("Samples per scrape", "A"),
        at("Restarts", "A", 30.0, &[("", 1.0)]),
        at("Restarts", "A", END, &[("", 0.0)]),
        at("Faults", "A", END, &[("", 0.0)]),
    ]
}

/// The panels about the invented weeks.
const OF_WEEKS: [&str; 3] = [
    "Typical open calls by hour",
    "Busy hours of the week",
    "Peak open calls",
];

/// A script that has been played, and the Prometheus with its samples.
struct Stage {
    prometheus: Prometheus,
    exporter: Running,
    /// When the script began, in Unix time.
    begin: f64,
    /// The requests that the CAD received during the script.
    requests: usize,
    _cad: Cad,
}

impl Stage {
    async fn set() -> Self {
        let now = Clock::system().now().unix.as_secs();
        let begin = Duration::from_secs(now - 7200);
        let clock = ManualClock::new(begin);
        let cad = Cad::start().await;
        let variables = [("SONORANCAD_API_VERSION", "v2"), ("SONORANCAD_SERVER_IDS", "1=Main")];
        let exporter = Running::start_with(&cad.url(), &variables, &Clock::Manual(clock.clone()));
        cad.keep_time(&clock, Duration::from_millis(300));
        let mut history = String::new();
        for step in 0..=240_u32 {
            move_to(&clock, begin + Duration::from_secs(30) * step);
            cad.answer(answer(f64::from(step) / 2.0));
            exporter.scrape().await;
            record(&mut history, &exporter, begin.as_secs_f64(), f64::from(step) * 30.0).await;
        }
        let requests = cad.requests().len();
        invent(&mut history, begin.as_secs_f64() + END * MINUTE);
        history.push_str("# EOF\n");

        let folder = tempdir().unwrap();
        let file = folder.path().join("history.txt");
        std::fs::write(&file, history).unwrap();
        let made = Command::new("promtool")
            .args([
                "tsdb",
                "create-blocks-from",
                "--quiet",
                "--max-block-duration=744h",
                "openmetrics",
            ])
            .args([&file, &folder.path().join("data")])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        tokio::spawn(async move {
            loop {
                move_to(&clock, Clock::system().now().unix);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let prometheus = Prometheus::start(folder, &config(&exporter));
        eventually("Prometheus has scraped", async || {
            let scraped = prometheus.query("count_over_time(up{job='sonorancad'}[1m]) > 5").await;
            let alerting = prometheus.query("ALERTS{alertstate='firing'}").await;
            !scraped.is_empty() && !alerting.is_empty()
        })
        .await;
        Self {
            prometheus,
            exporter,
            begin: begin.as_secs_f64(),
            requests,
            _cad: cad,
        }
    }

    fn time(&self, at: At) -> f64 {
        match at {
            At::Minute(minute) => self.begin + minute * MINUTE,
            At::Live => Clock::system().now().unix.as_secs_f64(),
        }
    }

    /// The result of an expression at a time: values by labels.
    async fn instant(&self, expr: &str, time: f64) -> Vec<(String, f64)> {
        let parameters = [("query", expr), ("time", &time.to_string())];
        let answer = self.prometheus.get("/api/v1/query", &parameters).await.unwrap();
        let series = succeeded(expr, &answer);
        let mut values: Vec<_> = series
            .iter()
            .map(|series| (labels(series), number(&series["value"][1])))
            .collect();
        values.sort_by(|one, other| one.0.cmp(&other.0));
        values
    }

    /// The result of an expression over time: values by labels.
    async fn range(&self, expr: &str, start: f64, end: f64, step: f64) -> BTreeMap<String, Vec<f64>> {
        let [start, end, step] = [start, end, step].map(|number| number.to_string());
        let parameters = [("query", expr), ("start", &start), ("end", &end), ("step", &step)];
        let answer = self.prometheus.get("/api/v1/query_range", &parameters).await.unwrap();
        let series = succeeded(expr, &answer);
        let values = |series: &Value| items(&series["values"]).map(|pair| number(&pair[1])).collect();
        series.iter().map(|series| (labels(series), values(series))).collect()
    }
}

/// The expression for one instance, or for all of them.
fn fill(expr: &str, instance: Option<&str>, range: &str, utc_offset: &str) -> String {
    expr.replace("$job", ".+")
        .replace("$instance", instance.unwrap_or(".+"))
        .replace("$community", ".*")
        .replace("$server_id", ".+")
        .replace("$__rate_interval", "2m")
        .replace("$__range", range)
        .replace("$utc_offset", utc_offset)
}

/// Prometheus scrapes the exporter, and others beside it: itself, and one that is down.
fn config(exporter: &Running) -> String {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let target = exporter.address;
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: ['{}/*.rules.yml']\n\
         scrape_configs:\n\
         - {{job_name: sonorancad, static_configs: [{{targets: ['{target}']}}]}}\n\
         - {{job_name: elsewhere, static_configs: [{{targets: ['127.0.0.1:1']}}]}}\n",
        rules.display()
    )
}

/// Adds the exporter's metrics as samples of a target with their time. After ten minutes it seems to have restarted.
async fn record(history: &mut String, exporter: &Running, begin: f64, second: f64) {
    let target = format!("job=\"sonorancad\",instance=\"{}\"", exporter.address);
    for line in exporter.scrape_as(OPEN_METRICS).await.lines() {
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let series = match series.split_once('{') {
            Some((name, labels)) => format!("{name}{{{target},{labels}"),
            None => format!("{series}{{{target}}}"),
        };
        let is_earlier_life = series.starts_with("process_start_time_seconds") && second < 600.0;
        let value = if is_earlier_life { "1000" } else { value };
        writeln!(history, "{series} {value} {}", begin + second).unwrap();
    }
}

/// New calls every five minutes in this hour of the week; Sunday is 0.
fn pace(day: f64, hour: f64) -> f64 {
    day * 24.0 + hour + 1.0
}

/// Day of the week and hour, of a Unix time.
fn day_and_hour(unix: f64) -> (f64, f64) {
    // 1970-01-01 was a Thursday.
    let day = ((unix / DAY).floor() + 4.0).rem_euclid(7.0);
    (day, (unix.rem_euclid(DAY) / HOUR).floor())
}

/// Adds 29 days of an exporter: as many open calls as the hour says and one more for each week that has passed, up to
/// three; and new calls at each hour's own pace.
fn invent(history: &mut String, end: f64) {
    let target = format!("job=\"sonorancad\",instance=\"{INVENTED}\",community=\"beta\",server_id=\"1\"");
    let mut time = ((end - 29.0 * DAY) / 300.0).floor() * 300.0;
    let mut opened = 0.0;
    while time <= end {
        let (day, hour) = day_and_hour(time - 1.0);
        opened += pace(day, hour);
        let (_, hour_now) = day_and_hour(time);
        let open = hour_now + ((end - time) / (7.0 * DAY)).floor().min(3.0);
        let calls = format!("{target},priority=\"2\",origin=\"caller\"");
        writeln!(history, "sonorancad_up{{{target}}} 1 {time}").unwrap();
        writeln!(
            history,
            "sonorancad_active_calls{{{calls},status=\"active\"}} {open} {time}"
        )
        .unwrap();
        writeln!(history, "sonorancad_calls_opened_total{{{calls}}} {opened} {time}").unwrap();
        time += 300.0;
    }
}

/// The series of a successful result without a warning.
fn succeeded(expr: &str, answer: &Value) -> Vec<Value> {
    assert_eq!(answer["status"], "success", "{expr}: {answer}");
    assert!(answer.get("warnings").is_none(), "{expr}: {answer}");
    answer["data"]["result"].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

/// The labels of a series without those of its target, in order.
fn labels(series: &Value) -> String {
    let labels = series["metric"].as_object().unwrap();
    let labels = labels
        .iter()
        .filter(|(name, _)| !["job", "instance"].contains(&name.as_str()));
    let mut labels: Vec<_> = labels
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap()))
        .collect();
    labels.sort();
    labels.join(",")
}

/// Within 2 %, or half a thousandth; Prometheus extrapolates increases to the edges of a range.
fn is_close(one: f64, other: f64) -> bool {
    (one.is_nan() && other.is_nan()) || (one - other).abs() <= 0.02 * other.abs() + 0.0005
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_the_values_that_the_script_implies() {
    if !has("prometheus", &["--version"]) || !has("promtool", &["--version"]) {
        return;
    }
    let stage = Stage::set().await;
    for (name, dashboard) in dashboards() {
        the_variables_list_what_there_is(&stage, &dashboard).await;
        the_annotations_are_right(&stage, &dashboard).await;
        every_target_is_answered(&stage, &dashboard).await;
        let requests = f64::from(u32::try_from(stage.requests).unwrap());
        let expectations = if name == "community-activity" {
            {
                let (_, hour) = day_and_hour(stage.time(At::Minute(END)));
                now_and_over_time(hour).into_iter().chain(response_and_mix()).collect()
            }
        } else {
            exporter_health(requests, stage.time(At::Minute(RATE_LIMIT)) + 50.3)
        };
        for panel in panels(&dashboard) {
            for target in items(&panel["targets"]) {
                the_values_are_right(&stage, panel, target, &expectations).await;
            }
        }
        if name == "community-activity" {
            the_weeks_are_right(&stage, &dashboard).await;
        }
    }
}

/// Every variable lists the existing values.
async fn the_variables_list_what_there_is(stage: &Stage, dashboard: &Value) {
    for (name, expected) in [
        ("job", vec!["sonorancad".to_owned()]),
        (
            "instance",
            vec![stage.exporter.address.to_string(), INVENTED.to_owned()],
        ),
        ("community", vec!["beta".to_owned()]),
        ("server_id", vec!["1".to_owned()]),
    ] {
        let variable = items(&dashboard["templating"]["list"])
            .find(|variable| variable["name"] == name)
            .unwrap();
        let query = text(&variable["query"], "query");
        let selector = query.strip_prefix("label_values(").unwrap();
        let selector = selector.strip_suffix(&format!(", {name})")).unwrap();
        let selector = fill(selector, None, "", "");
        let path = format!("/api/v1/label/{name}/values");
        let answer = stage.prometheus.get(&path, &[("match[]", &selector)]).await.unwrap();
        assert_eq!(answer["data"], json!(expected), "{name}");
    }
}

/// Annotations are at the times of the script, as Grafana computes them, and at no others.
async fn the_annotations_are_right(stage: &Stage, dashboard: &Value) {
    let end = stage.time(At::Live);
    let own = items(&dashboard["annotations"]["list"]).filter(|annotation| annotation["builtIn"] != 1);
    for (annotation, minutes) in own.zip([10.0, OUTAGE]) {
        let expr = fill(text(annotation, "expr"), None, "", "");
        let shown = stage.range(&expr, end - 3.0 * HOUR, end, 60.0).await;
        // Grafana shows no annotation for a value of 0.
        assert!(
            !shown.is_empty() && shown.values().flatten().all(|value| *value >= 1.0),
            "{expr}: {shown:?}"
        );
        assert_eq!(
            stage.instant(&expr, stage.time(At::Minute(minutes))).await.len(),
            1,
            "{expr}"
        );
        assert_eq!(
            stage.instant(&expr, stage.time(At::Minute(END))).await.len(),
            0,
            "{expr}"
        );
    }
}

/// Every target for all instances at once: a result, no warning, finite values.
async fn every_target_is_answered(stage: &Stage, dashboard: &Value) {
    let end = stage.time(At::Live);
    for panel in panels(dashboard) {
        for target in items(&panel["targets"]) {
            let expr = fill(text(target, "expr"), None, "3h", "0");
            let mut values: Vec<f64> = Vec::new();
            if target["instant"] == true {
                let answered = stage.instant(&expr, end).await;
                values.extend(answered.into_iter().map(|(_, value)| value));
            }
            if target["range"] == true {
                let is_hourly = panel["interval"] == "1h";
                // Grafana takes multiples of the step; what is live is seconds old, and would be missed by 30 s.
                let (begin, step) = if is_hourly {
                    (((end / HOUR).floor() - 3.0) * HOUR, HOUR)
                } else {
                    (end - 3.0 * HOUR, 30.0)
                };
                let series = stage.range(&expr, begin, end, step).await.into_values();
                if expr.contains("vector(NaN)") {
                    values.extend(series.filter_map(|values| values.last().copied()));
                } else {
                    values.extend(series.flatten());
                }
            }
            // Nothing to wait for, at the end of the script.
            let may_be_empty = panel["title"] == "Waiting until";
            assert!(!values.is_empty() || may_be_empty, "nothing for {expr}");
            assert!(values.iter().all(|value| value.is_finite()), "{expr}: {values:?}");
        }
    }
}

/// The values of a target at the times for which the script implies one.
async fn the_values_are_right(stage: &Stage, panel: &Value, target: &Value, expectations: &[Expectation]) {
    let (title, letter) = (text(panel, "title"), text(target, "refId"));
    let own: Vec<_> = expectations
        .iter()
        .filter(|Expectation(of, for_target, ..)| *of == title && *for_target == letter)
        .collect();
    assert!(
        !own.is_empty() || OF_WEEKS.contains(&title),
        "the script says nothing of {title} {letter}"
    );
    for Expectation(_, _, at, implied) in own {
        let is_invented = OF_WEEKS.contains(&title) || (title == "This week and last" && letter == "B");
        let instance = if is_invented {
            INVENTED.to_owned()
        } else {
            stage.exporter.address.to_string()
        };
        // Live, others are scraped beside the exporter, and must not be in the answer.
        let instance = matches!(at, At::Minute(_)).then_some(&*instance);
        let expr = fill(text(target, "expr"), instance, "3h", "0");
        let answered = stage.instant(&expr, stage.time(*at)).await;
        eprintln!(
            "| {title} {letter} | `{}` | {at:?}: {implied:?} | {answered:?} |",
            text(target, "expr")
        );
        match implied {
            Implied::Something if title == "Firing alerts" => assert!(!answered.is_empty()),
            Implied::Something if title == "Exporters up" => assert_eq!(answered, [(String::new(), 1.0)]),
            Implied::Something => {
                assert_eq!(answered.len(), 1, "{title} {letter}: {answered:?}");
                assert!(answered[0].1 >= 0.0, "{title} {letter}: {answered:?}");
            }
            Implied::Values(values) => {
                let is_right = values.len() == answered.len()
                    && values
                        .iter()
                        .zip(&answered)
                        .all(|(implied, found)| implied.0 == found.0 && is_close(found.1, implied.1));
                assert!(
                    is_right,
                    "{title} {letter} at {at:?}: {values:?} implied, {answered:?} answered"
                );
            }
        }
    }
}

/// The panels with a value for each hour of the day or of the week.
async fn the_weeks_are_right(stage: &Stage, dashboard: &Value) {
    let end = stage.time(At::Minute(END));
    for (title, utc_offset) in [
        (OF_WEEKS[0], "0"),
        (OF_WEEKS[0], "-5"),
        (OF_WEEKS[1], "0"),
        (OF_WEEKS[1], "10"),
    ] {
        let panel = panels(dashboard)
            .into_iter()
            .find(|panel| panel["title"] == title)
            .unwrap();
        let expr = fill(text(&panel["targets"][0], "expr"), Some(INVENTED), "", utc_offset);
        let answered: BTreeMap<_, _> = stage.instant(&expr, end).await.into_iter().collect();
        let offset: f64 = utc_offset.parse().unwrap();
        let mut implied = BTreeMap::new();
        for hour in 0..24_u8 {
            for day in 0..7_u8 {
                let local = f64::from(day) * 24.0 + f64::from(hour);
                let utc = (local - offset).rem_euclid(168.0);
                let (utc_day, utc_hour) = ((utc / 24.0).floor(), utc.rem_euclid(24.0));
                if title == OF_WEEKS[0] {
                    // Over four weeks: 0, 1, 2 and 3 more.
                    implied.insert(format!("hour={hour:02}"), utc_hour + 1.5);
                } else {
                    implied.insert(format!("day={day},hour={hour:02}"), 12.0 * pace(utc_day, utc_hour));
                }
            }
        }
        assert_eq!(
            answered.keys().collect::<Vec<_>>(),
            implied.keys().collect::<Vec<_>>(),
            "{expr}"
        );
        let mut worst: f64 = 0.0;
        for (labels, mean) in &answered {
            let difference = (mean - implied[labels]).abs();
            worst = worst.max(difference);
            // The first minute of the next hour is in the average too.
            assert!(
                difference <= 0.4 + 0.001 * implied[labels],
                "{title}: {labels} {mean}, not {}",
                implied[labels]
            );
        }
        let text = text(&panel["targets"][0], "expr");
        eprintln!(
            "| {title}, UTC{utc_offset:+} | `{text}` | {} values of the calendar | off by {worst:.3} at most |",
            implied.len()
        );
    }
}
