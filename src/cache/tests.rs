use std::time::Instant;

use super::*;

const TTL: Duration = Duration::from_secs(25);
const BOUND: Duration = Duration::from_secs(120);

/// The moment so many seconds after an arbitrary start.
fn at(start: Now, seconds: u64) -> Now {
    start + Duration::from_secs(seconds)
}

fn noon() -> Now {
    Now {
        instant: Instant::now(),
        unix: Duration::from_secs(1_795_392_000),
    }
}

fn cache() -> Cache<u32> {
    Cache::new(TTL, BOUND)
}

/// Begins a fetch and sends its request.
fn start(cache: &mut Cache<u32>, now: Now) {
    cache.begin();
    cache.start(now);
}

#[test]
fn an_empty_cache_is_due() {
    let cache = cache();
    assert_eq!(cache.look_up(noon()), Lookup::Due);
    assert!(cache.snapshot(noon()).is_none());
    assert!(!cache.is_up(noon()));
}

#[test]
fn ages_count_from_the_start_of_the_fetch() {
    let (mut cache, t) = (cache(), noon());
    start(&mut cache, t);
    assert_eq!(cache.look_up(at(t, 7)), Lookup::Fetching);
    cache.succeed(7);
    assert_eq!(cache.look_up(at(t, 24)), Lookup::Fresh);
    assert_eq!(cache.look_up(at(t, 25)), Lookup::Due);
    assert!(cache.snapshot(at(t, 120)).is_some() && cache.is_up(at(t, 120)));
    assert!(cache.snapshot(at(t, 121)).is_none() && !cache.is_up(at(t, 121)));
}

#[test]
fn a_fetch_longer_than_the_ttl_is_due_again_at_once() {
    let (mut cache, t) = (cache(), noon());
    start(&mut cache, t);
    cache.succeed(7);
    let late = at(t, 30);
    assert_eq!(cache.look_up(late), Lookup::Due);
    assert!(cache.is_up(late), "those who waited get it all the same");
}

#[test]
fn each_failure_in_a_row_doubles_the_wait_up_to_five_minutes() {
    let (mut cache, mut t) = (cache(), noon());
    for expected in [25, 50, 100, 200, 300, 300, 300] {
        assert_eq!(cache.look_up(t), Lookup::Due);
        start(&mut cache, t);
        let end = at(t, 8);
        cache.fail(end, cache.back_off(end));
        assert_eq!(cache.look_up(at(t, expected - 1)), Lookup::Paused, "{expected}");
        t = at(t, expected);
    }
    start(&mut cache, t);
    cache.succeed(7);
    let t = at(t, 60);
    start(&mut cache, t);
    cache.fail(t, cache.back_off(t));
    assert_eq!(cache.look_up(at(t, 25)), Lookup::Due, "a success starts anew");
}

#[test]
fn a_failure_that_took_longer_than_its_wait_is_due_at_its_end() {
    let (mut cache, t) = (cache(), noon());
    start(&mut cache, t);
    let end = at(t, 40);
    cache.fail(end, cache.back_off(end));
    assert_eq!(cache.look_up(end), Lookup::Due);
}

#[test]
fn a_failure_keeps_the_snapshot_but_not_the_server_up() {
    let (mut cache, t) = (cache(), noon());
    start(&mut cache, t);
    cache.succeed(7);
    start(&mut cache, at(t, 30));
    cache.fail(at(t, 31), Duration::from_secs(300));
    assert!(!cache.is_up(at(t, 31)));
    assert!(cache.snapshot(at(t, 120)).is_some());
    assert!(cache.snapshot(at(t, 121)).is_none());
    assert_eq!(cache.fetched_at(), Some(t), "when it was last well is remembered");
}

#[test]
fn a_step_of_the_wall_clock_changes_no_decision() {
    let (mut cache, t) = (cache(), noon());
    start(&mut cache, t);
    cache.succeed(7);
    for unix in [Duration::ZERO, Duration::from_secs(4_000_000_000)] {
        assert_eq!(cache.look_up(Now { unix, ..at(t, 24) }), Lookup::Fresh);
        assert_eq!(cache.look_up(Now { unix, ..at(t, 25) }), Lookup::Due);
        assert!(cache.snapshot(Now { unix, ..at(t, 120) }).is_some());
    }
}

#[test]
fn a_fetch_without_a_permit_changes_nothing() {
    let (mut cache, t) = (cache(), noon());
    start(&mut cache, t);
    cache.succeed(7);
    let later = at(t, 30);
    cache.begin();
    assert_eq!(cache.look_up(later), Lookup::Fetching);
    cache.give_up();
    assert_eq!(cache.look_up(later), Lookup::Due);
    assert!(cache.is_up(later) && cache.started_at() == Some(t));
}
