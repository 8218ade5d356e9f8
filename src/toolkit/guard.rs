//! What stands between the listener and the router: refuses requests, adds headers, catches panics.

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::HttpBody;
use axum::http::header::{CONNECTION, HOST, WWW_AUTHENTICATE};
use axum::http::{Request, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::auth::{Authenticator, Credentials};
use super::reload::ReloadingConfig;

/// Checks requests against the web configuration in use.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) config: Arc<ReloadingConfig>,
    authenticator: Arc<Authenticator>,
    panics: Arc<AtomicU64>,
}

impl Guard {
    pub(super) fn new(config: Arc<ReloadingConfig>) -> Self {
        Self {
            config,
            authenticator: Arc::new(Authenticator::new()),
            panics: Arc::default(),
        }
    }

    /// How many requests have panicked.
    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// The router, with panics caught: each is counted, and answered with status 500. It affects no other request.
    pub(super) fn catch_panics(&self, router: Router) -> Router {
        let panics = self.panics.clone();
        let answer = move |_: Box<dyn Any + Send>| {
            panics.fetch_add(1, Ordering::Relaxed);
            let text = "A fault of the exporter; please report it.\n";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        };
        router.layer(CatchPanicLayer::custom(answer))
    }

    /// Decides whether a request of `client` may reach the router. Returns whether its password is right; without
    /// users, none is.
    ///
    /// # Errors
    ///
    /// The response to a request that may not.
    pub(super) async fn admit(&self, request: &Request<impl HttpBody>, client: IpAddr) -> Result<bool, Response> {
        // First, since it is cheap: a password check is not.
        if let Some(refusal) = refuse_malformed(request) {
            return Err(refusal);
        }
        let config = self.config.current();
        if config.users.is_empty() {
            return Ok(false);
        }
        if let Some(credentials) = Credentials::from_headers(request.headers(), client)
            && self.authenticator.admits(&config.users, credentials).await
        {
            return Ok(true);
        }
        let challenge = "Basic realm=\"sonorancad-exporter\", charset=\"UTF-8\"";
        let text = "A user name and a password are required.\n";
        Err((StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)], text).into_response())
    }

    /// Adds the headers of the web configuration file, which replace those of the response.
    pub(super) fn add_headers(&self, response: &mut Response) {
        for (name, value) in &self.config.current().headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
    }
}

/// Refuses a request with a body, since no route reads one, and one without exactly one `Host`; HTTP/1.0 may omit
/// it ([RFC 9112, section 3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)).
fn refuse_malformed(request: &Request<impl HttpBody>) -> Option<Response> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return Some((StatusCode::BAD_REQUEST, "Exactly one Host header is required.\n").into_response());
    }
    if request.body().is_end_stream() {
        return None;
    }
    let text = "Requests must not have a body.\n";
    // The body stays unread, so that another request could not be told from it.
    Some((StatusCode::PAYLOAD_TOO_LARGE, [(CONNECTION, "close")], text).into_response())
}
