//! Whatever the API answers: no panic, a bounded number of series, and output that parses.

use std::sync::Arc;
use std::time::Duration;

use openmetrics_parser::openmetrics::parse_openmetrics;
use openmetrics_parser::prometheus::parse_prometheus;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sonorancad_exporter::client::decode_snapshot;
use sonorancad_exporter::clock::Clock;
use sonorancad_exporter::community::{Counts, Report, ServerReport};
use sonorancad_exporter::exposition::{Format, render};
use sonorancad_exporter::tracker::Tracker;

/// All combinations of the labels' values, "other" included, for one server: gauges of calls, counters
/// and histograms (8 bounds each) of their lives, and errors and single ones.
const MOST_SERIES: usize = (4 * 4 * 5 + 2 + 4 + 1 + 1 + 4 + 4 + 2) + (2 * 4 * 5 + 2 * 2) + (8 + 3) * (2 * 4 + 2) + 60;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..6).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-3]( |\\.0)?".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((any_key(), inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Mostly keys that mean something.
fn any_key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "activeCalls", "ActiveCalls", "emergencyCalls", "EmergencyCalls", "closedCalls", "ClosedCalls",
            "ClosedCallCount", "callId", "priority", "status", "origin", "idents", "units", "isEmergency", "title",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

/// An answer with lists where they belong, so that most of them are read.
fn any_answer() -> impl Strategy<Value = Value> {
    let list = || prop::collection::vec(any_json(), 0..8);
    (list(), list(), any_json())
        .prop_map(|(active, emergency, count)| json!({"activeCalls": active, "EmergencyCalls": emergency, "ClosedCallCount": count}))
}

/// What a scrape says after this body.
fn scrape(body: &[u8], format: Format) -> String {
    let snapshot = decode_snapshot(body).ok().map(Arc::new);
    let mut tracker = Tracker::new(Duration::from_secs(25));
    if let Some(snapshot) = &snapshot {
        tracker.observe(snapshot, Clock::System.now());
    }
    let server = ServerReport {
        id: "1".to_owned(),
        name: None,
        is_up: true,
        snapshot,
        lifecycles: tracker.lifecycles().clone(),
        last_success: None,
        retry_at: None,
        failure: None,
        ttl: Duration::from_secs(25),
        counts: Counts::default(),
    };
    render(
        &Arc::new(Report {
            servers: vec![server],
            at: Clock::System.now(),
            exporter: None,
        }),
        format,
    )
    .unwrap()
}

fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let classic = scrape(body, Format::Text);
    let series = classic.lines().filter(|line| !line.starts_with('#')).count();
    prop_assert!(series <= MOST_SERIES, "{} series", series);
    prop_assert!(parse_prometheus(&classic).is_ok(), "{}", classic);
    let open_metrics = scrape(body, Format::OpenMetrics);
    prop_assert!(
        parse_openmetrics(&open_metrics).is_ok(),
        "{:?}\n{}",
        parse_openmetrics(&open_metrics).err(),
        open_metrics
    );
    Ok(())
}

proptest! {
    #[test]
    fn any_json_can_be_answered(json in any_json()) {
        check(json.to_string().as_bytes())?;
    }

    #[test]
    fn any_list_of_anything_can_be_answered(json in any_answer()) {
        let body = json.to_string();
        prop_assert!(decode_snapshot(body.as_bytes()).is_ok());
        check(body.as_bytes())?;
    }

    #[test]
    fn any_bytes_can_be_answered(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        check(&bytes)?;
    }

    #[test]
    fn no_part_of_an_answer_is_taken_for_the_whole(json in any_answer(), cut in 0.0..1.0) {
        let body = json.to_string();
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a place in a short text")]
        let end = (body.len() as f64 * cut) as usize;
        prop_assert!(decode_snapshot(&body.as_bytes()[..end]).is_err());
    }

    #[test]
    fn every_call_is_counted_once(items in prop::collection::vec(any_json(), 0..16)) {
        let body = json!({"activeCalls": items}).to_string();
        let text = scrape(body.as_bytes(), Format::Text);
        let sum: f64 = text
            .lines()
            .filter(|line| line.starts_with("sonorancad_active_calls{") || line.contains("field=\"call\""))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        prop_assert_eq!(sum, f64::from(u32::try_from(items.len()).unwrap()));
    }
}
