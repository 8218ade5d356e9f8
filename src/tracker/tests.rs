use Status::{Active, Closed, Other, Pending};
use proptest::prelude::*;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::snapshot::{ActiveCalls, Call, EmergencyCalls, Sightings};

const SECOND: Duration = Duration::from_secs(1);
const START: Duration = Duration::from_secs(1_795_392_000);

/// A tracker with a TTL of 25 s, and the answers that it sees.
struct Story {
    tracker: Tracker,
    clock: ManualClock,
}

/// One answer; without lists until they are given.
#[derive(Clone, Debug, Default)]
struct Answer(Snapshot);

/// An answer with these calls of priority 1 in the list of active calls.
fn active(calls: &[(u64, Status)]) -> Answer {
    Answer::default().active(calls)
}

/// An answer without a list of active calls, and with these closed calls.
fn closed(ids: impl IntoIterator<Item = u64>) -> Answer {
    Answer::default().closed(ids)
}

impl Answer {
    fn active(self, calls: &[(u64, Status)]) -> Self {
        let calls = calls.iter().map(|(id, status)| call(*id, Priority::One, *status));
        self.calls(calls)
    }

    fn calls(mut self, calls: impl IntoIterator<Item = Call>) -> Self {
        self.0.active = ActiveCalls::listed();
        calls.into_iter().for_each(|call| self.0.active.add(&call));
        self
    }

    fn closed(mut self, ids: impl IntoIterator<Item = u64>) -> Self {
        let sighting = |id| call(id, Priority::One, Closed).sighting().unwrap();
        self.0.closed = ids.into_iter().map(sighting).collect();
        self
    }

    fn emergency(mut self, calls: &[(u64, EmergencyKind)]) -> Self {
        self.0.emergency = EmergencyCalls::listed();
        for (id, kind) in calls {
            self.0.emergency.add(Some(*id), *kind);
        }
        self
    }
}

fn call(id: u64, priority: Priority, status: Status) -> Call {
    Call {
        id: Some(id),
        priority,
        status,
        origin: Origin::Caller,
        assigned: false,
        units: Vec::new(),
    }
}

impl Story {
    /// It begins with this answer.
    fn begin(answer: &Answer) -> Self {
        let mut story = Self {
            tracker: Tracker::new(25 * SECOND),
            clock: ManualClock::new(START),
        };
        story.tracker.observe(&answer.0, story.now());
        story
    }

    fn now(&self) -> Now {
        Clock::Manual(self.clock.clone()).now()
    }

    /// After 30 s, this answer.
    fn then(&mut self, answer: &Answer) -> &mut Self {
        self.after(30, answer)
    }

    fn after(&mut self, seconds: u32, answer: &Answer) -> &mut Self {
        self.clock.advance(SECOND * seconds);
        self.tracker.observe(&answer.0, self.now());
        self
    }

    /// Dispatch calls opened and closed, of all priorities and origins.
    fn counts(&self) -> (u64, u64) {
        let lives = self.tracker.lifecycles();
        let labels = || {
            Priority::ALL
                .iter()
                .flat_map(|priority| Origin::ALL.iter().map(move |origin| (*priority, *origin)))
        };
        (
            labels().map(|(priority, origin)| lives.opened(priority, origin)).sum(),
            labels().map(|(priority, origin)| lives.closed(priority, origin)).sum(),
        )
    }

    fn emergency_counts(&self, kind: EmergencyKind) -> (u64, u64) {
        let lives = self.tracker.lifecycles();
        (lives.emergency_opened(kind), lives.emergency_cleared(kind))
    }

    /// How many waits of this priority were observed, and their sum in seconds.
    fn waits(&self, priority: Priority) -> (u64, u64) {
        let histogram = self.tracker.lifecycles().wait(priority);
        (histogram.count(), histogram.sum().as_secs())
    }

    fn durations(&self, priority: Priority) -> (u64, u64) {
        let histogram = self.tracker.lifecycles().duration(priority);
        (histogram.count(), histogram.sum().as_secs())
    }
}

#[test]
fn a_call_is_followed_from_pending_over_active_to_closed() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story.then(&active(&[(1, Pending)]).closed([]));
    assert_eq!(story.counts(), (1, 0));
    story.then(&active(&[(1, Pending)]).closed([]));
    story.then(&active(&[(1, Active)]).closed([]));
    assert_eq!(story.waits(Priority::One), (1, 60));
    story.then(&active(&[(1, Active)]).closed([]));
    story.then(&active(&[]).closed([1]));
    assert_eq!(story.counts(), (1, 1));
    assert_eq!(story.durations(Priority::One), (1, 120));
    story.then(&active(&[]).closed([1])).then(&active(&[]).closed([1]));
    assert_eq!(story.counts(), (1, 1));
    assert_eq!(story.waits(Priority::One), (1, 60));
}

#[test]
fn the_first_snapshot_only_seeds() {
    let mut story = Story::begin(&active(&[(7, Pending), (8, Active)]).closed([5, 6]));
    assert_eq!(story.counts(), (0, 0));
    // What closes later was there: it counts as closed, but when it came is not known.
    story.then(&active(&[(7, Active)]).closed([8, 6, 5]));
    assert_eq!(story.counts(), (0, 1));
    story.then(&active(&[]).closed([7, 8, 6, 5]));
    assert_eq!(story.counts(), (0, 2));
    assert_eq!(story.waits(Priority::One), (0, 0));
    assert_eq!(story.durations(Priority::One), (0, 0));
}

#[test]
fn a_call_first_seen_active_has_a_duration_but_no_wait() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story.then(&active(&[(1, Active)]).closed([]));
    // Given back and taken again: that is not the wait for the first unit.
    story
        .then(&active(&[(1, Pending)]).closed([]))
        .then(&active(&[(1, Active)]).closed([]));
    story.then(&active(&[]).closed([1]));
    assert_eq!(story.waits(Priority::One), (0, 0));
    assert_eq!(story.durations(Priority::One), (1, 90));
}

#[test]
fn a_call_waits_once() {
    let mut story = Story::begin(&active(&[]));
    for status in [Pending, Active, Pending, Active, Active] {
        story.then(&active(&[(1, status)]));
    }
    assert_eq!(story.waits(Priority::One), (1, 30));
}

#[test]
fn a_status_that_cannot_be_read_changes_nothing() {
    let mut story = Story::begin(&active(&[]));
    for status in [Other, Pending, Other, Active] {
        story.then(&active(&[(1, status)]));
    }
    assert_eq!(story.waits(Priority::One), (1, 60));
    assert_eq!(story.counts(), (1, 0));
}

#[test]
fn a_call_that_flickers_stays_open() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story.then(&active(&[(1, Pending)]).closed([]));
    story
        .then(&active(&[]).closed([]))
        .then(&active(&[(1, Pending)]).closed([]));
    story
        .then(&active(&[]).closed([]))
        .then(&active(&[(1, Active)]).closed([]));
    assert_eq!(story.counts(), (1, 0));
    assert_eq!(story.waits(Priority::One), (1, 120));
}

#[test]
fn a_call_that_is_absent_twice_closed_when_it_was_first_missed() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story
        .then(&active(&[(1, Active)]).closed([]))
        .then(&active(&[(1, Active)]).closed([]));
    story.then(&active(&[]).closed([]));
    assert_eq!(story.counts(), (1, 0));
    story.then(&active(&[]).closed([]));
    assert_eq!(story.counts(), (1, 1));
    assert_eq!(story.durations(Priority::One), (1, 60));
}

#[test]
fn a_call_that_is_found_closed_after_it_was_missed_closed_when_it_was_first_missed() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story
        .then(&active(&[(1, Active)]).closed([]))
        .then(&active(&[]).closed([]));
    story.then(&active(&[]).closed([1]));
    assert_eq!(story.durations(Priority::One), (1, 30));
}

#[test]
fn a_list_that_is_lacking_says_nothing_of_absence() {
    let mut story = Story::begin(&active(&[(1, Active), (2, Active)]).closed([]));
    story.then(&closed([])).then(&closed([]));
    assert_eq!(story.counts(), (0, 0));
    story.then(&closed([2]));
    assert_eq!(story.counts(), (0, 1), "found among the closed");
    story.then(&active(&[(1, Active)]));
    story.then(&active(&[])).then(&closed([])).then(&active(&[(1, Active)]));
    assert_eq!(story.counts(), (0, 1), "absent from one list only");
    story.then(&active(&[])).then(&closed([])).then(&active(&[]));
    assert_eq!(story.counts(), (0, 2));
}

#[test]
fn the_first_list_seeds_though_another_came_before() {
    let mut story = Story::begin(&closed([3]));
    story.then(&active(&[(5, Pending), (6, Active)]).closed([3]));
    assert_eq!(story.counts(), (0, 0));
    let mut story = Story::begin(&active(&[(3, Pending)]));
    story.then(&active(&[(3, Pending)]).closed([4, 2, 1]));
    assert_eq!(story.counts(), (0, 0));
}

#[test]
fn a_call_that_opens_and_closes_between_two_answers_counts_once_as_both() {
    let mut story = Story::begin(&active(&[(3, Active)]).closed([1, 2]));
    story.then(&active(&[(3, Active), (5, Pending)]).closed([4, 2, 1]));
    assert_eq!(story.counts(), (2, 1));
    story.then(&active(&[(3, Active), (5, Pending)]).closed([4, 2, 1]));
    assert_eq!(story.counts(), (2, 1));
    assert_eq!(story.durations(Priority::One), (0, 0));
}

#[test]
fn more_closed_calls_are_asked_for_at_first_and_while_all_are_new() {
    let mut story = Story {
        tracker: Tracker::new(25 * SECOND),
        clock: ManualClock::new(START),
    };
    assert_eq!(story.tracker.closed_limit(), 100);
    story.then(&active(&[]).closed(1..=50));
    assert_eq!(story.tracker.closed_limit(), 10);
    story.then(&active(&[]).closed(42..=51));
    assert_eq!(story.tracker.closed_limit(), 10);
    story.then(&active(&[]).closed(54..=63));
    assert_eq!(story.tracker.closed_limit(), 100);
    story.then(&active(&[]));
    assert_eq!(story.tracker.closed_limit(), 100, "the answer did not say");
    story.then(&active(&[]).closed([]));
    assert_eq!(story.tracker.closed_limit(), 10, "none is new");
    story.then(&active(&[]).closed(64..=73));
    assert_eq!(story.tracker.closed_limit(), 100);
    story.then(&active(&[]).closed(1..=63));
    assert_eq!(story.tracker.closed_limit(), 10);
}

/// A rule that counts whatever is new among the closed would count 88 calls from before.
#[test]
fn twelve_short_calls_are_twelve_when_the_limit_goes_from_10_to_100() {
    let mut story = Story::begin(&active(&[(120, Active)]).closed(91..=100));
    // Of twelve, the ten newest fit; ids from 101 to 119 were never listed.
    story.then(&active(&[(120, Active)]).closed(123..=132));
    assert_eq!(story.counts(), (10, 10));
    assert_eq!(story.tracker.closed_limit(), 100);
    story.then(&active(&[(120, Active)]).closed((33..=119).chain(121..=132)));
    assert_eq!(story.counts(), (12, 12));
    story.then(&active(&[(120, Active)]).closed(123..=132));
    assert_eq!(story.counts(), (12, 12));
}

#[test]
fn a_lacking_list_does_not_end_the_search_behind_a_cut_off_one() {
    let open = || active(&[(120, Active)]);
    let mut story = Story::begin(&open().closed(91..=100));
    story.then(&open().closed(123..=132)).then(&open());
    assert_eq!(story.tracker.closed_limit(), 100);
    story.then(&open().closed((33..=119).chain(121..=132)));
    assert_eq!(story.counts(), (12, 12));
}

#[test]
fn a_list_is_cut_off_though_calls_in_it_share_an_id() {
    let open = || active(&[(120, Active)]);
    let mut story = Story::begin(&open().closed(91..=100));
    story.then(&open().closed((124..=132).chain([132])));
    story.then(&open().closed((33..=119).chain(121..=132)));
    assert_eq!(story.counts(), (12, 12));
}

#[test]
fn a_list_with_room_is_not_cut_off() {
    let open = || active(&[(120, Active), (130, Active)]);
    let mut story = Story::begin(&open().closed([]));
    story.then(&open().closed([])).then(&open().closed([131, 132]));
    assert_eq!(story.counts(), (2, 2));
    assert_eq!(story.tracker.closed_limit(), 100);
    story.then(&open().closed([125, 131, 132]));
    assert_eq!(story.counts(), (2, 2));
}

#[test]
fn older_calls_that_come_to_light_when_closed_ones_are_deleted_do_not_count() {
    let open = || active(&[(150, Active)]);
    let mut story = Story::begin(&open().closed(101..=200));
    story.then(&open().closed(191..=200)).then(&open().closed(91..=100));
    assert_eq!(story.tracker.closed_limit(), 100);
    story.then(&open().closed(1..=100)).then(&open().closed(1..=10));
    assert_eq!(story.counts(), (0, 0));
}

#[test]
fn a_closed_call_below_a_known_id_does_not_count() {
    let mut story = Story::begin(&active(&[(10, Active)]).closed([]));
    story.then(&active(&[(10, Active)]).closed([9]));
    assert_eq!(story.counts(), (0, 0));
    story.then(&active(&[(10, Active), (20, Active)]).closed([9]));
    story.then(&active(&[(10, Active), (20, Active)]).closed([15, 9]));
    assert_eq!(story.counts(), (1, 0));
}

#[test]
fn the_highest_id_is_that_of_all_answers() {
    let mut story = Story::begin(&active(&[(10, Active), (500, Active)]).closed([]));
    story
        .then(&active(&[(10, Active)]).closed([500]))
        .then(&active(&[(10, Active)]).closed([]));
    story.then(&active(&[(10, Active)]).closed([400]));
    assert_eq!(story.counts(), (0, 1));
    // Also of calls that are not followed.
    let mut story = Story::begin(&active(&[(3, Active), (50, Active), (50, Active)]).closed([]));
    story.then(&active(&[(3, Active)]).closed([50]));
    assert_eq!(story.counts(), (0, 0));
}

#[test]
fn calls_that_are_not_followed_are_no_sign_of_a_wiped_cad() {
    let twins = [(4, Pending), (4, Pending)];
    let mut story = Story::begin(&active(&twins).closed([]));
    story.then(&active(&[(4, Pending), (4, Pending), (9, Active)]).closed([]));
    story.then(&active(&twins).closed([])).then(&active(&twins).closed([]));
    assert_eq!(story.counts(), (1, 1));
}

#[test]
fn a_wiped_cad_seeds_anew() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story.then(&active(&[(500, Active), (501, Pending)]).closed([499]));
    assert_eq!(story.counts(), (3, 1));
    story.then(&active(&[(2, Pending)]).closed([1]));
    assert_eq!(story.counts(), (3, 1), "neither opened nor closed");
    story.then(&active(&[(2, Active), (3, Pending)]).closed([1]));
    assert_eq!(story.counts(), (4, 1));
    assert_eq!(story.waits(Priority::One), (0, 0));
    story.then(&active(&[]).closed([4, 3, 2, 1]));
    assert_eq!(story.counts(), (5, 4));
}

#[test]
fn an_answer_without_calls_is_no_wiped_cad() {
    let mut story = Story::begin(&active(&[(5, Active)]).closed([]));
    story
        .then(&active(&[]).closed([]))
        .then(&active(&[(5, Active), (6, Active)]).closed([]));
    assert_eq!(story.counts(), (1, 0));
}

#[test]
fn a_call_that_returns_within_a_day_is_the_same_call() {
    let mut story = Story::begin(&active(&[(8, Active)]).closed([]));
    story.then(&active(&[(8, Active), (9, Active)]).closed([]));
    story.then(&active(&[(8, Active)]).closed([9]));
    assert_eq!(story.counts(), (1, 1));
    story.then(&active(&[(8, Active), (9, Pending)]).closed([]));
    let pending = story.tracker.lifecycles().oldest_pending(Priority::One);
    assert_eq!(pending, Some(story.now()), "it is pending all the same");
    story.then(&active(&[(8, Active), (9, Active)]).closed([]));
    story.then(&active(&[(8, Active)]).closed([9]));
    assert_eq!(story.counts(), (1, 1));
    assert_eq!(story.waits(Priority::One), (0, 0));
    assert_eq!(story.durations(Priority::One), (1, 30));
    // Forgotten after a day without it.
    story.after(86_401, &active(&[(8, Active)]).closed([]));
    story.then(&active(&[(8, Active), (9, Active)]).closed([]));
    assert_eq!(story.counts(), (2, 1));
}

#[test]
fn a_call_that_was_missed_twice_and_returns_is_the_same_call() {
    let mut story = Story::begin(&active(&[(8, Active)]).closed([]));
    story.then(&active(&[(8, Active), (9, Active)]).closed([]));
    story
        .then(&active(&[(8, Active)]).closed([]))
        .then(&active(&[(8, Active)]).closed([]));
    story.then(&active(&[(8, Active), (9, Active)]).closed([]));
    story.then(&active(&[(8, Active)]).closed([9]));
    assert_eq!(story.counts(), (1, 1));
}

#[test]
fn a_call_is_remembered_for_a_day_after_it_was_last_listed() {
    let mut story = Story::begin(&active(&[(1, Active)]).closed([]));
    for _ in 0..4 {
        story.after(12 * 3600, &active(&[(1, Active)]).closed([5]));
    }
    story.then(&active(&[(1, Active), (5, Active)]).closed([]));
    assert_eq!(story.counts(), (1, 1));
}

#[test]
fn a_call_in_both_lists_is_closed() {
    let mut story = Story::begin(&active(&[(8, Active)]).closed([]));
    story.then(&active(&[(8, Active), (9, Pending)]).closed([9]));
    assert_eq!(story.counts(), (1, 1));
    assert_eq!(story.tracker.lifecycles().oldest_pending(Priority::One), None);
}

#[test]
fn calls_without_an_id_of_their_own_are_not_followed() {
    let nameless = || Call {
        id: None,
        ..call(1, Priority::One, Pending)
    };
    let twin = || call(4, Priority::One, Pending);
    let mut story = Story::begin(&active(&[]).closed([]));
    for _ in 0..3 {
        story.then(&Answer::default().calls([nameless(), nameless(), twin(), twin(), call(3, Priority::One, Pending)]));
    }
    assert_eq!(story.counts(), (1, 0));
    // One that is known is not lost because it shares its id for a while.
    for _ in 0..3 {
        story.then(&active(&[(3, Pending), (3, Active)]));
    }
    story.then(&active(&[(3, Active)]));
    assert_eq!(story.counts(), (1, 0));
    assert_eq!(story.waits(Priority::One), (1, 180));
}

#[test]
fn a_closed_call_that_lingers_among_the_active_is_closed() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story.then(&active(&[(1, Active)]).closed([]));
    story.then(&active(&[(1, Closed), (2, Closed)]).closed([]));
    assert_eq!(story.counts(), (2, 2));
    story.then(&active(&[(1, Closed), (2, Active)]).closed([2, 1]));
    story
        .then(&active(&[]).closed([2, 1]))
        .then(&active(&[]).closed([2, 1]));
    assert_eq!(story.counts(), (2, 2));
    assert_eq!(story.durations(Priority::One), (1, 30));
}

#[test]
fn no_time_is_observed_across_a_gap() {
    // 90 s are none; a little more is one, but ids still count.
    for (seconds, is_observed) in [(90, true), (91, false)] {
        let mut story = Story::begin(&active(&[]).closed([]));
        story.then(&active(&[(1, Pending), (2, Active)]).closed([]));
        story.after(seconds, &active(&[(1, Active), (3, Pending)]).closed([2]));
        assert_eq!(story.counts(), (3, 1));
        story.then(&active(&[(3, Active)]).closed([1, 2]));
        story.then(&active(&[]).closed([3, 1, 2]));
        assert_eq!(story.counts(), (3, 3));
        assert_eq!(
            story.waits(Priority::One).0,
            if is_observed { 2 } else { 0 },
            "{seconds}"
        );
        assert_eq!(
            story.durations(Priority::One).0,
            if is_observed { 3 } else { 0 },
            "{seconds}"
        );
    }
}

#[test]
fn a_gap_is_as_long_as_two_ttls() {
    let mut story = Story::begin(&active(&[]));
    story.tracker = Tracker::new(240 * SECOND);
    story.then(&active(&[])).after(480, &active(&[(1, Pending)]));
    story.after(480, &active(&[(1, Active)]));
    assert_eq!(story.waits(Priority::One), (1, 480));
    story.then(&active(&[(1, Active), (2, Pending)]));
    story.after(481, &active(&[(2, Active)]));
    assert_eq!(story.waits(Priority::One), (1, 480));
}

#[test]
fn answers_without_the_list_make_a_gap_too() {
    let mut story = Story::begin(&active(&[]).closed([]));
    story.then(&active(&[(1, Pending)]).closed([]));
    for _ in 0..3 {
        story.then(&closed([]));
    }
    story.then(&active(&[(1, Active)]).closed([]));
    assert_eq!(story.waits(Priority::One), (0, 0));
}

#[test]
fn opened_and_closed_have_the_first_labels_and_times_the_last_priority() {
    let mut story = Story::begin(&active(&[]));
    let with = |priority, status, origin| {
        Answer::default().calls([Call {
            origin,
            ..call(1, priority, status)
        }])
    };
    story.then(&with(Priority::Three, Pending, Origin::WalkUp));
    story.then(&with(Priority::Two, Active, Origin::Observed));
    story.then(&with(Priority::One, Active, Origin::Caller));
    story.then(&active(&[])).then(&active(&[]));
    let lives = story.tracker.lifecycles();
    assert_eq!(lives.opened(Priority::Three, Origin::WalkUp), 1);
    assert_eq!(lives.closed(Priority::Three, Origin::WalkUp), 1);
    assert_eq!(story.counts(), (1, 1));
    assert_eq!(story.waits(Priority::Two), (1, 30));
    assert_eq!(story.durations(Priority::One), (1, 90));
}

#[test]
fn the_list_of_closed_calls_tells_the_last_priority() {
    let second = |id| call(id, Priority::Two, Active);
    let mut story = Story::begin(&Answer::default().calls([second(7)]).closed([]));
    story.then(&Answer::default().calls([second(7), second(8)]).closed([]));
    // In the stories' lists of closed calls, all have priority 1.
    story.then(&Answer::default().calls([second(7)]).closed([8]));
    assert_eq!(story.durations(Priority::One), (1, 30));
    assert_eq!(story.durations(Priority::Two), (0, 0));
}

#[test]
fn the_oldest_pending_call_is_the_one_that_has_been_so_for_longest() {
    let mut story = Story::begin(&active(&[(1, Pending), (2, Active)]));
    let oldest = |story: &Story| {
        let since = story.tracker.lifecycles().oldest_pending(Priority::One)?;
        Some(since.unix.checked_sub(START).unwrap().as_secs())
    };
    assert_eq!(oldest(&story), Some(0));
    story.then(&active(&[(1, Pending), (2, Pending)]));
    assert_eq!(oldest(&story), Some(0));
    story.then(&active(&[(1, Active), (2, Pending)]));
    assert_eq!(oldest(&story), Some(30));
    story.then(&active(&[(1, Pending), (2, Active)]));
    assert_eq!(oldest(&story), Some(90), "since it is pending again");
    story.then(&active(&[(2, Active)]));
    assert_eq!(oldest(&story), None, "not in the list");
    story.then(&active(&[(1, Pending), (2, Active)]));
    assert_eq!(oldest(&story), Some(90));
    story.then(&closed([]));
    assert_eq!(oldest(&story), None, "no list");
    let other = story.tracker.lifecycles().oldest_pending(Priority::Two);
    assert_eq!(other, None);
}

#[test]
fn emergency_calls_come_wait_and_are_cleared() {
    use EmergencyKind::{Civil, Emergency};
    let answer = |calls: &[(u64, EmergencyKind)]| active(&[]).emergency(calls);
    let mut story = Story::begin(&answer(&[(1, Emergency)]));
    story.then(&answer(&[(1, Emergency), (2, Emergency), (3, Civil)]));
    assert_eq!(story.emergency_counts(Emergency), (1, 0));
    assert_eq!(story.emergency_counts(Civil), (1, 0));
    let oldest = story.tracker.lifecycles().oldest_emergency(Emergency).unwrap();
    assert_eq!(oldest.unix, START);
    story
        .then(&answer(&[(3, Civil)]))
        .then(&active(&[]))
        .then(&answer(&[(3, Civil)]));
    assert_eq!(story.emergency_counts(Emergency), (1, 2), "absent from two lists");
    assert_eq!(story.emergency_counts(Civil), (1, 0));
    assert_eq!(story.tracker.lifecycles().oldest_emergency(Emergency), None);
    let wait = story.tracker.lifecycles().emergency_wait(Emergency);
    assert_eq!(
        (wait.count(), wait.sum()),
        (1, 30 * SECOND),
        "the first one was there before"
    );
    story.then(&answer(&[])).then(&answer(&[]));
    let wait = story.tracker.lifecycles().emergency_wait(Civil);
    assert_eq!((wait.count(), wait.sum()), (1, 120 * SECOND));
    story.then(&answer(&[(4, Civil)])).then(&active(&[]));
    assert_eq!(story.tracker.lifecycles().oldest_emergency(Civil), None, "no list");
    assert_eq!(story.counts(), (0, 0));
}

#[test]
fn emergency_and_dispatch_calls_have_ids_of_their_own() {
    let mut story = Story::begin(&active(&[(900, Active)]).emergency(&[]));
    let low = [(1, EmergencyKind::Civil)];
    story.then(&active(&[(900, Active)]).emergency(&low));
    story.then(&active(&[(900, Active), (901, Pending)]).emergency(&low));
    assert_eq!(story.emergency_counts(EmergencyKind::Civil), (1, 0));
    assert_eq!(story.counts(), (1, 0));
}

/// Lists of few calls whose ids appear, vanish, return and repeat.
fn any_calls() -> impl Strategy<Value = Option<Vec<Call>>> {
    let any_call = (
        prop::option::weighted(0.95, 2_u64..30),
        prop::sample::select(Priority::ALL),
        prop::sample::select(Status::ALL),
        prop::sample::select(Origin::ALL),
    );
    let any_call = any_call.prop_map(|(id, priority, status, origin)| Call {
        id,
        origin,
        ..call(1, priority, status)
    });
    prop::option::weighted(0.9, prop::collection::vec(any_call, 0..12))
}

fn any_emergency_calls() -> impl Strategy<Value = Option<Vec<(u64, EmergencyKind)>>> {
    let any_call = (2_u64..20, prop::sample::select(EmergencyKind::ALL));
    prop::option::weighted(0.9, prop::collection::vec(any_call, 0..6))
}

/// All answers, and how many seconds pass before each.
fn any_answers() -> impl Strategy<Value = Vec<(u32, Snapshot)>> {
    let any_answer = (any_calls(), any_calls(), any_emergency_calls()).prop_map(|(open, closed, emergency)| {
        let mut answer = open.map_or_else(Answer::default, |open| Answer::default().calls(open));
        if let Some(closed) = closed {
            answer.0.closed = closed.iter().filter_map(Call::sighting).collect();
        }
        match emergency {
            Some(calls) => answer.emergency(&calls).0,
            None => answer.0,
        }
    });
    prop::collection::vec((0_u32..200, any_answer), 1..20)
}

/// Adds a call to every list, by which each answer is known to be of the same CAD.
fn with_anchor(mut snapshot: Snapshot) -> Snapshot {
    if snapshot.active.sightings().calls().is_some() {
        snapshot.active.add(&call(1, Priority::One, Active));
    }
    if snapshot.emergency.sightings().calls().is_some() {
        snapshot.emergency.add(Some(1), EmergencyKind::Civil);
    }
    if snapshot.closed.calls().is_some() {
        snapshot.closed.extend(call(31, Priority::One, Closed).sighting());
    }
    snapshot
}

/// How many calls of a list have these labels.
fn count<T>(list: &Sightings<T>, has_labels: impl Fn(&T) -> bool) -> u64 {
    list.calls()
        .map_or(0, |calls| calls.iter().filter(|call| has_labels(call)).count() as u64)
}

proptest! {
    #[test]
    fn counters_never_fall_and_no_time_is_longer_than_the_story(answers in any_answers()) {
        let mut story = Story { tracker: Tracker::new(25 * SECOND), clock: ManualClock::new(START) };
        let mut before = story.tracker.lifecycles().clone();
        let mut length = Duration::ZERO;
        for (seconds, snapshot) in answers {
            story.after(seconds, &Answer(snapshot));
            length += SECOND * seconds;
            let lives = story.tracker.lifecycles();
            for priority in Priority::ALL {
                for origin in Origin::ALL {
                    prop_assert!(lives.opened(*priority, *origin) >= before.opened(*priority, *origin));
                    prop_assert!(lives.closed(*priority, *origin) >= before.closed(*priority, *origin));
                }
                for (now, before) in [(lives.wait(*priority), before.wait(*priority)), (lives.duration(*priority), before.duration(*priority))] {
                    prop_assert!(now.count() >= before.count() && now.sum() >= before.sum());
                    let longest = length * u32::try_from(now.count() - before.count()).unwrap();
                    prop_assert!(now.sum() <= before.sum() + longest);
                }
                prop_assert!(lives.oldest_pending(*priority).is_none_or(|since| since.unix >= START && since.unix <= START + length));
            }
            for kind in EmergencyKind::ALL {
                prop_assert!(lives.emergency_opened(*kind) >= before.emergency_opened(*kind));
                prop_assert!(lives.emergency_cleared(*kind) >= before.emergency_cleared(*kind));
                prop_assert!(lives.emergency_wait(*kind).count() <= lives.emergency_cleared(*kind));
            }
            before = lives.clone();
        }
    }

    #[test]
    fn no_more_calls_close_than_were_there_or_opened(answers in any_answers()) {
        let mut tracker = Tracker::new(25 * SECOND);
        let clock = ManualClock::new(START);
        // What the first lists show, call by call, is known at the start.
        let mut first_open: Option<Snapshot> = None;
        let mut first_emergency: Option<Snapshot> = None;
        for (seconds, snapshot) in answers {
            let snapshot = with_anchor(snapshot);
            clock.advance(SECOND * seconds);
            tracker.observe(&snapshot, Clock::Manual(clock.clone()).now());
            if first_open.is_none() && snapshot.active.sightings().calls().is_some() {
                first_open = Some(snapshot.clone());
            }
            if first_emergency.is_none() && snapshot.emergency.sightings().calls().is_some() {
                first_emergency = Some(snapshot.clone());
            }
            let lives = tracker.lifecycles();
            for priority in Priority::ALL {
                for origin in Origin::ALL {
                    let known = first_open.as_ref().map_or(0, |first| {
                        count(first.active.sightings(), |call| (call.priority, call.origin) == (*priority, *origin))
                    });
                    prop_assert!(lives.closed(*priority, *origin) <= lives.opened(*priority, *origin) + known);
                }
                let closed: u64 = Origin::ALL.iter().map(|origin| lives.closed(*priority, *origin)).sum();
                prop_assert!(lives.wait(*priority).count() <= 40 && closed <= 40, "each id counts once, within a day");
            }
            for kind in EmergencyKind::ALL {
                let known = first_emergency.as_ref().map_or(0, |first| count(first.emergency.sightings(), |call| call.kind == *kind));
                prop_assert!(lives.emergency_cleared(*kind) <= lives.emergency_opened(*kind) + known);
            }
        }
    }
}

#[test]
fn a_list_of_closed_calls_counts_none_twice_however_long_it_is() {
    for length in [100, 2_000, 10_001, 30_000] {
        let mut story = Story::begin(&active(&[]).closed([]));
        let long = active(&[]).closed(1..=length);
        story.then(&long);
        let counts = story.counts();
        story.then(&long).then(&long);
        assert_eq!(story.counts(), counts, "{length} calls");
    }
}
