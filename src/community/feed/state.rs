//! What is known of a feed, as replicas write it for each other.

use super::{Endpoint, Known, Pause, Plan, RequestCounts, SnapshotOf, Track};
use crate::clock::{Now, with_reference};
use crate::config::LabelTexts;
use crate::report::FeedReport;

/// What a feed shows that takes a state over, and that then gets an answer.
#[derive(Debug)]
pub struct Replayed<E: Endpoint> {
    /// Before the answer.
    pub before: FeedReport<SnapshotOf<E>, <E::Tracker as Track>::Stats>,
    /// After it.
    pub after: FeedReport<SnapshotOf<E>, <E::Tracker as Track>::Stats>,
    /// The state that it writes then.
    pub written: Vec<u8>,
}

impl<E: Endpoint> Known<E> {
    /// Reads a state. `None` if no replica with these labels has written it.
    pub(super) fn read(state: &[u8], labels: &LabelTexts, now: Now) -> Option<Self> {
        let known: Self = with_reference(now, || serde_json::from_slice(state)).ok()?;
        let is_ours =
            known.tracker.fits(known.cache.newest(), labels) && known.counts.has_buckets_of(&RequestCounts::default());
        is_ours.then_some(known)
    }

    /// Writes the state.
    pub(super) fn write(&self, now: Now) -> Vec<u8> {
        with_reference(now, || serde_json::to_vec(self)).expect("all of it can be written")
    }
}

/// Takes a state over as a replica does, and then gets an answer that is asked for at `now`. `None` if the state is ignored.
///
/// It is for tests: no other replica need have written the state.
#[must_use]
pub fn replay<E: Endpoint>(
    state: &[u8],
    answer: SnapshotOf<E>,
    labels: &LabelTexts,
    plan: Plan,
    now: Now,
) -> Option<Replayed<E>> {
    let mut known = Known::<E>::read(state, labels, now)?;
    known.apply_plan(plan);
    let before = known.report(Pause::default(), now);
    known.cache.start(now);
    known.tracker.observe(&answer, true, now.instant);
    known.cache.succeed(answer);
    Some(Replayed {
        before,
        after: known.report(Pause::default(), now),
        written: known.write(now),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::cache::Cache;
    use crate::client::{Calls, Units};
    use crate::clock::Clock;

    const TTL: Duration = Duration::from_secs(25);

    fn labels(texts: &[&str]) -> LabelTexts {
        let texts = || texts.iter().map(|text| (*text).to_owned()).collect();
        LabelTexts {
            call_codes: texts(),
            departments: texts(),
        }
    }

    /// What a replica writes that got this answer.
    fn written<E: Endpoint>(body: &[u8], now: Now) -> Value {
        let labels = labels(&["A"]);
        let mut known = Known::<E> {
            cache: Cache::new(TTL, 2 * TTL),
            tracker: E::Tracker::new(TTL, &labels),
            counts: RequestCounts::default(),
            failure: None,
        };
        let snapshot = E::decode(body, &labels).unwrap();
        known.cache.start(now);
        known.tracker.observe(&snapshot, true, now.instant);
        known.cache.succeed(snapshot);
        serde_json::from_slice(&known.write(now)).unwrap()
    }

    fn is_read<E: Endpoint>(state: &Value, texts: &[&str], now: Now) -> bool {
        Known::<E>::read(state.to_string().as_bytes(), &labels(texts), now).is_some()
    }

    #[test]
    fn a_state_with_other_buckets_or_texts_is_ignored() {
        let now = Clock::system().now();
        let calls = written::<Calls>(b"{\"activeCalls\":[]}", now);
        assert!(is_read::<Calls>(&calls, &["A"], now));
        assert!(!is_read::<Calls>(&calls, &["B"], now));
        for place in [
            "/tracker/stats/waits/1",
            "/tracker/stats/durations/other",
            "/tracker/stats/emergency_waits/civil",
            "/counts/request_seconds",
        ] {
            for (field, value) in [
                ("counts", json!([0])),
                ("bounds", json!([2.0, 1.0])),
                ("bounds", json!([])),
            ] {
                let mut state = calls.clone();
                state.pointer_mut(place).unwrap()[field] = value;
                assert!(!is_read::<Calls>(&state, &["A"], now), "{place}: {field}");
            }
        }
        let mut state = calls.clone();
        state["tracker"]["stats"]["opened_by_code"]["texts"] = json!(["A", "A"]);
        assert!(!is_read::<Calls>(&state, &["A"], now), "each text is shown once");
    }

    #[test]
    fn a_snapshot_of_units_with_other_departments_is_ignored() {
        let now = Clock::system().now();
        let units = written::<Units>(b"[]", now);
        assert!(is_read::<Units>(&units, &["A"], now));
        assert!(!is_read::<Units>(&units, &["A", "B"], now));
    }
}
