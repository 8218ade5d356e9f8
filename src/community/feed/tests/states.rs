//! What replicas write for each other is read by later versions of the exporter.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;
use crate::client::Units;
use crate::clock::with_reference;

/// A feed that has seen two answers and a failure, 90 s later.
async fn feed_of<E: Endpoint>(answers: [&str; 2]) -> (Arc<Feed<E>>, Now) {
    let fixture = Fixture::new("1", "12");
    let source = fixture.feeds[0].source.clone();
    let plans = fixture.feeds[0].state.lock().plans;
    let feed = Arc::new(Feed::<E>::new(source, plans));
    let decode = |answer: &str| E::decode(answer.as_bytes(), &LabelTexts::default());
    let outcomes = answers.map(decode).into_iter().chain([Err(FetchError::Unauthorized)]);
    for outcome in outcomes {
        fixture.pass(30);
        let outcome = Mutex::new(Some(outcome));
        let fetch = move |_| {
            let outcome = outcome.lock().take().expect("one page is asked for");
            async { outcome }
        };
        feed.join_or_start_with(fetch).unwrap().changed().await.unwrap();
    }
    (feed, Clock::Manual(fixture.clock).now())
}

async fn calls() -> (Arc<Feed<Calls>>, Now) {
    feed_of([
        r#"{"activeCalls":[{"callId":1,"priority":1,"status":0,"origin":0,"code":"10-50"},
            {"callId":2,"priority":3,"status":1,"origin":2,"idents":[4]}],
            "emergencyCalls":[{"callId":7,"isEmergency":true}],"closedCalls":[]}"#,
        r#"{"activeCalls":[{"callId":1,"priority":1,"status":1,"origin":0,"idents":[4]},
            {"callId":3,"priority":2,"status":0,"origin":1}],
            "emergencyCalls":[],"closedCalls":[{"callId":2,"priority":3,"origin":2}]}"#,
    ])
    .await
}

async fn units() -> (Arc<Feed<Units>>, Now) {
    feed_of([
        r#"[{"id":1,"status":2,"data":{"page":0}},{"id":2,"status":3,"data":{"page":1}}]"#,
        r#"[{"id":2,"status":4,"isPanic":true,"data":{"page":1}},{"id":3,"status":1,"data":{"page":2}}]"#,
    ])
    .await
}

fn write<E: Endpoint>((feed, now): &(Arc<Feed<E>>, Now)) -> Value {
    let mut state = with_reference(*now, || serde_json::to_value(&feed.state.lock().known)).unwrap();
    // Other texts and more names of errors are no other format.
    state["counts"]["errors"] = json!({"UNAUTHORIZED": state["counts"]["errors"]["UNAUTHORIZED"]});
    state["failure"]["advice"] = "some".into();
    state["failure"]["reason"] = "some".into();
    state
}

fn read<E: Endpoint>(state: Value, now: Now) -> Known<E> {
    with_reference(now, || serde_json::from_value(state)).unwrap()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/states")
        .join(name)
}

fn golden(name: &str) -> Value {
    serde_json::from_slice(&fs::read(file(name)).unwrap()).unwrap()
}

#[tokio::test]
async fn states_are_written_in_format_1() {
    for (name, state) in [
        ("calls_1.json", write(&calls().await)),
        ("units_1.json", write(&units().await)),
    ] {
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(file(name), format!("{state:#}\n")).unwrap();
        }
        assert_eq!(
            state,
            golden(name),
            "{name}: replicas of two versions run side by side. If the older one cannot read this, raise FORMAT in \
             account/shared/feed, keep this file, read it still, and add one of the new format"
        );
    }
}

#[tokio::test]
async fn states_of_format_1_are_read() {
    let later = Clock::Manual(ManualClock::new(Duration::from_secs(1_795_400_000))).now();
    let known = read::<Calls>(golden("calls_1.json"), later);
    let stats = known.tracker.stats();
    assert_eq!(stats.opened[Priority::Two][Origin::RadioDispatch], 1);
    assert_eq!(stats.closed[Priority::Three][Origin::Observed], 1);
    assert_eq!(known.counts.requests, 3);
    assert_eq!(known.failure.unwrap().label, "UNAUTHORIZED");
    let (now, snapshot) = (later, known.cache.fetched_at().unwrap());
    assert_eq!(now.unix_at(snapshot.instant), Duration::from_secs(1_795_392_060));
    let known = read::<Units>(golden("units_1.json"), later);
    assert_eq!(known.counts.requests, 3);
    assert_eq!(known.tracker.stats().signed_on.values().sum::<u64>(), 1);
}

#[test]
fn what_a_later_version_adds_is_ignored() {
    let now = Clock::Manual(ManualClock::new(Duration::from_secs(1_795_392_090))).now();
    let before = golden("calls_1.json");
    let mut added = before.clone();
    for part in [
        "",
        "/cache",
        "/counts",
        "/tracker",
        "/tracker/dispatch",
        "/tracker/stats",
    ] {
        added.pointer_mut(part).unwrap()["of_a_later_version"] = json!([1]);
    }
    let known = read::<Calls>(added, now);
    assert_eq!(with_reference(now, || serde_json::to_value(&known)).unwrap(), before);
}
