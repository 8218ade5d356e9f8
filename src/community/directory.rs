//! Every community that is served, by the name it is asked for; a reload changes what must change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{RwLock, RwLockUpgradableReadGuard};
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
    /// Makes the ids of accounts, in this process only.
    hasher: RandomState,
    /// Held for look-ups and changes only, never across an `.await`.
    entries: RwLock<Entries>,
}

#[derive(Debug)]
struct Entries {
    client: Arc<Client>,
    has_certificates: bool,
    /// The environment's own.
    own: Option<Arc<Community>>,
    by_alias: Arc<BTreeMap<String, Arc<Community>>>,
    /// The keys of these.
    aliases: Arc<[String]>,
    /// Those of the communities, and those of earlier ones while it matters what they have asked.
    accounts: HashMap<AccountId, Arc<Account>>,
    is_reload_successful: bool,
}

/// An address of the API and a key, as a number that says nothing of either: the key is to be gone with its communities.
type AccountId = u64;

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
            hasher: RandomState::new(),
            entries: RwLock::new(Entries {
                client: Arc::new(Client::new(has_certificates)?),
                has_certificates,
                own: None,
                by_alias: Arc::default(),
                aliases: Arc::default(),
                accounts: HashMap::new(),
                is_reload_successful: true,
            }),
        };
        directory.reload(config)?;
        Ok(directory)
    }

    /// Makes these communities the ones that are served.
    ///
    /// One whose API, key and servers are the same keeps its caches, trackers and counts. An account keeps
    /// its budget and pauses as long as they count, even while no community uses it. Fetches in flight of
    /// those that go end by themselves.
    ///
    /// # Errors
    ///
    /// This machine has no CA certificates, and one of them needs some; nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<(), ClientError> {
        // Scrapes go on meanwhile.
        let entries = self.entries.upgradable_read();
        let has_certificates = entries.has_certificates || config.needs_certificates();
        let client = if has_certificates == entries.has_certificates {
            entries.client.clone()
        } else {
            match entries.client.with_certificates() {
                Ok(client) => Arc::new(client),
                Err(error) => {
                    RwLockUpgradableReadGuard::upgrade(entries).is_reload_successful = false;
                    return Err(error);
                }
            }
        };
        let mut accounts = entries.accounts.clone();
        let mut used = HashSet::new();
        let mut keep_or_make = |alias, config: &CommunityConfig, before: Option<&Arc<Community>>| {
            let id = self.hasher.hash_one(config.api.account());
            used.insert(id);
            let budget = config.account.requests_per_minute;
            let account = accounts.entry(id).or_insert_with(|| Arc::new(Account::new(budget)));
            account.set_budget(budget);
            if let Some(community) = before.filter(|community| community.is_read_as(config)) {
                for server in &community.servers {
                    server.set_limits(config);
                }
                return community.clone();
            }
            Arc::new(Community::new(alias, config, account, &client, &self.clock))
        };
        let own = config.community.as_ref();
        let own = own.map(|config| keep_or_make(None, config, entries.own.as_ref()));
        let named = config.communities.iter().map(|(alias, config)| {
            let community = keep_or_make(Some(alias), config, entries.by_alias.get(alias));
            (alias.clone(), community)
        });
        let by_alias: BTreeMap<_, _> = named.collect();
        let now = self.clock.now();
        accounts.retain(|id, account| used.contains(id) || account.still_counts(now));
        *RwLockUpgradableReadGuard::upgrade(entries) = Entries {
            client,
            has_certificates,
            own,
            aliases: by_alias.keys().cloned().collect(),
            by_alias: Arc::new(by_alias),
            accounts,
            is_reload_successful: true,
        };
        Ok(())
    }

    /// Notes that the configuration has been read anew, and was not fit for use.
    pub fn fail_reload(&self) {
        self.entries.write().is_reload_successful = false;
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
        self.most_urgent_reports(usize::MAX).0
    }

    /// The same of no more than `most` communities, those with trouble before the others; and how many
    /// there are.
    #[must_use]
    pub fn most_urgent_reports(&self, most: usize) -> (Vec<(String, Report)>, usize) {
        let by_alias = self.entries.read().by_alias.clone();
        let mut shown: Vec<_> = by_alias.iter().collect();
        if shown.len() > most {
            shown.sort_by_cached_key(|(_, community)| !community.has_trouble());
            shown.truncate(most);
        }
        let reports = shown
            .into_iter()
            .map(|(alias, community)| (alias.clone(), community.report()));
        (reports.collect(), by_alias.len())
    }

    /// The aliases, in order.
    #[must_use]
    pub fn aliases(&self) -> Arc<[String]> {
        self.entries.read().aliases.clone()
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
