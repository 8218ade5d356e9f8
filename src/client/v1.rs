//! Version v1: `GET_CALLS`, with the key in the body.

use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use url::Url;

use super::CLOSED_LIMIT;

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
    base: &Url,
    community_id: &str,
    key: &SecretString,
    server_id: u32,
) -> reqwest::RequestBuilder {
    let request = Request {
        id: community_id,
        key: key.expose_secret(),
        r#type: "GET_CALLS",
        data: [ServerRequest {
            server_id,
            closed_limit: CLOSED_LIMIT,
            closed_offset: 0,
        }],
    };
    let body = serde_json::to_vec(&request).expect("texts and numbers are JSON");
    http.post(super::endpoint(base, "emergency/get_calls"))
        .header(CONTENT_TYPE, "application/json")
        .body(body)
}
