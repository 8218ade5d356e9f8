//! What communities really do, as short stories: answers in order, every 30 s.
//!
//! `[1p,2a]/[3]` is an answer with call 1 pending, call 2 active and call 3 closed; `[1p]` has an empty list of closed
//! calls, and `null` stands for a list that the answer lacks.

use super::*;

/// The end of a story.
fn told(story: &str) -> Scenario {
    let mut scenario = Scenario::new();
    for answer in story.split(" · ") {
        let (active, closed) = answer.split_once('/').unwrap_or((answer, "[]"));
        let mut answer = Answer::default();
        if let Some(calls) = calls(active) {
            answer = answer.active(&calls);
        }
        if let Some(calls) = calls(closed) {
            answer = answer.closed(calls.into_iter().map(|(id, _)| id));
        }
        scenario.then(&answer);
    }
    scenario
}

/// The end of a story of emergency calls only.
fn told_of_emergencies(story: &str) -> Scenario {
    let mut scenario = Scenario::new();
    for answer in story.split(" · ") {
        let calls = calls(answer).expect("a list");
        let emergencies: Vec<_> = calls.iter().map(|(id, _)| (*id, EmergencyKind::Emergency)).collect();
        scenario.then(&active(&[]).emergency(&emergencies));
    }
    scenario
}

fn calls(list: &str) -> Option<Vec<(u64, Status)>> {
    let items = list.strip_prefix('[')?.strip_suffix(']')?;
    let call = |item: &str| match (item.strip_suffix('p'), item.strip_suffix('a')) {
        (Some(id), _) => (id.parse().unwrap(), Pending),
        (_, Some(id)) => (id.parse().unwrap(), Active),
        _ => (item.parse().unwrap(), Closed),
    };
    Some(items.split(',').filter(|item| !item.is_empty()).map(call).collect())
}

/// Dispatch calls opened and closed.
fn counts(story: &str) -> (u64, u64) {
    told(story).counts()
}

#[test]
fn a_cad_that_is_wiped_twice_a_day_loses_no_call() {
    let story = "[] · [1p] · [2p]/[1] · []/[2,1] · []/[] · []/[] · [1p] · [2p,1a] · [2a]/[1] · []/[2,1]";
    assert_eq!(counts(story), (4, 4));
    let third_life = format!("{story} · []/[] · [1p] · []/[1]");
    assert_eq!(counts(&third_life), (5, 5));
}

#[test]
fn what_is_open_at_a_wipe_counts_as_closed_and_what_is_listed_then_is_new() {
    assert_eq!(counts("[] · [500a,501p]/[499] · [2p]/[1]"), (5, 4));
    assert_eq!(
        counts("[] · [500a,501p]/[499] · [2p]/[1] · [2a,3p]/[1] · []/[4,3,2,1]"),
        (7, 7)
    );
    // At once, and after answers without any call.
    for between in ["", "[]/[] · ", "[]/[] · []/[] · []/[] · "] {
        let story = format!("[] · [7a]/[6] · {between}[1p]/[] · [1p]/[]");
        assert_eq!(counts(&story), (3, 2), "{story}");
    }
    // No time ends with a wipe: the calls did not end by themselves.
    let scenario = told("[] · [500a,501p]/[] · [2p]/[]");
    assert_eq!(scenario.counts(), (3, 2));
    assert_eq!(scenario.durations(Priority::One), (0, 0));
    assert_eq!(scenario.waits(Priority::One), (1, 0));
    // The new calls have times.
    let scenario = told("[] · [500a]/[] · [2p]/[] · [2a]/[] · []/[2]");
    assert_eq!(scenario.waits(Priority::One), (2, 30));
    assert_eq!(scenario.durations(Priority::One), (1, 60));
}

#[test]
fn a_cad_whose_new_calls_have_the_ids_of_closed_ones_was_wiped() {
    assert_eq!(counts("[] · [1p] · []/[1] · [2p]/[1] · [1p]/[]"), (3, 2));
    assert_eq!(counts("[] · [3p]/[2,1] · []/[3,2,1] · [2p]/[1]"), (5, 4));
}

#[test]
fn a_cad_that_lives_on_was_not_wiped() {
    for (story, expected) in [
        // The closed calls were deleted.
        ("[] · [1p] · []/[1] · []/[] · [2p]/[] · []/[2]", (2, 2)),
        // The newest ones, so that older ones are listed; 9 is still open.
        ("[9a]/[8,7] · [9a]/[6,5]", (0, 0)),
        // Empty for a moment, and as before.
        ("[] · [5a]/[4] · []/[] · [5a]/[4]", (2, 1)),
        // A closed call is open again, and the newest is still there.
        ("[] · [1a,2a] · [2a]/[1] · [1a,2a]/[]", (2, 1)),
        // An answer that lacks a list says less.
        ("[] · [900a]/[899] · [1p]/null · [900a,1p]/[899]", (3, 1)),
        ("[] · [900a]/[899] · null/[1] · [900a]/[899]", (2, 1)),
        // The first list of closed calls contains old ones.
        ("[]/null · [900a]/null · []/[5,4] · []/[5,4]", (1, 1)),
    ] {
        assert_eq!(counts(story), expected, "{story}");
    }
}

/// So many closed calls cannot be those of a CAD that has just begun.
#[test]
fn older_closed_calls_that_fill_the_list_are_not_new() {
    let mut scenario = Scenario::begin(&active(&[]).closed(101..=200));
    assert_eq!(scenario.query().closed_limit, 10);
    scenario.then(&active(&[]).closed(191..=200));
    scenario.then(&active(&[]).closed(91..=100));
    scenario.then(&active(&[]).closed(91..=100));
    assert_eq!(scenario.counts(), (0, 0));
    scenario.then(&active(&[]).closed(92..=101));
    assert_eq!(scenario.counts(), (1, 1));
}

#[test]
fn a_wipe_forgets_the_emergency_calls_too() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]).emergency(&[]));
    let emergency = [(1, EmergencyKind::Emergency)];
    scenario.then(&active(&[(700, Active)]).closed([]).emergency(&emergency));
    for _ in 0..2 {
        scenario.then(&active(&[(700, Active)]).closed([]).emergency(&[]));
    }
    assert_eq!(scenario.emergency_counts(EmergencyKind::Emergency), (1, 1));
    scenario.then(&active(&[(1, Pending)]).closed([]).emergency(&emergency));
    assert_eq!(scenario.emergency_counts(EmergencyKind::Emergency), (2, 1));
}

#[test]
fn a_wipe_that_shows_later_makes_an_emergency_call_new_that_seemed_to_return() {
    let emergency = [(1, EmergencyKind::Emergency)];
    let mut scenario = Scenario::begin(&active(&[]).closed([]).emergency(&[]));
    scenario.then(&active(&[(700, Active)]).closed([]).emergency(&emergency));
    for _ in 0..2 {
        scenario.then(&active(&[(700, Active)]).closed([]).emergency(&[]));
    }
    scenario.then(&active(&[]).closed([]).emergency(&emergency));
    assert_eq!(scenario.emergency_counts(EmergencyKind::Emergency), (1, 1));
    scenario.then(&active(&[(1, Pending)]).closed([]).emergency(&emergency));
    assert_eq!(scenario.emergency_counts(EmergencyKind::Emergency), (2, 1));
    for _ in 0..2 {
        scenario.then(&active(&[(1, Pending)]).closed([]).emergency(&[]));
    }
    assert_eq!(scenario.emergency_counts(EmergencyKind::Emergency), (2, 2));
}

#[test]
fn ids_of_emergency_calls_need_not_rise() {
    let emergencies = |story| told_of_emergencies(story).emergency_counts(EmergencyKind::Emergency);
    assert_eq!(emergencies("[] · [5] · [] · [] · [4]"), (2, 1));
    assert_eq!(emergencies("[] · [5] · [4] · [4]"), (2, 1));
    assert_eq!(emergencies("[] · [5] · [4] · [5,4]"), (2, 0), "5 was absent once");
}

#[test]
fn a_null_list_of_closed_calls_loses_no_short_call() {
    assert_eq!(counts("[] · [2p]/null · [2p]/[1]"), (2, 1));
    assert_eq!(counts("[] · [8p]/null · [8p]/null · [8p]/[7,6]"), (3, 2));
}

#[test]
fn an_active_list_that_is_unknown_at_first_makes_no_old_call_count() {
    assert_eq!(counts("null/[1] · null/[2,1] · [4p]/[3,2,1]"), (0, 0));
    assert_eq!(counts("null/[1] · null/[2,1] · [4p]/[3,2,1] · []/[5,4,3,2,1]"), (1, 2));
}

#[test]
fn the_id_0_is_followed() {
    let scenario = told("[] · [0p] · [0a] · []/[0]");
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.waits(Priority::One), (1, 30));
    assert_eq!(counts("[] · []/[0]"), (1, 1));
}

#[test]
fn what_happens_between_two_answers_takes_no_time() {
    for (story, waits, durations) in [
        // Came and was taken.
        ("[] · [1a]", (1, 0), (0, 0)),
        // Came, was taken and closed.
        ("[] · []/[1]", (1, 0), (1, 0)),
        // Was taken and closed.
        ("[] · [1p] · [1p] · []/[1]", (1, 60), (1, 60)),
        ("[] · [1p] · [] · []/[1]", (1, 30), (1, 30)),
        ("[] · [1p] · [] · []", (1, 30), (1, 30)),
        // Was there before the first answer.
        ("[1p] · [1a] · []/[1]", (0, 0), (0, 0)),
        ("[1p] · []/[1]", (0, 0), (0, 0)),
    ] {
        let scenario = told(story);
        assert_eq!(scenario.waits(Priority::One), waits, "{story}");
        assert_eq!(scenario.durations(Priority::One), durations, "{story}");
    }
}

#[test]
fn nobody_waited_for_a_unit_that_observed_the_call_itself() {
    let observed = |status| {
        Answer::default()
            .calls([Call {
                origin: Origin::Observed,
                ..call(1, Priority::One, status)
            }])
            .closed([])
    };
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&observed(Active)).then(&active(&[]).closed([]));
    scenario.then(&active(&[]).closed([]));
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.waits(Priority::One), (0, 0));
    assert_eq!(scenario.durations(Priority::One), (1, 30));
    // One that was pending waited all the same.
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&observed(Pending)).then(&observed(Active));
    assert_eq!(scenario.waits(Priority::One), (1, 30));
}

#[test]
fn a_gap_spoils_only_what_happened_in_it() {
    let open = |calls: &[(u64, Status)]| active(calls).closed([]);
    let mut scenario = Scenario::begin(&open(&[]));
    scenario.then(&open(&[(1, Pending), (2, Pending), (3, Active), (4, Active)]));
    assert_eq!(scenario.waits(Priority::One), (2, 0));
    // 1 is taken, 3 closes and 5 comes, and nobody knows when.
    scenario.after(
        300,
        &active(&[(1, Active), (2, Pending), (4, Active), (5, Pending)]).closed([3]),
    );
    assert_eq!(scenario.waits(Priority::One), (2, 0));
    assert_eq!(scenario.durations(Priority::One), (0, 0));
    // The others have lived through it.
    scenario.then(&active(&[(2, Active), (4, Active), (5, Active)]).closed([1, 3]));
    assert_eq!(scenario.waits(Priority::One), (3, 330));
    assert_eq!(scenario.durations(Priority::One), (1, 330));
    scenario.then(&active(&[]).closed([5, 4, 2, 1, 3]));
    assert_eq!(scenario.durations(Priority::One), (3, 330 + 2 * 360));
    assert_eq!(scenario.counts(), (5, 5));
}

#[test]
fn a_call_that_is_first_missed_after_a_gap_has_no_duration() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.then(&active(&[(1, Active)]).closed([]));
    scenario
        .after(300, &active(&[]).closed([]))
        .then(&active(&[]).closed([]));
    assert_eq!(scenario.counts(), (1, 1));
    assert_eq!(scenario.durations(Priority::One), (0, 0));
}

#[test]
fn a_short_call_in_a_gap_has_no_times() {
    let mut scenario = Scenario::begin(&active(&[]).closed([]));
    scenario.after(300, &active(&[]).closed([1]));
    // 2 may have come before the answer that lacked the closed calls.
    scenario.then(&active(&[])).then(&active(&[])).then(&active(&[]));
    scenario.then(&active(&[]).closed([2, 1]));
    assert_eq!(scenario.counts(), (2, 2));
    assert_eq!(scenario.waits(Priority::One), (0, 0));
    assert_eq!(scenario.durations(Priority::One), (0, 0));
}

#[test]
fn a_scrape_that_comes_a_little_early_or_late_moves_no_time_across_an_edge() {
    for millis in [29_996, 30_000, 30_004] {
        let mut scenario = Scenario::begin(&active(&[]).closed([]));
        for status in [Pending, Pending, Pending, Pending, Active] {
            scenario.clock.advance(Duration::from_millis(millis));
            scenario.after(0, &active(&[(1, status)]).closed([]));
        }
        let wait = &scenario.tracker.stats().waits[Priority::One];
        let within_two_minutes: u64 = wait
            .buckets()
            .filter(|(bound, _)| *bound <= 120.0)
            .map(|(_, count)| count)
            .sum();
        assert_eq!(within_two_minutes, 1, "{millis}");
        assert_eq!(wait.sum(), 120 * SECOND, "{millis}");
    }
}

#[test]
fn an_emergency_call_that_nobody_saw_is_known_by_the_call_that_was_made_from_it() {
    let made_from = |id, emergency| Call {
        made_from: Some(emergency),
        ..call(id, Priority::One, Active)
    };
    let answer = |calls: &[Call], emergencies: &[u64]| {
        let emergencies: Vec<_> = emergencies.iter().map(|id| (*id, EmergencyKind::Civil)).collect();
        Answer::default()
            .calls(calls.iter().cloned())
            .closed([])
            .emergency(&emergencies)
    };
    let both = |scenario: &Scenario| {
        EmergencyKind::ALL.iter().fold((0, 0), |sum, kind| {
            let (opened, cleared) = scenario.emergency_counts(*kind);
            (sum.0 + opened, sum.1 + cleared)
        })
    };
    let mut scenario = Scenario::begin(&answer(&[made_from(1, 40)], &[]));
    assert_eq!(both(&scenario), (0, 0), "it was there before");
    scenario.then(&answer(&[made_from(1, 40), made_from(2, 41)], &[]));
    assert_eq!(scenario.emergency_counts(EmergencyKind::Emergency), (1, 1));
    let wait = &scenario.tracker.stats().emergency_waits[EmergencyKind::Emergency];
    assert_eq!((wait.count(), wait.sum()), (1, Duration::ZERO));
    // Another call from the same one, and one from a call that was seen.
    let calls = [made_from(1, 40), made_from(2, 41), made_from(3, 41)];
    scenario.then(&answer(&calls, &[42]));
    let calls = [made_from(1, 40), made_from(2, 41), made_from(3, 41), made_from(4, 42)];
    scenario.then(&answer(&calls, &[]));
    scenario.then(&answer(&calls, &[]));
    assert_eq!(both(&scenario), (2, 2));
    // One that is still in the list, and one whose dispatch call was not seen open either.
    scenario.then(&answer(&[made_from(5, 43)], &[43]));
    assert_eq!(both(&scenario), (3, 2));
    let mut closed = answer(&[made_from(5, 43)], &[43]);
    closed.0.closed = [made_from(6, 44)].iter().filter_map(Call::identified).collect();
    scenario.then(&closed);
    assert_eq!(both(&scenario), (4, 3));
}

#[test]
fn the_oldest_call_is_not_known_while_one_waits_that_cannot_be_followed() {
    let without_id = |priority, status| Call {
        id: None,
        ..call(1, priority, status)
    };
    let pending = |calls: &[Call]| Answer::default().calls(calls.iter().cloned()).closed([]);
    let oldest = |answer: &Answer| {
        let mut scenario = Scenario::begin(&active(&[(1, Pending)]).closed([]));
        scenario.then(answer);
        let stats = scenario.tracker.stats();
        let known = |priority| match stats.oldest_pending[priority] {
            Oldest::Unknown => "unknown",
            Oldest::NoneWaits => "none",
            Oldest::Since(since) if since == scenario.start => "1",
            Oldest::Since(_) => "another",
        };
        (known(Priority::One), known(Priority::Two))
    };
    let one = call(1, Priority::One, Pending);
    let two = call(2, Priority::Two, Pending);
    assert_eq!(oldest(&pending(&[one.clone(), two.clone()])), ("1", "another"));
    assert_eq!(
        oldest(&pending(&[one.clone(), without_id(Priority::Two, Pending)])),
        ("1", "unknown")
    );
    assert_eq!(
        oldest(&pending(&[one.clone(), without_id(Priority::One, Pending)])),
        ("unknown", "none")
    );
    assert_eq!(
        oldest(&pending(&[one.clone(), without_id(Priority::Two, Active)])),
        ("1", "none"),
        "it does not wait"
    );
    assert_eq!(
        oldest(&pending(&[one.clone(), two.clone(), two.clone()])),
        ("1", "unknown"),
        "two calls with the same id"
    );
    let many: Vec<_> = (1..=2001).map(|id| call(id, Priority::One, Pending)).collect();
    assert_eq!(oldest(&pending(&many)), ("unknown", "unknown"));
    assert_eq!(oldest(&closed([])), ("unknown", "unknown"), "no list");
}

#[test]
fn the_oldest_emergency_call_is_not_known_while_one_waits_that_cannot_be_followed() {
    use EmergencyKind::{Civil, Emergency};
    let mut answer = active(&[]).emergency(&[(1, Emergency)]);
    answer.0.emergency.add(None, Civil);
    let scenario = Scenario::begin(&answer);
    let oldest = scenario.tracker.stats().oldest_emergency;
    assert_eq!(scenario.seconds(oldest[Emergency]), Some(0));
    assert_eq!(oldest[Civil], Oldest::Unknown);
}
