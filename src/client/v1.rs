//! Version v1: `GET_CALLS` and `GET_SERVERS`, with the key in the body.

use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::config::ApiConfig;

#[derive(Serialize)]
struct Request<'a> {
    id: &'a str,
    key: &'a str,
    r#type: &'static str,
    data: &'a [ServerRequest],
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
    let data = [ServerRequest {
        server_id,
        closed_limit,
        closed_offset: 0,
    }];
    post(http, api, "emergency/get_calls", community_id, "GET_CALLS", &data)
}

/// The request for the community's servers, at the address that the vendor's own clients use.
pub(super) fn servers_request(http: &reqwest::Client, api: &ApiConfig, community_id: &str) -> reqwest::RequestBuilder {
    post(http, api, "general/get_servers", community_id, "GET_SERVERS", &[])
}

fn post(
    http: &reqwest::Client,
    api: &ApiConfig,
    path: &str,
    community_id: &str,
    r#type: &'static str,
    data: &[ServerRequest],
) -> reqwest::RequestBuilder {
    let request = Request {
        id: community_id,
        key: api.key.expose_secret(),
        r#type,
        data,
    };
    let body = serde_json::to_vec(&request).expect("texts and numbers are JSON");
    http.post(super::endpoint(&api.url, path))
        .header(CONTENT_TYPE, "application/json")
        .body(body)
}
