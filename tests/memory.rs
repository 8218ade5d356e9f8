//! The memory that a large answer takes; alone in its process, since it measures the whole of it.

use std::fmt::Write as _;
use std::sync::Mutex;

use peak_alloc::PeakAlloc;
use sonorancad_exporter::client::decode_snapshot;
use sonorancad_exporter::snapshot::{Origin, Priority, Snapshot, Status};

#[path = "it/answer.rs"]
mod answer;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Tests in one process share its heap, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The most memory in use while `body` is decoded, beyond the body itself.
fn peak_of(body: &str) -> (usize, Snapshot) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let snapshot = decode_snapshot(body.as_bytes()).expect("an answer");
    (HEAP.peak_usage() - before, snapshot)
}

#[test]
fn a_large_answer_takes_less_than_a_fifth_of_its_size_beyond_itself() {
    let _turn = TURN.lock();
    let body = answer::with_calls(100_000);
    let (peak, snapshot) = peak_of(&body);
    eprintln!(
        "body {} bytes, peak beyond it {peak} bytes: a share of {:.3}",
        body.len(),
        share(peak, body.len())
    );
    assert!(peak * 5 < body.len(), "{peak} bytes beyond a body of {}", body.len());
    assert_eq!(
        snapshot.active.count(Priority::One, Status::Pending, Origin::Caller),
        8334
    );
    assert_eq!(snapshot.active.attached_units(), 797);
}

#[test]
fn a_call_with_millions_of_units_takes_little_memory() {
    let _turn = TURN.lock();
    let mut ids = String::new();
    for id in 0..5_000_000 {
        write!(ids, "{id},").expect("writing to a String does not fail");
    }
    let body = format!(r#"{{"activeCalls":[{{"priority":1,"status":1,"origin":0,"idents":[{ids}1]}}]}}"#);
    let (peak, snapshot) = peak_of(&body);
    assert!(peak < 1 << 20, "{peak} bytes beyond a body of {}", body.len());
    assert_eq!(snapshot.active.attached_units(), 1000);
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
