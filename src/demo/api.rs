//! The routes of the simulated API.
//!
//! * `POST /emergency/get_calls`: version v1.
//! * `GET /v2/emergency/servers/{id}/calls`: version v2, with its rate limit.
//! * `POST /general/get_servers` and `GET /v2/general/servers`: the servers.
//! * `GET /statistics/{id}`: what has truly happened on a server.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::outages::Fault;
use super::{API_KEY, COMMUNITY_ID, Cad, wire};

/// Closed calls in an answer: the default and the maximum.
const CLOSED_LIMITS: (u64, u64) = (10, 100);

const JSON: &str = "application/json; charset=utf-8";

pub(super) fn router(cad: Cad) -> Router {
    Router::new()
        .route("/emergency/get_calls", post(v1_calls))
        .route("/v2/emergency/servers/{server_id}/calls", get(v2_calls))
        .route("/general/get_servers", post(v1_servers))
        .route("/v2/general/servers", get(v2_servers))
        .route("/statistics/{server_id}", get(statistics))
        .with_state(cad)
}

async fn v1_calls(State(cad): State<Cad>, body: String) -> Response {
    let mut state = cad.state.lock();
    let time = cad.time();
    if let Some(fault) = state.outages.at(time.elapsed) {
        return answer_fault(fault);
    }
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    if let Some(refusal) = v1_refusal(&request, "GET_CALLS") {
        return (StatusCode::BAD_REQUEST, refusal).into_response();
    }
    let data = &request["data"][0];
    let server_id = data["serverId"]
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .unwrap_or(1);
    let server = state.live_until(time.unix, server_id);
    // Like the real API, it does not label its JSON as such.
    wire::v1(
        server,
        closed_limit(data["closedLimit"].as_u64()),
        number(data["closedOffset"].as_u64()),
    )
    .into_response()
}

/// What v1 says of a request that it does not answer.
fn v1_refusal(request: &Value, r#type: &str) -> Option<&'static str> {
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

async fn v1_servers(State(cad): State<Cad>, body: String) -> Response {
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    match v1_refusal(&request, "GET_SERVERS") {
        Some(refusal) => (StatusCode::BAD_REQUEST, refusal).into_response(),
        None => servers(&cad),
    }
}

async fn v2_servers(State(cad): State<Cad>, headers: HeaderMap) -> Response {
    if is_authorized(&headers) {
        servers(&cad)
    } else {
        problem(StatusCode::UNAUTHORIZED, "Unauthorized")
    }
}

fn servers(cad: &Cad) -> Response {
    let servers: Vec<_> = (1..=cad.state.lock().servers.len())
        .map(
            |id| json!({"id": id, "name": format!("Simulated {id}"), "mapIp": "203.0.113.10", "listenerPort": "30120"}),
        )
        .collect();
    ([(CONTENT_TYPE, JSON)], json!({"servers": servers}).to_string()).into_response()
}

fn is_authorized(headers: &HeaderMap) -> bool {
    let expected = format!("Bearer {API_KEY}");
    headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

async fn v2_calls(
    State(cad): State<Cad>,
    Path(server_id): Path<u32>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut state = cad.state.lock();
    let time = cad.time();
    if let Some(fault) = state.outages.at(time.elapsed) {
        return answer_fault(fault);
    }
    if !is_authorized(&headers) {
        return problem(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if let Err(wait) = state.limit.take(time.elapsed) {
        return answer_fault(Fault::RateLimited(wait));
    }
    let Some(server) = state.live_until(time.unix, server_id) else {
        return problem(StatusCode::NOT_FOUND, "Not Found");
    };
    let parameter = |name| query.get(name).and_then(|text: &String| text.parse().ok());
    let body = wire::v2(
        server,
        closed_limit(parameter("closedLimit")),
        number(parameter("closedOffset")),
    );
    ([(CONTENT_TYPE, JSON)], body).into_response()
}

async fn statistics(State(cad): State<Cad>, Path(server_id): Path<u32>) -> Response {
    match cad.statistics(server_id) {
        Some(statistics) => ([(CONTENT_TYPE, JSON)], json!(statistics).to_string()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn answer_fault(fault: Fault) -> Response {
    match fault {
        Fault::Outage => (
            StatusCode::SERVICE_UNAVAILABLE,
            [(CONTENT_TYPE, "text/html")],
            "<html><body><h1>503 Service Temporarily Unavailable</h1></body></html>",
        )
            .into_response(),
        Fault::RateLimited(wait) => {
            let seconds = wait.as_secs() + 1;
            let body = json!({"message": "API rate limit exceeded", "request_id": "9457fb389b3729164e453e4db4328909"});
            (
                StatusCode::TOO_MANY_REQUESTS,
                [(CONTENT_TYPE, JSON.to_owned()), (RETRY_AFTER, seconds.to_string())],
                body.to_string(),
            )
                .into_response()
        }
    }
}

/// An error as [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) writes it.
fn problem(status: StatusCode, title: &str) -> Response {
    let body = json!({
        "type": format!("https://httpstatuses.com/{}", status.as_u16()),
        "title": title,
        "status": status.as_u16(),
        "detail": title,
        "traceId": "00-abc123",
    });
    (status, [(CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

fn closed_limit(asked: Option<u64>) -> usize {
    let (default, most) = CLOSED_LIMITS;
    number(Some(asked.unwrap_or(default).min(most)))
}

fn number(asked: Option<u64>) -> usize {
    usize::try_from(asked.unwrap_or_default()).unwrap_or(usize::MAX)
}
