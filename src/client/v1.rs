//! Version v1: `GET_CALLS` and `GET_SERVERS`, with the key in the body.

use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use zeroize::Zeroizing;

use super::secret;
use crate::config::ApiConfig;

/// What a request is long beside its two texts.
const FRAME_BYTES: usize = 256;

/// What one byte of a text becomes at most: `\u0000`.
const ESCAPED_BYTES: usize = 6;

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
    http.post(super::endpoint(&api.url, path))
        .header(CONTENT_TYPE, "application/json")
        .body(secret::body(encode(&request)))
}

/// The request as JSON, which is wiped when it is dropped. It is written to one place: a vector that grows
/// would leave copies of the key behind.
fn encode(request: &Request) -> Zeroizing<Vec<u8>> {
    let most_bytes = FRAME_BYTES + ESCAPED_BYTES * (request.id.len() + request.key.len());
    let mut json = Zeroizing::new(Vec::with_capacity(most_bytes));
    serde_json::to_writer(&mut *json, request).expect("texts and numbers are JSON");
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_written_to_one_place() {
        let text = "\0".repeat(1000);
        let largest = ServerRequest {
            server_id: u32::MAX,
            closed_limit: u32::MAX,
            closed_offset: u32::MAX,
        };
        for (id, key) in [("", ""), ("c", "k"), (&*text, &*text)] {
            let request = Request {
                id,
                key,
                r#type: "GET_SERVERS",
                data: std::slice::from_ref(&largest),
            };
            let json = encode(&request);
            let capacity = Vec::<u8>::with_capacity(FRAME_BYTES + ESCAPED_BYTES * (id.len() + key.len())).capacity();
            assert_eq!(json.capacity(), capacity, "it has not grown");
            let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!((&read["id"], &read["key"]), (&id.into(), &key.into()));
        }
    }
}
