use Status::{Active, Closed, Other, Pending};
use proptest::prelude::*;

use super::*;
use crate::clock::{Clock, ManualClock, Now};
use crate::label::TextSet;
use crate::snapshot::{ActiveCalls, Call, EmergencyCalls, IdentifiedCalls};

const SECOND: Duration = Duration::from_secs(1);
const START: Duration = Duration::from_secs(1_795_392_000);

mod stories;

/// A tracker with a TTL of 25 s, and the answers that it sees.
struct Scenario {
    tracker: CallTracker,
    clock: ManualClock,
    start: Instant,
}

/// One answer; without lists until they are given.
#[derive(Clone, Debug, Default)]
struct Answer(CallSnapshot);

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
        self.0.active = ActiveCalls::empty();
        calls.into_iter().for_each(|call| self.0.active.add(&call));
        self
    }

    fn closed(mut self, ids: impl IntoIterator<Item = u64>) -> Self {
        let sighting = |id| call(id, Priority::One, Closed).identified().unwrap();
        self.0.closed = ids.into_iter().map(sighting).collect();
        self
    }

    fn emergency(mut self, calls: &[(u64, EmergencyKind)]) -> Self {
        self.0.emergency = EmergencyCalls::empty();
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
        assigned: Some(false),
        units: Vec::new(),
        made_from: None,
        code: TextSet::default().other(),
    }
}

impl Scenario {
    /// It begins with this answer.
    fn begin(answer: &Answer) -> Self {
        let mut scenario = Self::new();
        scenario.after(0, answer);
        scenario
    }

    fn new() -> Self {
        let clock = ManualClock::new(START);
        Self {
            tracker: CallTracker::new(25 * SECOND, &LabelTexts::default()),
            start: Clock::Manual(clock.clone()).now().instant,
            clock,
        }
    }

    /// The seconds from the start to when the oldest call was first seen so; `None` if none waits.
    fn seconds(&self, oldest: Oldest) -> Option<u64> {
        match oldest {
            Oldest::NoneWaits => None,
            Oldest::Since(since) => Some((since - self.start).as_secs()),
            Oldest::Unknown => panic!("it is known"),
        }
    }

    /// What the tracker asks for now.
    fn query(&self) -> CallQuery {
        self.tracker.query(self.now().instant)
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
        self.tracker.observe(&answer.0, true, self.now().instant);
        self
    }

    /// After 30 s, this answer, without the pages that would follow it.
    fn then_incomplete(&mut self, answer: &Answer) -> &mut Self {
        self.clock.advance(30 * SECOND);
        self.tracker.observe(&answer.0, false, self.now().instant);
        self
    }

    /// Dispatch calls opened and closed, of all priorities and origins.
    fn counts(&self) -> (u64, u64) {
        let stats = self.tracker.stats();
        let labels = || {
            Priority::ALL
                .iter()
                .flat_map(|priority| Origin::ALL.iter().map(move |origin| (*priority, *origin)))
        };
        (
            labels().map(|(priority, origin)| stats.opened[priority][origin]).sum(),
            labels().map(|(priority, origin)| stats.closed[priority][origin]).sum(),
        )
    }

    fn emergency_counts(&self, kind: EmergencyKind) -> (u64, u64) {
        let stats = self.tracker.stats();
        (stats.emergency_opened[kind], stats.emergency_cleared[kind])
    }

    /// How many waits of this priority were observed, and their sum in seconds.
    fn waits(&self, priority: Priority) -> (u64, u64) {
        let histogram = &self.tracker.stats().waits[priority];
        (histogram.count(), histogram.sum().as_secs())
    }

    fn durations(&self, priority: Priority) -> (u64, u64) {
        let histogram = &self.tracker.stats().durations[priority];
        (histogram.count(), histogram.sum().as_secs())
    }
}

#[test]
fn a_call_is_followed_from_pending_over_active_to_closed() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&active(&[(1, Pending)]).closed([]));
    assert_eq!(scenario.counts(), (1, 0));
    scenario.then(&active(&[(1, Pending)]).closed([]));
    scenario.then(&active(&[(1, Active)]).closed([]));
    assert_eq!(scenario.waits(Priority::One), (1, 60));
    scenario.then(&active(&[(1, Active)]).closed([]));
    scenario.then(&active(&[]).closed([1]));
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.durations(Priority::One), (1, 120));
    scenario.then(&active(&[]).closed([1])).then(&active(&[]).closed([1]));
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.waits(Priority::One), (1, 60));
}

#[test]
fn the_first_snapshot_only_seeds() {
    let mut scenario = Scenario::begin(&active(&[(7, Pending), (8, Active)]).closed([5, 6]));
    assert_eq!(scenario.counts(), (0, 0));
    // What closes later was there: it counts as closed, but when it came is not known.
    scenario.then(&active(&[(7, Active)]).closed([8, 6, 5]));
    assert_eq!(scenario.counts(), (0, 1));
    scenario.then(&active(&[]).closed([7, 8, 6, 5]));
    assert_eq!(scenario.counts(), (0, 2));
    assert_eq!(scenario.waits(Priority::One), (0, 0));
    assert_eq!(scenario.durations(Priority::One), (0, 0));
}

#[test]
fn a_call_first_seen_active_was_taken_at_once() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&active(&[(1, Active)]).closed([]));
    // Given back and taken again: that is not the wait for the first unit.
    scenario
        .then(&active(&[(1, Pending)]).closed([]))
        .then(&active(&[(1, Active)]).closed([]));
    scenario.then(&active(&[]).closed([1]));
    assert_eq!(scenario.waits(Priority::One), (1, 0));
    assert_eq!(scenario.durations(Priority::One), (1, 90));
}

#[test]
fn a_call_waits_once() {
    let mut scenario = Scenario::begin(&active(&[]));
    for status in [Pending, Active, Pending, Active, Active] {
        scenario.then(&active(&[(1, status)]));
    }
    assert_eq!(scenario.waits(Priority::One), (1, 30));
}

#[test]
fn a_status_that_cannot_be_read_changes_nothing() {
    let mut scenario = Scenario::begin(&active(&[]));
    for status in [Other, Pending, Other, Active] {
        scenario.then(&active(&[(1, status)]));
    }
    assert_eq!(scenario.waits(Priority::One), (1, 60));
    assert_eq!(scenario.counts(), (1, 0));
}

#[test]
fn a_call_that_flickers_stays_open() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&active(&[(1, Pending)]).closed([]));
    scenario
        .then(&active(&[]).closed([]))
        .then(&active(&[(1, Pending)]).closed([]));
    scenario
        .then(&active(&[]).closed([]))
        .then(&active(&[(1, Active)]).closed([]));
    assert_eq!(scenario.counts(), (1, 0));
    assert_eq!(scenario.waits(Priority::One), (1, 120));
}

#[test]
fn a_call_that_is_absent_twice_closed_when_it_was_first_missed() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario
        .then(&active(&[(1, Active)]).closed([]))
        .then(&active(&[(1, Active)]).closed([]));
    scenario.then(&active(&[]).closed([]));
    assert_eq!(scenario.counts(), (1, 0));
    scenario.then(&active(&[]).closed([]));
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.durations(Priority::One), (1, 60));
}

#[test]
fn a_call_that_is_found_closed_after_it_was_missed_closed_when_it_was_first_missed() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario
        .then(&active(&[(1, Active)]).closed([]))
        .then(&active(&[]).closed([]));
    scenario.then(&active(&[]).closed([1]));
    assert_eq!(scenario.durations(Priority::One), (1, 30));
}

#[test]
fn a_list_that_is_lacking_says_nothing_of_absence() {
    let mut scenario = Scenario::begin(&active(&[(1, Active), (2, Active)]).closed([]));
    scenario.then(&closed([])).then(&closed([]));
    assert_eq!(scenario.counts(), (0, 0));
    scenario.then(&closed([2]));
    assert_eq!(scenario.counts(), (0, 1), "found among the closed");
    scenario.then(&active(&[(1, Active)]));
    scenario
        .then(&active(&[]))
        .then(&closed([]))
        .then(&active(&[(1, Active)]));
    assert_eq!(scenario.counts(), (0, 1), "absent from one list only");
    scenario.then(&active(&[])).then(&closed([])).then(&active(&[]));
    assert_eq!(scenario.counts(), (0, 2));
}

#[test]
fn the_first_list_seeds_though_another_came_before() {
    let mut scenario = Scenario::begin(&closed([3]));
    scenario.then(&active(&[(5, Pending), (6, Active)]).closed([3]));
    assert_eq!(scenario.counts(), (0, 0));
    let mut scenario = Scenario::begin(&active(&[(3, Pending)]));
    scenario.then(&active(&[(3, Pending)]).closed([4, 2, 1]));
    assert_eq!(scenario.counts(), (0, 0));
}

#[test]
fn a_call_that_opens_and_closes_between_two_answers_counts_once_as_both() {
    let mut scenario = Scenario::begin(&active(&[(3, Active)]).closed([1, 2]));
    scenario.then(&active(&[(3, Active), (5, Pending)]).closed([4, 2, 1]));
    assert_eq!(scenario.counts(), (2, 1));
    scenario.then(&active(&[(3, Active), (5, Pending)]).closed([4, 2, 1]));
    assert_eq!(scenario.counts(), (2, 1));
    assert_eq!(scenario.durations(Priority::One), (1, 0));
}

#[test]
fn more_closed_calls_are_asked_for_at_first_and_while_all_are_new() {
    let mut scenario = Scenario::new();
    assert_eq!(scenario.query().closed_limit, 100);
    scenario.then(&active(&[]).closed(1..=50));
    assert_eq!(scenario.query().closed_limit, 10);
    scenario.then(&active(&[]).closed(42..=51));
    assert_eq!(scenario.query().closed_limit, 10);
    scenario.then(&active(&[]).closed(54..=63));
    assert_eq!(scenario.query().closed_limit, 100);
    scenario.then(&active(&[]));
    assert_eq!(scenario.query().closed_limit, 100, "the answer did not say");
    scenario.then(&active(&[]).closed([]));
    assert_eq!(scenario.query().closed_limit, 10, "none is new");
    scenario.then(&active(&[]).closed(64..=73));
    assert_eq!(scenario.query().closed_limit, 100);
    scenario.then(&active(&[]).closed(1..=73));
    assert_eq!(scenario.query().closed_limit, 10);
}

#[test]
fn more_closed_calls_are_asked_for_after_a_gap() {
    let mut scenario = Scenario::begin(&active(&[]).closed(101..=150));
    scenario.clock.advance(90 * SECOND);
    assert_eq!(scenario.query().closed_limit, 10);
    scenario.clock.advance(SECOND);
    assert_eq!(scenario.query().closed_limit, 100);
    // The CAD was wiped: a full list would be that of the old one.
    scenario.after(0, &active(&[]).closed(1..=30));
    assert_eq!(scenario.counts(), (30, 30));
    scenario.after(30, &active(&[]).closed(21..=30));
    assert_eq!(scenario.query().closed_limit, 10);
}

/// A rule that counts whatever is new among the closed would count 88 calls from before.
#[test]
fn twelve_short_calls_are_twelve_when_the_limit_goes_from_10_to_100() {
    let mut scenario = Scenario::begin(&active(&[(120, Active)]).closed(91..=100));
    // Of twelve, the ten newest fit, and no slot was free for the others; ids from 101 to 119 were never listed.
    scenario.then_incomplete(&active(&[(120, Active)]).closed(123..=132));
    assert_eq!(scenario.counts(), (10, 10));
    assert_eq!(scenario.query().closed_limit, 100);
    scenario.then(&active(&[(120, Active)]).closed((33..=119).chain(121..=132)));
    assert_eq!(scenario.counts(), (12, 12));
    scenario.then(&active(&[(120, Active)]).closed(123..=132));
    assert_eq!(scenario.counts(), (12, 12));
}

#[test]
fn a_lacking_list_does_not_end_the_search_behind_a_cut_off_one() {
    let open = || active(&[(120, Active)]);
    let mut scenario = Scenario::begin(&open().closed(91..=100));
    scenario.then_incomplete(&open().closed(123..=132)).then(&open());
    assert_eq!(scenario.query().closed_limit, 100);
    scenario.then(&open().closed((33..=119).chain(121..=132)));
    assert_eq!(scenario.counts(), (12, 12));
}

#[test]
fn the_next_page_is_asked_for_while_a_full_one_is_all_new() {
    let mut scenario = Scenario::begin(&active(&[(5, Active), (6, Active)]).closed(1..=4));
    let next_query = |scenario: &Scenario, ids: std::ops::RangeInclusive<u64>, query| {
        scenario.tracker.next_query(&active(&[]).closed(ids).0, query)
    };
    let first = scenario.query();
    assert_eq!((first.closed_limit, first.closed_offset), (10, 0));
    assert_eq!(next_query(&scenario, 11..=19, first), None, "not full");
    let second = next_query(&scenario, 11..=20, first).unwrap();
    assert_eq!((second.closed_limit, second.closed_offset), (100, 10));
    let third = next_query(&scenario, 21..=120, second).unwrap();
    assert_eq!((third.closed_limit, third.closed_offset), (100, 110));
    assert_eq!(next_query(&scenario, 3..=12, first), None, "3 and 4 are known");
    assert!(
        next_query(&scenario, 5..=14, first).is_some(),
        "5 and 6 are known, but not that they are closed"
    );
    assert_eq!(scenario.tracker.next_query(&active(&[]).0, first), None, "no list");
    assert_eq!(
        scenario.tracker.next_query(&active(&[]).0, third),
        Some(third),
        "no list, so the page is asked for again"
    );
    let tracker = CallTracker::new(25 * SECOND, &LabelTexts::default());
    let page = active(&[]).closed(1..=100);
    assert_eq!(
        tracker.next_query(&page.0, tracker.query(Instant::now())),
        None,
        "the first list only seeds"
    );

    // Between the pages, another call closed and moved one of the first page to the second.
    let mut pages = active(&[(5, Active), (6, Active)]).closed(11..=20).0;
    CallTracker::append(&mut pages, active(&[]).closed(7..=11).0);
    scenario.then(&Answer(pages));
    assert_eq!(scenario.counts(), (14, 14));
}

#[test]
fn nothing_counts_that_is_older_than_a_complete_list() {
    let open = || active(&[(120, Active), (130, Active)]);
    let mut scenario = Scenario::begin(&open().closed([]));
    scenario.then(&open().closed([])).then(&open().closed([131, 132]));
    assert_eq!(scenario.counts(), (2, 2));
    assert_eq!(scenario.query().closed_limit, 100);
    scenario.then(&open().closed([125, 131, 132]));
    assert_eq!(scenario.counts(), (2, 2));
}

#[test]
fn older_calls_that_come_to_light_when_closed_ones_are_deleted_do_not_count() {
    let open = || active(&[(150, Active)]);
    let mut scenario = Scenario::begin(&open().closed(101..=200));
    scenario.then(&open().closed(191..=200)).then(&open().closed(91..=100));
    assert_eq!(scenario.query().closed_limit, 10);
    scenario.then(&open().closed(1..=100)).then(&open().closed(1..=10));
    assert_eq!(scenario.counts(), (0, 0));
}

#[test]
fn a_closed_call_below_a_known_id_does_not_count() {
    let mut scenario = Scenario::begin(&active(&[(10, Active)]).closed([]));
    scenario.then(&active(&[(10, Active)]).closed([9]));
    assert_eq!(scenario.counts(), (0, 0));
    scenario.then(&active(&[(10, Active), (20, Active)]).closed([9]));
    scenario.then(&active(&[(10, Active), (20, Active)]).closed([15, 9]));
    assert_eq!(scenario.counts(), (1, 0));
}

#[test]
fn the_highest_id_is_that_of_all_answers() {
    let mut scenario = Scenario::begin(&active(&[(10, Active), (500, Active)]).closed([]));
    scenario
        .then(&active(&[(10, Active)]).closed([500]))
        .then(&active(&[(10, Active)]).closed([]));
    scenario.then(&active(&[(10, Active)]).closed([400]));
    assert_eq!(scenario.counts(), (0, 1));
    // Also of calls that are not followed.
    let mut scenario = Scenario::begin(&active(&[(3, Active), (50, Active), (50, Active)]).closed([]));
    scenario.then(&active(&[(3, Active)]).closed([50]));
    assert_eq!(scenario.counts(), (0, 0));
}

#[test]
fn calls_that_are_not_followed_are_no_sign_of_a_wiped_cad() {
    let twins = [(4, Pending), (4, Pending)];
    let mut scenario = Scenario::begin(&active(&twins).closed([]));
    scenario.then(&active(&[(4, Pending), (4, Pending), (9, Active)]).closed([]));
    scenario
        .then(&active(&twins).closed([]))
        .then(&active(&twins).closed([]));
    assert_eq!(scenario.counts(), (1, 1));
}

#[test]
fn an_answer_without_calls_is_no_wiped_cad() {
    let mut scenario = Scenario::begin(&active(&[(5, Active)]).closed([]));
    scenario
        .then(&active(&[]).closed([]))
        .then(&active(&[(5, Active), (6, Active)]).closed([]));
    assert_eq!(scenario.counts(), (1, 0));
}

#[test]
fn a_call_that_returns_within_a_day_is_the_same_call() {
    let mut scenario = Scenario::begin(&active(&[(8, Active)]).closed([]));
    scenario.then(&active(&[(8, Active), (9, Active)]).closed([]));
    scenario.then(&active(&[(8, Active)]).closed([9]));
    assert_eq!(scenario.counts(), (1, 1));
    scenario.then(&active(&[(8, Active), (9, Pending)]).closed([]));
    let pending = scenario.tracker.stats().oldest_pending[Priority::One];
    assert_eq!(
        pending,
        Oldest::Since(scenario.now().instant),
        "it is pending all the same"
    );
    scenario.then(&active(&[(8, Active), (9, Active)]).closed([]));
    scenario.then(&active(&[(8, Active)]).closed([9]));
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.waits(Priority::One), (1, 0));
    assert_eq!(scenario.durations(Priority::One), (1, 30));
    // Forgotten after a day without it.
    scenario.after(86_401, &active(&[(8, Active)]).closed([]));
    scenario.then(&active(&[(8, Active), (9, Active)]).closed([]));
    assert_eq!(scenario.counts(), (2, 1));
}

#[test]
fn a_call_that_was_missed_twice_and_returns_is_the_same_call() {
    let mut scenario = Scenario::begin(&active(&[(8, Active)]).closed([]));
    scenario.then(&active(&[(8, Active), (9, Active)]).closed([]));
    scenario
        .then(&active(&[(8, Active)]).closed([]))
        .then(&active(&[(8, Active)]).closed([]));
    scenario.then(&active(&[(8, Active), (9, Active)]).closed([]));
    scenario.then(&active(&[(8, Active)]).closed([9]));
    assert_eq!(scenario.counts(), (1, 1));
}

#[test]
fn a_call_is_remembered_for_a_day_after_it_was_last_listed() {
    let mut scenario = Scenario::begin(&active(&[(1, Active)]).closed([]));
    for _ in 0..4 {
        scenario.after(12 * 3600, &active(&[(1, Active)]).closed([5]));
    }
    scenario.then(&active(&[(1, Active), (5, Active)]).closed([]));
    assert_eq!(scenario.counts(), (1, 1));
}

#[test]
fn a_call_in_both_lists_is_closed() {
    let mut scenario = Scenario::begin(&active(&[(8, Active)]).closed([]));
    scenario.then(&active(&[(8, Active), (9, Pending)]).closed([9]));
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(
        scenario.tracker.stats().oldest_pending[Priority::One],
        Oldest::NoneWaits
    );
}

#[test]
fn calls_without_an_id_of_their_own_are_not_followed() {
    let nameless = || Call {
        id: None,
        ..call(1, Priority::One, Pending)
    };
    let twin = || call(4, Priority::One, Pending);
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    for _ in 0..3 {
        scenario.then(&Answer::default().calls([
            nameless(),
            nameless(),
            twin(),
            twin(),
            call(3, Priority::One, Pending),
        ]));
    }
    assert_eq!(scenario.counts(), (1, 0));
    // One that is known is not lost because it shares its id for a while.
    for _ in 0..3 {
        scenario.then(&active(&[(3, Pending), (3, Active)]));
    }
    scenario.then(&active(&[(3, Active)]));
    assert_eq!(scenario.counts(), (1, 0));
    assert_eq!(scenario.waits(Priority::One), (1, 180));
}

#[test]
fn a_closed_call_that_lingers_among_the_active_is_closed() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&active(&[(1, Active)]).closed([]));
    scenario.then(&active(&[(1, Closed), (2, Closed)]).closed([]));
    assert_eq!(scenario.counts(), (2, 2));
    scenario.then(&active(&[(1, Closed), (2, Active)]).closed([2, 1]));
    scenario
        .then(&active(&[]).closed([2, 1]))
        .then(&active(&[]).closed([2, 1]));
    assert_eq!(scenario.counts(), (2, 2));
    assert_eq!(scenario.durations(Priority::One), (2, 30));
}

#[test]
fn a_gap_is_longer_than_90_seconds_and_three_ttls() {
    for (ttl, longest) in [(25, 90), (30, 90), (31, 93), (240, 720)] {
        for (seconds, is_known) in [(longest, true), (longest + 1, false)] {
            let mut scenario = Scenario::begin(&active(&[]).closed([]));
            scenario.tracker = CallTracker::new(ttl * SECOND, &LabelTexts::default());
            scenario.then(&active(&[]).closed([]));
            scenario.then(&active(&[(1, Pending), (2, Active)]).closed([]));
            assert_eq!(scenario.waits(Priority::One), (1, 0));
            scenario.after(seconds, &active(&[(1, Active), (3, Pending)]).closed([2]));
            assert_eq!(scenario.counts(), (3, 1), "ids count all the same");
            assert_eq!(
                scenario.waits(Priority::One).0,
                if is_known { 2 } else { 1 },
                "{ttl} {seconds}"
            );
            assert_eq!(
                scenario.durations(Priority::One).0,
                u64::from(is_known),
                "{ttl} {seconds}"
            );
        }
    }
}

#[test]
fn answers_without_the_list_make_a_gap_too() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&active(&[(1, Pending)]).closed([]));
    for _ in 0..3 {
        scenario.then(&closed([]));
    }
    scenario.then(&active(&[(1, Active)]).closed([]));
    assert_eq!(scenario.waits(Priority::One), (0, 0));
}

#[test]
fn opened_and_closed_have_the_first_labels_and_times_the_last_priority() {
    let mut scenario = Scenario::begin(&active(&[]));
    let with = |priority, status, origin| {
        Answer::default().calls([Call {
            origin,
            ..call(1, priority, status)
        }])
    };
    scenario.then(&with(Priority::Three, Pending, Origin::WalkUp));
    scenario.then(&with(Priority::Two, Active, Origin::Observed));
    scenario.then(&with(Priority::One, Active, Origin::Caller));
    scenario.then(&active(&[])).then(&active(&[]));
    let stats = scenario.tracker.stats();
    assert_eq!(stats.opened[Priority::Three][Origin::WalkUp], 1);
    assert_eq!(stats.closed[Priority::Three][Origin::WalkUp], 1);
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.waits(Priority::Two), (1, 30));
    assert_eq!(scenario.durations(Priority::One), (1, 90));
}

#[test]
fn the_list_of_closed_calls_tells_the_last_priority() {
    let second = |id| call(id, Priority::Two, Active);
    let mut scenario = Scenario::begin(&Answer::default().calls([second(7)]).closed([]));
    scenario.then(&Answer::default().calls([second(7), second(8)]).closed([]));
    // In the stories' lists of closed calls, all have priority 1.
    scenario.then(&Answer::default().calls([second(7)]).closed([8]));
    assert_eq!(scenario.durations(Priority::One), (1, 30));
    assert_eq!(scenario.durations(Priority::Two), (0, 0));
}

#[test]
fn the_oldest_pending_call_is_the_one_that_has_been_so_for_longest() {
    let mut scenario = Scenario::begin(&active(&[(1, Pending), (2, Active)]));
    let oldest = |scenario: &Scenario| scenario.seconds(scenario.tracker.stats().oldest_pending[Priority::One]);
    assert_eq!(oldest(&scenario), Some(0));
    scenario.then(&active(&[(1, Pending), (2, Pending)]));
    assert_eq!(oldest(&scenario), Some(0));
    scenario.then(&active(&[(1, Active), (2, Pending)]));
    assert_eq!(oldest(&scenario), Some(30));
    scenario.then(&active(&[(1, Pending), (2, Active)]));
    assert_eq!(oldest(&scenario), Some(90), "since it is pending again");
    scenario.then(&active(&[(2, Active)]));
    assert_eq!(oldest(&scenario), None, "not in the list");
    scenario.then(&active(&[(1, Pending), (2, Active)]));
    assert_eq!(oldest(&scenario), Some(90));
    assert_eq!(
        scenario.tracker.stats().oldest_pending[Priority::Two],
        Oldest::NoneWaits
    );
    scenario.then(&closed([]));
    assert_eq!(
        scenario.tracker.stats().oldest_pending[Priority::One],
        Oldest::Unknown,
        "no list"
    );
}

#[test]
fn emergency_calls_come_wait_and_are_cleared() {
    use EmergencyKind::{Civil, Emergency};
    let answer = |calls: &[(u64, EmergencyKind)]| active(&[]).emergency(calls);
    let mut scenario = Scenario::begin(&answer(&[(1, Emergency)]));
    scenario.then(&answer(&[(1, Emergency), (2, Emergency), (3, Civil)]));
    assert_eq!(scenario.emergency_counts(Emergency), (1, 0));
    assert_eq!(scenario.emergency_counts(Civil), (1, 0));
    let oldest = scenario.tracker.stats().oldest_emergency[Emergency];
    assert_eq!(scenario.seconds(oldest), Some(0));
    scenario
        .then(&answer(&[(3, Civil)]))
        .then(&active(&[]))
        .then(&answer(&[(3, Civil)]));
    assert_eq!(scenario.emergency_counts(Emergency), (1, 2), "absent from two lists");
    assert_eq!(scenario.emergency_counts(Civil), (1, 0));
    assert_eq!(scenario.tracker.stats().oldest_emergency[Emergency], Oldest::NoneWaits);
    let wait = &scenario.tracker.stats().emergency_waits[Emergency];
    assert_eq!(
        (wait.count(), wait.sum()),
        (1, 30 * SECOND),
        "the first one was there before"
    );
    scenario.then(&answer(&[])).then(&answer(&[]));
    let wait = &scenario.tracker.stats().emergency_waits[Civil];
    assert_eq!((wait.count(), wait.sum()), (1, 120 * SECOND));
    scenario.then(&answer(&[(4, Civil)])).then(&active(&[]));
    assert_eq!(
        scenario.tracker.stats().oldest_emergency[Civil],
        Oldest::Unknown,
        "no list"
    );
    assert_eq!(scenario.counts(), (0, 0));
}

#[test]
fn emergency_and_dispatch_calls_have_ids_of_their_own() {
    let mut scenario = Scenario::begin(&active(&[(900, Active)]).emergency(&[]));
    let low = [(1, EmergencyKind::Civil)];
    scenario.then(&active(&[(900, Active)]).emergency(&low));
    scenario.then(&active(&[(900, Active), (901, Pending)]).emergency(&low));
    assert_eq!(scenario.emergency_counts(EmergencyKind::Civil), (1, 0));
    assert_eq!(scenario.counts(), (1, 0));
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
fn any_answers() -> impl Strategy<Value = Vec<(u32, CallSnapshot)>> {
    let any_answer = (any_calls(), any_calls(), any_emergency_calls()).prop_map(|(open, closed, emergency)| {
        let mut answer = open.map_or_else(Answer::default, |open| Answer::default().calls(open));
        if let Some(closed) = closed {
            answer.0.closed = closed.iter().filter_map(Call::identified).collect();
        }
        match emergency {
            Some(calls) => answer.emergency(&calls).0,
            None => answer.0,
        }
    });
    prop::collection::vec((0_u32..200, any_answer), 1..20)
}

/// Adds a call to every list, by which each answer is known to be of the same CAD.
fn with_anchor(mut snapshot: CallSnapshot) -> CallSnapshot {
    if snapshot.active.identified().calls().is_some() {
        snapshot.active.add(&call(1, Priority::One, Active));
    }
    if snapshot.emergency.identified().calls().is_some() {
        snapshot.emergency.add(Some(1), EmergencyKind::Civil);
    }
    if snapshot.closed.calls().is_some() {
        snapshot
            .closed
            .push_or_forget(call(31, Priority::One, Closed).identified().unwrap());
    }
    snapshot
}

/// How many calls of a list have these labels.
fn count<T>(list: &IdentifiedCalls<T>, has_labels: impl Fn(&T) -> bool) -> u64 {
    list.calls()
        .map_or(0, |calls| calls.iter().filter(|call| has_labels(call)).count() as u64)
}

proptest! {
    #[test]
    fn counters_never_fall_and_no_time_is_longer_than_the_scenario(answers in any_answers()) {
        let mut scenario = Scenario::new();
        let mut before = scenario.tracker.stats().clone();
        let mut length = Duration::ZERO;
        for (seconds, snapshot) in answers {
            scenario.after(seconds, &Answer(snapshot));
            length += SECOND * seconds;
            let stats = scenario.tracker.stats();
            for priority in Priority::ALL {
                for origin in Origin::ALL {
                    prop_assert!(stats.opened[*priority][*origin] >= before.opened[*priority][*origin]);
                    prop_assert!(stats.closed[*priority][*origin] >= before.closed[*priority][*origin]);
                }
                for (now, before) in [(&stats.waits[*priority], &before.waits[*priority]), (&stats.durations[*priority], &before.durations[*priority])] {
                    prop_assert!(now.count() >= before.count() && now.sum() >= before.sum());
                    let longest = length * u32::try_from(now.count() - before.count()).unwrap();
                    prop_assert!(now.sum() <= before.sum() + longest);
                }
                if let Oldest::Since(since) = stats.oldest_pending[*priority] {
                    prop_assert!(since >= scenario.start && since <= scenario.start + length);
                }
            }
            for kind in EmergencyKind::ALL {
                prop_assert!(stats.emergency_opened[*kind] >= before.emergency_opened[*kind]);
                prop_assert!(stats.emergency_cleared[*kind] >= before.emergency_cleared[*kind]);
                prop_assert!(stats.emergency_waits[*kind].count() <= stats.emergency_cleared[*kind]);
            }
            before = stats.clone();
        }
    }

    #[test]
    fn no_more_calls_close_than_were_there_or_opened(answers in any_answers()) {
        let mut tracker = CallTracker::new(25 * SECOND, &LabelTexts::default());
        let clock = ManualClock::new(START);
        // What the first lists show, call by call, is known at the start.
        let mut first_open: Option<CallSnapshot> = None;
        let mut first_emergency: Option<CallSnapshot> = None;
        for (seconds, snapshot) in answers {
            let snapshot = with_anchor(snapshot);
            clock.advance(SECOND * seconds);
            tracker.observe(&snapshot, true, Clock::Manual(clock.clone()).now().instant);
            if first_open.is_none() && snapshot.active.identified().calls().is_some() {
                first_open = Some(snapshot.clone());
            }
            if first_emergency.is_none() && snapshot.emergency.identified().calls().is_some() {
                first_emergency = Some(snapshot.clone());
            }
            let stats = tracker.stats();
            for priority in Priority::ALL {
                for origin in Origin::ALL {
                    let known = first_open.as_ref().map_or(0, |first| {
                        count(first.active.identified(), |call| (call.priority, call.origin) == (*priority, *origin))
                    });
                    prop_assert!(stats.closed[*priority][*origin] <= stats.opened[*priority][*origin] + known);
                }
                let closed: u64 = Origin::ALL.iter().map(|origin| stats.closed[*priority][*origin]).sum();
                prop_assert!(stats.waits[*priority].count() <= 40 && closed <= 40, "each id counts once, within a day");
            }
            for kind in EmergencyKind::ALL {
                let known = first_emergency.as_ref().map_or(0, |first| count(first.emergency.identified(), |call| call.kind == *kind));
                prop_assert!(stats.emergency_cleared[*kind] <= stats.emergency_opened[*kind] + known);
            }
        }
    }
}

/// Where many servers share what the process may keep, long lists are counted but not followed.
#[test]
fn what_may_not_be_kept_is_counted_but_not_followed() {
    let calls: Vec<_> = (1..=101).map(|id| (id, Pending)).collect();
    for (count, is_followed) in [(100, true), (101, false)] {
        let mut scenario = Scenario::begin(&active(&[]).closed([]));
        let mut answer = active(&calls[..count]).closed([]);
        CallTracker::limit(&mut answer.0, 100);
        scenario.then(&answer);
        let stats = scenario.tracker.stats();
        let opened: u64 = stats.opened.values().flat_map(EnumMap::values).sum();
        assert_eq!(opened, if is_followed { 100 } else { 0 });
        let pending = Priority::ALL
            .iter()
            .map(|priority| answer.0.active.by_status(*priority, Pending));
        assert_eq!(pending.sum::<u64>(), count as u64);
    }
}

#[test]
fn a_list_of_closed_calls_counts_none_twice_however_long_it_is() {
    for length in [100, 2_000, 10_001, 30_000] {
        let mut scenario = Scenario::begin(&active(&[]).closed([]));
        let long = active(&[]).closed(1..=length);
        scenario.then(&long);
        let counts = scenario.counts();
        scenario.then(&long).then(&long);
        assert_eq!(scenario.counts(), counts, "{length} calls");
    }
}
