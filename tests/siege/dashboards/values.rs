//! Every query of the dashboards, run by a real Prometheus, with the results that a script implies.
//!
//! The exporter reads two hours of a scripted CAD on a manual clock. Its metrics, every 30 s, become
//! blocks of a Prometheus, which then goes on scraping the same exporter. Two more instances are invented: one with 29
//! days, for the panels that look back for weeks and for those about units, and one that has stopped.
//! `cargo test --test siege every_panel -- --nocapture` prints a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sonorancad_exporter::clock::{Clock, ManualClock};
use tempfile::tempdir;

use super::expected::{At, Expectation, Implied, Of, community, dispatch, health};
use super::invented::{GONE, INVENTED, OF_WEEKS, invent, typical};
use super::{dashboards, interval, items, panels, text};
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{OPEN_METRICS, Running, eventually, move_to};
use crate::support::tools::{Prometheus, has};

pub(super) const MINUTE: f64 = 60.0;
pub(super) const HOUR: f64 = 3600.0;

/// The script's last minute, which is the present.
pub(super) const END: f64 = 120.0;

/// The minute at which a rate limit begins; it lasts for 50 s.
pub(super) const RATE_LIMIT: f64 = 78.0;

/// Within the outage, when all values have been gone for five minutes: blocks that are made of text hold no marks of
/// staleness, which a scraping Prometheus adds at once.
pub(super) const OUTAGE: f64 = 93.0;

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
        // Not at a full minute: the edges of what averages by the minute would be in it twice, or once.
        let begin = Duration::from_secs(now - 7200 - u64::from(now.is_multiple_of(60)));
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
        .replace("$__interval", "30s")
        .replace("$__range_s", &seconds(range))
        .replace("$__range", range)
        .replace("$utc_offset", utc_offset)
}

/// A range in which no full hour may begin.
const SHORT: &str = "30m";

/// The range in which a target shows something.
fn range_of(target: &Value) -> &'static str {
    if text(target, "expr").contains("vector($__range_s) < 3600") {
        SHORT
    } else {
        "3h"
    }
}

/// The seconds of a range: hours, or minutes.
fn seconds(range: &str) -> String {
    let number = |unit| range.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok());
    let hours = number('h').map(|hours| hours * 3600);
    hours
        .or(number('m').map(|minutes| minutes * 60))
        .unwrap_or_default()
        .to_string()
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
    writeln!(history, "up{{{target}}} 1 {}", begin + second).unwrap();
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

/// The labels of a series without its name and those of its target, in order.
fn labels(series: &Value) -> String {
    let labels = series["metric"].as_object().unwrap();
    let labels = labels
        .iter()
        .filter(|(name, _)| !["job", "instance", "where", "__name__"].contains(&name.as_str()));
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
        let expectations = match name {
            "community-activity" => community(stage.time(At::Minute(END))),
            "dispatch-board" => dispatch(stage.time(At::Minute(END))),
            _ => {
                let requests = f64::from(u32::try_from(stage.requests).unwrap());
                health(requests, stage.time(At::Minute(RATE_LIMIT)) + 50.3)
            }
        };
        for panel in panels(&dashboard) {
            for target in items(&panel["targets"]) {
                the_values_are_right(&stage, panel, target, &expectations).await;
            }
        }
        if name == "community-activity" {
            the_weeks_are_right(&stage, &dashboard).await;
            a_fresh_start_looks_alive(&stage, &dashboard).await;
        }
    }
}

/// Every variable lists the existing values.
async fn the_variables_list_what_there_is(stage: &Stage, dashboard: &Value) {
    for (name, expected) in [
        ("job", vec!["sonorancad".to_owned()]),
        (
            "instance",
            vec![stage.exporter.address.to_string(), GONE.to_owned(), INVENTED.to_owned()],
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
            let expr = fill(text(target, "expr"), None, range_of(target), "0");
            let mut values: Vec<f64> = Vec::new();
            if target["instant"] == true {
                // What Prometheus itself records is there now, what is invented ends with the script.
                for at in [At::Minute(END), At::Live] {
                    let answered = stage.instant(&expr, stage.time(at)).await;
                    values.extend(answered.into_iter().map(|(_, value)| value));
                }
            }
            if target["range"] == true {
                let is_hourly = interval(panel, target) == "1h";
                // Grafana takes multiples of the step; what is live is seconds old, and would be missed by 30 s.
                let (begin, step) = if is_hourly {
                    (((end / HOUR).floor() - 3.0) * HOUR, HOUR)
                } else {
                    (end - 3.0 * HOUR, 30.0)
                };
                let series = stage.range(&expr, begin, end, step).await.into_values();
                values.extend(series.flatten());
            }
            // No error at the end of the script.
            let may_be_empty = expr.contains("topk by");
            assert!(!values.is_empty() || may_be_empty, "nothing for {expr}");
            assert!(
                values
                    .iter()
                    .all(|value| value.is_finite() || expr.contains("vector(NaN)")),
                "{expr}: {values:?}"
            );
        }
    }
}

/// The values of a target at the times for which the script implies one.
async fn the_values_are_right(stage: &Stage, panel: &Value, target: &Value, expectations: &[Expectation]) {
    let (title, letter) = (text(panel, "title"), text(target, "refId"));
    let own: Vec<_> = expectations
        .iter()
        .filter(|expected| expected.title == title && expected.target == letter)
        .collect();
    assert!(
        !own.is_empty() || OF_WEEKS.contains(&title),
        "the script says nothing of {title} {letter}"
    );
    for Expectation { of, at, implied, .. } in own {
        let address = stage.exporter.address.to_string();
        let instance = match (at, of) {
            // Others are scraped beside the exporter, and must not be in the answer.
            (At::Live, _) | (_, Of::All) => None,
            (_, Of::Exporter) => Some(&*address),
            (_, Of::Invented) => Some(INVENTED),
            (_, Of::Gone) => Some(GONE),
        };
        let expr = fill(text(target, "expr"), instance, range_of(target), "0");
        let answered = stage.instant(&expr, stage.time(*at)).await;
        eprintln!(
            "| {title} {letter} | `{}` | {at:?}: {implied:?} | {answered:?} |",
            text(target, "expr")
        );
        match implied {
            Implied::Something if title == "Firing alerts" => assert!(!answered.is_empty()),
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
        (OF_WEEKS[2], "0"),
        (OF_WEEKS[2], "3"),
    ] {
        let panel = panels(dashboard)
            .into_iter()
            .find(|panel| panel["title"] == title)
            .unwrap();
        let expr = fill(text(&panel["targets"][0], "expr"), Some(INVENTED), "", utc_offset);
        let answered: BTreeMap<_, _> = stage.instant(&expr, end).await.into_iter().collect();
        let implied = typical(title, utc_offset.parse().unwrap());
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

/// Five minutes after the first scrape, with the range that the board opens with, every panel about the present and
/// about the time shown has something to show.
async fn a_fresh_start_looks_alive(stage: &Stage, dashboard: &Value) {
    let end = stage.time(At::Minute(5.0));
    let instance = stage.exporter.address.to_string();
    let rows =
        items(&dashboard["panels"]).take_while(|panel| panel["title"] != "Units on duty" || panel["type"] != "row");
    for panel in rows {
        for target in items(&panel["targets"]) {
            let range = if range_of(target) == SHORT { SHORT } else { "6h" };
            let expr = fill(text(target, "expr"), Some(&instance), range, "0");
            // The exporter of the script does not collect units, and has no week before.
            if ["sonorancad_units", "sonorancad_dispatchers", "offset 1w"]
                .iter()
                .any(|part| expr.contains(part))
            {
                continue;
            }
            let step = if interval(panel, target) == "1h" { HOUR } else { MINUTE };
            let end = (end / step).floor() * step;
            let is_alive = if target["instant"] == true {
                !stage.instant(&expr, end).await.is_empty()
            } else {
                !stage.range(&expr, end - 6.0 * HOUR, end, step).await.is_empty()
            };
            assert!(is_alive, "{} {expr}", text(panel, "title"));
        }
    }
}
