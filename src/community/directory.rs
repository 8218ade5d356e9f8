//! Every community that is served, by the name it is asked for; a reload changes what must change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::task::JoinSet;

use super::account::Account;
use super::{Community, Report};
use crate::client::{Client, ClientError};
use crate::clock::Clock;
use crate::config::{CommunityConfig, Config};

/// Every community that is served.
#[derive(Debug)]
pub struct Directory {
    clock: Clock,
    /// Held for look-ups and changes only, never across an `.await`.
    entries: RwLock<Entries>,
}

#[derive(Debug)]
struct Entries {
    client: Arc<Client>,
    has_certificates: bool,
    /// The environment's own.
    own: Option<Arc<Community>>,
    by_alias: BTreeMap<String, Arc<Community>>,
    is_reload_successful: bool,
}

impl Directory {
    /// The communities of `config`; nothing is known of them yet, and nothing is asked.
    ///
    /// # Errors
    ///
    /// This machine has no CA certificates, and one of them needs some.
    pub fn new(config: &Config, clock: &Clock) -> Result<Self, ClientError> {
        let has_certificates = config.needs_certificates();
        let directory = Self {
            clock: clock.clone(),
            entries: RwLock::new(Entries {
                client: Arc::new(Client::new(has_certificates)?),
                has_certificates,
                own: None,
                by_alias: BTreeMap::new(),
                is_reload_successful: true,
            }),
        };
        directory.reload(config)?;
        Ok(directory)
    }

    /// Makes these communities the ones that are served.
    ///
    /// One whose API, key and servers are the same keeps its caches, trackers and counts; so does an account
    /// its budget and pauses. Fetches in flight of those that go end by themselves.
    ///
    /// # Errors
    ///
    /// This machine has no CA certificates, and one of them needs some; nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<(), ClientError> {
        let mut entries = self.entries.write();
        if config.needs_certificates() && !entries.has_certificates {
            entries.is_reload_successful = false;
            entries.client = Arc::new(entries.client.with_certificates()?);
            entries.has_certificates = true;
        }
        let mut communities = entries.communities();
        let own = config.community.as_ref();
        let own =
            own.map(|config| self.keep_or_make(None, config, entries.own.as_ref(), &mut communities, &entries.client));
        let mut by_alias = BTreeMap::new();
        for (alias, config) in &config.communities {
            let before = entries.by_alias.get(alias);
            let community = self.keep_or_make(Some(alias), config, before, &mut communities, &entries.client);
            by_alias.insert(alias.clone(), community);
        }
        entries.own = own;
        entries.by_alias = by_alias;
        entries.is_reload_successful = true;
        Ok(())
    }

    /// Notes that the configuration has been read anew, and was not fit for use.
    pub fn fail_reload(&self) {
        self.entries.write().is_reload_successful = false;
    }

    /// The community as it was, or a new one; `known` are those of which one may share the key.
    fn keep_or_make(
        &self,
        alias: Option<&str>,
        config: &CommunityConfig,
        before: Option<&Arc<Community>>,
        known: &mut Vec<Arc<Community>>,
        client: &Arc<Client>,
    ) -> Arc<Community> {
        let account = known
            .iter()
            .find(|community| community.api.is_same_account(&config.api))
            .map(|community| community.account.clone());
        let requests_per_minute = config.account.requests_per_minute;
        let account = account.unwrap_or_else(|| Arc::new(Account::new(requests_per_minute)));
        account.set_budget(requests_per_minute);
        if let Some(community) = before.filter(|community| community.is_read_as(config)) {
            for server in &community.servers {
                server.set_limits(config);
            }
            return community.clone();
        }
        let community = Arc::new(Community::new(alias, config, account, client, &self.clock));
        known.push(community.clone());
        community
    }

    /// Whether the configuration that was read last is in use.
    #[must_use]
    pub fn is_reload_successful(&self) -> bool {
        self.entries.read().is_reload_successful
    }

    /// Scrapes the environment's own community.
    pub async fn scrape(&self, patience: Duration) -> Report {
        let own = self.entries.read().own.clone();
        match own {
            Some(community) => community.scrape(patience).await,
            None => self.nothing(),
        }
    }

    /// Scrapes the community of this alias; `None` if there is none.
    pub async fn probe(&self, alias: &str, patience: Duration) -> Option<Report> {
        let community = self.entries.read().by_alias.get(alias)?.clone();
        Some(community.scrape(patience).await)
    }

    /// Scrapes every community at once.
    pub async fn scrape_all(&self, patience: Duration) {
        let communities = self.entries.read().communities();
        let scrapes = communities.into_iter().map(|community| async move {
            community.scrape(patience).await;
        });
        let mut scrapes: JoinSet<()> = scrapes.collect();
        while scrapes.join_next().await.is_some() {}
    }

    /// Reports what is known of the environment's own community, and asks nothing.
    #[must_use]
    pub fn report(&self) -> Report {
        let own = self.entries.read().own.clone();
        own.map_or_else(|| self.nothing(), |community| community.report())
    }

    /// Reports what is known of every other community, by alias, and asks nothing.
    #[must_use]
    pub fn reports(&self) -> Vec<(String, Report)> {
        let by_alias = self.entries.read().by_alias.clone();
        let reports = by_alias
            .into_iter()
            .map(|(alias, community)| (alias, community.report()));
        reports.collect()
    }

    /// The aliases, in order.
    #[must_use]
    pub fn aliases(&self) -> Vec<String> {
        self.entries.read().by_alias.keys().cloned().collect()
    }

    fn nothing(&self) -> Report {
        Report {
            at: self.clock.now(),
            servers: Vec::new(),
            exporter: None,
        }
    }
}

impl Entries {
    fn communities(&self) -> Vec<Arc<Community>> {
        self.own.iter().chain(self.by_alias.values()).cloned().collect()
    }
}
