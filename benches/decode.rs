//! The cost of reading an answer, beside what `serde_json` takes for the same bytes: into the smallest structs that
//! contain what is read, and into a `Value`.
//!
//! `cargo bench --bench decode` prints one table. All readers run in turn, and each figure is the median of many turns.

#![expect(clippy::print_stdout, reason = "it prints a table")]
#![expect(clippy::cast_precision_loss, reason = "shown with two digits")]

use std::any::Any;
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::Duration;

use peak_alloc::PeakAlloc;
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use sonorancad_exporter::client::{self, Endpoint as _};
use sonorancad_exporter::config::LabelTexts;

#[path = "../tests/support/answer.rs"]
mod answer;
#[path = "../tests/support/roster.rs"]
mod roster;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const TURNS: usize = 21;

/// Each reader reads about this much in one turn.
const TURN_BYTES: usize = 4 << 20;

/// Something that reads an answer, and returns what it has read.
type Reader = fn(&[u8]) -> Box<dyn Any>;

/// What is read of an answer.
#[expect(
    dead_code,
    clippy::struct_field_names,
    reason = "only reading them is measured; the names are the API's"
)]
mod smallest {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(crate) struct Calls {
        active_calls: Vec<Call>,
        emergency_calls: Vec<EmergencyCall>,
        closed_calls: Vec<Call>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Call {
        call_id: u64,
        priority: u8,
        status: u8,
        origin: u8,
        idents: Vec<i64>,
        meta_data: MetaData,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct MetaData {
        created_from_id: Option<u64>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct EmergencyCall {
        call_id: u64,
        is_emergency: bool,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    pub(crate) struct Unit {
        id: u64,
        status: u8,
        is_panic: bool,
        is_dispatch: bool,
        data: UnitData,
    }

    #[derive(Deserialize)]
    struct UnitData {
        page: u8,
    }
}

static LABELS: LazyLock<LabelTexts> = LazyLock::new(LabelTexts::default);

fn calls(body: &[u8]) -> Box<dyn Any> {
    Box::new(client::Calls::decode(body, &LABELS).expect("an answer"))
}

fn units(body: &[u8]) -> Box<dyn Any> {
    Box::new(client::Units::decode(body, &LABELS).expect("an answer"))
}

fn derived<T: Any + for<'de> Deserialize<'de>>(body: &[u8]) -> Box<dyn Any> {
    Box::new(serde_json::from_slice::<T>(body).expect("an answer"))
}

fn main() {
    println!("| answer | size | MB/s | of structs | of `Value` | memory beyond the body | structs | `Value` |");
    println!("|---|---|---|---|---|---|---|---|");
    let value = derived::<serde_json::Value>;
    for count in [10, 1_000, 100_000] {
        let body = answer::with_calls(count);
        report(
            &format!("{count} calls"),
            body.as_bytes(),
            [calls, derived::<smallest::Calls>, value],
        );
    }
    let body = roster::with_units(10_000);
    report(
        "10000 units",
        body.as_bytes(),
        [units, derived::<Vec<smallest::Unit>>, value],
    );
}

/// Prints a row of the table. The first reader is ours.
fn report(name: &str, body: &[u8], readers: [Reader; 3]) {
    let mut turns: Vec<[f64; 3]> = (0..TURNS).map(|_| readers.map(|reader| speed(reader, body))).collect();
    turns.remove(0);
    let ours = median(turns.iter().map(|[ours, ..]| *ours));
    let [of_structs, of_value] = [1, 2].map(|other| median(turns.iter().map(|turn| turn[0] / turn[other])));
    let [memory, of_other @ ..] = readers.map(|reader| peak(reader, body) as f64 / body.len() as f64);
    let [structs, value] = of_other;
    println!(
        "| {name} | {} kB | {ours:.0} | {of_structs:.2} | {of_value:.2} | {memory:.3} | {structs:.3} | {value:.3} |",
        body.len() / 1000
    );
}

/// Megabytes per second of CPU time.
fn speed(reader: Reader, body: &[u8]) -> f64 {
    let times = TURN_BYTES.div_ceil(body.len());
    // The allocator tidies up late what the reader before has freed.
    black_box(reader(body));
    let before = cpu_seconds();
    for _ in 0..times {
        black_box(reader(black_box(body)));
    }
    (times * body.len()) as f64 / 1e6 / (cpu_seconds() - before)
}

fn cpu_seconds() -> f64 {
    let time = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
    time.expect("it is not negative").as_secs_f64()
}

/// The most bytes in use while the body is read, beyond the body itself.
fn peak(reader: Reader, body: &[u8]) -> usize {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    drop(reader(body));
    HEAP.peak_usage() - before
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
