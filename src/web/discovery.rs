//! The communities as Prometheus' [HTTP service discovery](https://prometheus.io/docs/prometheus/latest/http_sd/)
//! reads them.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::uri::Authority;
use serde::Serialize;

/// One target group: the exporter itself, asked for one community.
#[derive(Debug, Serialize)]
pub(super) struct Group<'a> {
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

/// The address to scrape: the one that was asked for this list, if it is a host with or without a port.
pub(super) fn target(host: Option<&HeaderValue>) -> Option<&str> {
    let host = host?.to_str().ok()?;
    let authority: Authority = host.parse().ok()?;
    (!authority.host().is_empty() && !host.contains('@')).then_some(host)
}

pub(super) fn respond<'a>(aliases: &'a [String], target: &'a str) -> Json<Vec<Group<'a>>> {
    let group = |alias: &'a String| Group {
        targets: [target],
        labels: Labels {
            community: alias,
            metrics_path: "/probe",
            parameter: alias,
        },
    };
    Json(aliases.iter().map(group).collect())
}
