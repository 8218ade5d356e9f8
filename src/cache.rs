//! Whether a scrape is answered at once, waits for a fetch, or starts one.
//!
//! Pure rules: time comes in as [`Now`], and nothing here fetches, waits or locks. There is one cache per server and
//! endpoint, which is idle or fetching:
//!
//! | state | event | result |
//! |---|---|---|
//! | idle | a scrape; the snapshot is fresh, or the server is paused | [`Lookup::Fresh`], [`Lookup::Paused`] |
//! | idle | any other scrape | [`Lookup::Due`]: fetching, if the account grants a permit |
//! | fetching | a scrape | [`Lookup::Fetching`]: join |
//! | fetching | no permit | idle |
//! | fetching | a snapshot | idle |
//! | fetching | a failure | idle, with the pause that the failure asks for |

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::account::Pause;
use crate::clock::Now;

/// The longest back-off from a server that keeps failing.
const MAX_BACK_OFF: Duration = Duration::from_secs(5 * 60);

/// A pull-through cache with the newest snapshot of one server.
///
/// A failure is kept as well, so that an API in trouble is asked less and less often.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cache<S> {
    /// The TTL in force. Ages count from the fetch's start.
    ttl: Duration,
    /// A snapshot older than this is no longer shown.
    stale_bound: Duration,
    /// When the newest request was sent.
    started_at: Option<Now>,
    #[serde(skip)]
    is_fetching: bool,
    /// The newest snapshot, and when its fetch started.
    newest: Option<(Now, Arc<S>)>,
    /// Consecutive failures up to now.
    failures: u32,
    pause: Pause,
}

/// What a scrape finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A snapshot younger than the TTL.
    Fresh,
    /// No fresh snapshot, and a pause that forbids a request.
    Paused,
    /// A fetch in flight.
    Fetching,
    /// No fresh snapshot: a fetch is due.
    Due,
}

impl<S> Clone for Cache<S> {
    fn clone(&self) -> Self {
        Self {
            newest: self.newest.clone(),
            ..*self
        }
    }
}

impl<S> Cache<S> {
    /// An empty cache.
    #[must_use]
    pub fn new(ttl: Duration, stale_bound: Duration) -> Self {
        Self {
            ttl,
            stale_bound,
            started_at: None,
            is_fetching: false,
            newest: None,
            failures: 0,
            pause: Pause::default(),
        }
    }

    /// Changes how long a snapshot is fresh, and how long it is shown.
    pub fn set_limits(&mut self, ttl: Duration, stale_bound: Duration) {
        self.ttl = ttl;
        self.stale_bound = stale_bound;
    }

    /// What a scrape at `now` finds.
    #[must_use]
    pub fn look_up(&self, now: Now) -> Lookup {
        let is_fresh = |(fetched_at, _): &(Now, _)| now.since(*fetched_at) < self.ttl;
        if self.is_fetching {
            Lookup::Fetching
        } else if self.newest.as_ref().is_some_and(is_fresh) {
            Lookup::Fresh
        } else if self.pause.is_active(now) {
            Lookup::Paused
        } else {
            Lookup::Due
        }
    }

    /// Lets scrapes join from now on; the fetch still needs a permit.
    pub fn begin(&mut self) {
        self.is_fetching = true;
    }

    /// Notes that the request is being sent.
    pub fn start(&mut self, now: Now) {
        self.started_at = Some(now);
    }

    /// Ends a fetch that got no permit: nothing was sent, so nothing is concluded.
    pub fn give_up(&mut self) {
        self.is_fetching = false;
    }

    /// Keeps the snapshot that the fetch in flight brought.
    pub fn succeed(&mut self, snapshot: S) {
        self.is_fetching = false;
        self.failures = 0;
        self.newest = self.started_at.map(|fetched_at| (fetched_at, Arc::new(snapshot)));
    }

    /// Notes that the fetch in flight failed, and that the server is left alone for `pause` from `now`.
    pub fn fail(&mut self, now: Now, pause: Duration) {
        self.is_fetching = false;
        self.failures = self.failures.saturating_add(1);
        self.pause.extend((now + pause).instant);
    }

    /// How long to leave the server alone if the fetch in flight fails at `now`.
    ///
    /// From the fetch's start, it is the TTL, doubled for each earlier consecutive failure, and at most 5 min.
    #[must_use]
    pub fn back_off(&self, now: Now) -> Duration {
        let doubled = self.ttl.saturating_mul(2_u32.saturating_pow(self.failures));
        let elapsed = self
            .started_at
            .map_or(Duration::ZERO, |started_at| now.since(started_at));
        doubled.min(MAX_BACK_OFF).saturating_sub(elapsed)
    }

    /// The newest snapshot, while it is within the stale bound.
    #[must_use]
    pub fn snapshot(&self, now: Now) -> Option<&Arc<S>> {
        let (fetched_at, snapshot) = self.newest.as_ref()?;
        (now.since(*fetched_at) <= self.stale_bound).then_some(snapshot)
    }

    /// The newest snapshot, however old it is.
    #[must_use]
    pub fn newest(&self) -> Option<&S> {
        self.newest.as_ref().map(|(_, snapshot)| &**snapshot)
    }

    /// Whether the newest fetch that has ended succeeded, and its snapshot is within the stale bound.
    #[must_use]
    pub fn is_up(&self, now: Now) -> bool {
        self.failures == 0 && self.snapshot(now).is_some()
    }

    /// When the newest request was sent; `None` before the first.
    #[must_use]
    pub fn started_at(&self) -> Option<Now> {
        self.started_at
    }

    /// When the request of the newest snapshot was sent; `None` before the first.
    #[must_use]
    pub fn fetched_at(&self) -> Option<Now> {
        self.newest.as_ref().map(|(fetched_at, _)| *fetched_at)
    }

    /// The server's own pause.
    #[must_use]
    pub fn pause(&self) -> &Pause {
        &self.pause
    }

    /// The TTL in force.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }
}

#[cfg(test)]
mod tests;
