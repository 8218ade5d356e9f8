//! One CAD server of a community: its feeds.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::feed::{Feed, Plans, Source};
use super::history::History;
use crate::client::{Calls, Endpoint, Units};
use crate::config::{ApiVersion, CommunityConfig, ServerConfig, VersionChoice};
use crate::report::{FeedReport, OpenCalls, ServerReport, Summary, VersionReason};
use crate::snapshot::{CallSnapshot, Status};
use crate::tracker::CallStats;

/// One CAD server of a community.
#[derive(Debug)]
pub(super) struct Server {
    config: ServerConfig,
    source: Source,
    calls: Arc<Feed<Calls>>,
    /// `None` if units are not read.
    units: Option<Arc<Feed<Units>>>,
    /// No other lock is taken under it.
    history: Mutex<History>,
}

/// A feed of any endpoint.
pub(super) trait AnyFeed: Sync {
    /// When the newest request was sent; `None`, which sorts before all others, if there was none.
    fn attempted_at(&self) -> Option<Instant>;

    /// Whether any fetch has ended.
    fn is_asked(&self) -> bool;

    /// Counts a scrape. Returns what notifies it of the end of the fetch that it has to wait for.
    fn join_or_start(&self) -> Option<watch::Receiver<()>>;
}

impl<E: Endpoint> AnyFeed for Arc<Feed<E>> {
    fn attempted_at(&self) -> Option<Instant> {
        Feed::attempted_at(self)
    }

    fn is_asked(&self) -> bool {
        Feed::is_asked(self)
    }

    fn join_or_start(&self) -> Option<watch::Receiver<()>> {
        Feed::join_or_start(self)
    }
}

impl Server {
    /// A server about which nothing is known yet.
    pub(super) fn new(config: &ServerConfig, community: &CommunityConfig, source: Source) -> Self {
        let units = community.collects_units;
        let units = units.then(|| Arc::new(Feed::new(source.clone(), plans::<Units>(community))));
        Self {
            config: config.clone(),
            calls: Arc::new(Feed::new(source.clone(), plans::<Calls>(community))),
            units,
            history: Mutex::new(History::new(source.clock.now().instant)),
            source,
        }
    }

    /// The configuration it was made from.
    pub(super) fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// Changes how long data is fresh and shown.
    pub(super) fn set_plans(&self, community: &CommunityConfig) {
        self.calls.set_plans(plans::<Calls>(community));
        if let Some(units) = &self.units {
            units.set_plans(plans::<Units>(community));
        }
    }

    /// Whether units are read.
    pub(super) fn collects_units(&self) -> bool {
        self.units.is_some()
    }

    /// The feeds of all endpoints that are read.
    pub(super) fn feeds(&self) -> impl Iterator<Item = &dyn AnyFeed> {
        let units = self.units.iter().map(|units| units as &dyn AnyFeed);
        [&self.calls as &dyn AnyFeed].into_iter().chain(units)
    }

    /// The version of the API in use.
    pub(super) fn version(&self) -> ApiVersion {
        self.source.version()
    }

    fn version_reason(&self) -> VersionReason {
        match self.source.api.version {
            VersionChoice::Auto { .. } => match self.source.account.v1_refusal() {
                Some(error) => VersionReason::V1Refused(error),
                None => VersionReason::Documented,
            },
            VersionChoice::V2 { is_by_name: false } => VersionReason::NoCommunityId,
            VersionChoice::V1 { .. } | VersionChoice::V2 { is_by_name: true } => VersionReason::Configured,
        }
    }

    /// What is known, without a request.
    pub(super) fn report(&self) -> ServerReport {
        let calls = self.calls.report();
        let history = self.last_hour(&calls);
        ServerReport {
            id: self.config.id.to_string(),
            name: self.config.name.clone(),
            api_version: self.version(),
            version_reason: self.version_reason(),
            calls,
            units: self.units.as_ref().map(|units| units.report()),
            history,
        }
    }

    /// The open calls of the last hour, those of this report included: a fetch is started by a scrape, and a scrape
    /// makes a report when it has ended.
    fn last_hour(&self, calls: &FeedReport<CallSnapshot, CallStats>) -> Vec<Option<OpenCalls>> {
        let now = self.source.clock.now();
        let mut history = self.history.lock();
        if let (Some(snapshot), Some(fetched_at)) = (&calls.snapshot, calls.status.last_success)
            && let Some(at) = now.instant.checked_sub(now.unix.saturating_sub(fetched_at))
        {
            history.record(at, open_calls(snapshot));
        }
        history.last_hour(now.instant)
    }

    /// What an overview says about it, without a request.
    pub(super) fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        self.calls
            .glance(|health, snapshot, stats| summary.add_calls(health, snapshot, stats));
        if let Some(units) = &self.units {
            units.glance(|health, snapshot, _| summary.add_units(health, snapshot));
        }
        summary
    }
}

fn plans<E: Endpoint>(community: &CommunityConfig) -> Plans {
    Plans::from_fn(|version| E::plan(community, version))
}

/// The open calls of a snapshot.
fn open_calls(snapshot: &CallSnapshot) -> OpenCalls {
    let count = |status| u16::try_from(snapshot.active.with_status(status)).unwrap_or(u16::MAX);
    OpenCalls {
        pending: count(Status::Pending),
        active: count(Status::Active),
    }
}
