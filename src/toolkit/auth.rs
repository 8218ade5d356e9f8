//! Basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)) against bcrypt hashes.
//!
//! Every check takes the same time, whatever the cost of the user's hash and even if there is no such user, so that
//! its duration reveals nothing.

mod checks;

use std::collections::HashMap;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

pub(super) use self::checks::Authenticator;
use super::findings::Findings;
use crate::text;

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
#[derive(Debug)]
pub(super) struct Credentials {
    user: String,
    password: SecretString,
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

    /// What a check depends on: the user's current hash and the password.
    fn checked(&self, credentials: &Credentials) -> Zeroizing<Vec<u8>> {
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

#[cfg(test)]
mod tests;
