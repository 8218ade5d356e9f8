//! Basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)) against bcrypt hashes.
//!
//! Checking a password costs CPU by design, and no client may turn that against the others. Only one check runs
//! at a time in the whole process. Each client has a queue of its own, and a wrong password blocks it for a
//! second. A password that was right once is not hashed again. Every check takes the same time, whatever the
//! cost of the user's hash and even if there is no such user, so that its duration reveals nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use secrecy::{ExposeSecret, SecretString};
use serde_saphyr::Spanned;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::findings::Findings;
use crate::text;

/// How long a wrong password blocks the queue of the client that sent it.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// From this cost on, a check takes longer than Prometheus waits for a scrape on many machines.
const SLOW_COST: u32 = 16;

/// Above this cost, a check would block all others for minutes, or even days.
const MAX_COST: u32 = 18;

/// Placeholder for unknown users: as long as a bcrypt hash, but never a valid one.
const NO_HASH: &str = "------------------------------------------------------------";

/// Users and the bcrypt hashes of their passwords. Without users, no password is required.
#[derive(Debug, Default)]
pub(super) struct Users {
    hashes: HashMap<String, SecretString>,
    /// The highest cost among the hashes; a hash of cost c takes 2^c rounds.
    cost: u32,
}

/// The user name and the password that a request contains.
pub(super) struct Credentials {
    user: String,
    password: SecretString,
}

/// Decides whether a request comes from a user.
#[derive(Debug)]
pub(super) struct Authenticator {
    /// Generated at each start, so that the tags in `verified` are useless elsewhere.
    key: hmac::Key,
    /// The tag of each user's last credentials that were right.
    verified: Mutex<HashMap<String, hmac::Tag>>,
    /// Each client's queue for its checks.
    lines: Mutex<HashMap<IpAddr, Arc<tokio::sync::Mutex<()>>>>,
    /// Lets one check run at a time, in the order of arrival.
    turn: Arc<Semaphore>,
}

impl Users {
    /// Users as the web configuration file lists them.
    pub(super) fn new(texts: Vec<(Spanned<String>, Option<SecretString>)>, findings: &mut Findings) -> Self {
        let mut users = Self::default();
        for (user, hash) in texts {
            // Without the name: a misplaced password or hash may stand there.
            let mut report = |reason: &str| {
                let line = user.referenced.line();
                findings.problem(format!("basic_auth_users: line {line}: {reason}"));
            };
            if user.value.contains(':') {
                report("the user's name is followed by a colon without a space; a name cannot contain a colon");
                continue;
            }
            let hash = match text::value(hash.as_ref().map_or("", ExposeSecret::expose_secret)) {
                Ok(hash) => hash.map(SecretString::from),
                Err(oddity) => {
                    report(&format!("the hash {oddity}"));
                    continue;
                }
            };
            match hash.as_ref().and_then(|hash| cost(hash.expose_secret())) {
                Some(cost) if cost > MAX_COST => {
                    report(&format!("a hash with a cost above {MAX_COST} takes minutes to check"));
                }
                Some(cost) => {
                    users.cost = users.cost.max(cost);
                    users.hashes.extend(hash.map(|hash| (user.value, hash)));
                }
                None => report(
                    "the user has no bcrypt hash; make one with `htpasswd -nBC 10 NAME`, and use what follows the \
                     colon",
                ),
            }
        }
        if users.cost >= SLOW_COST {
            findings.warning(format!(
                "basic_auth_users: each first check of a password takes many seconds at cost {} of bcrypt",
                users.cost
            ));
        }
        users
    }

    /// Whether there are none, so that no password is required.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// What a successful check is remembered by: the user's current hash and the password, so that a change of
    /// either needs a new check.
    fn cache_key(&self, credentials: &Credentials) -> Zeroizing<Vec<u8>> {
        let hash = self
            .hashes
            .get(&credentials.user)
            .map_or(NO_HASH, ExposeSecret::expose_secret);
        Zeroizing::new([hash, credentials.password.expose_secret()].concat().into_bytes())
    }

    /// Whether they are right. It takes the same time for every user, known or not.
    fn check(&self, credentials: &Credentials) -> bool {
        let Credentials { user, password } = credentials;
        let password = password.expose_secret();
        let Some(hash) = self.hashes.get(user).map(ExposeSecret::expose_secret) else {
            dummy_hash(password, self.cost);
            return false;
        };
        let is_right = bcrypt::verify(password, hash).unwrap_or(false);
        // 2^c rounds, and those of every cost from c up to below the highest, add up to 2^highest.
        for cost in cost(hash).unwrap_or(self.cost)..self.cost {
            dummy_hash(password, cost);
        }
        is_right
    }
}

/// The cost of a bcrypt hash; `None` if the text is not one, or one of the broken version `2x`.
fn cost(hash: &str) -> Option<u32> {
    let is_known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    let parts: bcrypt::HashParts = hash.parse().ok().filter(|_| is_known && hash.len() == 60)?;
    Some(parts.get_cost()).filter(|cost| (4..=31).contains(cost))
}

/// Takes as long as a check of a hash with this cost.
fn dummy_hash(password: &str, cost: u32) {
    let _ = bcrypt::hash_with_salt(password, cost, [0; 16]);
}

impl Credentials {
    /// Reads them from a request; `None` unless it has exactly one `Authorization` header, with UTF-8 in it.
    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(AUTHORIZATION).into_iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.trim()).ok()?);
        let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: password.into(),
        })
    }
}

impl Authenticator {
    /// An authenticator that has verified no user yet.
    pub(super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self {
            key: key.expect("the system gives random numbers"),
            verified: Mutex::default(),
            lines: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether `credentials`, sent by `client`, are those of one of `users`.
    pub(super) async fn admits(self: &Arc<Self>, users: &Arc<Users>, client: IpAddr, credentials: Credentials) -> bool {
        let cache_key = users.cache_key(&credentials);
        if self.is_verified(&credentials.user, &cache_key) {
            return true;
        }
        let place = self.line(client).lock_owned().await;
        // The request before it in the queue may have been checked with the same credentials.
        if self.is_verified(&credentials.user, &cache_key) {
            return true;
        }
        let Ok(turn) = self.turn.clone().acquire_owned().await else {
            return false;
        };
        let (authenticator, users) = (self.clone(), users.clone());
        // In its own task: a client that disconnects still serves its penalty.
        let check = tokio::spawn(async move {
            let _place = place;
            let check = spawn_blocking(move || {
                let _turn = turn;
                users.check(&credentials).then_some(credentials.user)
            });
            let Ok(Some(user)) = check.await else {
                sleep(FAILURE_PAUSE).await;
                return false;
            };
            let tag = hmac::sign(&authenticator.key, &cache_key);
            authenticator.verified.lock().insert(user, tag);
            true
        });
        check.await.unwrap_or(false)
    }

    /// Whether `cache_key` stands for this user's last credentials that were right.
    fn is_verified(&self, user: &str, cache_key: &[u8]) -> bool {
        let verified = self.verified.lock();
        // A user without a tag is compared with zeros, which takes the same time.
        let tag = verified.get(user).map_or(&[0; 32][..], AsRef::as_ref);
        hmac::verify(&self.key, cache_key, tag).is_ok()
    }

    /// This client's queue. Queues in which no request waits are dropped.
    fn line(&self, client: IpAddr) -> Arc<tokio::sync::Mutex<()>> {
        let mut lines = self.lines.lock();
        lines.retain(|_, line| Arc::strong_count(line) > 1);
        lines.entry(client).or_default().clone()
    }
}

#[cfg(test)]
mod tests;
