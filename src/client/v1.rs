//! Version v1: requests with the key in the body, and what its failures mean.

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use zeroize::Zeroizing;

use super::error::FetchError;
use super::secret;
use crate::config::ApiConfig;

/// What a retired endpoint answers, with status 200.
const GONE_TEXTS: [&str; 2] = ["Backend Service Reached", "Sonoran CAD: Backend Service Reached"];

/// The size of a request without its id and key.
const FRAME_BYTES: usize = 256;

/// The longest escape of one byte of a text in JSON: `\u0000`.
const MAX_ESCAPE_BYTES: usize = 6;

#[derive(Serialize)]
struct Request<'a, T> {
    id: &'a str,
    key: &'a str,
    r#type: &'static str,
    data: &'a [T],
}

/// The part of a request for calls that is about one server. The API page shows the limits one level higher, but every
/// known client sends them here.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallsRequest {
    pub(super) server_id: u32,
    pub(super) closed_limit: u32,
    pub(super) closed_offset: u32,
}

/// The same of a request for units.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UnitsRequest {
    pub(super) server_id: u32,
    pub(super) only_units: bool,
    pub(super) include_offline: bool,
    pub(super) limit: u32,
    pub(super) offset: u32,
}

/// The request for the community's servers, at the address that the vendor's own clients use.
pub(super) fn servers_request(http: &reqwest::Client, api: &ApiConfig) -> reqwest::RequestBuilder {
    post(http, api, "general/get_servers", "GET_SERVERS", &[] as &[()])
}

/// A request of this type to the address `path`, about these servers.
pub(super) fn post<T: Serialize>(
    http: &reqwest::Client,
    api: &ApiConfig,
    path: &str,
    r#type: &'static str,
    data: &[T],
) -> reqwest::RequestBuilder {
    let request = Request {
        id: api.version.community_id(),
        key: api.key.expose_secret(),
        r#type,
        data,
    };
    http.post(super::address(&api.url, path))
        .header(CONTENT_TYPE, "application/json")
        .body(secret::body(encode(&request)))
}

/// The failure that a text means in this version only.
pub(super) fn text_failure(text: &str) -> Option<FetchError> {
    GONE_TEXTS.contains(&text).then_some(FetchError::EndpointGone)
}

/// The failure that a status means in this version only.
pub(super) fn status_failure(status: StatusCode) -> Option<FetchError> {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE).then_some(FetchError::EndpointGone)
}

/// The request as JSON, which is wiped when it is dropped.
///
/// The buffer has its final capacity from the start: a vector that grows would leave copies of the key behind.
fn encode<T: Serialize>(request: &Request<T>) -> Zeroizing<Vec<u8>> {
    let max_bytes = FRAME_BYTES + MAX_ESCAPE_BYTES * (request.id.len() + request.key.len());
    let mut json = Zeroizing::new(Vec::with_capacity(max_bytes));
    serde_json::to_writer(&mut *json, request).expect("texts and numbers are JSON");
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_written_to_one_place() {
        let text = "\0".repeat(1000);
        let largest = UnitsRequest {
            server_id: u32::MAX,
            only_units: false,
            include_offline: false,
            limit: u32::MAX,
            offset: u32::MAX,
        };
        for (id, key) in [("", ""), ("c", "k"), (&*text, &*text)] {
            let request = Request {
                id,
                key,
                r#type: "GET_ACTIVE_UNITS",
                data: std::slice::from_ref(&largest),
            };
            let json = encode(&request);
            let capacity = Vec::<u8>::with_capacity(FRAME_BYTES + MAX_ESCAPE_BYTES * (id.len() + key.len())).capacity();
            assert_eq!(json.capacity(), capacity, "it has not grown");
            let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!((&read["id"], &read["key"]), (&id.into(), &key.into()));
        }
    }

    #[test]
    fn a_retired_endpoint_is_recognised_by_its_text() {
        for text in GONE_TEXTS {
            assert!(matches!(text_failure(text), Some(FetchError::EndpointGone)));
        }
        assert!(text_failure("Backend").is_none());
    }
}
