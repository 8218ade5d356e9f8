//! The communities as Prometheus' [HTTP service discovery](https://prometheus.io/docs/prometheus/latest/http_sd/)
//! reads them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::http::uri::Authority;
use axum::response::IntoResponse;
use bytes::Bytes;
use hyper::body::Frame;
use serde::Serialize;

/// The longest address: a name of DNS, and a port.
const LONGEST_TARGET: usize = 253 + ":65535".len();

/// The least size of a piece of the answer, but for the last one.
const PIECE_BYTES: usize = 2 << 10;

/// One target group: the exporter itself, asked for one community.
#[derive(Debug, Serialize)]
struct Group<'a> {
    targets: [&'a str; 1],
    labels: Labels<'a>,
}

#[derive(Debug, Serialize)]
struct Labels<'a> {
    community: &'a str,
    #[serde(rename = "__metrics_path__")]
    metrics_path: &'static str,
    #[serde(rename = "__param_community")]
    parameter: &'a str,
}

/// The list of all groups, written piece by piece as the client takes it: a whole one for each client would take
/// memory at will.
struct Groups {
    aliases: Arc<[String]>,
    target: String,
    /// How many groups are written.
    written: usize,
    is_closed: bool,
}

/// The address to scrape: the one that was asked for this list, if it is a host with or without a port.
pub(super) fn target(host: Option<&HeaderValue>) -> Option<&str> {
    let host = host?.to_str().ok()?;
    let authority: Authority = host.parse().ok().filter(|_| host.len() <= LONGEST_TARGET)?;
    (!authority.host().is_empty() && !host.contains('@')).then_some(host)
}

pub(super) fn respond(aliases: Arc<[String]>, target: &str) -> impl IntoResponse + use<> {
    let groups = Groups {
        aliases,
        target: target.to_owned(),
        written: 0,
        is_closed: false,
    };
    ([(CONTENT_TYPE, "application/json")], Body::new(groups))
}

impl<'a> Group<'a> {
    fn new(alias: &'a str, target: &'a str) -> Self {
        Self {
            targets: [target],
            labels: Labels {
                community: alias,
                metrics_path: "/probe",
                parameter: alias,
            },
        }
    }
}

impl Groups {
    /// The next piece; `None` after the last one.
    fn piece(&mut self) -> Result<Option<Bytes>, serde_json::Error> {
        if self.is_closed {
            return Ok(None);
        }
        let mut piece = Vec::new();
        while piece.len() < PIECE_BYTES {
            let Some(alias) = self.aliases.get(self.written) else {
                piece.extend_from_slice(if self.written == 0 { b"[]" } else { b"]" });
                self.is_closed = true;
                break;
            };
            piece.push(if self.written == 0 { b'[' } else { b',' });
            serde_json::to_writer(&mut piece, &Group::new(alias, &self.target))?;
            self.written += 1;
        }
        Ok(Some(piece.into()))
    }
}

impl HttpBody for Groups {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.piece().transpose().map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_any_length_is_written_in_small_pieces() {
        for count in [0, 1, 2, 9, 10, 11, 5000] {
            let aliases: Vec<_> = (0..count).map(|number| format!("c{number}")).collect();
            let mut groups = Groups {
                aliases: aliases.clone().into(),
                target: "localhost:10911".to_owned(),
                written: 0,
                is_closed: false,
            };
            let mut text = Vec::new();
            while let Some(piece) = groups.piece().unwrap() {
                assert!(!piece.is_empty() && piece.len() < 2 * PIECE_BYTES, "{}", piece.len());
                text.extend(piece);
            }
            let whole = aliases.iter().map(|alias| Group::new(alias, "localhost:10911"));
            assert_eq!(text, serde_json::to_vec(&whole.collect::<Vec<_>>()).unwrap(), "{count}");
        }
    }
}
