//! Rules for the dashboard files, so that they work in every Grafana.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use promql_parser::label::MatchOp;
use promql_parser::parser::{self, AggregateExpr, Expr, LabelModifier, MatrixSelector, Offset, VectorSelector};
use serde_json::{Value, json};

use super::{dashboards, interval, items, looks, matcher, metric, panels, text, walk};
use crate::support::cad::{Answer, Cad};
use crate::support::exporter::Running;

/// Values for Grafana's duration variables that occur nowhere else.
const RATE_INTERVAL: Duration = Duration::from_secs(61);
const RANGE: Duration = Duration::from_secs(7777);
const HOUR: Duration = Duration::from_secs(3600);

/// Metrics that Prometheus itself records about a target.
const OF_PROMETHEUS: [&str; 3] = ["up", "scrape_duration_seconds", "scrape_samples_scraped"];

/// The labels by which the variables choose series; the last two are those of a server.
const OF_EVERY_SERIES: [&str; 4] = ["job", "instance", "community", "server_id"];

/// Labels that Prometheus, the configuration or a query adds.
const ADDED_LABELS: [&str; 9] = [
    "job",
    "severity",
    "instance",
    "community",
    "le",
    "alertname",
    "alertstate",
    "hour",
    "day",
];

const PANEL_TYPES: [&str; 8] = [
    "stat",
    "timeseries",
    "bargauge",
    "table",
    "state-timeline",
    "heatmap",
    "piechart",
    "text",
];

/// The colour of each label value, which is the same on every panel.
const COLOURS: [(&str, &str); 20] = [
    ("Priority 1", "red"),
    ("Priority 2", "orange"),
    ("Priority 3", "blue"),
    ("Priority other", "semi-dark-purple"),
    ("pending", "yellow"),
    ("active", "green"),
    ("emergency", "#e02f7b"),
    ("civil", "#3fb5b5"),
    ("Emergency, came", "#e02f7b"),
    ("Civil, came", "#3fb5b5"),
    ("police", "semi-dark-blue"),
    ("fire", "semi-dark-red"),
    ("ems", "#3fb5b5"),
    ("available", "green"),
    ("Available", "green"),
    ("busy", "yellow"),
    ("Busy", "dark-yellow"),
    ("enroute", "blue"),
    ("on_scene", "semi-dark-purple"),
    ("HTTP 5XX", "red"),
];

/// The metrics of the exporter.
struct Vocabulary {
    /// The type of every family.
    types: BTreeMap<String, String>,
    /// The labels of every family.
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Vocabulary {
    /// The metrics of an exporter whose API reports everything that it can.
    async fn read() -> Self {
        let cad = Cad::start().await;
        cad.answer(Answer::ok(include_str!("../../fixtures/busy_v2.json")));
        cad.answer_units(Answer::ok(r#"[{"id":1,"status":2,"data":{"page":0}}]"#));
        let more = [
            ("SONORANCAD_API_VERSION", "v2"),
            ("SONORANCAD_SERVER_IDS", "1=Main"),
            ("SONORANCAD_COLLECT", "calls,units"),
            ("SONORANCAD_CALL_CODES", "10-50"),
            ("SONORANCAD_DEPARTMENTS", "LSPD"),
        ];
        let exporter = Running::start(&cad, &more);
        let exposition = exporter.scrape().await;
        let mut vocabulary = Self {
            types: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        // Only replicas have it.
        let shared = "sonorancad_shared_state_up".to_owned();
        vocabulary.types.insert(shared.clone(), "gauge".to_owned());
        vocabulary.labels.insert(shared, BTreeSet::new());
        let mut family = String::new();
        for line in exposition.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                name.clone_into(&mut family);
                vocabulary.types.insert(family.clone(), kind.to_owned());
            } else if !line.starts_with('#') {
                let labels = line.split_once('{').map_or("", |(_, rest)| rest);
                let labels = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
                let known = vocabulary.labels.entry(family.clone()).or_default();
                known.extend(labels.map(|(name, _)| name.to_owned()));
            }
        }
        vocabulary
    }

    /// The family of a sample's name, and whether it is a counter.
    fn family(&self, sample: &str) -> Option<(&str, bool)> {
        if let Some((family, kind)) = self.types.get_key_value(sample) {
            return (kind != "histogram").then_some((family, kind == "counter"));
        }
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|ending| sample.strip_suffix(ending))?;
        let (family, kind) = self.types.get_key_value(family)?;
        (kind == "histogram").then_some((family, true))
    }

    fn has_label(&self, label: &str) -> bool {
        ADDED_LABELS.contains(&label) || self.labels.values().any(|labels| labels.contains(label))
    }
}

/// A query: a panel's target or an annotation.
struct Query<'a> {
    /// For a person: the panel's title and the target's letter.
    name: String,
    expr: &'a str,
    is_instant: bool,
    /// The least step.
    interval: &'a str,
}

fn queries(dashboard: &Value) -> Vec<Query<'_>> {
    let mut queries = Vec::new();
    for panel in panels(dashboard) {
        for target in items(&panel["targets"]) {
            queries.push(Query {
                name: format!("{} {}", text(panel, "title"), text(target, "refId")),
                expr: text(target, "expr"),
                is_instant: target["instant"] == true,
                interval: interval(panel, target),
            });
        }
    }
    for annotation in own_annotations(dashboard) {
        queries.push(Query {
            name: format!("annotation {}", text(annotation, "name")),
            expr: text(annotation, "expr"),
            is_instant: false,
            interval: "",
        });
    }
    queries
}

/// The annotations without Grafana's own.
fn own_annotations(dashboard: &Value) -> impl Iterator<Item = &Value> {
    items(&dashboard["annotations"]["list"]).filter(|annotation| annotation["builtIn"] != 1)
}

/// The expression, with the variables that are not inside a matcher filled in.
fn parse(expr: &str) -> Result<Expr, String> {
    let filled = expr
        .replace("$__rate_interval", "61s")
        .replace("$__interval", "31s")
        .replace("$__range_s", "7777")
        .replace("$__range", "7777s")
        .replace("$utc_offset", "0");
    parser::parse(&filled)
}

/// The faults of a dashboard: every rule that it breaks.
fn faults(dashboard: &Value, vocabulary: &Vocabulary) -> Vec<String> {
    let mut faults = looks::faults(dashboard);
    check_top(dashboard, &mut faults);
    check_variables(dashboard, &mut faults);
    check_layout(dashboard, &mut faults);
    check_data_sources(dashboard, &mut faults);
    for panel in panels(dashboard) {
        check_panel(panel, &mut faults);
    }
    for query in queries(dashboard) {
        let mut said = Vec::new();
        match parse(query.expr) {
            Ok(expr) => check_query(&query, &expr, vocabulary, &mut said),
            Err(error) => said.push(format!("cannot be parsed: {error}")),
        }
        faults.extend(said.into_iter().map(|fault| format!("{}: {fault}", query.name)));
    }
    faults
}

fn check_top(dashboard: &Value, faults: &mut Vec<String>) {
    let expected = json!({
        "id": null, "schemaVersion": 39, "tags": ["sonorancad", "prometheus"], "timezone": "browser",
        "graphTooltip": 1,
    });
    for (key, value) in expected.as_object().unwrap() {
        if dashboard.get(key) != Some(value) {
            faults.push(format!("{key} is not {value}"));
        }
    }
    for key in ["__inputs", "dashboard", "meta"] {
        if dashboard.get(key).is_some() {
            faults.push(format!("has {key}, which an export or the API adds"));
        }
    }
    if !text(dashboard, "uid").starts_with("sonorancad-") || text(dashboard, "title").is_empty() {
        faults.push("has no readable uid or title".to_owned());
    }
    let links = items(&dashboard["links"]).any(|link| {
        link["type"] == "dashboards"
            && link["tags"] == json!(["sonorancad"])
            && link["includeVars"] == true
            && link["keepTime"] == true
    });
    if !links {
        faults.push("has no link to its sister".to_owned());
    }
    let names: Vec<_> = own_annotations(dashboard)
        .map(|annotation| text(annotation, "name"))
        .collect();
    if names != ["Exporter restarts", "API down"] {
        faults.push("lacks an annotation".to_owned());
    }
}

fn check_variables(dashboard: &Value, faults: &mut Vec<String>) {
    let variables: BTreeMap<_, _> = items(&dashboard["templating"]["list"])
        .map(|variable| (text(variable, "name"), variable))
        .collect();
    let source = variables.get("datasource").copied().unwrap_or(&Value::Null);
    if source["type"] != "datasource" || source["query"] != "prometheus" || source["label"] != "Data source" {
        faults.push("variable datasource does not choose a Prometheus".to_owned());
    }
    for (name, all) in [
        ("job", ".+"),
        ("instance", ".+"),
        ("community", ".*"),
        ("server_id", ".+"),
    ] {
        let variable = variables.get(name).copied().unwrap_or(&Value::Null);
        let query = text(&variable["query"], "query");
        let is_right = query.starts_with("label_values(sonorancad_up")
            && query.ends_with(&format!(", {name})"))
            && variable["multi"] == true
            && variable["includeAll"] == true
            && variable["allValue"] == all
            && variable["refresh"] == 2;
        if !is_right {
            faults.push(format!("variable {name} is not as all dashboards have it"));
        }
    }
    for variable in variables.values() {
        if !text(variable, "label").starts_with(char::is_uppercase) {
            faults.push(format!(
                "variable {} has no label in title case",
                text(variable, "name")
            ));
        }
    }
}

fn check_layout(dashboard: &Value, faults: &mut Vec<String>) {
    let mut ids = BTreeSet::new();
    let top: Vec<_> = items(&dashboard["panels"]).collect();
    for panel in top
        .iter()
        .flat_map(|panel| std::iter::once(*panel).chain(items(&panel["panels"])))
    {
        if !ids.insert(panel["id"].as_u64()) {
            faults.push(format!("{}: its id is not its own", text(panel, "title")));
        }
    }
    for row in top.iter().filter(|panel| panel["type"] == "row") {
        let inside = items(&row["panels"]).count();
        if (row["collapsed"] == true) != (inside > 0) {
            faults.push(format!("{}: only a collapsed row holds its panels", text(row, "title")));
        }
        check_overlap(&items(&row["panels"]).collect::<Vec<_>>(), faults);
    }
    check_overlap(&top, faults);
}

/// Panels stay within 24 columns and do not overlap.
fn check_overlap(panels: &[&Value], faults: &mut Vec<String>) {
    let position = |panel: &Value| ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap_or(99));
    for (index, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = position(panel);
        if w == 0 || h == 0 || x + w > 24 {
            faults.push(format!("{}: outside of 24 columns", text(panel, "title")));
        }
        for other in &panels[..index] {
            let [x2, y2, w2, h2] = position(other);
            if x < x2 + w2 && x2 < x + w && y < y2 + h2 && y2 < y + h {
                faults.push(format!("{}: overlaps {}", text(panel, "title"), text(other, "title")));
            }
        }
    }
}

fn check_data_sources(dashboard: &Value, faults: &mut Vec<String>) {
    let mut check = |what: &Value, name: &str| {
        if what["datasource"] != json!({"type": "prometheus", "uid": "${datasource}"}) {
            faults.push(format!("{name}: its data source is not the variable's"));
        }
    };
    for panel in panels(dashboard).into_iter().filter(|panel| panel["type"] != "text") {
        check(panel, text(panel, "title"));
        for target in items(&panel["targets"]) {
            check(target, text(panel, "title"));
        }
    }
    let variables = items(&dashboard["templating"]["list"]).filter(|variable| variable["type"] == "query");
    for named in variables.chain(own_annotations(dashboard)) {
        check(named, text(named, "name"));
    }
}

fn check_panel(panel: &Value, faults: &mut Vec<String>) {
    let mut said = Vec::new();
    let kind = text(panel, "type");
    if !PANEL_TYPES.contains(&kind) {
        said.push(format!("{kind} is not a panel of Grafana's core"));
    }
    if text(panel, "title").is_empty() || text(panel, "description").len() < 40 {
        said.push("has no title, or no description that helps".to_owned());
    }
    let defaults = &panel["fieldConfig"]["defaults"];
    let unit = if kind == "heatmap" {
        text(&panel["options"]["yAxis"], "unit")
    } else {
        text(defaults, "unit")
    };
    if unit.is_empty() {
        said.push("has no unit".to_owned());
    }
    if kind != "heatmap" && text(defaults, "noValue").is_empty() {
        said.push("does not say what no value means".to_owned());
    }
    let counts = items(&panel["targets"]).any(|target| {
        let expr = text(target, "expr");
        let is_share = [" / ", "histogram_quantile", "avg_over_time"]
            .iter()
            .any(|part| expr.contains(part));
        expr.contains("increase(") && !is_share
    });
    if counts && defaults["decimals"] != 0 {
        said.push("shows parts of what it counts".to_owned());
    }
    for override_ in items(&panel["fieldConfig"]["overrides"]) {
        let colour = items(&override_["properties"]).find(|property| property["id"] == "color");
        let expected = COLOURS
            .iter()
            .find(|(name, _)| override_["matcher"]["options"] == *name);
        if let (Some(colour), Some((name, expected))) = (colour, expected)
            && colour["value"]["fixedColor"] != *expected
        {
            said.push(format!("{name} is not {expected}"));
        }
    }
    check_priorities(panel, &mut said);
    faults.extend(
        said.into_iter()
            .map(|fault| format!("{}: {fault}", text(panel, "title"))),
    );
}

/// Each priority has its colour, unless thresholds give one to its value.
fn check_priorities(panel: &Value, faults: &mut Vec<String>) {
    let shows = items(&panel["targets"]).any(|target| text(target, "legendFormat").contains("Priority"));
    let has_colour = |(name, _): &(&str, &str)| {
        items(&panel["fieldConfig"]["overrides"])
            .filter(|change| change["matcher"]["options"] == *name)
            .flat_map(|change| items(&change["properties"]))
            .any(|changed| changed["id"] == "color")
    };
    let by_value = panel["fieldConfig"]["defaults"]["color"]["mode"] == "thresholds";
    if shows && !by_value && !COLOURS[..4].iter().all(has_colour) {
        faults.push("leaves the colour of a priority to chance".to_owned());
    }
}

fn check_query(query: &Query<'_>, expr: &Expr, vocabulary: &Vocabulary, faults: &mut Vec<String>) {
    walk(expr, &mut Vec::new(), &mut |part, around| match part {
        Expr::VectorSelector(selector) => check_selector(query, selector, None, around, vocabulary, faults),
        Expr::MatrixSelector(MatrixSelector { vs, range }) => {
            check_selector(query, vs, Some(*range), around, vocabulary, faults);
        }
        Expr::Binary(binary) if binary.op.to_string() == "/" && !is_never_zero(&binary.rhs) => {
            faults.push("divides by what may be zero".to_owned());
        }
        Expr::Aggregate(aggregate) if merges_exporters(aggregate) => {
            faults.push("merges the servers of two exporters".to_owned());
        }
        _ => {}
    });
}

/// Whether one may divide by the expression.
fn is_never_zero(expr: &Expr) -> bool {
    let is_number = |expr: &Expr, fits: fn(f64) -> bool| matches!(expr, Expr::NumberLiteral(found) if fits(found.val));
    match expr {
        Expr::NumberLiteral(_) => true,
        Expr::Paren(paren) => match &*paren.expr {
            Expr::Binary(inner) => inner.op.to_string() == ">" && is_number(&inner.rhs, |zero| zero == 0.0),
            _ => false,
        },
        Expr::Call(call) => {
            let least = call.args.args.last();
            call.func.name == "clamp_min" && least.is_some_and(|least| is_number(least, |least| least > 0.0))
        }
        _ => false,
    }
}

/// Whether the servers with one number of two exporters become one: without communities, only the instance differs.
fn merges_exporters(aggregate: &AggregateExpr) -> bool {
    let Some(LabelModifier::Include(by)) = &aggregate.modifier else {
        return false;
    };
    let has = |label: &str| by.labels.iter().any(|by| by == label);
    (has("server_id") || has("community")) && !has("instance")
}

fn check_selector(
    query: &Query<'_>,
    selector: &VectorSelector,
    range: Option<Duration>,
    around: &[&Expr],
    vocabulary: &Vocabulary,
    faults: &mut Vec<String>,
) {
    let name = metric(selector);
    for matcher in &selector.matchers.matchers {
        if !vocabulary.has_label(&matcher.name) {
            faults.push(format!("nothing has the label {}", matcher.name));
        }
        let is_bucket = matches!(&matcher.op, MatchOp::Re(_)) && matcher.value.ends_with(r"(\.0)?");
        if matcher.name == "le" && !is_bucket {
            faults.push("a bucket is named in one of two spellings only".to_owned());
        }
    }
    if name == "ALERTS" {
        check_alerts(selector, faults);
        return;
    }
    let (has_server, counts) = match vocabulary.family(name) {
        Some((family, counts)) => (vocabulary.labels[family].contains("server_id"), counts),
        None if OF_PROMETHEUS.contains(&name) => (false, false),
        None => {
            faults.push(format!("nothing exposes {name}"));
            return;
        }
    };
    for label in &OF_EVERY_SERIES[..if has_server { 4 } else { 2 }] {
        let is_there = matcher(selector, label)
            .is_some_and(|found| matches!(found.op, MatchOp::Re(_)) && found.value == format!("${label}"));
        if !is_there {
            faults.push(format!("{name} lacks {label}=~\"${label}\""));
        }
    }
    check_range(query, selector, range, around, counts, faults);
}

/// An alert has only some of the labels.
fn check_alerts(selector: &VectorSelector, faults: &mut Vec<String>) {
    for label in OF_EVERY_SERIES {
        let follows = matcher(selector, label).is_some_and(|found| found.value == format!("${label}|"));
        if !follows {
            faults.push(format!("ALERTS lacks {label}=~\"${label}|\""));
        }
    }
}

/// What counts is shown as its increase or rate, over a range that fits the chart.
fn check_range(
    query: &Query<'_>,
    selector: &VectorSelector,
    range: Option<Duration>,
    around: &[&Expr],
    counts: bool,
    faults: &mut Vec<String>,
) {
    let name = metric(selector);
    let function = match around.last() {
        Some(Expr::Call(call)) if range.is_some() => call.func.name,
        _ => "",
    };
    if counts && !["rate", "irate", "increase", "changes"].contains(&function) {
        faults.push(format!("{name} counts, and is shown raw"));
    }
    if !counts && ["rate", "irate", "increase"].contains(&function) {
        faults.push(format!("{name} does not count, and is in {function}"));
    }
    let is_right = match function {
        "rate" | "irate" => range == Some(RATE_INTERVAL),
        "increase" if range == Some(RANGE) => query.is_instant,
        // Without a least interval, a chart shows the same error in several bars.
        "increase" if range == Some(RATE_INTERVAL) => !query.interval.is_empty(),
        // By the hour: within an average, or of a chart, from its bar on, so that the running hour is there too, or before
        // each moment.
        "increase" if is_hourly(around) => range == Some(HOUR),
        "increase" => {
            let from_its_bar = matches!(selector.offset, Some(Offset::Neg(HOUR)));
            let before_each_moment = selector.offset.is_none() && query.interval.is_empty() && !query.is_instant;
            range == Some(HOUR) && (before_each_moment || query.interval == "1h" && from_its_bar)
        }
        _ => true,
    };
    if !is_right {
        faults.push(format!("{function} of {name} is over a range that does not fit"));
    }
}

/// Whether the expression averages values that are an hour apart.
fn is_hourly(around: &[&Expr]) -> bool {
    around
        .iter()
        .any(|part| matches!(part, Expr::Subquery(subquery) if subquery.step == Some(HOUR)))
}

/// The metrics that a dashboard or an alert file queries.
fn asked_for(exprs: &[String]) -> BTreeSet<String> {
    let mut asked = BTreeSet::new();
    for expr in exprs {
        let expr = parse(expr).unwrap();
        walk(&expr, &mut Vec::new(), &mut |part, _| match part {
            Expr::VectorSelector(selector) => drop(asked.insert(metric(selector).to_owned())),
            Expr::MatrixSelector(matrix) => drop(asked.insert(metric(&matrix.vs).to_owned())),
            _ => {}
        });
    }
    asked
}

/// Families that nothing queries.
fn unseen(exprs: &[String], vocabulary: &Vocabulary) -> Vec<String> {
    let asked = asked_for(exprs);
    let seen: BTreeSet<_> = asked
        .iter()
        .filter_map(|name| vocabulary.family(name))
        .map(|(family, _)| family)
        .collect();
    let families = vocabulary.types.keys();
    families
        .filter(|family| !seen.contains(family.as_str()))
        .cloned()
        .collect()
}

fn all_exprs() -> Vec<String> {
    let dashboards = dashboards();
    let queries = dashboards.iter().flat_map(|(_, dashboard)| queries(dashboard));
    queries.map(|query| query.expr.to_owned()).collect()
}

#[tokio::test]
async fn the_dashboards_keep_every_rule() {
    let vocabulary = Vocabulary::read().await;
    for (name, dashboard) in dashboards() {
        assert_eq!(faults(&dashboard, &vocabulary), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn every_family_is_on_a_dashboard() {
    let vocabulary = Vocabulary::read().await;
    assert_eq!(unseen(&all_exprs(), &vocabulary), [""; 0]);
    let fewer: Vec<_> = all_exprs()
        .into_iter()
        .filter(|expr| !expr.contains("sonorancad_attached_units"))
        .collect();
    assert_eq!(unseen(&fewer, &vocabulary), ["sonorancad_attached_units"]);
}

#[test]
fn every_panel_is_described() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dashboards.md");
    let page = std::fs::read_to_string(path).unwrap();
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let title = format!("| {} |", text(panel, "title"));
            assert!(page.contains(&title), "{name}: {title} is not in docs/dashboards.md");
        }
    }
}

/// The first panel with this title.
pub(super) fn panel<'a>(dashboard: &'a mut Value, title: &str) -> &'a mut Value {
    let mut found = dashboard["panels"]
        .as_array_mut()
        .unwrap()
        .iter_mut()
        .flat_map(|panel| {
            if panel["type"] == "row" {
                panel["panels"].as_array_mut().unwrap().iter_mut().collect()
            } else {
                vec![panel]
            }
        });
    found.find(|panel| panel["title"] == title).unwrap()
}

/// Replaces a part of the panel's first expression.
fn rewrite(dashboard: &mut Value, title: &str, from: &str, to: &str) {
    let expr = &mut panel(dashboard, title)["targets"][0]["expr"];
    let changed = expr.as_str().unwrap().replacen(from, to, 1);
    assert_ne!(*expr, json!(changed), "{from} is not in {title}");
    *expr = json!(changed);
}

#[track_caller]
fn assert_found(dashboard: &Value, vocabulary: &Vocabulary, fault: &str) {
    let found = faults(dashboard, vocabulary);
    assert!(
        found.iter().any(|found| found.contains(fault)),
        "{fault} is not in {found:?}"
    );
}

/// A wrong value, at a JSON pointer in the dashboard or, after its title, in a panel.
#[tokio::test]
async fn a_wrong_value_is_found() {
    let vocabulary = Vocabulary::read().await;
    let sound = dashboards().remove(0).1;
    for (fault, title, pointer, value) in [
        ("id is not null", "", "/id", json!(7)),
        ("schemaVersion is not 39", "", "/schemaVersion", json!(38)),
        ("has no readable uid", "", "/uid", json!("a1b2c3")),
        ("no link to its sister", "", "/links/0/includeVars", json!(false)),
        ("lacks an annotation", "", "/annotations/list/2/name", json!("Noise")),
        ("variable datasource", "", "/templating/list/0/query", json!("loki")),
        (
            "variable community is not",
            "",
            "/templating/list/3/allValue",
            json!(".+"),
        ),
        (
            "no label in title case",
            "",
            "/templating/list/5/label",
            json!("offset"),
        ),
        ("only a collapsed row", "", "/panels/0/collapsed", json!(true)),
        (
            "its data source",
            "",
            "/annotations/list/1/datasource/uid",
            json!("abc"),
        ),
        ("its data source", "", "/templating/list/1/datasource/uid", json!("abc")),
        ("its data source", "New calls", "/datasource/uid", json!("abc")),
        (
            "its data source",
            "New calls",
            "/targets/0/datasource/uid",
            json!("abc"),
        ),
        ("its id is not its own", "New calls", "/id", json!(2)),
        ("overlaps", "Pending calls", "/gridPos/x", json!(5)),
        ("outside of 24 columns", "New calls", "/gridPos/w", json!(9)),
        ("not a panel of Grafana's core", "New calls", "/type", json!("clock")),
        (
            "no description that helps",
            "New calls",
            "/description",
            json!("Calls."),
        ),
        ("has no unit", "New calls", "/fieldConfig/defaults/unit", json!("")),
        (
            "what no value means",
            "New calls",
            "/fieldConfig/defaults/noValue",
            json!(""),
        ),
        (
            "parts of what it counts",
            "New calls",
            "/fieldConfig/defaults/decimals",
            json!(1),
        ),
        (
            "leaves the colour",
            "Calls by priority",
            "/fieldConfig/overrides",
            json!([]),
        ),
        (
            "Priority 1 is not red",
            "Calls by priority",
            "/fieldConfig/overrides/0/properties/0/value/fixedColor",
            json!("green"),
        ),
        (
            "a range that does not fit",
            "New calls",
            "/targets/0/instant",
            json!(false),
        ),
        (
            "a range that does not fit",
            "New calls per hour",
            "/targets/0/interval",
            json!("5m"),
        ),
    ] {
        let mut board = sound.clone();
        let within = if title.is_empty() {
            &mut board
        } else {
            panel(&mut board, title)
        };
        *within.pointer_mut(pointer).unwrap() = value;
        assert_found(&board, &vocabulary, fault);
    }
    let mut exported = sound.clone();
    exported["__inputs"] = json!([]);
    assert_found(&exported, &vocabulary, "has __inputs");
}

/// A wrong query: in the panel's first expression, one text is replaced by another.
#[tokio::test]
async fn a_wrong_query_is_found() {
    let vocabulary = Vocabulary::read().await;
    let sound = dashboards().remove(0).1;
    for (fault, title, from, to) in [
        ("cannot be parsed", "Pending calls", "sum(", "sum(("),
        (
            "nothing exposes sonorancad_active_cals",
            "Pending calls",
            "calls",
            "cals",
        ),
        (
            "nothing exposes sonorancad_call_wait",
            "Taken within 2 min",
            "_bucket",
            "",
        ),
        ("nothing has the label state", "Pending calls", "status=", "state="),
        ("lacks server_id", "Pending calls", ",server_id=~\"$server_id\"", ""),
        ("lacks job", "Pending calls", "job=~", "job="),
        ("counts, and is shown raw", "New calls", "increase", "sum_over_time"),
        (
            "does not count, and is in increase",
            "New calls",
            "calls_opened_total",
            "active_calls",
        ),
        ("a range that does not fit", "New calls per hour", "[1h]", "[5m]"),
        ("a range that does not fit", "New calls per hour", " offset -1h", ""),
        ("divides by what may be zero", "Average wait", " > 0)", ")"),
        ("one of two spellings", "Taken within 2 min", "(\\\\.0)?", ""),
    ] {
        let mut board = sound.clone();
        rewrite(&mut board, title, from, to);
        assert_found(&board, &vocabulary, fault);
    }
    let mut health = dashboards().remove(1).1;
    rewrite(&mut health, "Firing alerts", "$instance|", "$instance");
    assert_found(&health, &vocabulary, "ALERTS lacks instance");
    rewrite(&mut health, "API requests per minute", "job, instance, ", "job, ");
    assert_found(&health, &vocabulary, "merges the servers of two exporters");
    // Collapsed rows are looked into as well.
    rewrite(&mut health, "CPU", "job=~\"$job\",", "");
    assert_found(&health, &vocabulary, "process_cpu_seconds_total lacks job");
}
