use std::collections::HashSet;

use serde_json::Value;

use super::*;
use crate::clock::ManualClock;

mod units;

/// 2026-11-23T00:00:00Z, a Monday.
const MONDAY: Duration = Duration::from_secs(1_795_392_000);

const SETTINGS: Settings = Settings {
    seed: 1,
    calls_per_hour: 180,
    servers: 2,
    utc_offset: 0,
    has_trouble: true,
    is_v1_gone: false,
};

fn cad(settings: &Settings) -> (Cad, ManualClock) {
    let clock = ManualClock::new(MONDAY);
    (Cad::new(settings, &Clock::Manual(clock.clone())), clock)
}

fn answer(cad: &Cad, server_id: u32) -> Value {
    serde_json::from_str(&cad.calls(server_id, 100).unwrap()).unwrap()
}

fn opened(cad: &Cad) -> u64 {
    cad.statistics(1).unwrap().opened()
}

#[test]
fn a_seed_makes_it_repeatable() {
    let after_an_hour = |settings: &Settings, steps: u32| {
        let (cad, clock) = cad(settings);
        for _ in 0..steps {
            clock.advance(Duration::from_secs(3600) / steps);
            let _ = cad.statistics(1);
        }
        (answer(&cad, 1), answer(&cad, 2))
    };
    let expected = after_an_hour(&SETTINGS, 1);
    assert_eq!(after_an_hour(&SETTINGS, 60), expected, "however often it is looked at");
    assert_ne!(expected.0, expected.1, "servers differ");
    assert_ne!(after_an_hour(&Settings { seed: 2, ..SETTINGS }, 1).0, expected.0);
}

#[test]
fn closed_calls_are_listed_the_newest_first() {
    let (cad, clock) = cad(&SETTINGS);
    clock.advance(Duration::from_secs(3600));
    let mut state = cad.state.lock();
    let server = state.live_until(cad.time().unix, 1).unwrap();
    assert!(server.closed().len() > 10);
    assert!(
        server
            .closed()
            .iter()
            .map(|call| call.updated_at)
            .is_sorted_by(|one, next| one >= next)
    );
}

#[test]
fn calls_come_at_the_pace_and_by_the_rhythm() {
    let (cad, clock) = cad(&SETTINGS);
    let begin = opened(&cad);
    let mut by_hour = Vec::new();
    for _ in 0..7 * 24 {
        let before = opened(&cad);
        clock.advance(Duration::from_secs(3600));
        by_hour.push(opened(&cad) - before);
    }
    let week = opened(&cad) - begin;
    // 180 an hour, less the emergency calls that come to nothing.
    assert!((27_500..30_000).contains(&week), "{week}");
    let at = |hour: usize| (0..7).map(|day| by_hour[day * 24 + hour]).sum::<u64>();
    assert!(2 * at(20) > 3 * at(4), "{} {}", at(20), at(4));
    let day = |day: usize| by_hour[day * 24..][..24].iter().sum::<u64>();
    assert!(day(5) > day(0), "Saturday is busier than Monday");
}

#[test]
fn the_time_of_day_is_that_of_the_place() {
    let night = |utc_offset| {
        let settings = Settings { utc_offset, ..SETTINGS };
        let (cad, clock) = cad(&settings);
        clock.advance(Duration::from_secs(4 * 3600));
        let before = opened(&cad);
        clock.advance(Duration::from_secs(3600));
        opened(&cad) - before
    };
    assert!(night(0) * 2 < night(-8 * 3600), "{} {}", night(0), night(-8 * 3600));
}

#[test]
fn the_community_is_alive_from_the_first_look() {
    let (cad, _) = cad(&SETTINGS);
    let answer = answer(&cad, 1);
    assert!(answer["activeCalls"].as_array().unwrap().len() > 3);
    assert_eq!(answer["closedCalls"].as_array().unwrap().len(), 100);
}

#[test]
fn what_it_says_agrees_with_its_statistics() {
    let (cad, clock) = cad(&SETTINGS);
    for _ in 0..200 {
        clock.advance(Duration::from_secs(90));
        let (answer, truth) = (answer(&cad, 1), cad.statistics(1).unwrap());
        let active = answer["activeCalls"].as_array().unwrap();
        assert_eq!(truth.opened() - truth.closed(), active.len() as u64);
        let waiting: u64 = truth.emergency_opened.iter().sum::<u64>() - truth.emergency_cleared.iter().sum::<u64>();
        assert_eq!(waiting, answer["emergencyCalls"].as_array().unwrap().len() as u64);
        let mut units = HashSet::new();
        for call in active {
            let idents = call["idents"].as_array().unwrap();
            assert_eq!(call["status"] == 1, !idents.is_empty());
            assert!(
                idents.iter().all(|unit| units.insert(unit)),
                "a unit is on one call only"
            );
        }
        assert!(
            truth
                .durations
                .iter()
                .all(|duration| *duration >= MIN_CALL.as_secs_f64())
        );
    }
}

#[test]
fn there_are_outages_soon_and_then_rarely() {
    let mut outages = Outages::new(true, fastrand::Rng::with_seed(1));
    let faults: Vec<_> = (0..24 * 3600)
        .map(|second| outages.at(Duration::from_secs(second)))
        .collect();
    assert_eq!(faults[59..96].iter().flatten().count(), 30);
    assert_eq!(faults[70], Some(outages::Fault::Outage));
    assert!(matches!(faults[340], Some(outages::Fault::RateLimited(_))));
    let share = faults.iter().flatten().count() * 100 / faults.len();
    assert!((1..10).contains(&share), "{share} %");
    let mut none = Outages::new(false, fastrand::Rng::with_seed(1));
    assert!((0..24 * 3600).all(|second| none.at(Duration::from_secs(second)).is_none()));
}

#[test]
fn there_are_no_other_servers() {
    let (cad, _) = cad(&SETTINGS);
    assert!(cad.statistics(0).is_none() && cad.statistics(3).is_none());
    assert!(cad.statistics(2).is_some());
}
