//! The communities as Prometheus' [HTTP service discovery](https://prometheus.io/docs/prometheus/latest/http_sd/)
//! reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::http::uri::Authority;
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use url::{Position, Url};

use crate::community::Listed;

/// The longest address: a DNS name and a port.
const MAX_TARGET_BYTES: usize = 253 + ":65535".len();

/// The minimum size of a piece of the response, except for the last one.
const MIN_PIECE_BYTES: usize = 2 << 10;

/// Where Prometheus scrapes the communities: this exporter.
#[derive(Debug)]
pub(super) struct Target {
    /// A host, with or without a port.
    address: String,
    /// `None` for the scheme of the scrape configuration.
    scheme: Option<String>,
    path: String,
}

/// One target group: the exporter itself, asked for one community.
#[derive(Debug, Serialize)]
struct Group<'a> {
    targets: [&'a str; 1],
    labels: Labels<'a>,
}

#[derive(Debug, Serialize)]
struct Labels<'a> {
    community: &'a str,
    #[serde(rename = "__scheme__", skip_serializing_if = "Option::is_none")]
    scheme: Option<&'a str>,
    #[serde(rename = "__metrics_path__")]
    metrics_path: &'a str,
    #[serde(rename = "__param_community")]
    parameter: &'a str,
    /// None of them has one of the names above.
    #[serde(flatten)]
    own: &'a BTreeMap<String, String>,
}

impl Target {
    /// The address that was asked for the list, if `host` is a host with or without a port.
    pub(super) fn from_host(host: &HeaderValue) -> Option<Self> {
        let host = host.to_str().ok()?;
        let authority: Authority = host.parse().ok().filter(|_| host.len() <= MAX_TARGET_BYTES)?;
        (!authority.host().is_empty() && !host.contains('@')).then(|| Self {
            address: host.to_owned(),
            scheme: None,
            path: "/probe".to_owned(),
        })
    }

    /// The address of a proxy, which removes the path of `url` before it passes a request on.
    pub(super) fn from_url(url: &Url) -> Self {
        Self {
            address: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            scheme: Some(url.scheme().to_owned()),
            path: format!("{}/probe", url.path().trim_end_matches('/')),
        }
    }
}

/// The list of all communities, written piece by piece as the client reads it. A whole list for each
/// client would let clients fill the memory.
pub(super) fn respond(listed: Arc<[Listed]>, target: Arc<Target>) -> impl IntoResponse + use<> {
    let pieces = stream::iter(pieces(listed, target));
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(pieces))
}

impl<'a> Group<'a> {
    fn new(listed: &'a Listed, target: &'a Target) -> Self {
        Self {
            targets: [&target.address],
            labels: Labels {
                community: &listed.alias,
                scheme: target.scheme.as_deref(),
                metrics_path: &target.path,
                parameter: &listed.alias,
                own: &listed.labels,
            },
        }
    }
}

/// The list in pieces of at least [`MIN_PIECE_BYTES`], except for the last one.
fn pieces(listed: Arc<[Listed]>, target: Arc<Target>) -> impl Iterator<Item = serde_json::Result<Bytes>> {
    let mut written = 0;
    // Whether the closing bracket is written: only then is the list complete.
    let mut is_closed = false;
    std::iter::from_fn(move || {
        if is_closed {
            return None;
        }
        let mut piece = Vec::new();
        while piece.len() < MIN_PIECE_BYTES {
            let Some(community) = listed.get(written) else {
                piece.extend_from_slice(if written == 0 { b"[]" } else { b"]" });
                is_closed = true;
                break;
            };
            piece.push(if written == 0 { b'[' } else { b',' });
            if let Err(error) = serde_json::to_writer(&mut piece, &Group::new(community, &target)) {
                return Some(Err(error));
            }
            written += 1;
        }
        Some(Ok(piece.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_any_length_is_written_in_small_pieces() {
        let target = Arc::new(Target::from_host(&HeaderValue::from_static("localhost:10911")).unwrap());
        for count in [0, 1, 2, 9, 10, 11, 5000] {
            let community = |number| Listed {
                alias: format!("c{number}"),
                labels: [("team".to_owned(), format!("t{number}"))].into(),
            };
            let listed: Vec<_> = (0..count).map(community).collect();
            let mut text = Vec::new();
            for piece in pieces(listed.clone().into(), target.clone()) {
                let piece = piece.unwrap();
                assert!(
                    !piece.is_empty() && piece.len() < 2 * MIN_PIECE_BYTES,
                    "{}",
                    piece.len()
                );
                text.extend(piece);
            }
            let whole = listed.iter().map(|community| Group::new(community, &target));
            assert_eq!(text, serde_json::to_vec(&whole.collect::<Vec<_>>()).unwrap(), "{count}");
        }
    }
}
