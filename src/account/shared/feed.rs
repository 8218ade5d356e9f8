//! The part of the store that a feed has: its lease, and what replicas know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tracing::warn;

use super::store::{Answer, Status};
use super::{SharedAccount, SharedSlot, millis, seal};
use crate::account::{Account, MAX_WAIT, Permit, WINDOW};
use crate::config::{ApiConfig, ApiEndpoint, ApiVersion, LabelTexts};

/// The format of the states. A replica reads this one and those before, and leaves newer ones alone.
const FORMAT: u32 = if cfg!(feature = "next-format") { 2 } else { 1 };

/// How much longer than a request a lease lasts: for decoding, for the steps before and after, and for a busy machine.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// For how long a store that has lost a state waits for a newer one than it is offered. A replica asks the store at the first
/// scrape after its TTL: one that is scraped every 30 s comes in time, or as often as a shorter TTL than the default ends.
fn search(ttl: Duration) -> Duration {
    ttl + ttl.min(Duration::from_secs(25)) + Duration::from_secs(10)
}

/// The feed's part of the store.
#[derive(Debug)]
pub struct SharedFeed {
    account: Arc<Account>,
    endpoint: ApiEndpoint,
    timeout: Duration,
    keys: Arc<[String]>,
    is_newer_logged: AtomicBool,
}

/// What a feed knows when it asks for a lease.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    /// The version of the API to ask.
    pub api: ApiVersion,
    /// Whether the account may have gone over to version v2 meanwhile.
    pub may_change: bool,
    /// The version of the state that it has.
    pub known: u64,
    /// The TTL in force.
    pub ttl: Duration,
    /// Scrapes of all replicas as far as it knows, and those of them that were answered at once.
    pub known_scrapes: (u64, u64),
    /// Its own scrapes since it last asked, and those of them that were answered at once.
    pub scrapes: (u64, u64),
    /// Whether a fetch is due whatever the state says, because it cannot be read.
    pub is_forced: bool,
}

/// What the store answers to a feed that asks for a lease. A permit may be used once the time beside it has passed.
#[derive(Debug)]
pub enum Begin {
    /// Nothing.
    Away,
    /// The state is that of newer exporters, and cannot be read. There may be a permit.
    Newer(Option<(Permit, Duration)>),
    /// The store has lost the state. It waits for the replica that knows the newest one.
    Lost,
    /// Another replica is fetching.
    Fetching,
    /// No request is to be sent: there is a fresh snapshot, a pause, or no slot.
    Nothing {
        /// Whether the snapshot is fresh.
        is_fresh: bool,
    },
    /// A request may be sent, and the state may be written.
    Granted(Lease, (Permit, Duration)),
}

/// The right to write the state of a feed.
#[derive(Debug)]
pub struct Lease(String);

/// A state as it was written.
#[derive(Debug)]
pub struct Written {
    /// Its version; later ones are higher.
    pub version: u64,
    /// The state itself; `None` if it cannot be read.
    pub state: Option<Vec<u8>>,
    /// Scrapes of all replicas when it was written, and those of them that were answered at once.
    pub scrapes: (u64, u64),
}

/// What became of a state that was to be written.
#[derive(Debug)]
pub enum Commit {
    /// It was written, as this version, with so many scrapes.
    Done(u64, (u64, u64)),
    /// The lease had ended, and another replica has written this, unless the store has lost it.
    Fenced(Option<Written>),
    /// The store does not answer.
    Away,
}

impl Account {
    /// The part of the store that a feed of the account has; `None` without a store.
    #[must_use]
    pub fn shared_feed(self: &Arc<Self>, endpoint: ApiEndpoint, server_id: u32, api: &ApiConfig) -> Option<SharedFeed> {
        let secrets = &self.shared.as_ref()?.secrets;
        let LabelTexts {
            call_codes,
            departments,
        } = &api.labels;
        // Counters with other labels are other counters.
        let texts = call_codes.iter().chain([""]).chain(departments.iter());
        let endpoint_name = endpoint.label();
        let slots = |version: ApiVersion| secrets.name(&format!(":slots:{endpoint_name}:{}", version.label()));
        let feed = format!(":feed:{endpoint_name}:{server_id}:{}", seal::digest(texts));
        Some(SharedFeed {
            account: self.clone(),
            endpoint,
            timeout: api.timeout,
            keys: Arc::new([
                secrets.name(":account"),
                slots(ApiVersion::V1),
                slots(ApiVersion::V2),
                secrets.name(&feed),
            ]),
            is_newer_logged: AtomicBool::new(false),
        })
    }
}

impl SharedFeed {
    /// Asks for a lease of the feed with a permit. Also returns what another replica has written, if that is new.
    pub async fn begin(&self, asking: Asking) -> (Begin, Option<Written>) {
        let token = seal::token();
        let args = json!({
            "endpoint": self.endpoint.label(),
            "format": FORMAT,
            "known": asking.known,
            "ttl": millis(asking.ttl),
            "search": millis(search(asking.ttl)),
            "known_queries": asking.known_scrapes.0,
            "known_hits": asking.known_scrapes.1,
            "queries": asking.scrapes.0,
            "hits": asking.scrapes.1,
            "force": asking.is_forced,
            "replica": self.shared().replica,
            "alone": self.account.held_alone(self.endpoint),
            "may_change": asking.may_change,
            "patience": millis(MAX_WAIT),
            "lease": self.lease(),
            "expires": self.shared().expires(),
        });
        let answer = self.step("begin", self.for_slot(args, &token, asking.api), &[]).await;
        let Some((answer, state)) = answer else {
            return (Begin::Away, None);
        };
        let written = self.written(asking.known, &answer, &state);
        let permit = |token| (self.permit(token, &answer), answer.wait());
        let begin = match answer.status {
            Status::Lost => Begin::Lost,
            Status::Fetching => Begin::Fetching,
            Status::Taken | Status::Refused => Begin::Nothing {
                is_fresh: answer.is_fresh,
            },
            Status::Granted => Begin::Granted(Lease(token.clone()), permit(token)),
            Status::NewerFormat => {
                self.log_newer();
                Begin::Newer(answer.has_slot.then(|| permit(token)))
            }
            Status::Late | Status::Done | Status::Fenced => Begin::Away,
        };
        (begin, written)
    }

    /// Says that the state is left alone, once.
    fn log_newer(&self) {
        if !self.is_newer_logged.swap(true, Ordering::Relaxed) {
            warn!(
                api_endpoint = self.endpoint.label(),
                "a newer exporter has written the shared state: it is left alone, and this replica goes on by itself"
            );
        }
    }

    /// Asks for one more permit within a flight, whose lease then lasts for one more request.
    pub async fn more(&self, lease: &Lease, api: ApiVersion) -> Option<Permit> {
        let token = seal::token();
        let args = json!({
            "endpoint": self.endpoint.label(),
            "flight": lease.0,
            "patience": 0,
            "lease": self.lease(),
            "expires": self.shared().expires(),
        });
        let (answer, _) = self.step("more", self.for_slot(args, &token, api), &[]).await?;
        (answer.status == Status::Granted).then(|| self.permit(token, &answer))
    }

    /// Goes over to version v2 of the API, because version v1 refused like this.
    pub async fn change_version(&self, refusal: &str) {
        let args = json!({ "endpoint": self.endpoint.label(), "refusal_of_v1": refusal });
        self.step("change", args, &[]).await;
    }

    /// Writes a state, if the lease is still that of this replica. `fetched` is the Unix time of its snapshot, and
    /// `paused_until` that until which its server is left alone; zero if there is none.
    pub async fn commit(
        &self,
        lease: &Lease,
        known: u64,
        state: Vec<u8>,
        [fetched, paused_until]: [Duration; 2],
    ) -> Commit {
        let args = json!({
            "endpoint": self.endpoint.label(),
            "format": FORMAT,
            "token": lease.0,
            "known": known,
            "fetched": millis(fetched),
            "pause_of_server": millis(paused_until),
        });
        let Some(state) = self.shared().secrets.seal(&self.keys[3], &state) else {
            return Commit::Away;
        };
        match self.step("commit", args, &state).await {
            Some((answer, _)) if answer.status == Status::Done => {
                Commit::Done(answer.version, (answer.queries, answer.hits))
            }
            Some((answer, state)) => Commit::Fenced(self.written(known, &answer, &state)),
            None => Commit::Away,
        }
    }

    fn shared(&self) -> &SharedAccount {
        self.account
            .shared
            .as_ref()
            .expect("the account of such a feed is shared")
    }

    async fn step(&self, step: &str, args: Value, state: &[u8]) -> Option<(Answer, Vec<u8>)> {
        let shared = self.shared();
        shared
            .step(&self.account, self.endpoint, step, &self.keys, &args, state)
            .await
    }

    /// Adds what a step needs that takes a slot.
    fn for_slot(&self, mut args: Value, token: &str, api: ApiVersion) -> Value {
        let budgets = self.shared().budgets.lock()[self.endpoint];
        args["token"] = token.into();
        args["api"] = api.label().into();
        args["budgets"] = json!({ "v1": budgets[ApiVersion::V1], "v2": budgets[ApiVersion::V2] });
        // A replica that never says that the request has ended keeps the slot for longer.
        args["hold"] = millis(self.timeout + LEASE_MARGIN + WINDOW).into();
        args
    }

    fn lease(&self) -> u64 {
        millis(self.timeout + LEASE_MARGIN)
    }

    fn permit(&self, token: String, answer: &Answer) -> Permit {
        let is_v2 = answer.api == ApiVersion::V2.label();
        Permit {
            account: self.account.clone(),
            endpoint: self.endpoint,
            version: if is_v2 { ApiVersion::V2 } else { ApiVersion::V1 },
            is_used: true,
            slot: Some(SharedSlot {
                token,
                keys: self.keys.clone(),
            }),
        }
    }

    /// What another replica has written since the `known` version.
    fn written(&self, known: u64, answer: &Answer, state: &[u8]) -> Option<Written> {
        (answer.version > known).then(|| Written {
            version: answer.version,
            state: self.shared().secrets.open(&self.keys[3], state),
            scrapes: (answer.queries, answer.hits),
        })
    }
}
