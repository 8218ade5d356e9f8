//! Answers with calls.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::PLACES;
use crate::demo::call::{Call, EmergencyCall};
use crate::demo::incident::pick;
use crate::demo::server::Server;

/// The answer of version v1; empty lists for a server that does not exist.
pub(in crate::demo) fn v1(server: Option<&Server>, closed_limit: usize, closed_offset: usize) -> String {
    let [active, emergency, closed] = lists(server, closed_limit, closed_offset);
    json!({"activeCalls": active, "emergencyCalls": emergency, "closedCalls": closed}).to_string()
}

/// The answer of version v2.
pub(in crate::demo) fn v2(server: &Server, closed_limit: usize, closed_offset: usize) -> String {
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
    let title = call.incident.title;
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
        "code": call.incident.code,
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

fn time(unix: Duration) -> String {
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + unix).to_string()
}
