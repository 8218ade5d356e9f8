//! When passwords are checked.
//!
//! Checking a password costs CPU by design, and no client may turn that against the others. A few checks run at a
//! time, in the order in which their credentials came. Requests with the same credentials share one check, which is
//! finished and remembered even if its clients disconnect. A wrong password delays its own response only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{Credentials, Users};

/// How much later a request with a wrong password is refused.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Checks at once.
const MAX_RUNNING: usize = 2;

/// Checks that run or wait. Above that, one that no client waits for is dropped for each new one. Those of waiting
/// clients are as few as connections.
const MAX_CHECKS: usize = 512;

/// Stands for a user's hash and a password.
type Tag = [u8; 32];

/// Whether the credentials are right, once they are checked. Dropping all of its clones cancels the check.
type Check = Shared<BoxFuture<'static, bool>>;

/// Decides whether a request comes from a user.
#[derive(Debug)]
pub(in super::super) struct Authenticator {
    /// Generated at each start, so that the tags are useless elsewhere.
    key: hmac::Key,
    /// The tag of each user's last credentials that were right.
    verified: Mutex<HashMap<String, Tag>>,
    checks: Mutex<HashMap<Tag, Check>>,
    /// Given in the order of arrival.
    turns: Arc<Semaphore>,
}

impl Authenticator {
    /// An authenticator that has verified no user yet.
    pub(in super::super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self {
            key: key.expect("the system gives random numbers"),
            verified: Mutex::default(),
            checks: Mutex::default(),
            turns: Arc::new(Semaphore::new(MAX_RUNNING)),
        }
    }

    /// Whether `credentials` are those of one of `users`.
    pub(in super::super) async fn admits(self: &Arc<Self>, users: &Arc<Users>, credentials: Credentials) -> bool {
        let mut tag = Tag::default();
        tag.copy_from_slice(hmac::sign(&self.key, &users.checked(&credentials)).as_ref());
        // A user without a tag is compared with zeros, which takes the same time.
        if *self.verified.lock().get(&credentials.user).unwrap_or(&Tag::default()) == tag {
            return true;
        }
        let is_right = self.join_or_start(users, credentials, tag).await;
        if !is_right {
            sleep(FAILURE_PAUSE).await;
        }
        is_right
    }

    /// The check of these credentials, which may be there already.
    fn join_or_start(self: &Arc<Self>, users: &Arc<Users>, credentials: Credentials, tag: Tag) -> Check {
        let mut checks = self.checks.lock();
        if checks.len() >= MAX_CHECKS && !checks.contains_key(&tag) {
            checks.extract_if(|_, check| check.strong_count() == Some(1)).next();
        }
        let start = || {
            // In a task of its own: the client may disconnect.
            let task = AbortOnDropHandle::new(tokio::spawn(self.clone().check(users.clone(), credentials, tag)));
            task.map(|outcome| outcome.unwrap_or(false)).boxed().shared()
        };
        checks.entry(tag).or_insert_with(start).clone()
    }

    /// Checks credentials when it is their turn.
    async fn check(self: Arc<Self>, users: Arc<Users>, credentials: Credentials, tag: Tag) -> bool {
        let turn = self.turns.clone().acquire_owned().await;
        let user = credentials.user.clone();
        let check = spawn_blocking(move || {
            let _turn = turn;
            users.check(&credentials)
        });
        let is_right = check.await.unwrap_or(false);
        if is_right {
            self.verified.lock().insert(user, tag);
        }
        self.checks.lock().remove(&tag);
        is_right
    }
}

#[cfg(test)]
mod tests;
