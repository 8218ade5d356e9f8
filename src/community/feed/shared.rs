//! A feed that replicas share: one of them fetches and writes, the others take over what it wrote.
//!
//! What is known changes only with what the store has, so that all replicas say the same. Without the store, a replica shows
//! the snapshots that it fetches by itself, and neither counts nor shows counts: another one may have counted more.

use std::time::Duration;

use super::{Endpoint, Feed, Fetch, Known, Outcome, Page, SnapshotOf};
use crate::account::{Asking, Begin, Commit, Lease, Permit, SharedFeed, Written};
use crate::cache::Cache;
use crate::client::FetchError;
use crate::config::{ApiVersion, VersionChoice};
use crate::report::RequestCounts;
use crate::tracker::Track as _;

/// How often to check whether another replica's fetch has ended.
const POLL: Duration = Duration::from_millis(100);

/// Where a replica stands.
#[derive(Debug, Default)]
pub(super) struct Replica {
    /// The version of the state in the store that is known here; 0 if none is.
    version: u64,
    /// Requests that are not in the store yet.
    pub(super) pending: RequestCounts,
    /// The same of scrapes, and of those that were answered at once.
    pub(super) scrapes: (u64, u64),
    /// Whether the newest fetch was made without the store.
    pub(super) is_alone: bool,
    /// Whether the store answered when it was asked last.
    pub(super) is_in_touch: bool,
}

/// What a replica may do.
enum Turn {
    /// With a permit, send a request, and write what is known then.
    Fetch(Lease, Option<Permit>),
    /// The same without the store.
    FetchAlone(Option<Permit>),
    Nothing,
}

impl<E: Endpoint> Fetch<E> {
    /// Fetches if it is this replica's turn, or takes over what another one has fetched.
    pub(super) async fn run_shared<F>(mut self, version: ApiVersion, fetch: impl Fn(Page<E>) -> F)
    where
        F: Future<Output = Result<SnapshotOf<E>, FetchError>>,
    {
        let feed = self.feed.clone();
        let shared = feed.shared.as_ref().expect("it is called for such feeds only");
        match feed.turn(shared, version).await {
            Turn::Fetch(lease, permit) => {
                self.lease = Some(lease);
                let outcome = self.fetch(permit, fetch).await;
                if let Some(lease) = &self.lease {
                    feed.write(shared, lease, outcome).await;
                }
            }
            Turn::FetchAlone(permit) => feed.land_alone(self.fetch(permit, fetch).await),
            Turn::Nothing => feed.complete(Outcome::NotAsked),
        }
        self.is_complete = true;
    }
}

impl<E: Endpoint> Feed<E> {
    /// Waits until it is known what this replica may do.
    async fn turn(&self, shared: &SharedFeed, api: ApiVersion) -> Turn {
        let mut is_forced = false;
        loop {
            let (begin, written) = shared.begin(self.asking(api, is_forced)).await;
            // At once: a scrape may run out of time before this ends, and must not show less than others have shown.
            let is_readable = written.is_none_or(|written| self.take_over(written));
            self.note_contact(!matches!(begin, Begin::Away | Begin::Newer(_) | Begin::Lost));
            match begin {
                Begin::Away => return Turn::FetchAlone(self.source.account.permit(E::NAME, api).await),
                Begin::Newer(permit) => {
                    self.forget();
                    return Turn::FetchAlone(match permit {
                        Some(permit) => self.wait(permit).await,
                        None => None,
                    });
                }
                Begin::Lost => return Turn::Nothing,
                Begin::Fetching => self.source.clock.sleep(POLL).await,
                Begin::Nothing { is_fresh } => {
                    if is_readable || is_forced {
                        if is_fresh && let Some(replica) = &mut self.state.lock().replica {
                            replica.scrapes.1 += 1;
                        }
                        return Turn::Nothing;
                    }
                    // What is there is not ours: it is overwritten.
                    is_forced = true;
                }
                Begin::Granted(lease, permit) => return Turn::Fetch(lease, self.wait(permit).await),
            }
        }
    }

    /// The permit, once it may be used; `None` if a pause has begun meanwhile.
    async fn wait(&self, (permit, wait): (Permit, Duration)) -> Option<Permit> {
        if !wait.is_zero() {
            self.source.clock.sleep(wait).await;
        }
        if self.source.account.pause(E::NAME).is_active(self.source.clock.now()) {
            permit.give_back().await;
            return None;
        }
        Some(permit)
    }

    /// Forgets what newer exporters have counted further, so that it is not shown again when they are gone.
    fn forget(&self) {
        let mut state = self.lock();
        let ttl = state.known.cache.ttl();
        state.known.tracker = E::Tracker::new(ttl, &self.source.api.labels);
        state.known.counts = RequestCounts::default();
        state.apply_plan();
        if let Some(replica) = &mut state.replica {
            replica.version = 0;
            replica.pending = RequestCounts::default();
        }
    }

    fn note_contact(&self, is_in_touch: bool) {
        if let Some(replica) = &mut self.state.lock().replica {
            replica.is_in_touch = is_in_touch;
        }
    }

    fn asking(&self, api: ApiVersion, is_forced: bool) -> Asking {
        let mut state = self.lock();
        let ttl = state.known.cache.ttl();
        let known_scrapes = (state.known.counts.queries, state.known.counts.hits);
        let replica = state.replica.as_mut().expect("the feed is shared");
        Asking {
            api,
            may_change: matches!(self.source.api.version, VersionChoice::Auto { .. }),
            known: replica.version,
            ttl,
            known_scrapes,
            scrapes: std::mem::take(&mut replica.scrapes),
            is_forced,
        }
    }

    /// Knows what another replica has written from now on. Returns whether it can be read.
    fn take_over(&self, written: Written) -> bool {
        let now = self.source.clock.now();
        let labels = &self.source.api.labels;
        let known = written.state.and_then(|state| Known::<E>::read(&state, labels, now));
        let is_readable = known.is_some();
        let mut state = self.lock();
        let is_alone = state.replica.as_ref().is_some_and(|replica| replica.is_alone);
        let mut is_newest = is_readable;
        if let Some(mut known) = known {
            (known.counts.queries, known.counts.hits) = written.scrapes;
            let fetched_at = |cache: &Cache<_>| cache.fetched_at().map(|now| now.instant);
            if is_alone && fetched_at(&state.known.cache) > fetched_at(&known.cache) {
                // What was fetched without the store is shown until there is something newer.
                is_newest = false;
                known.cache = state.known.cache.clone();
                known.failure.clone_from(&state.known.failure);
                known.tracker.forget_present();
            }
            // The flight goes on.
            known.cache.begin();
            state.known = known;
            state.apply_plan();
        }
        if let Some(replica) = &mut state.replica {
            replica.version = written.version;
            replica.is_alone &= !is_newest;
        }
        is_readable
    }

    /// Writes how a fetch ended, and ends it. It is known here only if it is in the store.
    async fn write(&self, shared: &SharedFeed, lease: &Lease, outcome: Outcome<SnapshotOf<E>>) {
        let (mut known, version) = {
            let state = self.lock();
            let mut known = state.known.clone();
            let replica = state.replica.as_ref().expect("the feed is shared");
            known.counts.add(&replica.pending);
            (known, replica.version)
        };
        self.land(&mut known, outcome);
        let now = self.source.clock.now();
        let written = known.write(now);
        let fetched = known.cache.fetched_at();
        let fetched = fetched.map_or(Duration::ZERO, |fetched| now.unix_at(fetched.instant));
        let paused_until = known.cache.pause().ends_at(now).unwrap_or_default();
        match shared.commit(lease, version, written, [fetched, paused_until]).await {
            Commit::Done(version, scrapes) => {
                (known.counts.queries, known.counts.hits) = scrapes;
                // Until the end is announced, no other flight begins.
                known.cache.begin();
                let mut state = self.lock();
                state.known = known;
                state.apply_plan();
                if let Some(replica) = &mut state.replica {
                    replica.version = version;
                    replica.pending = RequestCounts::default();
                    replica.is_alone = false;
                }
            }
            Commit::Fenced(Some(written)) => {
                self.take_over(written);
            }
            Commit::Fenced(None) => {}
            Commit::Away => {
                self.note_contact(false);
                self.show(known);
            }
        }
        self.complete(Outcome::NotAsked);
    }

    /// Ends a fetch that was made without the store.
    fn land_alone(&self, outcome: Outcome<SnapshotOf<E>>) {
        if !matches!(outcome, Outcome::NotAsked) {
            let mut known = self.lock().known.clone();
            self.land(&mut known, outcome);
            self.show(known);
        }
        self.complete(Outcome::NotAsked);
    }

    /// Shows the snapshot or the failure of a fetch, and counts nothing.
    fn show(&self, mut known: Known<E>) {
        known.cache.begin();
        let mut state = self.lock();
        state.known.cache = known.cache;
        state.known.failure = known.failure;
        state.known.tracker.forget_present();
        if let Some(replica) = &mut state.replica {
            replica.is_alone = true;
        }
    }
}
