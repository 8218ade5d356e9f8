//! Every community that is served, by its alias. A reload changes only what differs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use enum_map::EnumMap;
use parking_lot::{RwLock, RwLockUpgradableReadGuard};
use tokio::task::JoinSet;

use super::Community;
use crate::account::{Account, Budgets, Store, StoreError};
use crate::client::{Calls, Client, ClientError, Endpoint as _, FetchError, Units};
use crate::clock::Clock;
use crate::config::{ApiEndpoint, ApiVersion, CommunityConfig, Config};
use crate::report::{CommunityReport, Overview};

/// Every community that is served.
#[derive(Debug)]
pub struct Communities {
    clock: Clock,
    /// What replicas share, if there are any.
    store: Option<Arc<Store>>,
    /// Makes the ids of accounts, which mean something in this process only.
    hasher: RandomState,
    /// Held for look-ups and changes only, never across an `.await`.
    entries: RwLock<Entries>,
}

#[derive(Debug)]
struct Entries {
    client: Arc<Client>,
    /// The one that the environment describes.
    own: Option<Arc<Community>>,
    by_alias: Arc<BTreeMap<String, Arc<Community>>>,
    /// The keys of `by_alias`, with their labels.
    listed: Arc<[Listed]>,
    /// The accounts of the communities, and those of earlier ones as long as their requests matter.
    accounts: HashMap<AccountId, Arc<Account>>,
    is_reload_successful: bool,
}

/// A community as service discovery lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The name that requests use.
    pub alias: String,
    /// What its targets are labelled with besides.
    pub labels: BTreeMap<String, String>,
}

/// Why there are no communities.
#[derive(Debug, thiserror::Error)]
pub enum CommunitiesError {
    /// Requests to the API are not possible.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The state that replicas share cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A hash of an address of the API and a key. It keeps no copy of the key, which must be gone with its communities.
type AccountId = u64;

impl Communities {
    /// The communities of `config`. Nothing is known about them yet, and nothing is requested.
    ///
    /// # Errors
    ///
    /// This machine has no CA certificates, and a community needs some; or the address of the shared state cannot be used.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, where state is shared.
    pub fn new(config: &Config, clock: &Clock) -> Result<Self, CommunitiesError> {
        let store = config.shared_state.as_ref();
        let store = store.map(|url| Store::new(url, &config.network, clock));
        let communities = Self {
            clock: clock.clone(),
            store: store.transpose()?.map(Arc::new),
            hasher: RandomState::new(),
            entries: RwLock::new(Entries {
                client: Arc::new(Client::new(false)?),
                own: None,
                by_alias: Arc::default(),
                listed: Arc::default(),
                accounts: HashMap::new(),
                is_reload_successful: true,
            }),
        };
        communities.reload(config)?;
        Ok(communities)
    }

    /// Makes these communities the ones that are served.
    ///
    /// A community whose API, key and servers are the same keeps its caches, trackers and counts. An account keeps its
    /// budget and pauses as long as they count, even if no community uses it. Fetches in flight of removed
    /// communities end by themselves.
    ///
    /// # Errors
    ///
    /// This machine has no CA certificates, and a community needs some. Nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<(), ClientError> {
        // Scrapes go on meanwhile: they only read.
        let entries = self.entries.upgradable_read();
        let client = entries.client.clone();
        if let Err(error) = client.set_network(&config.network, config.needs_certificates()) {
            RwLockUpgradableReadGuard::upgrade(entries).is_reload_successful = false;
            return Err(error);
        }
        let mut accounts = entries.accounts.clone();
        let mut used = HashSet::new();
        let mut keep_or_make = |alias, config: &CommunityConfig, before: Option<&Arc<Community>>| {
            let id = self.hasher.hash_one(config.api.account());
            used.insert(id);
            let budgets = budgets(config);
            let account = accounts.entry(id);
            let account = account.or_insert_with(|| self.new_account(config, &budgets));
            account.set_budgets(&budgets);
            if let Some(community) = before.filter(|community| community.is_read_as(config)) {
                for server in &community.servers {
                    server.set_plans(config);
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
        let listed = config.communities.iter().map(|(alias, config)| Listed {
            alias: alias.clone(),
            labels: config.labels.clone(),
        });
        accounts.retain(|id, account| used.contains(id) || account.is_in_use());
        *RwLockUpgradableReadGuard::upgrade(entries) = Entries {
            client,
            own,
            listed: listed.collect(),
            by_alias: Arc::new(by_alias),
            accounts,
            is_reload_successful: true,
        };
        Ok(())
    }

    fn new_account(&self, config: &CommunityConfig, budgets: &Budgets) -> Arc<Account> {
        Arc::new(match &self.store {
            Some(store) => Account::new_shared(budgets, &self.clock, store, config.api.account()),
            None => Account::new(budgets, &self.clock),
        })
    }

    /// Notes that the configuration was read again and could not be used.
    pub fn fail_reload(&self) {
        self.entries.write().is_reload_successful = false;
    }

    /// Whether the configuration that was read last is in use.
    #[must_use]
    pub fn is_reload_successful(&self) -> bool {
        self.entries.read().is_reload_successful
    }

    /// Whether the state that replicas share can be reached; `None` if none is shared.
    #[must_use]
    pub fn is_shared_state_up(&self) -> Option<bool> {
        self.store.as_ref().map(|store| store.is_up())
    }

    /// Scrapes the community that the environment describes.
    pub async fn scrape(&self, deadline: Duration) -> CommunityReport {
        let own = self.entries.read().own.clone();
        match own {
            Some(community) => community.scrape(deadline).await,
            None => self.nothing(),
        }
    }

    /// Scrapes the community of this alias; `None` if there is none.
    pub async fn probe(&self, alias: &str, deadline: Duration) -> Option<CommunityReport> {
        let community = self.entries.read().by_alias.get(alias)?.clone();
        Some(community.scrape(deadline).await)
    }

    /// Asks every server once, as far as the budgets allow: those for which no fetch has ended yet.
    pub async fn ask_once(&self, deadline: Duration) {
        let communities = self.entries.read().communities();
        let scrapes = communities.into_iter().map(|community| async move {
            community.ask_once(deadline).await;
        });
        let mut scrapes: JoinSet<()> = scrapes.collect();
        while scrapes.join_next().await.is_some() {}
    }

    /// Reports what is known about the community that the environment describes, without a request.
    #[must_use]
    pub fn report(&self) -> CommunityReport {
        let own = self.entries.read().own.clone();
        own.map_or_else(|| self.nothing(), |community| community.report())
    }

    /// Reports what is known about every other community, by alias, without a request.
    #[must_use]
    pub fn reports(&self) -> Vec<(String, CommunityReport)> {
        let by_alias = self.entries.read().by_alias.clone();
        let reports = by_alias
            .iter()
            .map(|(alias, community)| (alias.clone(), community.report()));
        reports.collect()
    }

    /// Reports what is known about one community, without a request; `None` if there is no such community. The alias
    /// `None` stands for the community that the environment describes.
    #[must_use]
    pub fn report_of(&self, alias: Option<&str>) -> Option<CommunityReport> {
        self.get(alias).map(|community| community.report())
    }

    /// What is known about every community in a few numbers, without a request.
    #[must_use]
    pub fn overview(&self) -> Overview {
        let (own, by_alias) = {
            let entries = self.entries.read();
            (entries.own.clone(), entries.by_alias.clone())
        };
        let own = own.iter().map(|community| (None, community.summary()));
        let others = by_alias
            .iter()
            .map(|(alias, community)| (Some(alias.clone()), community.summary()));
        Overview {
            communities: own.chain(others).collect(),
            at: self.clock.now(),
        }
    }

    /// The servers that a community has, as the API lists them: their ids and names. `None` stands for the community that
    /// the environment describes.
    ///
    /// # Errors
    ///
    /// Whatever keeps the answer from being such a list. A community that does not exist has no servers.
    pub async fn fetch_servers(&self, alias: Option<&str>) -> Result<BTreeMap<u32, Option<String>>, FetchError> {
        match self.get(alias) {
            Some(community) => community.fetch_servers().await,
            None => Ok(BTreeMap::new()),
        }
    }

    /// The version of the API that a community uses now. `None` stands for the community that the environment describes.
    #[must_use]
    pub fn api_version(&self, alias: Option<&str>) -> ApiVersion {
        self.get(alias)
            .map_or(ApiVersion::V1, |community| community.api_version())
    }

    fn get(&self, alias: Option<&str>) -> Option<Arc<Community>> {
        let entries = self.entries.read();
        match alias {
            None => entries.own.clone(),
            Some(alias) => entries.by_alias.get(alias).cloned(),
        }
    }

    /// The aliases with their labels, in order.
    #[must_use]
    pub fn listed(&self) -> Arc<[Listed]> {
        self.entries.read().listed.clone()
    }

    fn nothing(&self) -> CommunityReport {
        CommunityReport {
            at: self.clock.now(),
            servers: Vec::new(),
        }
    }
}

impl Entries {
    fn communities(&self) -> Vec<Arc<Community>> {
        self.own.iter().chain(self.by_alias.values()).cloned().collect()
    }
}

/// The budget of each endpoint in each version of the API.
fn budgets(config: &CommunityConfig) -> Budgets {
    EnumMap::from_fn(|endpoint| {
        EnumMap::from_fn(|version| {
            let plan = match endpoint {
                ApiEndpoint::Calls => Calls::plan(config, version),
                ApiEndpoint::Units => Units::plan(config, version),
            };
            plan.requests_per_minute
        })
    })
}
