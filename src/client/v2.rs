//! Version v2: one address per server, with the key in a header.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::CLOSED_LIMIT;

/// The filter that lets dispatch and emergency calls through.
const ALL_CALLS: u32 = 100;

/// The request for one server's calls.
pub(super) fn request(
    http: &reqwest::Client,
    base: &Url,
    key: &SecretString,
    server_id: u32,
) -> reqwest::RequestBuilder {
    let mut url = super::endpoint(base, &format!("v2/emergency/servers/{server_id}/calls"));
    url.set_query(Some(&format!(
        "closedLimit={CLOSED_LIMIT}&closedOffset=0&type={ALL_CALLS}"
    )));
    // This header is marked as sensitive: nothing prints it.
    http.get(url).bearer_auth(key.expose_secret())
}
