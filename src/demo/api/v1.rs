//! Version v1. It has no rate limit here: at most one request per second is asked of its clients, but not enforced.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::Value;

use super::{CLOSED_LIMITS, UNIT_LIMITS, answer_fault, limit, number, servers};
use crate::demo::server::Server;
use crate::demo::wire::{calls, units};
use crate::demo::{API_KEY, COMMUNITY_ID, Cad};

const CALLS: &str = "/emergency/get_calls";
const UNITS: &str = "/emergency/get_active_units";
const SERVERS: &str = "/general/get_servers";

pub(super) fn router() -> Router<Cad> {
    Router::new()
        .route(CALLS, post(get_calls))
        .route(UNITS, post(get_active_units))
        .route(SERVERS, post(get_servers))
}

/// A version that was switched off: its gateway still answers, with success, but nothing is behind it.
pub(super) fn gone() -> Router<Cad> {
    let gone = || post(async || "Sonoran CAD: Backend Service Reached");
    Router::new()
        .route(CALLS, gone())
        .route(UNITS, gone())
        .route(SERVERS, gone())
}

async fn get_calls(State(cad): State<Cad>, body: String) -> Response {
    answer(&cad, &body, "GET_CALLS", |server, data| {
        calls::v1(
            server,
            limit(CLOSED_LIMITS, data["closedLimit"].as_u64()),
            number(data["closedOffset"].as_u64()),
        )
    })
}

async fn get_active_units(State(cad): State<Cad>, body: String) -> Response {
    answer(&cad, &body, "GET_ACTIVE_UNITS", |server, data| {
        let query = units::Query {
            only_units: data["onlyUnits"].as_bool().unwrap_or(true),
            include_offline: data["includeOffline"].as_bool().unwrap_or(false),
            limit: limit(UNIT_LIMITS, data["limit"].as_u64()),
            offset: number(data["offset"].as_u64()),
        };
        units::v1(server, query)
    })
}

async fn get_servers(State(cad): State<Cad>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    match refusal(&request, "GET_SERVERS") {
        Some(refusal) => (StatusCode::BAD_REQUEST, refusal).into_response(),
        None => servers(&cad),
    }
}

/// Answers a request of this type with what `write` makes of the server and the parameters.
fn answer(cad: &Cad, body: &str, r#type: &str, write: impl FnOnce(Option<&Server>, &Value) -> String) -> Response {
    let mut state = cad.state.lock();
    let time = cad.time();
    if let Some(fault) = state.outages.at(time.elapsed) {
        return answer_fault(fault);
    }
    let request: Value = serde_json::from_str(body).unwrap_or_default();
    if let Some(refusal) = refusal(&request, r#type) {
        return (StatusCode::BAD_REQUEST, refusal).into_response();
    }
    let data = &request["data"][0];
    let server_id = data["serverId"]
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .unwrap_or(1);
    // Like the real API, it does not label its JSON as such.
    write(state.live_until(time.unix, server_id), data).into_response()
}

/// What v1 says of a request that it does not answer.
fn refusal(request: &Value, r#type: &str) -> Option<&'static str> {
    if request["id"] != COMMUNITY_ID {
        Some("INVALID COMMUNITY ID")
    } else if request["key"] != API_KEY {
        Some("INVALID API KEY")
    } else if request["type"] != r#type {
        Some("INVALID REQUEST TYPE")
    } else {
        None
    }
}
