//! How many calls of a server were open in the last hour, for the picture on the status page.

use std::time::Instant;

use crate::report::{HISTORY_SLOT, HISTORY_SLOTS, OpenCalls};

/// The last hour in slots. It takes 720 bytes once there is a snapshot, however often the API is asked.
#[derive(Debug)]
pub(super) struct History {
    begun_at: Instant,
    /// The number of the newest slot with a sample, counted from `begun_at`.
    newest: usize,
    /// A ring: slot `n` is at `n % HISTORY_SLOTS`. Empty before the first sample.
    samples: Vec<Option<OpenCalls>>,
}

impl History {
    /// An empty one, whose first slot begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begun_at: now,
            newest: 0,
            samples: Vec::new(),
        }
    }

    /// Notes what a snapshot says that was fetched at `at`. The newest one of a slot counts.
    pub(super) fn record(&mut self, at: Instant, calls: OpenCalls) {
        let slot = self.slot(at);
        if self.samples.is_empty() {
            self.samples = vec![None; HISTORY_SLOTS];
            self.newest = slot;
        }
        if slot + HISTORY_SLOTS <= self.newest {
            return;
        }
        for between in (self.newest + 1..=slot).take(HISTORY_SLOTS) {
            self.samples[between % HISTORY_SLOTS] = None;
        }
        self.newest = self.newest.max(slot);
        self.samples[slot % HISTORY_SLOTS] = Some(calls);
    }

    /// The slots of the hour that ends now, the oldest first; empty if nothing was ever noted.
    pub(super) fn last_hour(&self, now: Instant) -> Vec<Option<OpenCalls>> {
        if self.samples.is_empty() {
            return Vec::new();
        }
        let end = self.slot(now);
        let is_kept = |slot: &usize| *slot <= self.newest && slot + HISTORY_SLOTS > self.newest;
        let slots = (0..HISTORY_SLOTS)
            .rev()
            .map(|back| end.checked_sub(back).filter(is_kept));
        slots
            .map(|slot| slot.and_then(|slot| self.samples[slot % HISTORY_SLOTS]))
            .collect()
    }

    fn slot(&self, at: Instant) -> usize {
        let slots = at.saturating_duration_since(self.begun_at).as_secs() / HISTORY_SLOT.as_secs();
        usize::try_from(slots).unwrap_or(usize::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(pending: u16) -> OpenCalls {
        OpenCalls { pending, active: 1 }
    }

    /// A history of samples at these slots, each with its slot as the number of pending calls.
    fn history(slots: &[u16]) -> (History, Instant) {
        let start = Instant::now();
        let mut history = History::new(start);
        for slot in slots {
            history.record(start + HISTORY_SLOT * u32::from(*slot), calls(*slot));
        }
        (history, start)
    }

    #[track_caller]
    fn assert_last(slots: &[u16], now: u32, expected: &[Option<OpenCalls>]) {
        let (history, start) = history(slots);
        let hour = history.last_hour(start + HISTORY_SLOT * now);
        assert_eq!(hour.len(), HISTORY_SLOTS);
        let (before, last) = hour.split_at(HISTORY_SLOTS - expected.len());
        assert_eq!(last, expected);
        assert!(before.iter().all(Option::is_none), "{before:?}");
    }

    #[test]
    fn before_the_first_answer_it_takes_no_memory() {
        let (history, start) = history(&[]);
        assert!(history.last_hour(start).is_empty() && history.samples.capacity() == 0);
        assert_eq!(size_of::<Option<OpenCalls>>() * HISTORY_SLOTS, 720);
    }

    #[test]
    fn a_sample_is_in_its_slot_and_others_are_empty() {
        assert_last(&[0], 0, &[Some(calls(0))]);
        assert_last(&[0, 2], 3, &[Some(calls(0)), None, Some(calls(2)), None]);
        assert_last(&[5, 4], 5, &[Some(calls(4)), Some(calls(5))]);
    }

    #[test]
    fn what_is_older_than_an_hour_is_forgotten() {
        assert_last(
            &[0, 119],
            119,
            &[&[Some(calls(0))], &[None; 118][..], &[Some(calls(119))]].concat(),
        );
        assert_last(&[0, 119], 120, &[Some(calls(119)), None]);
        assert_last(
            &[0, 1, 120],
            120,
            &[&[Some(calls(1))], &[None; 118][..], &[Some(calls(120))]].concat(),
        );
        assert_last(&[0, 1, 60_000], 60_000, &[Some(calls(60_000))]);
        assert_last(&[60_000, 0], 60_000, &[Some(calls(60_000))]);
        assert_last(&[0, 1], 60_000, &[]);
    }
}
