//! How often may a key be used? Budget and pauses of one key at one address of the API.
//!
//! All servers that are read with the same key share its account, in whichever community they are. An endpoint has a
//! budget and a pause of its own, so one that is refused or rate limited does not silence the others.

mod budget;
mod pause;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use enum_map::EnumMap;
use parking_lot::Mutex;

use self::budget::Budget;
use self::pause::ShortPauses;
pub use self::pause::{MAX_PAUSE, MIN_PAUSE, Pause};
pub use self::plan::{Plan, Rate};
use crate::clock::Clock;
use crate::label::label_values;

label_values! {
    /// An endpoint of the API, as the label `api_endpoint` names it.
    ApiEndpoint {
        /// Dispatch, emergency and closed calls.
        Calls = "calls",
    }
}

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
}

#[derive(Debug)]
struct Limits {
    /// Of the whole key.
    pause: Pause,
    endpoints: EnumMap<ApiEndpoint, EndpointLimits>,
}

#[derive(Debug)]
struct EndpointLimits {
    budget: Budget,
    pause: Pause,
    short_pauses: ShortPauses,
}

/// The right to send one request. The request counts until 60 s after the permit is dropped.
#[derive(Debug)]
pub struct Permit {
    account: Arc<Account>,
    endpoint: ApiEndpoint,
}

impl Account {
    /// An account with these budgets of requests per minute.
    #[must_use]
    pub fn new(requests_per_minute: EnumMap<ApiEndpoint, u32>, clock: &Clock) -> Self {
        let endpoints = requests_per_minute.map(|_, requests_per_minute| EndpointLimits {
            budget: Budget::new(requests_per_minute),
            pause: Pause::default(),
            short_pauses: ShortPauses::default(),
        });
        Self {
            clock: clock.clone(),
            limits: Mutex::new(Limits {
                pause: Pause::default(),
                endpoints,
            }),
        }
    }

    /// Changes the budgets; requests that still count keep their slots.
    pub fn set_budgets(&self, requests_per_minute: EnumMap<ApiEndpoint, u32>) {
        let mut limits = self.limits.lock();
        for (endpoint, requests_per_minute) in requests_per_minute {
            limits.endpoints[endpoint].budget.resize(requests_per_minute);
        }
    }

    /// Asks for the right to send one request; `None` while a pause is in force, or if no slot of the budget is free or
    /// will be within 3 s.
    ///
    /// The order of calls decides, not the order in which the futures are polled: a scrape calls this for the server
    /// first whose last attempt is oldest.
    pub fn permit(
        self: &Arc<Self>,
        endpoint: ApiEndpoint,
    ) -> impl Future<Output = Option<Permit>> + Send + 'static + use<> {
        let reserved = self.reserve(endpoint, MAX_WAIT);
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
    pub fn permit_now(self: &Arc<Self>, endpoint: ApiEndpoint) -> Option<Permit> {
        self.reserve(endpoint, Duration::ZERO).map(|(permit, _)| permit)
    }

    /// A permit, and how long to wait before it is used.
    fn reserve(self: &Arc<Self>, endpoint: ApiEndpoint, patience: Duration) -> Option<(Permit, Duration)> {
        let mut limits = self.limits.lock();
        let now = self.clock.now();
        if limits.pause(endpoint).is_active(now) {
            return None;
        }
        let wait = limits.endpoints[endpoint].budget.try_take(now, patience)?;
        let permit = Permit {
            account: self.clone(),
            endpoint,
        };
        Some((permit, wait))
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
        let is_busy = |limits: &EndpointLimits| limits.pause.is_active(now) || limits.budget.is_in_use(now);
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
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut limits = self.account.limits.lock();
        let now = self.account.clock.now();
        limits.endpoints[self.endpoint].budget.end_request(now);
    }
}

#[cfg(test)]
mod tests;
