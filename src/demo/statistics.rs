//! What has truly happened, to compare with what an exporter says.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

/// Waits and durations that the statistics keep, the newest ones.
const MAX_TIMES: usize = 10_000;

/// What has truly happened on a server, since its first call.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Statistics {
    /// Dispatch calls opened, by priority (1 to 3) and origin (the API's numbers).
    pub opened: [[u64; 4]; 3],
    /// Dispatch calls closed, by priority and origin when they opened.
    pub closed: [[u64; 4]; 3],
    /// Dispatch calls opened, by their 10-code.
    pub opened_by_code: BTreeMap<&'static str, u64>,
    /// Emergency and civil calls that came.
    pub emergency_opened: [u64; 2],
    /// Emergency and civil calls that left the list.
    pub emergency_cleared: [u64; 2],
    /// How long calls that opened pending waited until they were taken, in seconds; the newest 10,000.
    pub waits: VecDeque<f64>,
    /// How long calls lasted that are closed, in seconds; the newest 10,000.
    pub durations: VecDeque<f64>,
    /// The units on duty.
    pub units: UnitStatistics,
}

/// What is true of the units of a server. Disciplines are police, fire and EMS. Dispatchers count only where they are
/// named.
#[derive(Clone, Debug, Default, Serialize)]
pub struct UnitStatistics {
    /// Units on duty now, by discipline and status (the API's numbers: unavailable, busy, available, en route, on scene).
    pub on_duty: [[u64; 5]; 3],
    /// Units on duty now, by department.
    pub departments: BTreeMap<&'static str, u64>,
    /// Dispatchers on duty now.
    pub dispatchers: u64,
    /// Units in panic now.
    pub in_panic: u64,
    /// Units that signed on, by discipline; those of the beginning are among them.
    pub signed_on: [u64; 3],
    /// Units that signed off, by discipline.
    pub signed_off: [u64; 3],
    /// How long units have been on duty until now, all added up, in seconds by discipline.
    pub unit_seconds: [f64; 3],
}

impl Statistics {
    /// Dispatch calls opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened.iter().flatten().sum()
    }

    /// Dispatch calls closed.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.closed.iter().flatten().sum()
    }
}

/// Adds the time from `since` to `now`.
pub(super) fn keep(times: &mut VecDeque<f64>, now: Duration, since: Duration) {
    times.push_back(now.saturating_sub(since).as_secs_f64());
    if times.len() > MAX_TIMES {
        times.pop_front();
    }
}
