//! The fetch in flight: its pages, and the version of the API that answers.

use std::sync::Arc;

use super::{Feed, Page};
use crate::account::{Lease, Permit};
use crate::client::{Endpoint, FetchError, QueryOf, SnapshotOf};
use crate::config::ApiVersion;
use crate::tracker::Track as _;

/// How many pages one answer may consist of.
const MAX_PAGES: u32 = 5;

/// How a fetch ended.
pub(super) enum Outcome<S> {
    Fetched {
        snapshot: S,
        /// Whether it has every page that matters.
        is_complete: bool,
    },
    Failed(FetchError),
    /// The account granted no permit, so nothing is known.
    NotAsked,
}

/// A fetch in flight. If a panic drops it, it completes as a failure, so that no scrape waits for ever.
pub(super) struct Fetch<E: Endpoint> {
    pub(super) feed: Arc<Feed<E>>,
    /// The right to write what it brings, if replicas share that.
    pub(super) lease: Option<Lease>,
    pub(super) is_complete: bool,
}

impl<E: Endpoint> Fetch<E> {
    pub(super) async fn run<F>(mut self, permit: Option<Permit>, fetch: impl Fn(Page<E>) -> F)
    where
        F: Future<Output = Result<SnapshotOf<E>, FetchError>>,
    {
        let outcome = self.fetch(permit, fetch).await;
        self.feed.complete(outcome);
        self.is_complete = true;
    }

    /// Fetches one page if there is a permit, and the others as long as they matter and slots are free.
    pub(super) async fn fetch<F>(&self, permit: Option<Permit>, fetch: impl Fn(Page<E>) -> F) -> Outcome<SnapshotOf<E>>
    where
        F: Future<Output = Result<SnapshotOf<E>, FetchError>>,
    {
        let Some(permit) = permit else {
            return Outcome::NotAsked;
        };
        let feed = &self.feed;
        let query = feed.state.lock().known.tracker.query(feed.source.clock.now().instant);
        let (version, mut snapshot) = match self.fetch_first(query, permit, &fetch).await {
            Ok(page) => page,
            Err(outcome) => return outcome,
        };
        let next_query = |page: &_, query| feed.state.lock().known.tracker.next_query(page, query);
        let mut next = next_query(&snapshot, query);
        let mut pages = 1;
        while let Some(query) = next
            && pages < MAX_PAGES
            && let Some(permit) = self.permit_now(version).await
        {
            // The first page says what the gauges need, so a failure of another one only leaves that one out.
            let Some(Ok(page)) = feed.request(query, false, permit, &fetch).await else {
                break;
            };
            next = next_query(&page, query);
            if !E::Tracker::append(&mut snapshot, page) {
                break;
            }
            pages += 1;
        }
        let max_ids = {
            let state = feed.lock();
            state.plans[state.version].max_ids
        };
        E::Tracker::limit(&mut snapshot, max_ids);
        Outcome::Fetched {
            snapshot,
            is_complete: next.is_none(),
        }
    }

    /// A permit for one more request, without waiting for a slot.
    async fn permit_now(&self, version: ApiVersion) -> Option<Permit> {
        match (&self.feed.shared, &self.lease) {
            (Some(shared), Some(lease)) => shared.more(lease, version).await,
            _ => self.feed.source.account.permit_now(E::NAME, version),
        }
    }

    /// Fetches the first page. Where version v1 refuses, version v2 is asked if that is allowed: at once if a slot is free,
    /// otherwise by the next fetch. The change is kept only if version v2 answers well.
    async fn fetch_first<F>(
        &self,
        query: QueryOf<E>,
        mut permit: Permit,
        fetch: &impl Fn(Page<E>) -> F,
    ) -> Result<(ApiVersion, SnapshotOf<E>), Outcome<SnapshotOf<E>>>
    where
        F: Future<Output = Result<SnapshotOf<E>, FetchError>>,
    {
        let feed = &self.feed;
        let account = &feed.source.account;
        if permit.version() == ApiVersion::V1 {
            match feed
                .request(query, true, permit, fetch)
                .await
                .ok_or(Outcome::NotAsked)?
            {
                Err(error) if feed.source.may_leave(ApiVersion::V1, &error) => {
                    feed.state.lock().v1_refusal = Some(error);
                    permit = self.permit_now(ApiVersion::V2).await.ok_or(Outcome::NotAsked)?;
                }
                result => return result.map(|page| (ApiVersion::V1, page)).map_err(Outcome::Failed),
            }
        }
        let result = feed
            .request(query, true, permit, fetch)
            .await
            .ok_or(Outcome::NotAsked)?;
        let refusal = feed.state.lock().v1_refusal.take();
        match (result, refusal) {
            (Ok(page), refusal) => {
                if let Some(refusal) = refusal {
                    feed.change_version(&refusal).await;
                }
                Ok((ApiVersion::V2, page))
            }
            (Err(error), Some(refusal)) if account.version() == ApiVersion::V1 => {
                Err(Outcome::Failed(refusal.and_v2(error)))
            }
            (Err(error), _) => Err(Outcome::Failed(error)),
        }
    }
}

impl<E: Endpoint> Drop for Fetch<E> {
    fn drop(&mut self) {
        // Without a panic, the runtime is shutting down, and no scrape waits.
        if !self.is_complete && std::thread::panicking() {
            let error = FetchError::Other("it panicked".to_owned());
            let mut state = self.feed.state.lock();
            *state.tally().errors.entry(error.label()).or_default() += 1;
            drop(state);
            self.feed.complete(Outcome::Failed(error));
        }
    }
}
