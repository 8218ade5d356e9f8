//! The status page: what waits, how fresh that is, what is wrong and what to do.
//!
//! It is made from reports and summaries alone, so it asks the API nothing. It has no scripts. Its only style is its
//! own, which its content security policy names by hash. Every text from outside is escaped.
//!
//! One community is shown in full. Several are a table, with a filter and pages by the URL's query, and a link to each.

mod overview;
mod picture;
mod request;
mod server;
mod units;
mod words;

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::response::{Html, IntoResponse};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use url::Url;

pub(super) use self::request::Request;
use crate::process::LONG_VERSION;
use crate::report::{CommunityReport, Health, Overview, Summary};

const STYLE: &str = include_str!("status.css");

/// The policy allows the page only its own style, by its SHA-256, and forms that lead back to it. A test compares that
/// with the file.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'sha256-gkRXKT92Xwk6LZ4oYNAzOCRB4ikQ7s4uMgGYgJuaIqU='; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// How often a browser loads the page again, in seconds: as often as Prometheus usually scrapes.
const REFRESH_SECONDS: u32 = 30;

/// What the page shows.
pub(super) struct Page {
    /// What it is about.
    pub(super) content: Content,
    /// What was asked for.
    pub(super) request: Request,
    /// Whether the configuration that was read last is in use.
    pub(super) is_reload_successful: bool,
    /// Whether the state that replicas share can be reached; `None` if none is shared.
    pub(super) is_shared_state_up: Option<bool>,
    /// Where the dashboards are.
    pub(super) dashboards: Option<Url>,
}

/// What the page is about.
pub(super) enum Content {
    /// One community. The only one has no alias here.
    Community {
        alias: Option<String>,
        report: CommunityReport,
    },
    /// All communities.
    Overview(Overview),
    /// The request names a community that does not exist.
    Unknown,
}

impl Page {
    /// The response with the page.
    pub(super) fn respond(&self) -> impl IntoResponse + use<> {
        let status = match self.content {
            Content::Unknown => StatusCode::NOT_FOUND,
            Content::Community { .. } | Content::Overview(_) => StatusCode::OK,
        };
        (status, HEADERS, Html(self.render().into_string()))
    }

    fn render(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta http-equiv="refresh" content=(REFRESH_SECONDS);
                    title { (self.title()) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { "Sonoran CAD" }
                        @if let Some(url) = self.dashboard_url() { a.button href=(url) { "Dashboards in Grafana" } }
                    }
                    main { (self.render_content()) }
                    (self.render_footer())
                }
            }
        }
    }

    fn render_content(&self) -> Markup {
        html! {
            @if !self.is_reload_successful {
                p.alarm {
                    "The configuration that was read last cannot be used; an earlier one is. The log says why."
                }
            }
            @if self.is_shared_state_up == Some(false) {
                p.alarm {
                    "The shared state cannot be reached. Until it can, this replica asks the API at most once per minute and "
                    "endpoint, and its metrics have no counters. Check the store that SONORANCAD_SHARED_STATE_URL names; the log says "
                    "what is wrong."
                }
            }
            @match &self.content {
                Content::Community { alias, report } => {
                    @if let Some(alias) = alias {
                        p { a href="?" { "All communities" } }
                        h2.community { (overview::name(alias)) }
                    }
                    (server::render_all(report, &self.request))
                }
                Content::Overview(overview) => { (overview::render(overview, &self.request)) }
                Content::Unknown => {
                    p.alarm { "There is no such community." }
                    p { a href="?" { "All communities" } }
                }
            }
        }
    }

    fn render_footer(&self) -> Markup {
        html! {
            footer {
                p {
                    a href="metrics" { "Metrics" }
                    a href="-/healthy" { "Health" }
                    a href="-/ready" { "Readiness" }
                }
                @if self.is_shared_state_up == Some(true) {
                    p { "This is one of several replicas. The store that they share answers." }
                }
                p {
                    "sonorancad-exporter " (LONG_VERSION) ". This page shows the result of the last scrape, and reloads every "
                    (REFRESH_SECONDS) " s. It asks the API nothing."
                }
            }
        }
    }

    /// Everything that the page is about, added up.
    fn summary(&self) -> Summary {
        let mut sum = Summary::default();
        match &self.content {
            Content::Community { report, .. } => report.servers.iter().for_each(|server| sum.add(&server.summary())),
            Content::Overview(overview) => overview.communities.iter().for_each(|(_, summary)| sum.add(summary)),
            Content::Unknown => {}
        }
        sum
    }

    /// For the browser's tab: what needs a person comes first.
    fn title(&self) -> String {
        let summary = self.summary();
        let mut parts = Vec::new();
        if summary.in_panic() > 0 {
            parts.push("Panic".to_owned());
        }
        if summary.emergencies() > 0 {
            parts.push(format!("{} waiting", summary.emergencies()));
        }
        if summary.health == Health::Failed {
            parts.push("Trouble".to_owned());
        }
        parts.push("Sonoran CAD".to_owned());
        parts.join(" · ")
    }

    /// The dashboards; those of a community are told which one it is.
    fn dashboard_url(&self) -> Option<Url> {
        let mut url = self.dashboards.clone()?;
        if let Content::Community { alias: Some(alias), .. } = &self.content
            && !alias.is_empty()
        {
            url.query_pairs_mut().append_pair("var-community", alias);
        }
        Some(url)
    }
}

#[cfg(test)]
mod tests;
