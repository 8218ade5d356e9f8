use super::*;
use crate::label::TextSet;
use crate::snapshot::UnitStatus;

fn unit(id: u64) -> Unit {
    Unit {
        id: Some(id),
        discipline: Some(Discipline::Fire),
        status: UnitStatus::Busy,
        is_in_panic: false,
        department: TextSet::default().other(),
    }
}

fn list(units: impl IntoIterator<Item = Unit>) -> UnitSnapshot {
    let mut snapshot = UnitSnapshot::empty(&TextSet::default());
    units.into_iter().for_each(|unit| snapshot.add(Some(unit)));
    snapshot
}

/// How many firefighters have signed on and off after complete lists of these ids.
fn signed(lists: &[&[u64]]) -> (u64, u64) {
    let mut tracker = UnitTracker::default();
    for ids in lists {
        observe(&mut tracker, &list(ids.iter().copied().map(unit)), true);
    }
    counts(&tracker)
}

fn observe(tracker: &mut UnitTracker, snapshot: &UnitSnapshot, is_complete: bool) {
    tracker.observe(snapshot, is_complete, Instant::now());
}

fn counts(tracker: &UnitTracker) -> (u64, u64) {
    let of_fire = |counts: &EnumMap<Discipline, u64>| {
        assert_eq!(counts.values().sum::<u64>(), counts[Discipline::Fire]);
        counts[Discipline::Fire]
    };
    (of_fire(&tracker.stats.signed_on), of_fire(&tracker.stats.signed_off))
}

#[test]
fn the_first_list_only_seeds() {
    assert_eq!(signed(&[&[1, 2, 3]]), (0, 0));
    assert_eq!(signed(&[&[1, 2], &[1, 2, 0]]), (1, 0));
    assert_eq!(signed(&[&[], &[1, 2]]), (2, 0));
}

#[test]
fn a_unit_has_signed_off_when_it_is_absent_twice() {
    assert_eq!(signed(&[&[1, 2], &[1]]), (0, 0));
    assert_eq!(signed(&[&[1, 2], &[1], &[1]]), (0, 1));
    assert_eq!(signed(&[&[1, 2], &[1], &[1, 2], &[1]]), (0, 0), "not in a row");
    assert_eq!(signed(&[&[1, 2], &[1], &[1], &[1], &[1]]), (0, 1));
}

#[test]
fn a_unit_that_comes_back_signs_on_once_more() {
    assert_eq!(signed(&[&[1], &[], &[], &[1], &[], &[], &[1]]), (2, 2));
}

#[test]
fn a_list_that_is_not_complete_says_nothing() {
    let mut tracker = UnitTracker::default();
    let full = list((0..100).map(unit));
    observe(&mut tracker, &full, false);
    assert!(tracker.stats.is_truncated);
    observe(&mut tracker, &list((0..120).map(unit)), true);
    assert_eq!(counts(&tracker), (0, 0), "it seeds");
    assert!(!tracker.stats.is_truncated);
    for _ in 0..3 {
        observe(&mut tracker, &full, false);
    }
    assert_eq!(counts(&tracker), (0, 0), "none is absent");
    observe(&mut tracker, &list((0..121).map(unit)), true);
    assert_eq!(counts(&tracker), (1, 0));
}

#[test]
fn dispatchers_and_rows_without_an_id_of_their_own_are_not_followed() {
    let mut tracker = UnitTracker::default();
    observe(&mut tracker, &list([unit(1)]), true);
    let dispatcher = Unit {
        discipline: None,
        ..unit(2)
    };
    let nameless = Unit { id: None, ..unit(3) };
    let odd = list([unit(1), unit(1), dispatcher, nameless, nameless, unit(4), unit(4)]);
    for _ in 0..3 {
        observe(&mut tracker, &odd, true);
    }
    assert_eq!(counts(&tracker), (0, 0), "a shared id is not absent");
    for _ in 0..2 {
        observe(&mut tracker, &list([]), true);
    }
    assert_eq!(counts(&tracker), (0, 1));
}

#[test]
fn a_unit_leaves_in_the_discipline_in_which_it_came() {
    let mut tracker = UnitTracker::default();
    let police = Unit {
        discipline: Some(Discipline::Police),
        ..unit(7)
    };
    for units in [vec![], vec![unit(7)], vec![police], vec![], vec![]] {
        observe(&mut tracker, &list(units), true);
    }
    assert_eq!(counts(&tracker), (1, 1));
}

#[test]
fn only_a_page_of_exactly_the_limit_may_have_a_next_one() {
    let tracker = UnitTracker::default();
    let next = |rows| tracker.next_query(&list((0..rows).map(unit)), UnitQuery { offset: 100 });
    assert_eq!(next(99), None);
    assert_eq!(next(100), Some(UnitQuery { offset: 200 }));
    assert_eq!(next(10_000), None, "the API ignores the limit");
}
