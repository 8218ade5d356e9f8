//! What the configuration means for one endpoint of a community: budget, freshness, and what is worth a warning.
//!
//! Pure arithmetic, so that `serve`, `check` and a reload cannot disagree.

use std::time::Duration;

use crate::config::{ApiVersion, CommunityConfig};

/// Data that can get older than this is worth a warning.
const MAX_QUIET_TTL: Duration = Duration::from_secs(120);

/// How often one endpoint may be requested for a community, and how old its data may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The budget of requests per minute, which all servers of the account share; at least 1.
    pub requests_per_minute: u32,
    /// The TTL in force: the configured one, or longer if the budget cannot refresh every server of the account that
    /// often.
    pub ttl: Duration,
    /// How old data may get before it is left out.
    pub stale_bound: Duration,
}

impl Plan {
    /// The plan for an endpoint of which the API allows `published_limit` requests per minute and key.
    ///
    /// Each game server takes one of these. Without a configured budget, the exporter takes the rest, but at least
    /// one.
    #[must_use]
    pub fn new(published_limit: u32, community: &CommunityConfig) -> Self {
        let account = community.account;
        let requests_per_minute = account
            .requests_per_minute
            .unwrap_or_else(|| published_limit.saturating_sub(account.servers).max(1));
        let ttl = community
            .cache_ttl
            .max(Duration::from_secs(60) * account.servers / requests_per_minute);
        Self {
            requests_per_minute,
            ttl,
            stale_bound: community.max_stale.max(2 * ttl),
        }
    }

    /// What is allowed but may surprise, as sentences without a full stop.
    #[must_use]
    pub fn warnings(&self, published_limit: u32, community: &CommunityConfig) -> Vec<String> {
        let Self {
            requests_per_minute,
            ttl,
            ..
        } = *self;
        let servers = community.account.servers;
        let mut warnings = Vec::new();
        if servers >= published_limit {
            warnings.push(format!(
                "{servers} servers use up the API's limit of {published_limit} requests per minute and key: \
                 each game server takes one per minute, and the exporter takes {requests_per_minute} more"
            ));
        } else if servers + requests_per_minute > published_limit && matches!(community.api.version, ApiVersion::V2) {
            warnings.push(format!(
                "{requests_per_minute} requests per minute and one for each game server exceed the API's limit of \
                 {published_limit} per minute and key"
            ));
        }
        if ttl > MAX_QUIET_TTL && community.cache_ttl <= MAX_QUIET_TTL {
            warnings.push(format!(
                "with a budget of {requests_per_minute} requests per minute for {servers} servers, data gets up to {} \
                 old",
                humantime::format_duration(ttl)
            ));
        }
        warnings
    }
}
