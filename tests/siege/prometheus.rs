//! The output in other programs: a real Prometheus, promtool, and Python's OpenMetrics parser.

use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{OPEN_METRICS, Running, eventually};
use crate::support::tools::{Prometheus, complaints, has};

/// Reads OpenMetrics strictly, and prints the number of samples.
const PARSE: &str = "import sys\n\
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
        print(sum(len(family.samples) for family in parse(sys.stdin.read())))";

/// Every golden file, and its name.
fn situations() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/situations");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = paths
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap()))
        .collect();
    assert_eq!(files.len(), 10);
    files
}

/// An exporter that has read a busy community.
async fn busy() -> (Cad, Running) {
    let cad = Cad::start().await;
    cad.answer(Answer::ok(include_str!("../fixtures/busy_v2.json")));
    let exporter = Running::start(
        &cad,
        &[("SONORANCAD_API_VERSION", "v2"), ("SONORANCAD_SERVER_IDS", "1=Main")],
    );
    (cad, exporter)
}

#[tokio::test]
async fn promtool_accepts_the_text_format() {
    if !has("promtool", &["--version"]) {
        return;
    }
    let (_cad, exporter) = busy().await;
    let mut texts = situations();
    texts.push(("live".to_owned(), exporter.scrape().await));
    for (name, text) in texts {
        assert_eq!(
            complaints(Command::new("promtool").args(["check", "metrics"]), &text),
            "",
            "{name}"
        );
    }
}

#[tokio::test]
async fn pythons_parser_accepts_openmetrics() {
    if !has("python3", &["-c", "import prometheus_client"]) {
        return;
    }
    let (cad, one) = busy().await;
    let several = Running::start(&cad, &[("SONORANCAD_SERVER_IDS", "1=Main,2=Events,3=Training")]);
    for (name, exporter) in [("one server", one), ("several servers", several)] {
        let text = exporter.scrape_as(OPEN_METRICS).await;
        let samples = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(
            complaints(Command::new("python3").args(["-c", PARSE]), &text),
            format!("{samples}\n"),
            "{name}"
        );
    }
    // The tool does find a mistake.
    assert!(
        complaints(
            Command::new("python3").args(["-c", PARSE]),
            "# TYPE a counter\na 1\n# EOF\n"
        )
        .contains("Error")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_it() {
    if !has("prometheus", &["--version"]) {
        return;
    }
    let (cad, exporter) = busy().await;
    let address = exporter.address;
    let prometheus = Prometheus::start(
        tempdir().unwrap(),
        &format!(
            "scrape_configs:\n- job_name: sonorancad\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  static_configs:\n  - targets: ['{address}']\n"
        ),
    );
    eventually("Prometheus has data", async || {
        !prometheus.query("sonorancad_cache_hits_total > 1").await.is_empty()
    })
    .await;
    for (query, expected) in [
        ("up", 1.0),
        ("sonorancad_up", 1.0),
        ("sum(sonorancad_active_calls)", 5.0),
        ("sum(sonorancad_active_calls{status=~'pending|active'})", 4.0),
        (
            "sonorancad_active_calls{priority='1',status='pending',origin='caller'}",
            1.0,
        ),
        ("sonorancad_emergency_calls{kind='emergency'}", 2.0),
        ("sum(sonorancad_unassigned_calls)", 1.0),
        ("sonorancad_attached_units", 5.0),
        ("sonorancad_closed_calls_stored", 1843.0),
        ("sum(sonorancad_unreadable_values)", 0.0),
        ("sonorancad_api_requests_total{api_endpoint='calls'}", 1.0),
        ("sum(sonorancad_api_errors_total)", 0.0),
        ("sonorancad_api_request_duration_seconds_bucket{le='+Inf'}", 1.0),
        ("sonorancad_cache_ttl_seconds", 25.0),
        ("sonorancad_server_info{name='Main'}", 1.0),
        ("count(sonorancad_exporter_build_info)", 1.0),
        ("count(process_start_time_seconds < time())", 1.0),
        ("count(time() - sonorancad_last_success_timestamp_seconds < 60)", 1.0),
    ] {
        assert_eq!(prometheus.query(query).await, [expected], "{query}");
    }
    let metadata = prometheus.get("/api/v1/metadata", &[]).await.unwrap();
    for (family, kind) in [
        ("sonorancad_active_calls", "gauge"),
        ("sonorancad_server", "info"),
        ("sonorancad_api_request_duration_seconds", "histogram"),
    ] {
        assert_eq!(metadata["data"][family][0]["type"], kind, "{family}");
    }
    assert_eq!(cad.requests().len(), 1, "many scrapes, one request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_discovers_the_communities() {
    if !has("prometheus", &["--version"]) {
        return;
    }
    let cad = Cad::start().await;
    cad.answer(Answer::ok(include_str!("../fixtures/busy_v1.json")));
    let folder = tempdir().unwrap();
    let file = folder.path().join("communities.yml");
    let url = cad.url();
    let communities = format!(
        "blaine: {{community_id: x, api_key: k, api_url: '{url}'}}\nsandy: {{community_id: y, api_key: l, api_url: '{url}'}}\n"
    );
    std::fs::write(&file, communities).unwrap();
    let exporter = Running::start(&cad, &[("SONORANCAD_COMMUNITIES_FILE", file.to_str().unwrap())]);
    // As it is shipped, but for the address and the times.
    let shipped =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/prometheus.yml")).unwrap();
    let config = shipped
        .replace("exporter:10911", &exporter.address.to_string())
        .replace("30s", "1s")
        .replace("- sonorancad.rules.yml", "")
        .replace("/sd\n", "/sd\n        refresh_interval: 1s\n");
    let prometheus = Prometheus::start(folder, &config);
    eventually("Prometheus has scraped all three", async || {
        prometheus.query("count(sonorancad_up{job='sonorancad'} == 1)").await == [3.0]
    })
    .await;
    for (query, expected) in [
        ("count(up{job='sonorancad'} == 1)", 3.0),
        ("sum(sonorancad_active_calls{community='blaine'})", 5.0),
        ("count(sonorancad_exporter_build_info)", 1.0),
        ("count(sonorancad_up{community=''})", 1.0),
    ] {
        assert_eq!(prometheus.query(query).await, [expected], "{query}");
    }
}
