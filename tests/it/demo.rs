//! The routes of the simulated CAD: units in both versions, and a version v1 that is switched off.

use serde_json::{Value, json};
use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::demo::{API_KEY, COMMUNITY_ID};

use crate::support::exporter::{NOON, http};
use crate::support::simulated;

/// Noon, for good: nothing happens between two requests.
fn noon() -> Clock {
    Clock::Manual(ManualClock::new(NOON))
}

fn count(units: &Value, is: impl Fn(&Value) -> bool) -> usize {
    units.as_array().unwrap().iter().filter(|unit| is(unit)).count()
}

fn is_dispatcher(unit: &Value) -> bool {
    unit["isDispatch"] == true || unit["data"]["page"] == 3
}

#[tokio::test]
async fn v1_lists_dispatchers_and_units_that_are_offline_when_asked_to() {
    let (cad, url) = simulated::start(1, 180, 2, &noon()).await;
    let ask = async |data: Value| -> Value {
        let body = json!({"id": COMMUNITY_ID, "key": API_KEY, "type": "GET_ACTIVE_UNITS", "data": [data]});
        let url = format!("{url}/emergency/get_active_units");
        let answer = http().post(url).body(body.to_string()).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    };
    let all = ask(json!({"serverId": 1, "onlyUnits": false, "includeOffline": false, "limit": 100, "offset": 0})).await;
    assert_eq!(
        all,
        serde_json::from_str::<Value>(&cad.units(1, 100, 0).unwrap()).unwrap()
    );
    assert_eq!(count(&all, is_dispatcher), 3);
    assert_eq!(count(&ask(json!({})).await, is_dispatcher), 0);
    let offline = ask(json!({"includeOffline": true, "limit": 1000})).await;
    assert_eq!(offline.as_array().unwrap().len(), 100);
    assert!(count(&offline, |unit| unit["status"] == 100) > 20);
    assert_eq!(ask(json!({"serverId": 3})).await, json!([]));
    assert_eq!(ask(json!({"offset": 1000})).await, json!([]));
}

#[tokio::test]
async fn v2_lists_the_same_with_places_and_has_a_limit_for_units() {
    let (cad, url) = simulated::start(1, 180, 1, &noon()).await;
    let ask = async |what: &str| {
        let request = http()
            .get(format!("{url}/v2/emergency/servers/1/{what}"))
            .bearer_auth(API_KEY);
        request.send().await.unwrap()
    };
    let answer = ask("units?includeOffline=false&onlyUnits=false&limit=100&offset=0").await;
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    let units: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let v1: Value = serde_json::from_str(&cad.units(1, 100, 0).unwrap()).unwrap();
    let ids = |units: &Value| -> Vec<Value> {
        let units = units.as_array().unwrap();
        units.iter().map(|unit| unit["id"].clone()).collect()
    };
    assert_eq!(ids(&units), ids(&v1));
    assert!(count(&units, |unit| unit["coordinates"]["x"].is_number()) > 20);
    // The game server took one of three.
    assert_eq!(ask("units").await.status(), 200);
    assert_eq!(ask("units").await.status(), 429);
    assert_eq!(ask("calls").await.status(), 200);
    let refused = http()
        .get(format!("{url}/v2/emergency/servers/1/units"))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
}

#[tokio::test]
async fn a_version_that_is_switched_off_still_answers_but_with_nothing() {
    let (_, url) = simulated::start_without_v1(1, 180, 1, &noon()).await;
    for path in [
        "emergency/get_calls",
        "emergency/get_active_units",
        "general/get_servers",
    ] {
        let answer = http().post(format!("{url}/{path}")).body("{}").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), "Sonoran CAD: Backend Service Reached");
    }
    let calls = http()
        .get(format!("{url}/v2/emergency/servers/1/calls"))
        .bearer_auth(API_KEY);
    assert_eq!(calls.send().await.unwrap().status(), 200);
}
