//! The ids of calls that are gone, for as long as they may return.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock::as_unix_values;

/// How long an id is remembered after it was last seen.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

/// Ids of calls that are gone, and when each was last seen or missed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct ClosedIds(#[serde(with = "as_unix_values")] BTreeMap<u64, Instant>);

impl ClosedIds {
    pub(super) fn contains(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }

    /// Remembers an id, again from `now` if it is known.
    pub(super) fn insert(&mut self, id: u64, now: Instant) {
        self.0.insert(id, now);
    }

    /// Forgets an id. Returns whether it was remembered.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        self.0.remove(&id).is_some()
    }

    /// Forgets the ids that are too old, and those seen first if there are more than `max`.
    pub(super) fn forget(&mut self, now: Instant, max: usize) {
        self.0
            .retain(|_, seen_at| now.saturating_duration_since(*seen_at) <= MEMORY);
        if let Some(surplus) = self.0.len().checked_sub(max + 1) {
            let mut by_age: Vec<_> = self.0.iter().map(|(id, seen_at)| (*seen_at, *id)).collect();
            let (older, oldest_surplus, _) = by_age.select_nth_unstable(surplus);
            for (_, id) in older.iter().chain([&*oldest_surplus]) {
                self.0.remove(id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_forgotten_a_day_after_it_was_last_seen() {
        let begin = Instant::now();
        let hour = Duration::from_secs(3600);
        let mut closed = ClosedIds::default();
        closed.insert(1, begin);
        closed.insert(2, begin);
        closed.insert(2, begin + hour);
        closed.forget(begin + 24 * hour, 10_000);
        assert!(closed.contains(1) && closed.contains(2));
        closed.forget(begin + 24 * hour + Duration::from_nanos(1), 10_000);
        assert!(!closed.contains(1) && closed.contains(2));
        closed.forget(begin + 26 * hour, 10_000);
        assert!(!closed.contains(2));
    }

    #[test]
    fn the_last_ten_thousand_are_remembered() {
        let begin = Instant::now();
        let mut closed = ClosedIds::default();
        for id in (0..10_300).rev() {
            // The lower ids are the younger ones.
            closed.insert(id, begin + Duration::from_secs(10_300 - id));
        }
        closed.forget(begin + Duration::from_secs(10_300), 10_000);
        assert_eq!(closed.0.len(), 10_000);
        assert!(closed.contains(0) && closed.contains(9999));
        assert!(!closed.contains(10_000) && !closed.contains(10_299));
    }
}
