//! Basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)) against bcrypt hashes.
//!
//! A check costs CPU on purpose, which must serve nobody as a weapon: one is under way at a time in the
//! whole process, each client waits in a line of its own, a wrong password holds up that line for a
//! second, and who was right once is not checked again. All checks cost the same, whatever the user's
//! hash, and whether there is such a user, so that their time tells nothing.

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

/// How long a wrong password holds up the line of who sent it.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// From this cost on, a check takes longer than Prometheus waits for a scrape on many machines.
const SLOW_COST: u32 = 16;

/// Above this cost, a check would hold up all others for minutes, and up to days.
const MAX_COST: u32 = 18;

/// What stands for the hash of who is no user: as long as a hash, and none.
const NO_HASH: &str = "------------------------------------------------------------";

/// Users and the bcrypt hashes of their passwords; without any, everyone may ask.
#[derive(Debug, Default)]
pub(super) struct Users {
    hashes: HashMap<String, SecretString>,
    /// The highest cost of them: a hash takes 2 to its power rounds.
    cost: u32,
}

/// What a client says who it is.
pub(super) struct Credentials {
    user: String,
    password: SecretString,
}

/// Tells who may ask.
#[derive(Debug)]
pub(super) struct Authenticator {
    /// Made anew at each start, so that what is kept of passwords means nothing elsewhere.
    key: hmac::Key,
    /// What each user showed last that was right.
    verified: Mutex<HashMap<String, hmac::Tag>>,
    /// Where each client waits for its checks.
    lines: Mutex<HashMap<IpAddr, Arc<tokio::sync::Mutex<()>>>>,
    /// One check at a time, in the order of asking.
    turn: Arc<Semaphore>,
}

impl Users {
    /// Users as the web configuration file lists them.
    pub(super) fn new(texts: Vec<(Spanned<String>, Option<SecretString>)>, findings: &mut Findings) -> Self {
        let mut users = Self::default();
        for (user, hash) in texts {
            // Without the name, in whose place a password or a hash may stand.
            let mut report = |reason: &str| {
                let line = user.referenced.line();
                findings.problem(format!("basic_auth_users: line {line}: {reason}"));
            };
            if user.value.contains(':') {
                report("the user's name is followed by a colon without a space; no name can contain one");
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
                    report(&format!("a hash of a cost above {MAX_COST} takes minutes to check"));
                }
                Some(cost) => {
                    users.cost = users.cost.max(cost);
                    users.hashes.extend(hash.map(|hash| (user.value, hash)));
                }
                None => report(
                    "the user has no bcrypt hash; make one with `htpasswd -nBC 10 NAME`, of which it is what follows \
                     the colon",
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

    /// Whether everyone may ask.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// What proves, once the check has succeeded, that it need not be made again: the hash that the user
    /// has now, and the password.
    fn cache_key(&self, credentials: &Credentials) -> Zeroizing<Vec<u8>> {
        let hash = self
            .hashes
            .get(&credentials.user)
            .map_or(NO_HASH, ExposeSecret::expose_secret);
        Zeroizing::new([hash, credentials.password.expose_secret()].concat().into_bytes())
    }

    /// Whether they are right; takes as long whoever asks.
    fn check(&self, credentials: &Credentials) -> bool {
        let Credentials { user, password } = credentials;
        let password = password.expose_secret();
        let Some(hash) = self.hashes.get(user).map(ExposeSecret::expose_secret) else {
            dummy_hash(password, self.cost);
            return false;
        };
        let is_right = bcrypt::verify(password, hash).unwrap_or(false);
        // 2^c rounds and those of every cost from there below the highest are 2^highest in all.
        for cost in cost(hash).unwrap_or(self.cost)..self.cost {
            dummy_hash(password, cost);
        }
        is_right
    }
}

/// The cost of a bcrypt hash; `None` where it is none, or of the broken version `2x`.
fn cost(hash: &str) -> Option<u32> {
    let is_known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| hash.starts_with(version));
    let parts: bcrypt::HashParts = hash.parse().ok().filter(|_| is_known && hash.len() == 60)?;
    Some(parts.get_cost()).filter(|cost| (4..=31).contains(cost))
}

/// Hashes `password` in vain.
fn dummy_hash(password: &str, cost: u32) {
    let _ = bcrypt::hash_with_salt(password, cost, [0; 16]);
}

impl Credentials {
    /// What a request says, if it says it in one header and in UTF-8.
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
    /// One that has verified nobody yet.
    pub(super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self {
            key: key.expect("the system gives random numbers"),
            verified: Mutex::default(),
            lines: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether `credentials`, shown by `client`, are those of one of `users`.
    pub(super) async fn admits(self: &Arc<Self>, users: &Arc<Users>, client: IpAddr, credentials: Credentials) -> bool {
        let cache_key = users.cache_key(&credentials);
        if self.is_verified(&credentials.user, &cache_key) {
            return true;
        }
        let place = self.line(client).lock_owned().await;
        // Perhaps by the one before in the line.
        if self.is_verified(&credentials.user, &cache_key) {
            return true;
        }
        let Ok(turn) = self.turn.clone().acquire_owned().await else {
            return false;
        };
        let (authenticator, users) = (self.clone(), users.clone());
        // In a task of its own, so that who hangs up is held up all the same.
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

    /// Whether `cache_key` is what this user showed last that was right.
    fn is_verified(&self, user: &str, cache_key: &[u8]) -> bool {
        let verified = self.verified.lock();
        // Unknown users take as long.
        let tag = verified.get(user).map_or(&[0; 32][..], AsRef::as_ref);
        hmac::verify(&self.key, cache_key, tag).is_ok()
    }

    /// Where this client waits; lines in which nobody stands are forgotten.
    fn line(&self, client: IpAddr) -> Arc<tokio::sync::Mutex<()>> {
        let mut lines = self.lines.lock();
        lines.retain(|_, line| Arc::strong_count(line) > 1);
        lines.entry(client).or_default().clone()
    }
}

#[cfg(test)]
mod tests;
