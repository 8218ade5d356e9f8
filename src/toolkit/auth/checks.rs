//! When passwords are checked.
//!
//! Checking a password costs CPU by design, and no client may turn that against the others. A few checks run at a
//! time. The next one is that of the client that has had no turn yet, or whose last turn is longest ago: clients that
//! guess wait for each other, and nobody else waits for them. Of one client's checks, the newest is next. Requests with
//! the same credentials share one check, which is finished and remembered even if its clients disconnect. A wrong
//! password delays its own response only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use ring::hmac;
use ring::rand::SystemRandom;
use secrecy::ExposeSecret as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::{Credentials, Users};

/// How much later a request with a wrong password is refused.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Checks at once.
const MAX_RUNNING: usize = 2;

/// Checks that wait. Above that, the oldest that no client waits for is dropped for each new one. Those of waiting
/// clients are as few as connections.
const MAX_WAITING: usize = 512;

/// Clients whose last turns are known.
const MAX_CLIENTS: usize = 1024;

/// Decides whether a request comes from a user.
#[derive(Debug)]
pub(in super::super) struct Authenticator {
    /// Generated at each start, so that the tags are useless elsewhere.
    key: hmac::Key,
    state: Mutex<State>,
    /// Each is that of a thread that checks until there is nothing to check.
    turns: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// The tag of each user's last credentials that were right.
    verified: HashMap<String, Vec<u8>>,
    /// The checks that wait, the newest last.
    waiting: Vec<Check>,
    /// The clients that have had a turn, the last one first.
    served: Vec<IpAddr>,
}

#[derive(Debug)]
struct Check {
    users: Arc<Users>,
    credentials: Credentials,
    /// Stands for the user's hash and the password.
    tag: Vec<u8>,
    /// Notified if they are right, and dropped in any case.
    is_right: watch::Sender<()>,
}

impl Authenticator {
    /// An authenticator that has verified no user yet.
    pub(in super::super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self {
            key: key.expect("the system gives random numbers"),
            state: Mutex::default(),
            turns: Arc::new(Semaphore::new(MAX_RUNNING)),
        }
    }

    /// Whether `credentials` are those of one of `users`.
    pub(in super::super) async fn admits(self: &Arc<Self>, users: &Arc<Users>, credentials: Credentials) -> bool {
        // A hash always has the same length, so that no two pairs give the same text.
        let text = Zeroizing::new([users.hash(&credentials.user), credentials.password.expose_secret()].concat());
        let tag = hmac::sign(&self.key, text.as_bytes()).as_ref().to_vec();
        if self.state.lock().verified.get(&credentials.user) == Some(&tag) {
            return true;
        }
        let mut outcome = self.enqueue(Check {
            users: users.clone(),
            credentials,
            tag,
            is_right: watch::Sender::default(),
        });
        let is_right = outcome.changed().await.is_ok();
        if !is_right {
            sleep(FAILURE_PAUSE).await;
        }
        is_right
    }

    /// Lets a check wait for its turn, as the newest one, and instead of one for the same credentials.
    fn enqueue(self: &Arc<Self>, mut check: Check) -> watch::Receiver<()> {
        let waiting = &mut self.state.lock().waiting;
        if let Some(same) = waiting.iter().position(|other| other.tag == check.tag) {
            check.is_right = waiting.remove(same).is_right;
        } else if waiting.len() >= MAX_WAITING {
            waiting.extract_if(.., |other| other.is_right.is_closed()).next();
        }
        let outcome = check.is_right.subscribe();
        waiting.push(check);
        if let Ok(turn) = self.turns.clone().try_acquire_owned() {
            let this = self.clone();
            spawn_blocking(move || this.run(turn));
        }
        outcome
    }

    /// Checks until no check waits.
    fn run(&self, turn: OwnedSemaphorePermit) {
        let mut state = self.state.lock();
        while let Some(check) = state.next() {
            // The same credentials may have been checked since this began to wait.
            let is_verified = state.verified.get(&check.credentials.user) == Some(&check.tag);
            if is_verified || MutexGuard::unlocked(&mut state, || check.users.check(&check.credentials)) {
                state.verified.insert(check.credentials.user, check.tag);
                check.is_right.send_replace(());
            }
        }
        // While nothing can be added, which would find no turn and would be left to nobody.
        drop(turn);
    }
}

impl State {
    /// The check that is next. `None` if none waits.
    fn next(&mut self) -> Option<Check> {
        let Self { waiting, served, .. } = self;
        let turns_ago = |check: &Check| served.iter().position(|client| *client == check.credentials.client);
        let checks = waiting.iter().enumerate();
        let (next, _) = checks.max_by_key(|(index, check)| (turns_ago(check).unwrap_or(usize::MAX), *index))?;
        let check = waiting.remove(next);
        served.retain(|client| *client != check.credentials.client);
        served.insert(0, check.credentials.client);
        served.truncate(MAX_CLIENTS);
        Some(check)
    }
}

#[cfg(test)]
mod tests;
