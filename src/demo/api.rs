//! The routes of the simulated API.
//!
//! * `POST /emergency/get_calls` and `POST /emergency/get_active_units`: version v1.
//! * `GET /v2/emergency/servers/{id}/calls` and `/units`: version v2, with its rate limits.
//! * `POST /general/get_servers` and `GET /v2/general/servers`: the servers.
//! * `GET /statistics/{id}`: what has truly happened on a server.

mod v1;
mod v2;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::Cad;
use super::outages::Fault;

/// Closed calls in an answer: the default and the maximum.
const CLOSED_LIMITS: (u64, u64) = (10, 100);

/// Units in an answer: the default and the maximum.
const UNIT_LIMITS: (u64, u64) = (100, 100);

const JSON: &str = "application/json; charset=utf-8";

pub(super) fn router(cad: Cad) -> Router {
    let v1 = if cad.is_v1_gone { v1::gone() } else { v1::router() };
    v1.merge(v2::router())
        .route("/statistics/{server_id}", get(statistics))
        .with_state(cad)
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

fn servers(cad: &Cad) -> Response {
    let servers: Vec<_> = (1..=cad.state.lock().servers.len())
        .map(
            |id| json!({"id": id, "name": format!("Simulated {id}"), "mapIp": "203.0.113.10", "listenerPort": "30120"}),
        )
        .collect();
    ([(CONTENT_TYPE, JSON)], json!({"servers": servers}).to_string()).into_response()
}

/// The number of rows that a request gets, by the default and the maximum.
fn limit((default, most): (u64, u64), asked: Option<u64>) -> usize {
    number(Some(asked.unwrap_or(default).min(most)))
}

fn number(asked: Option<u64>) -> usize {
    usize::try_from(asked.unwrap_or_default()).unwrap_or(usize::MAX)
}
