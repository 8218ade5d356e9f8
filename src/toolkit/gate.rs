//! Which requests are served: those that are well-formed, from users who may ask.

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::header::{CONNECTION, HOST, WWW_AUTHENTICATE};
use axum::http::{Request, StatusCode, Version};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Body;

use super::auth::{Authenticator, Credentials};
use super::config::WebConfig;
use super::reload::ReloadingConfig;

/// Checks requests against the web configuration in use.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    config: Arc<ReloadingConfig>,
    authenticator: Arc<Authenticator>,
}

impl Gate {
    /// A gate that goes by `config` as it changes.
    pub(super) fn new(config: Arc<ReloadingConfig>) -> Self {
        Self {
            config,
            authenticator: Arc::new(Authenticator::new()),
        }
    }

    /// The configuration in use.
    pub(super) fn config(&self) -> Arc<WebConfig> {
        self.config.current()
    }

    /// Checks a request of `client`.
    ///
    /// # Errors
    ///
    /// The response to a request that is not served.
    pub(super) async fn check(&self, request: &Request<impl Body>, client: IpAddr) -> Result<(), Response> {
        if let Some(refusal) = refuse_form(request) {
            return Err(refusal);
        }
        let config = self.config.current();
        let users = config.users();
        if users.is_empty() {
            return Ok(());
        }
        let is_admitted = match Credentials::from_headers(request.headers()) {
            Some(credentials) => self.authenticator.admits(users, client, credentials).await,
            None => false,
        };
        if is_admitted {
            return Ok(());
        }
        let challenge = [(
            WWW_AUTHENTICATE,
            "Basic realm=\"sonorancad-exporter\", charset=\"UTF-8\"",
        )];
        let text = "A user name and a password are required.\n";
        Err((StatusCode::UNAUTHORIZED, challenge, text).into_response())
    }

    /// Adds the headers of the configuration, which win over others.
    pub(super) fn add_headers(&self, response: &mut Response) {
        for (name, value) in self.config.current().headers() {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
}

/// No request here has a body, so none is read. Each names one host, or none at all in HTTP/1.0
/// ([RFC 9112, section 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
fn refuse_form(request: &Request<impl Body>) -> Option<Response> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        let text = "The header Host must be there exactly once.\n";
        return Some((StatusCode::BAD_REQUEST, text).into_response());
    }
    if request.body().is_end_stream() {
        return None;
    }
    let text = "Requests must not have a body.\n";
    Some((StatusCode::PAYLOAD_TOO_LARGE, [(CONNECTION, "close")], text).into_response())
}
