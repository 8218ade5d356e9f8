//! The web configuration file: TLS, users and headers, in the format that every Prometheus exporter reads.
//!
//! The format is that of
//! [exporter-toolkit](https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md).
//! A file that is made for all exporters works here too: what this program cannot do is ignored with a warning. It is
//! refused where that would admit more clients than the file intends. No message quotes the file, except for file
//! names, since it may contain secrets: messages name the line instead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use secrecy::SecretString;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::auth::Users;
use super::findings::Findings;
use super::tls::{self, TlsSection};
use crate::files::WatchedFiles;
use crate::text;
use crate::yaml::{self, Entries};

/// The headers that can be set, each with its allowed values; an empty list allows any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// From this cost of a bcrypt hash on, a check takes seconds, and a scrape can time out.
const SLOW_COST: u32 = 15;

/// What a web configuration file says, ready for use; by default plain HTTP for everyone.
#[derive(Debug, Default)]
pub(super) struct WebConfig {
    /// `None` for plain HTTP.
    pub(super) tls: Option<Arc<ServerConfig>>,
    requires_certificates: bool,
    /// Requests of others are refused.
    pub(super) users: Arc<Users>,
    /// Every response gets them.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// What is accepted but may surprise.
    pub(super) warnings: Vec<String>,
}

/// Everything that is wrong with a web configuration file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the web configuration {} cannot be used: {}", .path.display(), .problems.join("; "))]
pub struct WebConfigError {
    path: PathBuf,
    problems: Vec<String>,
}

/// The sections of the file, not validated yet.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sections {
    tls_server_config: Option<TlsSection>,
    http_server_config: Option<HttpSection>,
    #[serde(deserialize_with = "present")]
    basic_auth_users: Option<Entries<Option<SecretString>>>,
    rate_limit: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpSection {
    http2: Option<bool>,
    headers: Option<Entries<Option<String>>>,
}

impl WebConfig {
    /// Reads the file, and all files that it names; relative paths start from its folder. All of them are added
    /// to `files`, valid or not.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub(super) fn read(path: &Path, files: &mut WatchedFiles) -> Result<Self, WebConfigError> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let text = files
            .read(path, tls::MAX_FILE_BYTES)
            .map_err(|error| vec![format!("it cannot be read: {error}")]);
        text.and_then(|text| Sections::parse(&text)?.validate(folder, files))
            .map_err(|problems| WebConfigError {
                path: path.to_owned(),
                problems,
            })
    }

    /// This configuration, to be used instead of `before`, which is in use.
    ///
    /// # Errors
    ///
    /// It admits clients that `before` keeps out: a file that is cut off can still be valid.
    pub(super) fn replace(self, before: &Self, path: &Path) -> Result<Self, WebConfigError> {
        let lost = [
            (before.tls.is_some() && self.tls.is_none()).then_some("TLS"),
            (!before.users.is_empty() && self.users.is_empty()).then_some("users"),
            (before.requires_certificates && !self.requires_certificates).then_some("required client certificates"),
        ];
        let problem =
            |lost| format!("it no longer has {lost}, perhaps because it is cut off; a restart uses it as it is");
        let problems: Vec<_> = lost.into_iter().flatten().map(problem).collect();
        if problems.is_empty() {
            return Ok(self);
        }
        let path = path.to_owned();
        Err(WebConfigError { path, problems })
    }
}

/// Reads the text of a web configuration file as if it named no other file.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse(text: &str) -> Result<(), WebConfigError> {
    let sections = Sections::parse(text).map(|mut sections| {
        if let Some(tls) = &mut sections.tls_server_config {
            tls.remove_files();
        }
        sections
    });
    let config = sections.and_then(|sections| sections.validate(Path::new(""), &mut WatchedFiles::default()));
    config.map(drop).map_err(|problems| WebConfigError {
        path: PathBuf::new(),
        problems,
    })
}

impl Sections {
    fn parse(text: &str) -> Result<Self, Vec<String>> {
        let sections: Option<Self> = serde_saphyr::from_str(text).map_err(|error| vec![yaml::describe(&error)])?;
        // The file may be empty because it is being written or the disk is full. That must not switch off TLS and
        // passwords.
        sections.ok_or_else(|| vec!["it is empty; `{}` means plain HTTP for everyone".to_owned()])
    }

    fn validate(self, folder: &Path, files: &mut WatchedFiles) -> Result<WebConfig, Vec<String>> {
        let mut findings = Findings::default();
        if self.rate_limit.is_some() {
            findings.warning("rate_limit has no effect: the listener has limits of its own");
        }
        let http = self.http_server_config.unwrap_or_default();
        if http.http2 == Some(true) {
            findings.warning("http_server_config: http2 has no effect: HTTP/1.1 is served, which every client speaks");
        }
        let headers = headers(http.headers.map_or_else(Vec::new, |headers| headers.0), &mut findings);
        let are_users_listed = self.basic_auth_users.is_some();
        let users = self.basic_auth_users.map_or_else(Vec::new, |users| users.0);
        let users = Users::new(users, &mut findings);
        let section = self.tls_server_config.filter(|section| !section.is_empty());
        let requires_certificates = section.as_ref().is_some_and(TlsSection::requires_certificates);
        let tls = section.and_then(|section| tls::server_config(&section, folder, files, &mut findings));
        // An empty list lets everyone in, as in exporter-toolkit, but may be a mistake. No list at all is not.
        if are_users_listed && users.is_empty() {
            findings.warning("basic_auth_users is empty: no password is required");
        }
        if users.cost >= SLOW_COST {
            findings.warning("basic_auth_users: a hash with a cost above 14 takes seconds to check; 10 is usual");
        }
        if findings.problems.is_empty() {
            Ok(WebConfig {
                tls: tls.map(Arc::new),
                requires_certificates,
                users: Arc::new(users),
                headers,
                warnings: findings.warnings,
            })
        } else {
            Err(findings.problems)
        }
    }
}

/// A mapping whose key is in the file, even if nothing is below it: without this, serde would take that for a
/// missing key.
fn present<'de, D, T>(deserializer: D) -> Result<Option<Entries<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let entries = Option::<Entries<T>>::deserialize(deserializer)?;
    Ok(Some(entries.unwrap_or(Entries(Vec::new()))))
}

/// The headers to set; one without a value is left out.
fn headers(texts: Vec<(Spanned<String>, Option<String>)>, findings: &mut Findings) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for (name, text) in texts {
        let Some((name, values)) = HEADERS.iter().find(|(known, _)| *known == name.value) else {
            let known = HEADERS.map(|(name, _)| name).join(", ");
            findings.problem(format!(
                "http_server_config: headers: line {}: cannot be set; these can: {known}",
                name.referenced.line()
            ));
            continue;
        };
        let place = format!("http_server_config: headers: {name}");
        let text = match text::value(text.as_deref().unwrap_or_default()) {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(oddity) => {
                findings.problem(format!("{place}: {oddity}"));
                continue;
            }
        };
        if !values.is_empty() && !values.contains(&text) {
            findings.problem(format!("{place}: must be {}", values.join(" or ")));
            continue;
        }
        match (name.parse(), HeaderValue::try_from(text)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => findings.problem(format!("{place}: contains characters that a header cannot")),
        }
    }
    headers
}

#[cfg(test)]
mod tests;
