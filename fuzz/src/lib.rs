//! Turns a fuzzer's bytes into input from outside, and checks what must be true of it.

#[path = "../../tests/support/foreign.rs"]
mod foreign;
#[path = "../../tests/support/promises.rs"]
mod promises;

mod almost;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sonorancad_exporter::client::{Calls, Endpoint, Units};
use sonorancad_exporter::tracker::Track as _;

use self::almost::{Choices, edit};

/// Answers are shown as metrics for one input in this many, since that takes much longer than reading them.
const SHOWN: usize = 8;

/// How many answers come one after the other.
const MAX_ANSWERS: usize = 4;

static ANSWERS: LazyLock<[Value; 2]> = LazyLock::new(|| {
    [
        include_str!("../../tests/fixtures/busy_v1.json"),
        include_str!("../../tests/fixtures/busy_v2.json"),
    ]
    .map(|text| serde_json::from_str(text).expect("it is JSON"))
});

static UNITS: LazyLock<[Value; 1]> = LazyLock::new(|| {
    let unit = |id: u32, status: u32, page: u32| {
        json!({"id": id, "status": status, "isPanic": false, "isDispatch": page == 3,
               "data": {"page": page, "department": "LSPD"}})
    };
    [json!([
        unit(1, 0, 0),
        unit(2, 1, 1),
        unit(3, 2, 2),
        unit(4, 3, 3),
        unit(5, 4, 0),
        unit(6, 5, 4)
    ])]
});

static STATES: LazyLock<[Value; 2]> = LazyLock::new(|| {
    let states = [
        &include_bytes!("../seeds/state/calls")[..],
        &include_bytes!("../seeds/state/units")[..],
    ];
    states.map(|bytes| {
        let state = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        serde_json::from_slice(state).expect("it is JSON")
    })
});

/// Runs the reader of this name.
///
/// # Panics
///
/// The reader does something that it must never do, or there is none of this name.
pub fn read(name: &str, bytes: &[u8]) {
    let (_, reader) = foreign::READERS
        .iter()
        .find(|(other, _)| *other == name)
        .expect("there is such a reader");
    let is_shown = bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>() % SHOWN == 0;
    match name {
        "answer" if !is_shown => follow::<Calls>(bytes),
        "units" if !is_shown => follow::<Units>(bytes),
        _ => reader(bytes),
    }
}

/// Reads answers, separated by zero bytes, and follows what they list.
fn follow<E: Endpoint>(bytes: &[u8]) {
    let interval = Duration::from_secs(30);
    let mut tracker = E::Tracker::new(interval, &promises::LISTED);
    let mut now = Instant::now();
    for body in bytes.split(|byte| *byte == 0) {
        if let Some(snapshot) = promises::decode::<E>(body) {
            tracker.observe(&snapshot, true, now);
        }
        now += interval;
    }
}

/// The input of the reader `answer`, `units` or `state` that these bytes stand for.
#[must_use]
pub fn almost(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut choices = Choices(bytes);
    if name == "state" {
        let kind = choices.below(2);
        let mut state = STATES[kind].clone();
        edit(&mut state, &mut choices);
        let answer = if kind == 0 { &ANSWERS[0] } else { &UNITS[0] };
        return format!("{state}\0{answer}").into_bytes();
    }
    let documents: &[Value] = if name == "units" { &*UNITS } else { &*ANSWERS };
    let mut answer = documents[choices.below(documents.len())].clone();
    let mut text = Vec::new();
    for number in 0..MAX_ANSWERS {
        if number > 0 {
            if choices.is_empty() {
                break;
            }
            text.push(0);
        }
        edit(&mut answer, &mut choices);
        text.extend(answer.to_string().into_bytes());
    }
    text
}
