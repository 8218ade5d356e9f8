//! One endpoint of one server: its cache, tracker and counts behind one lock, and the fetch that may be in flight.

mod flight;
mod shared;
mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use enum_map::EnumMap;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use self::flight::{Fetch, Outcome};
use self::shared::Replica;
pub use self::state::{Replayed, replay};
use crate::account::{Account, Pause, Permit, Plan, SharedFeed, Verdict};
use crate::cache::{Cache, Lookup};
use crate::client::{Client, Endpoint, FetchError, PauseRequest, QueryOf, Scope, SnapshotOf, Turn};
use crate::clock::{Clock, Now};
use crate::config::{ApiConfig, ApiVersion, VersionChoice};
use crate::report::{Failure, FeedReport, FeedStatus, Health, RequestCounts};
use crate::tracker::Track;

/// One endpoint of one server.
#[derive(Debug)]
pub(super) struct Feed<E: Endpoint> {
    source: Source,
    /// Never held across an `.await`, so a slow API cannot delay a scrape's report. No other lock is taken under it.
    state: Mutex<State<E>>,
    /// Notifies waiting scrapes that a fetch has ended.
    completions: watch::Sender<()>,
    /// What it shares with other replicas; `None` if there are none.
    shared: Option<SharedFeed>,
}

/// Where a feed comes from, and what it needs to get there.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// The alias of the community, for the log.
    pub(super) community: Option<String>,
    pub(super) server_id: u32,
    pub(super) api: Arc<ApiConfig>,
    pub(super) account: Arc<Account>,
    pub(super) client: Arc<Client>,
    pub(super) clock: Clock,
}

/// The plan for each version of the API.
pub(super) type Plans = EnumMap<ApiVersion, Plan>;

/// A page to ask for.
pub(super) struct Page<E: Endpoint> {
    version: ApiVersion,
    query: QueryOf<E>,
    turn: Turn,
}

#[derive(Debug)]
struct State<E: Endpoint> {
    plans: Plans,
    /// The version whose plan is in force.
    version: ApiVersion,
    /// What version v1 said, while version v2 has yet to be asked because of that.
    v1_refusal: Option<FetchError>,
    known: Known<E>,
    /// Where this replica stands among others, if there are any.
    replica: Option<Box<Replica>>,
}

/// All that is known of a feed, which replicas have in common.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
struct Known<E: Endpoint> {
    cache: Cache<SnapshotOf<E>>,
    tracker: E::Tracker,
    counts: RequestCounts,
    /// The newest failure, until a success.
    failure: Option<Failure>,
}

impl<E: Endpoint> Feed<E> {
    /// A feed about which nothing is known yet.
    pub(super) fn new(source: Source, plans: Plans) -> Self {
        let version = source.version();
        let plan = plans[version];
        let shared = source.account.shared_feed(E::NAME, source.server_id, &source.api);
        let mut state = State {
            plans,
            version,
            v1_refusal: None,
            known: Known {
                cache: Cache::new(plan.ttl, plan.stale_bound),
                tracker: E::Tracker::new(plan.ttl, &source.api.labels),
                counts: RequestCounts::default(),
                failure: None,
            },
            replica: shared.is_some().then(Box::default),
        };
        state.apply_plan();
        Self {
            state: Mutex::new(state),
            completions: watch::Sender::new(()),
            shared,
            source,
        }
    }

    /// The state, with the plan of the version of the API that is in use.
    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Before the lock: no other one is taken under it.
        let version = self.source.version();
        let mut state = self.state.lock();
        if state.version != version {
            state.version = version;
            state.apply_plan();
        }
        state
    }

    /// Changes how long data is fresh and shown, as the account's other servers come and go.
    pub(super) fn set_plans(&self, plans: Plans) {
        let mut state = self.lock();
        state.plans = plans;
        state.apply_plan();
    }

    /// When the newest request was sent; `None`, which sorts before all others, if there was none.
    pub(super) fn attempted_at(&self) -> Option<Instant> {
        self.state.lock().known.cache.started_at().map(|now| now.instant)
    }

    /// Whether any fetch has ended.
    pub(super) fn is_asked(&self) -> bool {
        let known = &self.state.lock().known;
        known.failure.is_some() || known.cache.fetched_at().is_some()
    }

    /// Counts a scrape. If it has to wait for a fetch, returns what notifies it of the end of that fetch.
    pub(super) fn join_or_start(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        let feed = self.clone();
        self.join_or_start_with(move |Page { version, query, turn }| {
            let Source {
                client, api, server_id, ..
            } = feed.source.clone();
            async move { client.fetch_snapshot::<E>(&api, version, server_id, query, turn).await }
        })
    }

    /// The same, with the function that fetches.
    fn join_or_start_with<F>(
        self: &Arc<Self>,
        fetch: impl Fn(Page<E>) -> F + Send + Sync + 'static,
    ) -> Option<watch::Receiver<()>>
    where
        F: Future<Output = Result<SnapshotOf<E>, FetchError>> + Send,
    {
        let (version, completion) = {
            let mut state = self.lock();
            let now = self.source.clock.now();
            state.count_scrape();
            match state.known.cache.look_up(now) {
                Lookup::Fresh => {
                    state.count_hit();
                    return None;
                }
                Lookup::Paused => return None,
                Lookup::Fetching => return Some(self.completions.subscribe()),
                Lookup::Due => {
                    state.known.cache.begin();
                    (state.next_version(), self.completions.subscribe())
                }
            }
        };
        let in_flight = Fetch {
            feed: self.clone(),
            lease: None,
            is_complete: false,
        };
        if self.shared.is_some() {
            tokio::spawn(async move { in_flight.run_shared(version, fetch).await });
            return Some(completion);
        }
        // Made here, so that the order in which scrapes call this function decides who gets the last slot.
        let permit = self.source.account.permit(E::NAME, version);
        // In a task of its own, so that a client that disconnects does not end it.
        tokio::spawn(async move { in_flight.run(permit.await, fetch).await });
        Some(completion)
    }

    /// Sends one request when it has its turn, and counts it. `None`: it has none, and nothing is sent. Ages count from when
    /// the request for the first page is sent.
    async fn request<F>(
        &self,
        query: QueryOf<E>,
        is_first_page: bool,
        permit: Permit,
        fetch: &impl Fn(Page<E>) -> F,
    ) -> Option<F::Output>
    where
        F: Future<Output = Result<SnapshotOf<E>, FetchError>>,
    {
        let Some(turn) = self.source.client.turn().await else {
            permit.give_back().await;
            return None;
        };
        let started_at = self.source.clock.now();
        {
            let mut state = self.state.lock();
            state.tally().requests += 1;
            if is_first_page {
                state.known.cache.start(started_at);
            }
        }
        let version = permit.version();
        let result = fetch(Page { version, query, turn }).await;
        let now = self.source.clock.now();
        let verdict = match &result {
            Ok(_) => Verdict::Good,
            // Version v2 is asked before anything is concluded.
            Err(error) if self.source.may_leave(version, error) => Verdict::Nothing,
            Err(error) => verdict(error, now),
        };
        // Before the end is announced, so that the slot's minute begins no later than a scrape that was waiting.
        self.source.account.end(permit, verdict).await;
        let mut state = self.state.lock();
        let counts = state.tally();
        counts.request_seconds.observe(now.since(started_at));
        if let Err(error) = &result {
            *counts.errors.entry(error.label()).or_default() += 1;
        }
        drop(state);
        Some(result)
    }

    /// Ends the fetch in flight.
    fn complete(&self, outcome: Outcome<SnapshotOf<E>>) {
        let mut state = self.lock();
        self.land(&mut state.known, outcome);
        // Under the lock: a scrape that starts the next fetch must not be woken by this one.
        self.completions.send_replace(());
    }

    /// Notes how a fetch ended.
    fn land(&self, known: &mut Known<E>, outcome: Outcome<SnapshotOf<E>>) {
        let now = self.source.clock.now();
        let started_at = known.cache.started_at().unwrap_or(now);
        match outcome {
            Outcome::Fetched { snapshot, is_complete } => {
                // First, because a panic in it completes the fetch once more, as a failure.
                known.tracker.observe(&snapshot, is_complete, started_at.instant);
                self.succeed(known, snapshot);
            }
            Outcome::Failed(error) => self.fail(known, now, &error),
            Outcome::NotAsked => known.cache.give_up(),
        }
    }

    /// Goes over to version v2, which has answered well after version v1 had refused.
    async fn change_version(&self, refusal: &FetchError) {
        if let Some(shared) = &self.shared {
            shared.change_version(&refusal.label()).await;
        }
        if self.source.account.use_v2(refusal.label()) {
            let requests_per_minute = self.lock().plans[ApiVersion::V2].requests_per_minute;
            info!(
                community = self.source.community,
                error = %refusal.label(),
                api_endpoint = E::NAME.label(),
                requests_per_minute,
                "version v1 of the API refuses, and version v2 answers: it is used from now on"
            );
        }
    }

    fn succeed(&self, known: &mut Known<E>, snapshot: SnapshotOf<E>) {
        known.cache.succeed(snapshot);
        if let Some(failure) = known.failure.take() {
            info!(
                community = self.source.community,
                server_id = self.source.server_id,
                api_endpoint = E::NAME.label(),
                error = %failure.label,
                "the API can be read again"
            );
        }
    }

    fn fail(&self, known: &mut Known<E>, now: Now, error: &FetchError) {
        let own_pause = match error.pause(now) {
            PauseRequest::BackOff(min) => known.cache.back_off(now).max(min),
            PauseRequest::For(Scope::Server, duration) => duration,
            PauseRequest::For(Scope::Endpoint | Scope::Account, _) => Duration::ZERO,
        };
        known.cache.fail(now, own_pause);
        let label = error.label();
        // A failure that goes on is logged once.
        if known.failure.as_ref().is_none_or(|failure| failure.label != label) {
            warn!(
                community = self.source.community,
                server_id = self.source.server_id,
                api_endpoint = E::NAME.label(),
                error = %label,
                reason = %error,
                advice = error.advice(),
                "the API cannot be read"
            );
        }
        known.failure = Some(Failure {
            label,
            reason: error.to_string(),
            advice: error.advice().into(),
            at: now,
        });
    }

    /// Reads what an overview needs, at a fraction of the cost of a report.
    pub(super) fn glance<T>(
        &self,
        read: impl FnOnce(Health, Option<&SnapshotOf<E>>, &<E::Tracker as Track>::Stats) -> T,
    ) -> T {
        let account_pause = self.source.account.pause(E::NAME);
        let state = self.lock();
        let now = self.source.clock.now();
        let Known {
            cache,
            tracker,
            failure,
            ..
        } = &state.known;
        let (is_up, last_success, retry_at) = freshness(cache, account_pause, now);
        let health = Health::of(failure.as_ref(), is_up, retry_at, last_success);
        read(health, cache.snapshot(now).map(|snapshot| &**snapshot), tracker.stats())
    }

    /// What is known, without a request.
    pub(super) fn report(&self) -> FeedReport<SnapshotOf<E>, <E::Tracker as Track>::Stats> {
        let account_pause = self.source.account.pause(E::NAME);
        let state = self.lock();
        let mut report = state.known.report(account_pause, self.source.clock.now());
        report.status.is_behind = state.replica.as_ref().is_some_and(|replica| !replica.is_in_touch);
        report
    }
}

impl<E: Endpoint> Known<E> {
    fn report(&self, account_pause: Pause, now: Now) -> FeedReport<SnapshotOf<E>, <E::Tracker as Track>::Stats> {
        let (is_up, last_success, retry_at) = freshness(&self.cache, account_pause, now);
        FeedReport {
            status: FeedStatus {
                is_up,
                last_success,
                retry_at,
                failure: self.failure.clone(),
                ttl: self.cache.ttl(),
                counts: self.counts.clone(),
                is_behind: false,
            },
            snapshot: self.cache.snapshot(now).cloned(),
            stats: self.tracker.stats().clone(),
        }
    }

    fn apply_plan(&mut self, plan: Plan) {
        self.cache.set_limits(plan.ttl, plan.stale_bound);
        self.tracker.set_limits(plan.ttl, plan.max_ids);
    }
}

/// Whether the feed is up; the Unix time of its newest good answer; and that before which it is not asked.
fn freshness<S>(cache: &Cache<S>, account_pause: Pause, now: Now) -> (bool, Option<Duration>, Option<Duration>) {
    let last_success = cache.fetched_at().map(|fetched_at| now.unix_at(fetched_at.instant));
    (
        cache.is_up(now) && !account_pause.is_active(now),
        last_success,
        cache.pause().ends_at(now).max(account_pause.ends_at(now)),
    )
}

impl Source {
    /// The version of the API in use.
    pub(super) fn version(&self) -> ApiVersion {
        match self.api.version {
            VersionChoice::Auto { .. } => self.account.version(),
            VersionChoice::V1 { .. } => ApiVersion::V1,
            VersionChoice::V2 { .. } => ApiVersion::V2,
        }
    }

    /// Whether this failure of a version is one because of which another one is tried.
    fn may_leave(&self, version: ApiVersion, error: &FetchError) -> bool {
        let has_choice = matches!(self.api.version, VersionChoice::Auto { .. });
        has_choice && version == ApiVersion::V1 && error.refuses_v1()
    }
}

impl<E: Endpoint> State<E> {
    fn apply_plan(&mut self) {
        self.known.apply_plan(self.plans[self.version]);
    }

    /// The version to ask next.
    fn next_version(&self) -> ApiVersion {
        match self.v1_refusal {
            Some(_) => ApiVersion::V2,
            None => self.version,
        }
    }

    /// Where this process counts: directly, or until it is this replica's turn to write.
    fn tally(&mut self) -> &mut RequestCounts {
        match &mut self.replica {
            Some(replica) => &mut replica.pending,
            None => &mut self.known.counts,
        }
    }

    fn count_scrape(&mut self) {
        match &mut self.replica {
            Some(replica) => replica.scrapes.0 += 1,
            None => self.known.counts.queries += 1,
        }
    }

    /// Counts a scrape that is answered at once.
    fn count_hit(&mut self) {
        match &mut self.replica {
            Some(replica) => replica.scrapes.1 += 1,
            None => self.known.counts.hits += 1,
        }
    }
}

impl<E: Endpoint> Clone for Known<E> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            tracker: self.tracker.clone(),
            counts: self.counts.clone(),
            failure: self.failure.clone(),
        }
    }
}

/// What a failure means beyond its server.
fn verdict(error: &FetchError, now: Now) -> Verdict {
    match error.pause(now) {
        PauseRequest::For(Scope::Account, duration) => Verdict::PauseAccount(duration),
        PauseRequest::For(Scope::Endpoint, duration) => Verdict::PauseEndpoint(duration),
        PauseRequest::For(Scope::Server, _) | PauseRequest::BackOff(_) => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests;
