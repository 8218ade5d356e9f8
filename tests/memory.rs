//! The memory that a large answer takes; alone in its process, since it measures the whole of it.

use peak_alloc::PeakAlloc;
use sonorancad_exporter::client::decode_snapshot;
use sonorancad_exporter::snapshot::{Origin, Priority, Status};

#[path = "it/answer.rs"]
mod answer;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

#[test]
fn a_large_answer_takes_less_than_a_fifth_of_its_size_beyond_itself() {
    let body = answer::with_calls(100_000);
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let snapshot = decode_snapshot(body.as_bytes()).unwrap();
    let peak = HEAP.peak_usage() - before;
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

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}
