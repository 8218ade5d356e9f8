//! Version v2: one address per server with the key in a header, and what its failures mean.

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::error::FetchError;
use super::secret;
use crate::config::ApiConfig;

/// The request for the community's servers.
pub(super) fn servers_request(http: &reqwest::Client, api: &ApiConfig) -> reqwest::RequestBuilder {
    get(http, api, "v2/general/servers", None)
}

/// A request to the address `path`.
pub(super) fn get(http: &reqwest::Client, api: &ApiConfig, path: &str, query: Option<&str>) -> reqwest::RequestBuilder {
    let mut url = super::address(&api.url, path);
    url.set_query(query);
    let key = api.key.expose_secret();
    // All parts in one allocation: a text that grows would leave copies of the key behind.
    let credentials = ["Bearer ", key].concat();
    http.get(url)
        .header(AUTHORIZATION, secret::header(Zeroizing::new(credentials)))
}

/// The failure that a status means in this version only: without a problem document, a 404 is some gateway's.
pub(super) fn status_failure(status: StatusCode, headers: &HeaderMap) -> Option<FetchError> {
    let is_missing = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    (is_missing && is_problem(headers)).then_some(FetchError::UnknownServer)
}

/// Whether the body is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
fn is_problem(headers: &HeaderMap) -> bool {
    let Some(Ok(content_type)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else {
        return false;
    };
    let essence = content_type.split(';').next().unwrap_or(content_type);
    essence.trim().eq_ignore_ascii_case("application/problem+json")
}
