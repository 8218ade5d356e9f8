//! All that one scrape says: the seam between what is known and how it is shown.
//!
//! The metrics and the status page are made from these types and from nothing else.

mod summary;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::summary::{CallSummary, Health, Overview, Queue, Summary, UnitSummary};
use crate::client;
use crate::clock::Now;
use crate::config::{ApiEndpoint, ApiVersion};
use crate::histogram::Histogram;
use crate::process::Process;
use crate::snapshot::{CallSnapshot, UnitSnapshot};
use crate::tracker::{CallStats, UnitStats};

/// Upper bounds in seconds for the API's response time, up to just above the default time-out.
const REQUEST_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How many slots the history of a server has: an hour.
pub const HISTORY_SLOTS: usize = 120;

/// The length of a slot of the history.
pub const HISTORY_SLOT: Duration = Duration::from_secs(30);

/// All that one scrape says.
#[derive(Clone, Debug)]
pub struct Report {
    /// The community.
    pub community: CommunityReport,
    /// The exporter itself, on the routes that include it.
    pub exporter: Option<ExporterReport>,
}

/// What is known about one community.
#[derive(Clone, Debug)]
pub struct CommunityReport {
    /// When the report was made.
    pub at: Now,
    /// Each server, in the order of the configuration.
    pub servers: Vec<ServerReport>,
}

/// What is known about one server.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// The CAD's number of the server, as a text.
    pub id: String,
    /// The name that the configuration gives it.
    pub name: Option<String>,
    /// The version of the API in use.
    pub api_version: ApiVersion,
    /// Why it is in use.
    pub version_reason: VersionReason,
    /// Its calls.
    pub calls: FeedReport<CallSnapshot, CallStats>,
    /// Its units, if they are read.
    pub units: Option<FeedReport<UnitSnapshot, UnitStats>>,
    /// Its open calls in the last hour, by slots of [`HISTORY_SLOT`], the oldest first; `None` where no answer was
    /// fetched in the slot. Empty if there was never an answer, otherwise [`HISTORY_SLOTS`] long.
    pub history: Vec<Option<OpenCalls>>,
}

/// Calls at one moment; more than 65,535 count as that many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenCalls {
    /// Those that wait for a unit.
    pub pending: u16,
    /// Those that units work on.
    pub active: u16,
}

/// Why a version of the API is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionReason {
    /// The configuration says so.
    Configured,
    /// The community's id is missing, which version v1 needs.
    NoCommunityId,
    /// Version v1 is asked first, and has not refused.
    Documented,
    /// Version v1 has refused with this error, and version v2 has answered.
    V1Refused(Cow<'static, str>),
}

/// What is known about one endpoint of a server. `S` is the type of its snapshots, `T` of what is counted across them.
/// The default is one that was never asked.
#[derive(Clone, Debug, Default)]
pub struct FeedReport<S, T> {
    /// How its requests go.
    pub status: FeedStatus,
    /// The newest snapshot, while it is within the stale bound.
    pub snapshot: Option<Arc<S>>,
    /// What was counted from answer to answer.
    pub stats: T,
}

/// How the requests to one endpoint of a server go. The default is one that was never asked.
#[derive(Clone, Debug, Default)]
pub struct FeedStatus {
    /// Whether the newest fetch succeeded, its snapshot is within the stale bound, and neither the key nor the
    /// endpoint is paused.
    pub is_up: bool,
    /// The Unix time when the fetch of the newest snapshot started.
    pub last_success: Option<Duration>,
    /// The Unix time before which no request is sent, if there is such a pause.
    pub retry_at: Option<Duration>,
    /// Why the newest fetch failed, if it did.
    pub failure: Option<Failure>,
    /// The TTL in force.
    pub ttl: Duration,
    /// What was counted since the process started.
    pub counts: RequestCounts,
    /// Whether other replicas have perhaps counted more, since the store that they share does not answer. What was counted
    /// is not shown then: a counter that is smaller than that of another replica would seem to have begun anew.
    pub is_behind: bool,
}

/// Requests and scrapes since the process started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestCounts {
    /// Requests to the API, failed connections included.
    pub requests: u64,
    /// Failed requests by error; contains every error known in advance.
    pub errors: BTreeMap<Cow<'static, str>, u64>,
    /// The API's response time.
    pub request_seconds: Histogram,
    /// Scrapes.
    pub queries: u64,
    /// Scrapes that were answered at once from a fresh snapshot.
    pub hits: u64,
}

/// Why the newest fetch failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The value of the label `error`.
    pub label: Cow<'static, str>,
    /// What went wrong, in words.
    pub reason: String,
    /// What a person can do about it.
    pub advice: Cow<'static, str>,
    /// When the fetch ended.
    pub at: Now,
}

/// What the exporter reports about itself.
#[derive(Clone, Debug)]
pub struct ExporterReport {
    /// Its process; `None` if the system does not report it.
    pub process: Option<Process>,
    /// Whether the configuration that was read last is in use.
    pub is_reload_successful: bool,
    /// Requests that hit a bug of the exporter.
    pub panics: u64,
    /// Whether the store that replicas share answers; `None` without one.
    pub is_shared_state_up: Option<bool>,
}

impl CommunityReport {
    /// Whether both show the same, but for [`RequestCounts::queries`], [`RequestCounts::hits`], the TTL, and the names and
    /// versions of servers.
    #[must_use]
    pub fn shows_the_same(&self, other: &Self) -> bool {
        // Points in time are kept on the steady clock, and shown on the wall clock, which may have stepped.
        self.at.unix_at(other.at.instant) == other.at.unix
            && self.servers.len() == other.servers.len()
            && self.servers.iter().zip(&other.servers).all(|(server, other)| {
                server.id == other.id
                    && server.calls.shows_the_same(&other.calls)
                    && match (&server.units, &other.units) {
                        (Some(units), Some(other)) => units.shows_the_same(other),
                        (units, other) => units.is_none() && other.is_none(),
                    }
            })
    }
}

impl<S, T: PartialEq> FeedReport<S, T> {
    fn shows_the_same(&self, other: &Self) -> bool {
        let is_same_snapshot = match (&self.snapshot, &other.snapshot) {
            (Some(snapshot), Some(other)) => Arc::ptr_eq(snapshot, other),
            (snapshot, other) => snapshot.is_none() && other.is_none(),
        };
        is_same_snapshot && self.status.shows_the_same(&other.status) && self.stats == other.stats
    }
}

impl ServerReport {
    /// A server with this feed alone.
    #[cfg(test)]
    pub(crate) fn of_calls(calls: FeedReport<CallSnapshot, CallStats>) -> Self {
        Self {
            id: "1".to_owned(),
            name: None,
            api_version: ApiVersion::V1,
            version_reason: VersionReason::Documented,
            calls,
            units: None,
            history: Vec::new(),
        }
    }

    /// What an overview says about it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        let calls = &self.calls;
        summary.add_calls(calls.status.health(), calls.snapshot.as_deref(), &calls.stats);
        if let Some(units) = &self.units {
            summary.add_units(units.status.health(), units.snapshot.as_deref());
        }
        summary
    }

    /// How the requests to each endpoint go that is read.
    pub fn feeds(&self) -> impl Iterator<Item = (ApiEndpoint, &FeedStatus)> {
        let units = self.units.as_ref().map(|units| (ApiEndpoint::Units, &units.status));
        [(ApiEndpoint::Calls, &self.calls.status)].into_iter().chain(units)
    }
}

impl FeedStatus {
    fn shows_the_same(&self, other: &Self) -> bool {
        // Every field is named, so that a new one is not forgotten here.
        let Self {
            is_up,
            is_behind,
            last_success,
            retry_at,
            failure: _,
            ttl: _,
            counts:
                RequestCounts {
                    requests,
                    errors,
                    request_seconds,
                    queries: _,
                    hits: _,
                },
        } = self;
        *is_up == other.is_up
            && *is_behind == other.is_behind
            && *last_success == other.last_success
            && *retry_at == other.retry_at
            && *requests == other.counts.requests
            && *errors == other.counts.errors
            && *request_seconds == other.counts.request_seconds
    }

    /// Whether any fetch has ended.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.failure.is_some() || self.last_success.is_some()
    }
}

impl RequestCounts {
    /// Whether both have the same buckets, so that they can be added.
    #[must_use]
    pub fn has_buckets_of(&self, other: &Self) -> bool {
        self.request_seconds.has_buckets_of(&other.request_seconds)
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        for (error, count) in &more.errors {
            *self.errors.entry(error.clone()).or_default() += count;
        }
        self.request_seconds.add(&more.request_seconds);
        self.queries += more.queries;
        self.hits += more.hits;
    }
}

impl fmt::Display for VersionReason {
    /// As the rest of a sentence: "version v2 is in use, ...".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("as configured"),
            Self::NoCommunityId => f.write_str("since no community id is set, which version v1 needs"),
            Self::Documented => f.write_str("which is asked first, and has not refused"),
            Self::V1Refused(error) => write!(f, "since version v1 said {error}"),
        }
    }
}

impl Default for RequestCounts {
    /// Nothing has been counted.
    fn default() -> Self {
        Self {
            requests: 0,
            errors: client::labels().map(|label| (Cow::Borrowed(label), 0)).collect(),
            request_seconds: Histogram::new(REQUEST_SECONDS),
            queries: 0,
            hits: 0,
        }
    }
}
