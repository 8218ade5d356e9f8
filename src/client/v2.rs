//! Version v2: one address per server, with the key in a header.

use reqwest::header::AUTHORIZATION;
use secrecy::ExposeSecret as _;
use url::Url;
use zeroize::Zeroizing;

use super::secret;
use crate::config::ApiConfig;

/// The filter that lets dispatch and emergency calls through.
const ALL_CALLS: u32 = 100;

/// The request for one server's calls.
pub(super) fn request(
    http: &reqwest::Client,
    api: &ApiConfig,
    server_id: u32,
    closed_limit: u32,
) -> reqwest::RequestBuilder {
    let mut url = super::endpoint(&api.url, &format!("v2/emergency/servers/{server_id}/calls"));
    url.set_query(Some(&format!(
        "closedLimit={closed_limit}&closedOffset=0&type={ALL_CALLS}"
    )));
    get(http, api, url)
}

/// The request for the community's servers.
pub(super) fn servers_request(http: &reqwest::Client, api: &ApiConfig) -> reqwest::RequestBuilder {
    get(http, api, super::endpoint(&api.url, "v2/general/servers"))
}

fn get(http: &reqwest::Client, api: &ApiConfig, url: Url) -> reqwest::RequestBuilder {
    let key = api.key.expose_secret();
    // All parts in one allocation: a text that grows would leave copies of the key behind.
    let credentials = ["Bearer ", key].concat();
    http.get(url)
        .header(AUTHORIZATION, secret::header(Zeroizing::new(credentials)))
}
