//! Version v2, with its rate limits.

use std::collections::HashMap;
use std::str::FromStr;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::{CLOSED_LIMITS, JSON, UNIT_LIMITS, answer_fault, limit, number, servers};
use crate::demo::limit::{RateLimit, RateLimits};
use crate::demo::outages::Fault;
use crate::demo::server::Server;
use crate::demo::wire::{calls, units};
use crate::demo::{API_KEY, Cad};

type Parameters = HashMap<String, String>;

pub(super) fn router() -> Router<Cad> {
    Router::new()
        .route("/v2/emergency/servers/{server_id}/calls", get(get_calls))
        .route("/v2/emergency/servers/{server_id}/units", get(get_units))
        .route("/v2/general/servers", get(get_servers))
}

async fn get_calls(
    State(cad): State<Cad>,
    Path(server_id): Path<u32>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    answer(
        &cad,
        server_id,
        &headers,
        |limits| &mut limits.calls,
        |server| {
            calls::v2(
                server,
                limit(CLOSED_LIMITS, parameter(&parameters, "closedLimit")),
                number(parameter(&parameters, "closedOffset")),
            )
        },
    )
}

async fn get_units(
    State(cad): State<Cad>,
    Path(server_id): Path<u32>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    answer(
        &cad,
        server_id,
        &headers,
        |limits| &mut limits.units,
        |server| {
            let query = units::Query {
                only_units: parameter(&parameters, "onlyUnits").unwrap_or(true),
                include_offline: parameter(&parameters, "includeOffline").unwrap_or(false),
                limit: limit(UNIT_LIMITS, parameter(&parameters, "limit")),
                offset: number(parameter(&parameters, "offset")),
            };
            units::v2(server, query)
        },
    )
}

async fn get_servers(State(cad): State<Cad>, headers: HeaderMap) -> Response {
    if is_authorized(&headers) {
        servers(&cad)
    } else {
        problem(StatusCode::UNAUTHORIZED, "Unauthorized")
    }
}

/// Answers a request that counts against one of the limits with what `write` makes of the server.
fn answer(
    cad: &Cad,
    server_id: u32,
    headers: &HeaderMap,
    limit: impl FnOnce(&mut RateLimits) -> &mut RateLimit,
    write: impl FnOnce(&Server) -> String,
) -> Response {
    let mut state = cad.state.lock();
    let time = cad.time();
    if let Some(fault) = state.outages.at(time.elapsed) {
        return answer_fault(fault);
    }
    if !is_authorized(headers) {
        return problem(StatusCode::UNAUTHORIZED, "Unauthorized");
    }
    if let Err(wait) = limit(&mut state.limits).take(time.elapsed) {
        return answer_fault(Fault::RateLimited(wait));
    }
    match state.live_until(time.unix, server_id) {
        Some(server) => ([(CONTENT_TYPE, JSON)], write(server)).into_response(),
        None => problem(StatusCode::NOT_FOUND, "Not Found"),
    }
}

fn is_authorized(headers: &HeaderMap) -> bool {
    let expected = format!("Bearer {API_KEY}");
    headers
        .get(AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == expected.as_bytes())
}

fn parameter<T: FromStr>(parameters: &Parameters, name: &str) -> Option<T> {
    parameters.get(name)?.parse().ok()
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
