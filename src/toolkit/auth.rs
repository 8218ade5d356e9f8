//! Basic authentication ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)) against bcrypt hashes.
//!
//! Every check takes the same time, whatever the cost of the user's hash and even if there is no such user, so that
//! its duration reveals nothing.

mod checks;

use std::collections::HashMap;
use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HeaderMap};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use secrecy::{ExposeSecret, SecretString};
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

pub(super) use self::checks::Authenticator;
use super::findings::Findings;
use crate::text;

/// Above this cost, a check would block all others for minutes, or even days.
const MAX_COST: u32 = 18;

/// Users and the bcrypt hashes of their passwords. Without users, no password is required.
#[derive(Debug, Default)]
pub(super) struct Users {
    hashes: HashMap<String, SecretString>,
    /// Stands for the hash of an unknown user: of the highest cost among the hashes, and of no password.
    no_hash: SecretString,
    /// The highest cost; a hash of cost c takes 2^c rounds.
    pub(super) cost: u32,
}

/// The user name and the password that a request contains.
#[derive(Debug)]
pub(super) struct Credentials {
    /// The client that has sent it, as limits count it.
    client: IpAddr,
    user: String,
    password: SecretString,
}

impl Users {
    /// Users as the web configuration file lists them.
    pub(super) fn new(texts: Vec<(Spanned<String>, Option<SecretString>)>, findings: &mut Findings) -> Self {
        let mut users = Self::default();
        for (user, hash) in texts {
            // Without the name: a misplaced password or hash may stand there.
            let in_line = |reason| format!("basic_auth_users: line {}: {reason}", user.referenced.line());
            let hash = read_hash(&user.value, hash.as_ref().map_or("", ExposeSecret::expose_secret)).map_err(in_line);
            if let Some((hash, cost)) = findings.keep(hash) {
                users.cost = users.cost.max(cost);
                users.hashes.insert(user.value, hash);
            }
        }
        users.no_hash = format!("$2b${:02}${:.<53}", users.cost, "").into();
        users
    }

    /// Whether there are none, so that no password is required.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    fn hash(&self, user: &str) -> &str {
        self.hashes.get(user).unwrap_or(&self.no_hash).expose_secret()
    }

    /// Whether they are right. It takes the same time for every user, known or not.
    fn check(&self, Credentials { user, password, .. }: &Credentials) -> bool {
        let (hash, password) = (self.hash(user), password.expose_secret());
        let is_right = bcrypt::verify(password, hash).unwrap_or(false);
        // 2^c rounds, and those of every cost from c up to below the highest, add up to 2^highest.
        for cost in cost(hash).unwrap_or(self.cost)..self.cost {
            let _ = bcrypt::hash_with_salt(password, cost, [0; 16]);
        }
        is_right
    }
}

/// The hash of a user, and its cost; or what is wrong with it.
fn read_hash(user: &str, text: &str) -> Result<(SecretString, u32), String> {
    if user.contains(':') {
        return Err("the user's name is followed by a colon without a space; a name cannot contain a colon".to_owned());
    }
    let hash = text::value(text).map_err(|oddity| format!("the hash {oddity}"))?;
    let (hash, cost) = hash
        .and_then(|hash| Some((hash, cost(hash)?)))
        .ok_or("the user has no bcrypt hash; make one with `htpasswd -nBC 10 NAME`, and use what follows the colon")?;
    if cost > MAX_COST {
        return Err(format!("a hash with a cost above {MAX_COST} takes minutes to check"));
    }
    Ok((hash.into(), cost))
}

/// The cost of a bcrypt hash; `None` if the text is not one, or one of the broken version `2x`.
fn cost(hash: &str) -> Option<u32> {
    let parts: bcrypt::HashParts = hash.parse().ok().filter(|_| !hash.starts_with("$2x$"))?;
    Some(parts.get_cost()).filter(|cost| (4..=31).contains(cost))
}

impl Credentials {
    /// Reads them from a request of `client`; `None` unless its `Authorization` header, the first one, contains them
    /// in UTF-8.
    pub(super) fn from_headers(headers: &HeaderMap, client: IpAddr) -> Option<Self> {
        let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(text.trim()).ok()?);
        let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some(Self {
            client,
            user: user.to_owned(),
            password: password.into(),
        })
    }
}

#[cfg(test)]
mod tests;
