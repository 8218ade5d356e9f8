//! Version v1: `GET_CALLS`, with the key in the body.

use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::config::ApiConfig;

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    key: &'a str,
    r#type: &'static str,
    data: [ServerRequest; 1],
}

/// What is asked of one server. The published table shows the limits one level higher, but every
/// client sends them here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerRequest {
    server_id: u32,
    closed_limit: u32,
    closed_offset: u32,
}

/// The request for one server's calls.
pub(super) fn request(
    http: &reqwest::Client,
    api: &ApiConfig,
    community_id: &str,
    server_id: u32,
    closed_limit: u32,
) -> reqwest::RequestBuilder {
    let request = Request {
        id: community_id,
        key: api.key.expose_secret(),
        r#type: "GET_CALLS",
        data: [ServerRequest {
            server_id,
            closed_limit,
            closed_offset: 0,
        }],
    };
    let body = serde_json::to_vec(&request).expect("texts and numbers are JSON");
    http.post(super::endpoint(&api.url, "emergency/get_calls"))
        .header(CONTENT_TYPE, "application/json")
        .body(body)
}
