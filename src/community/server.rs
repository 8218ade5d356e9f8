//! One CAD server: its cache, tracker and counts behind one lock, and the fetch that may be in flight.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use super::account::Account;
use crate::cache::{Lookup, ScrapeCache};
use crate::client::{self, Client, FetchError, PauseRequest};
use crate::clock::{Clock, Now};
use crate::config::{ApiConfig, CommunityConfig, ServerConfig};
use crate::histogram::Histogram;
use crate::snapshot::Snapshot;
use crate::tracker::{Lifecycles, Tracker};

/// Upper bounds in seconds for the time that the API takes, up to just above the default time-out.
const REQUEST_SECONDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// One CAD server of a community.
#[derive(Debug)]
pub(super) struct Server {
    /// The alias of its community, for the log.
    community: Option<String>,
    id: u32,
    name: Option<String>,
    api: Arc<ApiConfig>,
    account: Arc<Account>,
    client: Arc<Client>,
    clock: Clock,
    /// Never held across an `.await`: a slow API must not hold up a scrape's report.
    state: Mutex<State>,
    /// Tells those who wait that a fetch has landed.
    landings: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    cache: ScrapeCache,
    tracker: Tracker,
    counts: Counts,
    /// The newest failure, until a success.
    failure: Option<Failure>,
}

/// What is counted from the start of the process on.
#[derive(Clone, Debug)]
pub struct Counts {
    /// Requests to the API, failed connections included.
    pub requests: u64,
    /// Failed requests by error; every error known in advance is there.
    pub errors: BTreeMap<Cow<'static, str>, u64>,
    /// The time that the API took.
    pub request_seconds: Histogram,
    /// Scrapes.
    pub queries: u64,
    /// Scrapes that were answered at once from a fresh snapshot.
    pub hits: u64,
}

/// Why the newest attempt failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The value of the label `error`.
    pub label: Cow<'static, str>,
    /// What went wrong, in words.
    pub reason: String,
    /// What a person can do about it.
    pub advice: &'static str,
    /// When the attempt ended.
    pub at: Now,
}

/// All that one scrape says about one server.
#[derive(Clone, Debug)]
pub struct ServerReport {
    /// The CAD's number of the server, as a text.
    pub id: String,
    /// What the user calls it.
    pub name: Option<String>,
    /// Whether the newest attempt succeeded, its snapshot is within the stale bound, and the account
    /// is not paused.
    pub is_up: bool,
    /// The newest snapshot, while it is within the stale bound.
    pub snapshot: Option<Arc<Snapshot>>,
    /// How calls came, waited and went.
    pub lifecycles: Lifecycles,
    /// The Unix time when the newest good answer's fetch started.
    pub last_success: Option<Duration>,
    /// The Unix time before which the API will not be asked, if there is such a pause.
    pub retry_at: Option<Duration>,
    /// Why the newest attempt failed, if it did.
    pub failure: Option<Failure>,
    /// The TTL in force.
    pub ttl: Duration,
    /// What is counted from the start of the process on.
    pub counts: Counts,
}

/// A fetch in flight. A panic that drops it lands it as a failure, so that nobody waits for ever.
struct Flight {
    server: Arc<Server>,
    has_landed: bool,
}

impl Server {
    pub(super) fn new(
        community: Option<&str>,
        server: &ServerConfig,
        config: &CommunityConfig,
        api: Arc<ApiConfig>,
        account: Arc<Account>,
        client: Arc<Client>,
        clock: Clock,
    ) -> Self {
        let cache = ScrapeCache::new(config.ttl_in_force(), config.stale_bound());
        Self {
            community: community.map(str::to_owned),
            id: server.id,
            name: server.name.clone(),
            api,
            account,
            client,
            clock,
            state: Mutex::new(State {
                cache,
                tracker: Tracker::new(config.ttl_in_force()),
                counts: Counts::default(),
                failure: None,
            }),
            landings: watch::Sender::new(()),
        }
    }

    /// Changes how long data is fresh and shown, as the account's other servers come and go.
    pub(super) fn set_limits(&self, config: &CommunityConfig) {
        let mut state = self.state.lock();
        state.cache.set_limits(config.ttl_in_force(), config.stale_bound());
        state.tracker.set_ttl(config.ttl_in_force());
    }

    /// When the newest attempt started; `None`, which is before all others, if there was none.
    pub(super) fn attempted_at(&self) -> Option<Instant> {
        self.state.lock().cache.started_at().map(|now| now.instant)
    }

    /// Whether the newest attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.state.lock().failure.is_some()
    }

    /// Counts a scrape; where it has to wait for a fetch, gives what tells that it has landed.
    pub(super) fn join_or_start(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        let server = self.clone();
        self.join_or_start_with(|closed_limit| async move {
            let Self { client, api, id, .. } = &*server;
            client.fetch_snapshot(api, *id, closed_limit).await
        })
    }

    /// The same, with the fetch to run if one is to be started, of at most so many closed calls.
    fn join_or_start_with<F>(self: &Arc<Self>, fetch: impl FnOnce(u32) -> F) -> Option<watch::Receiver<()>>
    where
        F: Future<Output = Result<Snapshot, FetchError>> + Send + 'static,
    {
        let mut state = self.state.lock();
        let now = self.clock.now();
        state.counts.queries += 1;
        match state.cache.look_up(now) {
            Lookup::Fresh => state.counts.hits += 1,
            Lookup::Fetching => return Some(self.landings.subscribe()),
            Lookup::Due if self.account.try_take(now) => {
                state.cache.start(now);
                state.counts.requests += 1;
                let fetch = fetch(state.tracker.closed_limit());
                let landing = self.landings.subscribe();
                // A runtime that is closing drops the flight at once, which must not meet the lock.
                drop(state);
                let flight = Flight {
                    server: self.clone(),
                    has_landed: false,
                };
                // In a task of its own, so that scrapers who hang up do not end it.
                tokio::spawn(async move { flight.land(fetch.await) });
                return Some(landing);
            }
            Lookup::Paused | Lookup::Due => {}
        }
        None
    }

    /// Ends the fetch in flight.
    fn land(&self, outcome: Result<Snapshot, FetchError>) {
        let mut state = self.state.lock();
        let now = self.clock.now();
        let started_at = state.cache.started_at().unwrap_or(now);
        if let Ok(snapshot) = &outcome {
            // Before anything is counted: a fault in it lands the flight once more, as a failure.
            state.tracker.observe(snapshot, started_at);
        }
        self.account.answer(now);
        state.counts.request_seconds.observe(now.since(started_at));
        match outcome {
            Ok(snapshot) => {
                state.cache.succeed(snapshot);
                if let Some(failure) = state.failure.take() {
                    info!(
                        community = self.community,
                        server_id = self.id,
                        error = %failure.label,
                        "the API can be read again"
                    );
                }
            }
            Err(error) => self.fail(&mut state, now, &error),
        }
        // Under the lock: a scrape that starts the next fetch must not wake from this landing.
        self.landings.send_replace(());
    }

    fn fail(&self, state: &mut State, now: Now, error: &FetchError) {
        let pause = match error.pause(now) {
            PauseRequest::BackOff => state.cache.back_off(now),
            PauseRequest::Server(duration) => duration,
            PauseRequest::Account(duration) => {
                self.account.extend_pause(now, duration);
                Duration::ZERO
            }
        };
        state.cache.fail(now, pause);
        let label = error.label();
        *state.counts.errors.entry(label.clone()).or_default() += 1;
        if state.failure.as_ref().is_none_or(|failure| failure.label != label) {
            warn!(
                community = self.community,
                server_id = self.id,
                error = %label,
                reason = %error,
                advice = error.advice(),
                "the API cannot be read"
            );
        }
        state.failure = Some(Failure {
            label,
            reason: error.to_string(),
            advice: error.advice(),
            at: now,
        });
    }

    /// All that one scrape says about this server.
    pub(super) fn report(&self) -> ServerReport {
        let state = self.state.lock();
        let now = self.clock.now();
        let account_pause = self.account.pause();
        let State {
            cache,
            tracker,
            counts,
            failure,
        } = &*state;
        ServerReport {
            id: self.id.to_string(),
            name: self.name.clone(),
            is_up: cache.is_up(now) && !account_pause.holds(now),
            snapshot: cache.snapshot(now).cloned(),
            lifecycles: tracker.lifecycles().clone(),
            last_success: cache.fetched_at().map(|now| now.unix),
            retry_at: cache.pause().ends_at(now).max(account_pause.ends_at(now)),
            failure: failure.clone(),
            ttl: cache.ttl(),
            counts: counts.clone(),
        }
    }
}

impl Default for Counts {
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

impl Flight {
    fn land(mut self, outcome: Result<Snapshot, FetchError>) {
        self.server.land(outcome);
        self.has_landed = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Without a panic, the runtime is going away, and nobody waits.
        if !self.has_landed && std::thread::panicking() {
            self.server.land(Err(FetchError::Other("it panicked".to_owned())));
        }
    }
}

#[cfg(test)]
mod tests;
