//! Units: they keep to the rhythm, and what they do agrees with the calls and with the statistics.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn units(cad: &Cad) -> Vec<Value> {
    serde_json::from_str(&cad.units(1, 100, 0).unwrap()).unwrap()
}

fn truth(cad: &Cad) -> UnitStatistics {
    cad.statistics(1).unwrap().units
}

fn sum(counts: &[[u64; 5]; 3]) -> u64 {
    counts.iter().flatten().sum()
}

fn is_dispatcher(unit: &Value) -> bool {
    unit["isDispatch"] == true || unit["data"]["page"] == 3
}

#[test]
fn units_agree_with_their_statistics() {
    let (cad, clock) = cad(&SETTINGS);
    for _ in 0..200 {
        clock.advance(Duration::from_secs(90));
        let (units, truth) = (units(&cad), truth(&cad));
        let mut on_duty = [[0; 5]; 3];
        let mut departments = BTreeMap::new();
        for unit in units.iter().filter(|unit| !is_dispatcher(unit)) {
            let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
            on_duty[number(&unit["data"]["page"])][number(&unit["status"])] += 1;
            *departments
                .entry(unit["data"]["department"].as_str().unwrap())
                .or_default() += 1;
        }
        let count = |is: fn(&Value) -> bool| units.iter().filter(|unit| is(unit)).count() as u64;
        assert_eq!((on_duty, &departments), (truth.on_duty, &truth.departments));
        assert_eq!(count(is_dispatcher), truth.dispatchers);
        assert_eq!(count(|unit| unit["isPanic"] == true), truth.in_panic);
        for (discipline, by_status) in on_duty.iter().enumerate() {
            let signed = truth.signed_on[discipline] - truth.signed_off[discipline];
            assert_eq!(signed, by_status.iter().sum::<u64>());
        }
    }
}

#[test]
fn a_unit_is_on_its_way_or_on_the_scene_while_it_has_a_call() {
    let (cad, clock) = cad(&SETTINGS);
    for _ in 0..60 {
        clock.advance(Duration::from_secs(90));
        let answer = answer(&cad, 1);
        let with_call: BTreeSet<u64> = answer["activeCalls"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|call| call["idents"].as_array().unwrap())
            .map(|id| id.as_u64().unwrap())
            .collect();
        let under_way: BTreeSet<u64> = units(&cad)
            .iter()
            .filter(|unit| unit["status"] == 3 || unit["status"] == 4)
            .map(|unit| unit["id"].as_u64().unwrap())
            .collect();
        assert_eq!(under_way, with_call);
    }
}

#[test]
fn units_come_by_the_time_of_day_and_stay_for_their_shifts() {
    let (cad, clock) = cad(&SETTINGS);
    let begin = truth(&cad);
    let (mut by_hour, mut panics, mut seconds, mut dispatchers) = ([0; 24], 0, 0, BTreeSet::new());
    for at in 0..7 * 24 * 12 {
        let truth = truth(&cad);
        by_hour[at / 12 % 24] += sum(&truth.on_duty);
        panics += truth.in_panic;
        dispatchers.insert(truth.dispatchers);
        seconds += 300 * sum(&truth.on_duty);
        clock.advance(Duration::from_secs(300));
    }
    let end = truth(&cad);
    assert!(3 * by_hour[21] > 5 * by_hour[6], "{by_hour:?}");
    // 7, and 0.2 for each of 180 calls per hour.
    let mean = by_hour.iter().sum::<u64>() / (7 * 24 * 12);
    assert!((39..45).contains(&mean), "{mean}");
    assert_eq!(dispatchers, BTreeSet::from([2, 3]));
    assert!((40..300).contains(&panics), "{panics} of 2016 looks show a panic");
    let total = |now: &UnitStatistics| now.unit_seconds.iter().sum::<f64>();
    let true_seconds = total(&end) - total(&begin);
    let error = f64::from(u32::try_from(seconds).unwrap()) / true_seconds - 1.0;
    assert!(error.abs() < 0.01, "{error}");
    let signed_on: u64 = (0..3)
        .map(|discipline| end.signed_on[discipline] - begin.signed_on[discipline])
        .sum();
    let shift = true_seconds / f64::from(u32::try_from(signed_on).unwrap());
    assert!((3600.0..5400.0).contains(&shift), "{shift} s");
}

#[test]
fn ids_come_back_soon_and_later() {
    let (cad, clock) = cad(&SETTINGS);
    let mut left: BTreeMap<u32, u32> = BTreeMap::new();
    let mut absences = Vec::new();
    let mut before = BTreeSet::new();
    for at in 0..12 * 360 {
        let mut state = cad.state.lock();
        let server = state.live_until(cad.time().unix, 1).unwrap();
        let ids: BTreeSet<_> = server.units().on_duty().map(|(id, _)| id).collect();
        drop(state);
        left.extend(before.difference(&ids).map(|id| (*id, at)));
        absences.extend(
            ids.difference(&before)
                .filter_map(|id| left.remove(id))
                .map(|since| at - since),
        );
        before = ids;
        clock.advance(Duration::from_secs(10));
    }
    let within = |steps| absences.iter().filter(|absence| **absence <= steps).count();
    assert!(within(9) > 5, "{} of {} within 90 s", within(9), absences.len());
    assert!(absences.len() > 2 * within(9), "{} come back", absences.len());
}

#[test]
fn a_page_is_a_part_of_the_list() {
    let (cad, _) = cad(&SETTINGS);
    let all = units(&cad);
    let page = |limit, offset| -> Vec<Value> { serde_json::from_str(&cad.units(1, limit, offset).unwrap()).unwrap() };
    assert!(all.len() > 20);
    assert_eq!([page(12, 0), page(100, 12)].concat(), all);
    assert_eq!(page(100, 1000), Vec::<Value>::new());
    assert!(cad.units(3, 100, 0).is_none());
}

#[test]
fn there_are_enough_units_for_the_calls() {
    for calls_per_hour in [10, 240, 1000] {
        let settings = Settings {
            calls_per_hour,
            ..SETTINGS
        };
        let (cad, clock) = cad(&settings);
        clock.advance(Duration::from_secs(24 * 3600));
        let waits = cad.statistics(1).unwrap().waits;
        let mean = waits.iter().sum::<f64>() / f64::from(u32::try_from(waits.len()).unwrap());
        // 114 s if there is always a free unit.
        assert!((90.0..135.0).contains(&mean), "{calls_per_hour} per hour: {mean} s");
    }
}

#[test]
fn one_page_is_enough_at_the_default_pace() {
    let settings = Settings {
        calls_per_hour: 240,
        ..SETTINGS
    };
    let (cad, clock) = cad(&settings);
    // Saturday evening.
    clock.advance(Duration::from_secs((5 * 24 + 18) * 3600));
    let mut most = 0;
    for _ in 0..5 * 60 {
        clock.advance(Duration::from_secs(60));
        let mut state = cad.state.lock();
        let server = state.live_until(cad.time().unix, 1).unwrap();
        most = most.max(server.units().on_duty().count() + server.units().dispatchers().count());
    }
    assert!((80..=100).contains(&most), "{most}");
}
