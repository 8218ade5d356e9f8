//! The simulated answers, as the API's versions write them.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::server::{Call, EmergencyCall, Server};

/// What calls are about, by priority: title, and 10-code.
const TITLES: [[(&str, &str); 4]; 3] = [
    [
        ("Armed Robbery", "10-31"),
        ("Structure Fire", "10-70"),
        ("Shots Fired", "10-71"),
        ("Officer Down", "10-99"),
    ],
    [
        ("Traffic Accident", "10-50"),
        ("Burglary", "10-62"),
        ("Medical Emergency", "10-52"),
        ("Pursuit", "10-80"),
    ],
    [
        ("Traffic Stop", "10-38"),
        ("Welfare Check", "10-25"),
        ("Noise Complaint", "10-24"),
        ("Parking Problem", "10-54"),
    ],
];

const PLACES: [&str; 6] = [
    "Vespucci Boulevard",
    "Mission Row",
    "Innocence Boulevard",
    "Alta Street",
    "Route 68",
    "Great Ocean Highway",
];

/// The answer of version v1; empty lists for a server that does not exist.
pub(super) fn v1(server: Option<&Server>, closed_limit: usize, closed_offset: usize) -> String {
    let [active, emergency, closed] = lists(server, closed_limit, closed_offset);
    json!({"activeCalls": active, "emergencyCalls": emergency, "closedCalls": closed}).to_string()
}

/// The answer of version v2.
pub(super) fn v2(server: &Server, closed_limit: usize, closed_offset: usize) -> String {
    let [active, emergency, closed] = lists(Some(server), closed_limit, closed_offset);
    json!({
        "ActiveCalls": active,
        "EmergencyCalls": emergency,
        "ClosedCalls": closed,
        "ClosedCallCount": server.closed().len(),
    })
    .to_string()
}

fn lists(server: Option<&Server>, closed_limit: usize, closed_offset: usize) -> [Vec<Value>; 3] {
    let servers = || server.into_iter();
    [
        servers().flat_map(Server::active).map(dispatch_call).collect(),
        servers().flat_map(Server::emergency).map(emergency_call).collect(),
        servers()
            .flat_map(|server| server.closed().iter().skip(closed_offset).take(closed_limit))
            .map(dispatch_call)
            .collect(),
    ]
}

fn dispatch_call(call: &Call) -> Value {
    let (title, code) = pick(&TITLES[call.priority - 1], call.id);
    let primary = call.units.first().map_or(-1, |unit| i64::from(*unit));
    json!({
        "callId": call.id,
        "origin": call.origin,
        "status": call.status as u8,
        "priority": call.priority,
        "block": "",
        "address": pick(&PLACES, call.id),
        "postal": (8000 + call.id % 1000).to_string(),
        "title": title,
        "code": code,
        "primary": primary,
        "trackPrimary": false,
        "description": title,
        "notes": [{"time": time(call.opened_at), "label": "Dispatch", "type": "text", "content": "Call created"}],
        "idents": call.units,
        "metaData": {"x": "425.1", "y": "-979.2"},
        "updated": time(call.updated_at),
    })
}

fn emergency_call(call: &EmergencyCall) -> Value {
    json!({
        "callId": call.id,
        "isEmergency": call.is_emergency,
        "caller": "Jane Doe",
        "location": pick(&PLACES, call.id),
        "description": "Somebody asks for help.",
        "metaData": {"phone": "555-0100"},
        "updated": time(call.opened_at),
    })
}

/// The same one for the same id.
fn pick<T: Copy>(choices: &[T], id: u64) -> T {
    let count = choices.len() as u64;
    choices[usize::try_from(id % count).unwrap_or_default()]
}

fn time(unix: Duration) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + unix).to_string()
}
