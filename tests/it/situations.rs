//! One golden file per situation: the whole text of `/metrics`.
//!
//! The file has the text format on API version v1. Every situation is also played on v2, which adds one family at most,
//! and in OpenMetrics, which has the same samples. `UPDATE_GOLDEN=1 cargo test` rewrites the files; check what
//! changed.

use std::path::PathBuf;
use std::time::Duration;

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{OPEN_METRICS, Running};

/// Both versions' answers to the same state of the CAD.
struct Answers {
    v1: Answer,
    v2: Answer,
}

fn busy() -> Answers {
    Answers {
        v1: Answer::ok(include_str!("../fixtures/busy_v1.json")),
        v2: Answer::ok(include_str!("../fixtures/busy_v2.json")),
    }
}

fn odd() -> Answers {
    Answers {
        v1: Answer::ok(include_str!("../fixtures/odd_v1.json")),
        v2: Answer::ok(include_str!("../fixtures/odd_v2.json")),
    }
}

fn empty() -> Answers {
    Answers {
        v1: Answer::ok(r#"{"activeCalls":[],"emergencyCalls":[],"closedCalls":[]}"#),
        v2: Answer::ok(r#"{"ActiveCalls":[],"EmergencyCalls":[],"ClosedCalls":[],"ClosedCallCount":0}"#),
    }
}

fn key_rejected() -> Answers {
    Answers {
        v1: Answer::status(400, &[], "INVALID API KEY"),
        v2: Answer::problem(401, r#"{"title":"Unauthorized","status":401,"traceId":"00-abc"}"#),
    }
}

fn rate_limited() -> Answers {
    let answer = Answer::status(
        429,
        &[("Retry-After", "90")],
        r#"{"message":"API rate limit exceeded","request_id":"9457"}"#,
    );
    Answers {
        v1: answer.clone(),
        v2: answer,
    }
}

fn broken() -> Answers {
    let answer = Answer::status(502, &[("Content-Type", "text/html")], "<html>Bad gateway</html>");
    Answers {
        v1: answer.clone(),
        v2: answer,
    }
}

/// The steps of a situation: the seconds that pass, and the CAD's answer to the scrape after them.
type Steps = Vec<(u64, Answers)>;

#[tokio::test]
async fn busy_community() {
    play("busy_community", "1=Main", vec![(0, busy())]).await;
}

#[tokio::test]
async fn quiet_community() {
    play("quiet_community", "1", vec![(0, empty())]).await;
}

#[tokio::test]
async fn odd_values() {
    play("odd_values", "1", vec![(0, odd())]).await;
}

#[tokio::test]
async fn key_rejected_at_the_start() {
    play("key_rejected", "1", vec![(0, key_rejected())]).await;
}

#[tokio::test]
async fn rate_limited_while_busy() {
    play("rate_limited", "1", vec![(0, busy()), (30, rate_limited())]).await;
}

#[tokio::test]
async fn api_down_for_a_minute() {
    play(
        "api_down_for_a_minute",
        "1",
        vec![(0, busy()), (30, broken()), (30, broken())],
    )
    .await;
}

#[tokio::test]
async fn api_down_for_long() {
    play(
        "api_down_for_long",
        "1",
        vec![(0, busy()), (30, broken()), (91, broken())],
    )
    .await;
}

#[tokio::test]
async fn api_well_again() {
    play("api_well_again", "1", vec![(0, broken()), (30, busy())]).await;
}

#[tokio::test]
async fn two_servers() {
    play("two_servers", "2=Events,10", vec![(0, busy())]).await;
}

/// Without a golden file, which would repeat that of two servers.
#[tokio::test]
async fn both_formats_name_every_one_of_several_servers() {
    let steps = vec![(0, busy()), (120, busy())];
    let mut texts = Vec::new();
    for accept in ["text/plain", OPEN_METRICS] {
        texts.push(last_scrape("v1", "1=Main,2=Events,3=Training", &steps, accept).await);
    }
    assert_eq!(samples(&texts[0]), samples(&texts[1]));
    for text in &texts {
        for info in [
            r#"{server_id="1",name="Main",api_version="v1"} 1"#,
            r#"{server_id="2",name="Events",api_version="v1"} 1"#,
            r#"{server_id="3",name="Training",api_version="v1"} 1"#,
        ] {
            assert!(text.contains(&format!("sonorancad_server_info{info}\n")), "{text}");
        }
    }
}

/// A target's own labels win over the metrics', which Prometheus then renames to `exported_…`.
#[tokio::test]
async fn no_label_is_one_that_targets_commonly_have() {
    let taken = [
        "job",
        "instance",
        "endpoint",
        "service",
        "pod",
        "namespace",
        "container",
        "node",
    ];
    for accept in ["text/plain", OPEN_METRICS] {
        let text = last_scrape("v2", "1=Main,2=Events", &vec![(0, odd()), (30, broken())], accept).await;
        for sample in samples(&text) {
            for label in taken {
                let is_used = [format!("{{{label}=\""), format!(",{label}=\"")]
                    .iter()
                    .any(|start| sample.contains(start));
                assert!(!is_used, "{sample}");
            }
        }
    }
}

#[tokio::test]
async fn calls_that_come_and_go() {
    let call = |id, status| format!(r#"{{"callId":{id},"priority":2,"status":{status},"origin":1,"idents":[]}}"#);
    let answers = |active: &[String], emergency: &str, closed: &[String]| {
        let body = |active_key: &str, emergency_key: &str, closed_key: &str| {
            let (active, closed) = (active.join(","), closed.join(","));
            format!(r#"{{"{active_key}":[{active}],"{emergency_key}":[{emergency}],"{closed_key}":[{closed}]}}"#)
        };
        Answers {
            v1: Answer::ok(&body("activeCalls", "emergencyCalls", "closedCalls")),
            v2: Answer::ok(&body("ActiveCalls", "EmergencyCalls", "ClosedCalls")),
        }
    };
    let on_the_line = r#"{"callId":1,"isEmergency":true}"#;
    let steps = vec![
        (0, answers(&[call(10, 1)], "", &[call(9, 2)])),
        (30, answers(&[call(10, 1), call(11, 0)], on_the_line, &[call(9, 2)])),
        (30, answers(&[call(10, 1), call(11, 0)], on_the_line, &[call(9, 2)])),
        // 11 is taken; 12 came and went unseen; 10 closed; the emergency call is answered.
        (30, answers(&[call(11, 1)], "", &[call(12, 2), call(10, 2), call(9, 2)])),
        (
            30,
            answers(&[call(13, 0)], "", &[call(11, 2), call(12, 2), call(10, 2)]),
        ),
    ];
    play("calls_that_come_and_go", "1", steps).await;
}

/// Plays the steps, and compares the last scrape with the golden file `name`.
async fn play(name: &str, server_ids: &str, steps: Steps) {
    let v1 = last_scrape("v1", server_ids, &steps, "text/plain").await;
    assert_golden(&format!("{name}.prom"), &v1);
    let v2 = last_scrape("v2", server_ids, &steps, "text/plain").await;
    let v2_as_v1 = v2.replace("api_version=\"v2\"", "api_version=\"v1\"");
    if name == "key_rejected" {
        // The versions reject a key with different errors.
        let (v1, v2) = (without_errors(&v1), without_errors(&v2_as_v1));
        assert_eq!(v1, v2, "v1 and v2 differ");
    } else {
        assert_eq!(lines(&v1), without_closed_calls_stored(&v2_as_v1), "v1 and v2 differ");
    }
    for (version, text) in [("v1", v1), ("v2", v2)] {
        let open_metrics = last_scrape(version, server_ids, &steps, OPEN_METRICS).await;
        assert_eq!(
            samples(&text),
            samples(&open_metrics),
            "the formats differ on {version}"
        );
        assert!(open_metrics.ends_with("\n# EOF\n"), "{open_metrics}");
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// The lines of the samples, in order.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

/// The lines without the family that only version v2 of the API reports.
fn without_closed_calls_stored(text: &str) -> Vec<&str> {
    let is_of_family = |line: &&str| line.contains("sonorancad_closed_calls_stored");
    text.lines().filter(|line| !is_of_family(line)).collect()
}

/// The lines without the counts of errors.
fn without_errors(text: &str) -> Vec<&str> {
    let is_error = |line: &&str| line.starts_with("sonorancad_api_errors_total{");
    text.lines().filter(|line| !is_error(line)).collect()
}

async fn last_scrape(version: &str, server_ids: &str, steps: &Steps, accept: &str) -> String {
    let cad = Cad::start().await;
    let variables = [
        ("SONORANCAD_API_VERSION", version),
        ("SONORANCAD_SERVER_IDS", server_ids),
        // The versions differ in their default.
        ("SONORANCAD_REQUESTS_PER_MINUTE", "3"),
    ];
    let (exporter, clock) = Running::start_at_noon(&cad, &variables);
    let mut text = String::new();
    for (seconds, answers) in steps {
        clock.advance(Duration::from_secs(*seconds));
        cad.answer(if version == "v1" {
            answers.v1.clone()
        } else {
            answers.v2.clone()
        });
        text = exporter.scrape_as(accept).await;
    }
    without_process(&text)
}

/// The text without the parts that differ from run to run.
fn without_process(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        if line.starts_with("process_") || line.starts_with("# HELP process_") || line.starts_with("# TYPE process_") {
            continue;
        }
        lines.push(if line.starts_with("sonorancad_exporter_build_info{") {
            "sonorancad_exporter_build_info{version=\"VERSION\",revision=\"REVISION\"} 1".to_owned()
        } else {
            line.to_owned()
        });
    }
    lines.join("\n") + "\n"
}

#[track_caller]
fn assert_golden(file: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/situations")
        .join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{file} differs\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}
