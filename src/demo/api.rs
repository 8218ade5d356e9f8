//! The routes of the simulated API.
//!
//! * `POST /emergency/get_calls`: version v1.
//! * `GET /v2/emergency/servers/{id}/calls`: version v2, with its rate limit.
//! * `GET /statistics/{id}`: what has truly happened on a server.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::trouble::Fault;
use super::{API_KEY, COMMUNITY_ID, Cad, wire};

/// Closed calls in an answer where none are asked for, and the most that can be.
const CLOSED_LIMITS: (u64, u64) = (10, 100);

const JSON: &str = "application/json; charset=utf-8";

pub(super) fn router(cad: Cad) -> Router {
    Router::new()
        .route("/emergency/get_calls", post(v1_calls))
        .route("/v2/emergency/servers/{server_id}/calls", get(v2_calls))
        .route("/statistics/{server_id}", get(statistics))
        .with_state(cad)
}

async fn v1_calls(State(cad): State<Cad>, body: String) -> Response {
    let mut state = cad.state.lock();
    let time = cad.time();
    if let Some(fault) = state.trouble.at(time.elapsed) {
        return answer_fault(fault);
    }
    let request: Value = serde_json::from_str(&body).unwrap_or_default();
    let refuse = |text: &'static str| (StatusCode::BAD_REQUEST, text).into_response();
    if request["id"] != COMMUNITY_ID {
        return refuse("INVALID COMMUNITY ID");
    }
    if request["key"] != API_KEY {
        return refuse("INVALID API KEY");
    }
    if request["type"] != "GET_CALLS" {
        return refuse("INVALID REQUEST TYPE");
    }
    let data = &request["data"][0];
    let server_id = data["serverId"]
        .as_u64()
        .and_then(|id| u32::try_from(id).ok())
        .unwrap_or(1);
    let server = state.live_until(time.unix, server_id);
    // As the real one, it does not label its JSON as such.
    wire::v1(
        server,
        closed_limit(data["closedLimit"].as_u64()),
        number(data["closedOffset"].as_u64()),
    )
    .into_response()
}

async fn v2_calls(
    State(cad): State<Cad>,
    Path(server_id): Path<u32>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let mut state = cad.state.lock();
    let time = cad.time();
    if let Some(fault) = state.trouble.at(time.elapsed) {
        return answer_fault(fault);
    }
    let expected = format!("Bearer {API_KEY}");
    if headers
        .get(AUTHORIZATION)
        .is_none_or(|value| value.as_bytes() != expected.as_bytes())
    {
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
