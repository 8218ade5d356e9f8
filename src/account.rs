//! How may a key be used? Budget, pauses and API version of one key at one address of the API.
//!
//! All servers that are read with the same key share its account, in whichever community they are. An endpoint has a
//! budget and a pause of its own, so one that is refused or rate limited does not silence the others.
//!
//! Replicas can share it through a store. What this process knows of it is then a copy, and what it may do while the store
//! does not answer.

mod budget;
mod pause;
mod plan;
mod shared;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enum_map::EnumMap;
use parking_lot::Mutex;

use self::budget::{Budget, WINDOW};
use self::pause::ShortPauses;
pub use self::pause::{MAX_PAUSE, MIN_PAUSE, Pause};
pub use self::plan::{Plan, Rate};
pub use self::shared::{Asking, Begin, Commit, Lease, Secrets, SharedFeed, Store, StoreError, Verdict, Written};
use self::shared::{SharedAccount, SharedSlot};
use crate::clock::{Clock, Now};
use crate::config::{ApiEndpoint, ApiVersion};

/// How long a request waits for a slot that is about to come free.
///
/// A slot is free again 60 s after its answer. With scrapes every 60 s, Prometheus' default, that is always a moment
/// after the next scrape, which would come away empty.
const MAX_WAIT: Duration = Duration::from_secs(3);

/// One key at one address of the API.
#[derive(Debug)]
pub struct Account {
    clock: Clock,
    /// Never held across an `.await`, nor while another lock is taken.
    limits: Mutex<Limits>,
    shared: Option<SharedAccount>,
}

#[derive(Debug)]
struct Limits {
    /// Of the whole key.
    pause: Pause,
    endpoints: EnumMap<ApiEndpoint, EndpointLimits>,
    /// What version v1 said when the account went over to version v2.
    v1_refusal: Option<Cow<'static, str>>,
    /// Until when requests of other replicas, or of this one before a restart, may still count that only the store knows;
    /// `None` without a store.
    unknown_until: Option<Instant>,
}

/// The requests per minute that each endpoint allows in each version.
pub type Budgets = EnumMap<ApiEndpoint, EnumMap<ApiVersion, u32>>;

#[derive(Debug)]
struct EndpointLimits {
    /// That of version v1, the larger one, counts all requests: an account that goes over to version v2 has used both. That
    /// of version v2 counts only its own.
    budgets: EnumMap<ApiVersion, Budget>,
    pause: Pause,
    short_pauses: ShortPauses,
}

/// The right to send one request. The request counts until 60 s after [`Account::end`], or after the permit is dropped.
#[derive(Debug)]
pub struct Permit {
    account: Arc<Account>,
    endpoint: ApiEndpoint,
    version: ApiVersion,
    is_used: bool,
    /// `None` if the budget is that of this process. A slot in the store is free a little later if its replica dies.
    slot: Option<SharedSlot>,
}

impl Account {
    /// An account with these budgets, in version v1 of the API.
    #[must_use]
    pub fn new(budgets: &Budgets, clock: &Clock) -> Self {
        let endpoints = budgets.map(|_, budgets| EndpointLimits {
            budgets: budgets.map(|_, requests_per_minute| Budget::new(requests_per_minute)),
            pause: Pause::default(),
            short_pauses: ShortPauses::default(),
        });
        Self {
            clock: clock.clone(),
            limits: Mutex::new(Limits {
                pause: Pause::default(),
                endpoints,
                v1_refusal: None,
                unknown_until: None,
            }),
            shared: None,
        }
    }

    /// The same for replicas, which share the budgets through `store`. Once it has not answered for a minute, from the start
    /// on, each may make one request per minute to each endpoint. `account` is the address of the API and the key.
    #[must_use]
    pub fn new_shared(budgets: &Budgets, clock: &Clock, store: &Arc<Store>, account: (&str, &str)) -> Self {
        let own = Self::new(&shared::budgets_of_one(), clock);
        own.limits.lock().note_contact(clock.now());
        Self {
            shared: Some(SharedAccount::new(store.clone(), account, budgets)),
            ..own
        }
    }

    /// Changes the budgets; requests that still count keep their slots.
    pub fn set_budgets(&self, budgets: &Budgets) {
        if let Some(shared) = &self.shared {
            return shared.set_budgets(budgets);
        }
        let mut limits = self.limits.lock();
        for (endpoint, budgets) in budgets {
            for (version, requests_per_minute) in budgets {
                limits.endpoints[endpoint].budgets[version].resize(*requests_per_minute);
            }
        }
    }

    /// The version of the API for those who may use both.
    #[must_use]
    pub fn version(&self) -> ApiVersion {
        match self.limits.lock().v1_refusal {
            None => ApiVersion::V1,
            Some(_) => ApiVersion::V2,
        }
    }

    /// What version v1 said when the account went over to version v2, if it has.
    #[must_use]
    pub fn v1_refusal(&self) -> Option<Cow<'static, str>> {
        self.limits.lock().v1_refusal.clone()
    }

    /// Goes over to version v2, for good: version v1 said `refusal`, and version v2 has answered well. Returns whether that
    /// is a change.
    ///
    /// Going back and forth would double the requests.
    pub fn use_v2(&self, refusal: Cow<'static, str>) -> bool {
        let mut limits = self.limits.lock();
        let is_change = limits.v1_refusal.is_none();
        limits.v1_refusal.get_or_insert(refusal);
        is_change
    }

    /// Asks for the right to send one request; `None` while a pause is in force, or if no slot of the budget is free or
    /// will be within 3 s.
    ///
    /// The order of calls decides, not the order in which the futures are polled: a scrape calls this for the server
    /// first whose last attempt is oldest.
    pub fn permit(
        self: &Arc<Self>,
        endpoint: ApiEndpoint,
        version: ApiVersion,
    ) -> impl Future<Output = Option<Permit>> + Send + 'static + use<> {
        let reserved = self.reserve(endpoint, version, MAX_WAIT);
        let account = self.clone();
        async move {
            let (permit, wait) = reserved?;
            if !wait.is_zero() {
                account.clock.sleep(wait).await;
                // The pause may have begun meanwhile.
                if account.pause(endpoint).is_active(account.clock.now()) {
                    return None;
                }
            }
            Some(permit)
        }
    }

    /// The same without waiting for a slot.
    #[must_use]
    pub fn permit_now(self: &Arc<Self>, endpoint: ApiEndpoint, version: ApiVersion) -> Option<Permit> {
        self.reserve(endpoint, version, Duration::ZERO)
            .map(|(permit, _)| permit)
    }

    /// A permit, and how long to wait before it is used.
    fn reserve(
        self: &Arc<Self>,
        endpoint: ApiEndpoint,
        version: ApiVersion,
        patience: Duration,
    ) -> Option<(Permit, Duration)> {
        let mut limits = self.limits.lock();
        let now = self.clock.now();
        if limits.pause(endpoint).is_active(now) || limits.may_overspend(now) {
            return None;
        }
        let mut longest = Duration::ZERO;
        for budget in limits.endpoints[endpoint].counting(version) {
            longest = longest.max(budget.wait(now)?);
        }
        if longest > patience {
            return None;
        }
        limits.endpoints[endpoint].counting(version).for_each(Budget::take);
        let permit = Permit {
            account: self.clone(),
            endpoint,
            version,
            is_used: true,
            slot: None,
        };
        Some((permit, longest))
    }

    /// Notes the answer to a request, and what it means for the account.
    pub async fn end(&self, permit: Permit, verdict: Verdict) {
        if let (Some(shared), Some(slot)) = (&self.shared, &permit.slot)
            && shared.finish(self, permit.endpoint, slot, verdict).await
        {
            // The store has told what it means.
            return;
        }
        match verdict {
            Verdict::Good => self.note_success(permit.endpoint),
            Verdict::Nothing => {}
            Verdict::PauseAccount(duration) => self.pause_all(duration),
            Verdict::PauseEndpoint(duration) => self.pause_endpoint(permit.endpoint, duration),
        }
    }

    /// Stops all requests with this key for `duration`. A success of a request that was sent before does not lift the
    /// pause.
    pub fn pause_all(&self, duration: Duration) {
        self.limits.lock().pause.extend((self.clock.now() + duration).instant);
    }

    /// The same for the requests to one endpoint. Short pauses get longer each time, until [`Self::note_success`].
    pub fn pause_endpoint(&self, endpoint: ApiEndpoint, duration: Duration) {
        let mut limits = self.limits.lock();
        let now = self.clock.now();
        let EndpointLimits {
            pause, short_pauses, ..
        } = &mut limits.endpoints[endpoint];
        // During a pause, the answer is to a request that was sent before it, so it is not one more in the row.
        let duration = if pause.is_active(now) {
            duration
        } else {
            short_pauses.lengthen(duration)
        };
        pause.extend((now + duration).instant);
    }

    /// Notes a good answer of the endpoint: the next short pause is as long as the API says.
    pub fn note_success(&self, endpoint: ApiEndpoint) {
        self.limits.lock().endpoints[endpoint].short_pauses.end();
    }

    /// The longer one of the key's pause and the endpoint's.
    #[must_use]
    pub fn pause(&self, endpoint: ApiEndpoint) -> Pause {
        self.limits.lock().pause(endpoint)
    }

    /// Whether earlier requests still matter: slots are taken, or a pause is in force.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        let limits = self.limits.lock();
        let now = self.clock.now();
        let is_busy =
            |limits: &EndpointLimits| limits.pause.is_active(now) || limits.budgets[ApiVersion::V1].is_in_use(now);
        limits.pause.is_active(now) || limits.endpoints.values().any(is_busy)
    }
}

impl Limits {
    /// The longer one of the key's pause and the endpoint's.
    fn pause(&self, endpoint: ApiEndpoint) -> Pause {
        let mut pause = self.pause;
        pause.extend_to(self.endpoints[endpoint].pause);
        pause
    }

    /// Notes that the store answers, or answered perhaps a moment ago: to this replica before a restart.
    fn note_contact(&mut self, now: Now) {
        self.unknown_until = Some((now + WINDOW).instant);
    }

    /// Whether requests may still count of which this process knows nothing.
    fn may_overspend(&self, now: Now) -> bool {
        self.unknown_until.is_some_and(|until| now.instant < until)
    }
}

impl EndpointLimits {
    /// The budgets that count a request in this version.
    fn counting(&mut self, version: ApiVersion) -> impl Iterator<Item = &mut Budget> {
        let budgets = self.budgets.iter_mut();
        budgets.filter_map(move |(of, budget)| (of == ApiVersion::V1 || of == version).then_some(budget))
    }
}

impl Permit {
    /// The version of the API that it is for.
    #[must_use]
    pub fn version(&self) -> ApiVersion {
        self.version
    }

    /// Gives the permit back: nothing was sent, so nothing counts.
    pub async fn give_back(mut self) {
        self.is_used = false;
        if let (Some(shared), Some(slot)) = (&self.account.shared, &self.slot) {
            shared.give_back(&self.account, self.endpoint, slot).await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.slot.is_some() {
            return;
        }
        let mut limits = self.account.limits.lock();
        let now = self.account.clock.now();
        let budgets = limits.endpoints[self.endpoint].counting(self.version);
        budgets.for_each(|budget| budget.end_request(self.is_used.then_some(now)));
    }
}

#[cfg(test)]
mod tests;
