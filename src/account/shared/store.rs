//! The connection to the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, Script, ScriptInvocation, TlsCertificates};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::account::MAX_WAIT;
use crate::clock::Clock;
use crate::config::Network;

/// How long the store may take for one step. A scrape waits for two or three of them, and for the API in between.
pub(super) const MAX_STEP: Duration = Duration::from_secs(2);

/// Every step of every replica.
const SCRIPT: &str = include_str!("store.lua");

/// The address of the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the shared state cannot be used")]
pub struct StoreError(#[source] RedisError);

/// What replicas share: a Valkey or Redis server.
#[derive(Debug)]
pub struct Store {
    connection: ConnectionManager,
    script: Script,
    clock: Clock,
    is_up: AtomicBool,
}

/// What the store says of one step.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) status: Status,
    /// The store's clock, in milliseconds since 1970. So are the ends of pauses.
    pub(super) now: u64,
    pub(super) pause: u64,
    pub(super) endpoint_pause: u64,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(default)]
    pub(super) version: u64,
    #[serde(default)]
    pub(super) queries: u64,
    #[serde(default)]
    pub(super) hits: u64,
    #[serde(default)]
    pub(super) is_fresh: bool,
    #[serde(default)]
    pub(super) has_slot: bool,
    #[serde(default)]
    wait: u64,
    #[serde(default)]
    pub(super) api: String,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Done,
    Fenced,
    Fetching,
    Granted,
    Late,
    Lost,
    NewerFormat,
    Refused,
    Taken,
}

impl Answer {
    /// How long to wait for the slot. The script grants none for which that would be longer than [`MAX_WAIT`].
    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.wait).min(MAX_WAIT)
    }
}

impl Store {
    /// Prepares the connection, which is made when it is needed, and again when it is lost.
    ///
    /// # Errors
    ///
    /// The address cannot be used.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn new(url: &SecretString, network: &Network, clock: &Clock) -> Result<Self, StoreError> {
        let url = url.expose_secret();
        let client = match &network.authorities {
            Some(authorities) if url.starts_with("rediss:") => {
                let root_cert = authorities.iter().map(|der| pem(der)).collect::<String>();
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: Some(root_cert.into_bytes()),
                };
                Client::build_with_tls(url, certificates)
            }
            _ => Client::open(url),
        };
        let config = ConnectionManagerConfig::new()
            // Each step that needs a connection tries once to make it.
            .set_number_of_retries(0)
            .set_connection_timeout(Some(MAX_STEP))
            .set_response_timeout(Some(MAX_STEP));
        let connection = client.and_then(|client| ConnectionManager::new_lazy_with_config(client, config));
        Ok(Self {
            connection: connection.map_err(StoreError)?,
            script: Script::new(SCRIPT),
            clock: clock.clone(),
            is_up: AtomicBool::new(true),
        })
    }

    /// Whether the store answered when it was asked last.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Executes one step. `None` if the store does not answer.
    pub(super) async fn step(
        &self,
        step: &str,
        keys: &[String],
        args: &Value,
        state: &[u8],
    ) -> Option<(Answer, Vec<u8>)> {
        let mut invocation = self.script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        invocation.arg(step).arg(args.to_string()).arg(state);
        let sent_at = self.clock.now();
        let outcome = match timeout(MAX_STEP, self.invoke(&invocation)).await {
            Ok(outcome) => outcome,
            Err(_) => Err("no answer in time".to_owned()),
        };
        match &outcome {
            Ok((answer, _)) => {
                self.clock.follow(sent_at, Duration::from_millis(answer.now));
                if !self.is_up.swap(true, Ordering::Relaxed) {
                    info!("the shared state can be reached again");
                }
            }
            Err(reason) => {
                // Once, however long it lasts.
                if self.is_up.swap(false, Ordering::Relaxed) {
                    warn!(
                        reason,
                        "the shared state cannot be reached: until it can, no counters are shown, and from a minute on this \
                         replica asks the API once per minute and endpoint"
                    );
                }
            }
        }
        outcome.ok()
    }

    async fn invoke(&self, invocation: &ScriptInvocation<'_>) -> Result<(Answer, Vec<u8>), String> {
        let mut connection = self.connection.clone();
        let mut outcome = invocation.invoke_async(&mut connection).await;
        if let Err(error) = &outcome
            && error.is_unrecoverable_error()
        {
            // It says that an earlier connection is lost, or could not be made. The next call waits for a new one. A step
            // that was executed nevertheless is not harmful: its lease and its slot end by themselves.
            outcome = invocation.invoke_async(&mut connection).await;
        }
        let (answer, state): (Vec<u8>, Vec<u8>) = outcome.map_err(|error: RedisError| error.to_string())?;
        let answer = serde_json::from_str(&String::from_utf8_lossy(&answer));
        let answer = answer.map_err(|error| format!("an answer that cannot be read: {error}"))?;
        Ok((answer, state))
    }
}

fn pem(der: &[u8]) -> String {
    let base64 = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_no_script_gives_delays_no_fetch_for_long() {
        let json = format!(
            "{{\"status\":\"granted\",\"now\":{0},\"pause\":{0},\"endpoint_pause\":{0},\"wait\":{0}}}",
            u64::MAX
        );
        let answer: Answer = serde_json::from_str(&json).unwrap();
        assert_eq!(answer.wait(), MAX_WAIT);
    }
}
