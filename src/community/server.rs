//! One CAD server of a community: its feeds.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::feed::{Feed, Plans, Source};
use crate::client::{Calls, Endpoint, Units};
use crate::config::{ApiVersion, CommunityConfig, ServerConfig, VersionChoice};
use crate::report::{ServerReport, VersionReason};

/// One CAD server of a community.
#[derive(Debug)]
pub(super) struct Server {
    config: ServerConfig,
    source: Source,
    calls: Arc<Feed<Calls>>,
    /// `None` if units are not read.
    units: Option<Arc<Feed<Units>>>,
}

/// A feed of any endpoint.
pub(super) trait AnyFeed: Sync {
    /// When the newest request was sent; `None`, which sorts before all others, if there was none.
    fn attempted_at(&self) -> Option<Instant>;

    /// Whether the newest fetch failed.
    fn has_failed(&self) -> bool;

    /// Whether any fetch has ended.
    fn is_asked(&self) -> bool;

    /// Counts a scrape. Returns what notifies it of the end of the fetch that it has to wait for.
    fn join_or_start(&self) -> Option<watch::Receiver<()>>;
}

impl<E: Endpoint> AnyFeed for Arc<Feed<E>> {
    fn attempted_at(&self) -> Option<Instant> {
        Feed::attempted_at(self)
    }

    fn has_failed(&self) -> bool {
        Feed::has_failed(self)
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
        ServerReport {
            id: self.config.id.to_string(),
            name: self.config.name.clone(),
            api_version: self.version(),
            version_reason: self.version_reason(),
            calls: self.calls.report(),
            units: self.units.as_ref().map(|units| units.report()),
        }
    }
}

fn plans<E: Endpoint>(community: &CommunityConfig) -> Plans {
    Plans::from_fn(|version| E::plan(community, version))
}
