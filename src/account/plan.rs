//! What the configuration means for one endpoint of a community: budget, freshness, and what is worth a warning.
//!
//! Pure arithmetic, so that `serve`, `check` and a reload cannot disagree.

use std::time::Duration;

use crate::config::{ApiEndpoint, ApiVersion, CommunityConfig};

/// Data that can get older than this is worth a warning.
const MAX_QUIET_TTL: Duration = Duration::from_secs(120);

/// The requests per minute and key that version v1 of the API allows, of all endpoints together: one per second.
const V1_LIMIT: u32 = 60;

/// How often the API allows an endpoint to be requested.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The default budget of requests per minute on version v1, whose published limit, one request per second, is for
    /// all endpoints together and for the game servers.
    pub v1_budget: u32,
    /// The requests per minute and key that version v2 allows; each game server takes one of them.
    pub v2_limit: u32,
}

/// How often one endpoint may be requested for a community, and how old its data may get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The budget of requests per minute, which all servers of the account share; at least 1.
    pub requests_per_minute: u32,
    /// The TTL in force: the configured one, or longer if the budget cannot refresh every server of the account that
    /// often.
    pub ttl: Duration,
    /// How old data may get before it is left out.
    pub stale_bound: Duration,
    /// How many ids of calls and units a server may keep in each list.
    pub max_ids: usize,
    /// The requests per minute and key that the API allows, those of the game servers included.
    pub published_limit: u32,
}

impl Plan {
    /// The plan for an endpoint that may be requested at this rate, in this version of the API. A community of the
    /// account that uses version v2 only makes its lower limits those of all.
    ///
    /// Without a configured budget, the exporter takes what the game servers leave of v2's limit, but at least one
    /// request per minute; on v1, a fixed budget.
    #[must_use]
    pub fn new(endpoint: ApiEndpoint, rate: &Rate, community: &CommunityConfig, version: ApiVersion) -> Self {
        let account = community.account;
        let of_endpoint = account.endpoints[endpoint];
        let is_v2 = account.uses_v2 || version == ApiVersion::V2;
        let requests_per_minute = of_endpoint.requests_per_minute.unwrap_or_else(|| {
            if is_v2 {
                rate.v2_limit.saturating_sub(account.servers).max(1)
            } else {
                rate.v1_budget
            }
        });
        let ttl = community
            .cache_ttl
            .max(Duration::from_secs(60) * of_endpoint.servers / requests_per_minute);
        Self {
            requests_per_minute,
            ttl,
            stale_bound: community.max_stale.max(2 * ttl),
            max_ids: community.max_ids,
            published_limit: if is_v2 { rate.v2_limit } else { V1_LIMIT },
        }
    }

    /// What is allowed but may surprise, as sentences without a full stop.
    #[must_use]
    pub fn warnings(&self, endpoint: ApiEndpoint, community: &CommunityConfig) -> Vec<String> {
        let Self {
            requests_per_minute,
            ttl,
            published_limit,
            ..
        } = *self;
        let servers = community.account.servers;
        let what = endpoint.label();
        let mut warnings = Vec::new();
        if servers >= published_limit {
            warnings.push(format!(
                "{servers} servers use up the API's limit of {published_limit} requests per minute and key: \
                 each game server requests {what} once per minute, and the exporter adds {requests_per_minute}"
            ));
        } else if servers + requests_per_minute > published_limit {
            warnings.push(format!(
                "{requests_per_minute} requests for {what} per minute and one for each game server exceed the API's \
                 limit of {published_limit} per minute and key"
            ));
        }
        if ttl > MAX_QUIET_TTL && community.cache_ttl <= MAX_QUIET_TTL {
            warnings.push(format!(
                "with a budget of {requests_per_minute} per minute for the {what} of {servers} servers, data gets up to {} \
                 old",
                humantime::format_duration(ttl)
            ));
        }
        warnings
    }
}
