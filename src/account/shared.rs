//! What replicas share through a store: budgets and pauses of accounts, and the states of feeds.
//!
//! A feed asks for a lease before it fetches. One replica gets it, with a slot of the account's budget, and writes what the
//! fetch brought; the others take that over. A lease that is not given back ends by itself, and only its owner can write.
//! Each step is executed by the store as a whole, in a script, by the store's clock.

mod feed;
mod seal;
mod store;

use std::sync::Arc;
use std::time::Duration;

use enum_map::EnumMap;
use parking_lot::Mutex;
use serde_json::{Value, json};

pub use self::feed::{Asking, Begin, Commit, Lease, SharedFeed, Written};
pub use self::seal::Secrets;
use self::store::{Answer, MAX_STEP};
pub use self::store::{Store, StoreError};
use super::pause::{MAX_PAUSE, SHORT};
use super::{Account, Budgets, WINDOW};
use crate::config::{ApiEndpoint, ApiVersion};

/// The account's part of the store.
#[derive(Debug)]
pub(super) struct SharedAccount {
    store: Arc<Store>,
    secrets: Secrets,
    /// The budgets of all replicas together.
    budgets: Mutex<Budgets>,
    /// A name of this replica.
    replica: String,
}

/// A slot of a budget in the store.
#[derive(Debug)]
pub(super) struct SharedSlot {
    token: String,
    keys: Arc<[String]>,
}

/// What the answer to a request means for its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was good.
    Good,
    /// Nothing beyond its server.
    Nothing,
    /// No request with the key for so long.
    PauseAccount(Duration),
    /// No request to the endpoint for so long.
    PauseEndpoint(Duration),
}

impl SharedAccount {
    pub(super) fn new(store: Arc<Store>, account: (&str, &str), budgets: &Budgets) -> Self {
        Self {
            store,
            secrets: Secrets::new(account),
            budgets: Mutex::new(*budgets),
            replica: seal::token(),
        }
    }

    pub(super) fn set_budgets(&self, budgets: &Budgets) {
        *self.budgets.lock() = *budgets;
    }

    /// Tells the store that a request has ended. Returns whether it answers.
    pub(super) async fn finish(
        &self,
        account: &Account,
        endpoint: ApiEndpoint,
        slot: &SharedSlot,
        verdict: Verdict,
    ) -> bool {
        let (name, duration) = match verdict {
            Verdict::Good => ("good", Duration::ZERO),
            Verdict::Nothing => ("nothing", Duration::ZERO),
            Verdict::PauseAccount(duration) => ("pause_account", duration),
            Verdict::PauseEndpoint(duration) => ("pause_endpoint", duration),
        };
        let args = json!({
            "endpoint": endpoint.label(),
            "token": slot.token,
            "verdict": name,
            "duration": millis(duration),
            "short": millis(SHORT),
            "max_pause": millis(MAX_PAUSE),
        });
        let answer = self.step(account, endpoint, "finish", &slot.keys, &args, &[]);
        answer.await.is_some()
    }

    /// Tells the store that nothing was sent. A store that does not answer frees the slot later by itself.
    pub(super) async fn give_back(&self, account: &Account, endpoint: ApiEndpoint, slot: &SharedSlot) {
        let args = json!({ "endpoint": endpoint.label(), "token": slot.token });
        self.step(account, endpoint, "give_back", &slot.keys, &args, &[]).await;
    }

    async fn step(
        &self,
        account: &Account,
        endpoint: ApiEndpoint,
        step: &str,
        keys: &[String],
        args: &Value,
        state: &[u8],
    ) -> Option<(Answer, Vec<u8>)> {
        let (answer, state) = self.store.step(step, keys, args, state).await?;
        account.absorb(endpoint, &answer);
        Some((answer, state))
    }

    /// The latest moment at which a step may be executed, by the store's clock; 0 while that is not known.
    fn expires(&self) -> u64 {
        let clock = self.store.clock();
        if clock.is_foreign() {
            millis(clock.now().unix + MAX_STEP)
        } else {
            0
        }
    }
}

impl Account {
    /// Notes what the store says of the account.
    fn absorb(&self, endpoint: ApiEndpoint, answer: &Answer) {
        let now = self.clock.now();
        let until = |unix: u64| {
            let duration = Duration::from_millis(unix).checked_sub(now.unix)?;
            Some((now + duration.min(MAX_PAUSE)).instant)
        };
        let mut limits = self.limits.lock();
        limits.note_contact(now);
        if let Some(until) = until(answer.pause) {
            limits.pause.extend(until);
        }
        if let Some(until) = until(answer.endpoint_pause) {
            limits.endpoints[endpoint].pause.extend(until);
        }
        if let Some(refusal) = &answer.refusal {
            limits.v1_refusal.get_or_insert_with(|| refusal.clone().into());
        }
    }

    /// For how many milliseconds a request that was sent without the store still counts, by the version of the API.
    fn held_alone(&self, endpoint: ApiEndpoint) -> Value {
        let now = self.clock.now();
        let budgets = &mut self.limits.lock().endpoints[endpoint].budgets;
        let mut held = |version| millis(budgets[version].wait(now).unwrap_or(WINDOW));
        json!({ "v1": held(ApiVersion::V1), "v2": held(ApiVersion::V2) })
    }
}

/// Budgets of one request per minute and endpoint: those of a replica by itself, without the store.
pub(super) fn budgets_of_one() -> Budgets {
    EnumMap::from_fn(|_| EnumMap::from_fn(|_| 1))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
