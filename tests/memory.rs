//! The memory for a large answer and for a long day. It has a process of its own because it measures the whole heap.

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use peak_alloc::PeakAlloc;
use sonorancad_exporter::client::{Calls, Endpoint as _, Units};
use sonorancad_exporter::clock::{Clock, ManualClock};
use sonorancad_exporter::config::LabelTexts;
use sonorancad_exporter::demo::{Cad, Settings};
use sonorancad_exporter::snapshot::{CallSnapshot, Origin, Priority, Status};
use sonorancad_exporter::tracker::{CallTracker, Track as _};

#[path = "support/answer.rs"]
mod answer;
#[path = "support/newcomers.rs"]
mod newcomers;
#[path = "support/roster.rs"]
mod roster;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Tests in one process share its heap, so they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// The most memory in use while `body` is decoded, beyond the body itself.
fn peak_of(body: &str) -> (usize, CallSnapshot) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let snapshot = Calls::decode(body.as_bytes(), &LabelTexts::default()).expect("an answer");
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
fn a_large_list_of_units_takes_less_than_a_quarter_of_its_size_beyond_itself() {
    let _turn = TURN.lock();
    let body = roster::with_units(10_000);
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let snapshot = Units::decode(body.as_bytes(), &LabelTexts::default()).expect("an answer");
    let peak = HEAP.peak_usage() - before;
    eprintln!(
        "body {} bytes, peak beyond it {peak} bytes: a share of {:.3}",
        body.len(),
        share(peak, body.len())
    );
    assert!(peak * 4 < body.len(), "{peak} bytes beyond a body of {}", body.len());
    assert_eq!(snapshot.counts().all(), 10_000);
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

#[test]
fn a_day_of_a_busy_community_takes_little_memory() {
    let _turn = TURN.lock();
    let clock = ManualClock::new(Duration::from_secs(1_795_435_200));
    let settings = Settings {
        seed: 5,
        calls_per_hour: 1000,
        servers: 1,
        utc_offset: 0,
        has_trouble: false,
        is_v1_gone: false,
    };
    let cad = Cad::new(&settings, &Clock::Manual(clock.clone()));
    let mut tracker = CallTracker::new(Duration::from_secs(25), &LabelTexts::default());
    let mut peak = 0;
    for _ in 0..24 * 3600 / 25 {
        clock.advance(Duration::from_secs(25));
        let now = Clock::Manual(clock.clone()).now().instant;
        let body = cad
            .calls(1, tracker.query(now).closed_limit as usize)
            .expect("a server");
        let snapshot = Calls::decode(body.as_bytes(), &LabelTexts::default()).expect("an answer");
        drop(body);
        let before = HEAP.current_usage();
        tracker.observe(&snapshot, true, now);
        peak = peak.max(HEAP.current_usage().saturating_sub(before));
    }
    let opened: u64 = tracker
        .stats()
        .opened
        .values()
        .flat_map(|by_origin| by_origin.values())
        .sum();
    let with_tracker = HEAP.current_usage();
    drop(tracker);
    let size = with_tracker - HEAP.current_usage();
    eprintln!("after {opened} calls in 24 h the tracker holds {size} bytes; no answer added more than {peak}");
    assert!(opened > 15_000, "{opened}");
    // Of ten thousand calls that are gone, it remembers an id and a time.
    assert!(size < 1_000_000, "{size} bytes");
}

/// So many days with 60 calls per hour, an answer every 30 s: the memory of the tracker after them. It has counted every
/// call, to the last.
fn size_after(days: u32) -> usize {
    let clock = ManualClock::new(Duration::from_secs(1_795_435_200));
    let settings = Settings {
        seed: 5,
        calls_per_hour: 60,
        servers: 1,
        utc_offset: 0,
        has_trouble: false,
        is_v1_gone: false,
    };
    let cad = Cad::new(&settings, &Clock::Manual(clock.clone()));
    let mut tracker = CallTracker::new(Duration::from_secs(25), &LabelTexts::default());
    let mut known = None;
    for _ in 0..days * 24 * 3600 / 30 {
        clock.advance(Duration::from_secs(30));
        let now = Clock::Manual(clock.clone()).now().instant;
        let body = cad
            .calls(1, tracker.query(now).closed_limit as usize)
            .expect("a server");
        let snapshot = Calls::decode(body.as_bytes(), &LabelTexts::default()).expect("an answer");
        tracker.observe(&snapshot, true, now);
        known.get_or_insert_with(|| cad.statistics(1).expect("a server").opened());
    }
    let by_origin = tracker.stats().opened.values();
    let counted: u64 = by_origin.flat_map(|by_origin| by_origin.values()).sum();
    let opened = cad.statistics(1).expect("a server").opened();
    assert_eq!(counted, opened - known.expect("an answer"), "after {days} days");
    let with_tracker = HEAP.current_usage();
    drop(tracker);
    let size = with_tracker - HEAP.current_usage();
    eprintln!("after {counted} calls in {days} days the tracker holds {size} bytes");
    size
}

/// On the first two days it fills its memory of ids, which are kept for a day.
#[test]
fn a_month_takes_no_more_memory_than_two_days() {
    let _turn = TURN.lock();
    let (two_days, month) = (size_after(2), size_after(30));
    assert!(
        month < 2 * two_days,
        "{month} bytes after a month, {two_days} after two days"
    );
}

#[test]
fn new_ids_in_each_answer_take_little_memory_for_good() {
    let _turn = TURN.lock();
    for counts in [
        &[2_000; 20][..],
        &[100_000; 2],
        &[2_000, 2_000, 2_000, 2_000, 2_000, 2_000, 100_000],
    ] {
        let clock = ManualClock::new(Duration::from_secs(1_795_435_200));
        let before = HEAP.current_usage();
        let mut tracker = CallTracker::new(Duration::from_secs(25), &LabelTexts::default());
        let mut snapshot = CallSnapshot::default();
        let mut first = 1_000_000_000;
        let mut most = 0;
        for calls in counts {
            clock.advance(Duration::from_secs(25));
            let body = newcomers::answer(*calls, first);
            first += calls;
            snapshot = Calls::decode(body.as_bytes(), &LabelTexts::default()).expect("an answer");
            drop(body);
            tracker.observe(&snapshot, true, Clock::Manual(clock.clone()).now().instant);
            most = most.max(HEAP.current_usage() - before);
        }
        let last = counts[counts.len() - 1];
        eprintln!(
            "{} answers of new ids, {last} in the last: {most} bytes kept",
            counts.len()
        );
        assert_eq!(
            snapshot.active.count(Priority::One, Status::Pending, Origin::Caller),
            last
        );
        assert!(most < 3 << 20, "{most} bytes");
    }
}

/// What servers keep altogether whose APIs send new ids each time, as many as are followed.
fn size_of_servers(servers: u64, max_ids: usize) -> usize {
    let ttl = Duration::from_secs(25);
    let before = HEAP.current_usage();
    let mut kept = Vec::new();
    for _ in 0..servers {
        let mut tracker = CallTracker::new(ttl, &LabelTexts::default());
        tracker.set_limits(ttl, max_ids);
        let clock = ManualClock::new(Duration::from_secs(1_795_435_200));
        let mut last = None;
        // A list above the limit is not followed, so this is the worst.
        let calls = max_ids.min(2_000) as u64;
        // In the third answer, the calls of the first are absent for the second time.
        for round in 0..3 {
            clock.advance(ttl);
            let body = newcomers::answer(calls, 1_000_000 + round * calls);
            let mut snapshot = Calls::decode(body.as_bytes(), &LabelTexts::default()).expect("an answer");
            CallTracker::limit(&mut snapshot, max_ids);
            tracker.observe(&snapshot, true, Clock::Manual(clock.clone()).now().instant);
            last = Some(snapshot);
        }
        kept.push((tracker, last));
    }
    let size = HEAP.current_usage() - before;
    eprintln!("{servers} servers with at most {max_ids} ids in each list keep {size} bytes");
    size
}

/// The share of each is what the configuration gives it: see `servers_share_the_ids_that_may_be_kept`.
#[test]
fn many_servers_with_new_ids_in_each_answer_share_what_may_be_kept() {
    let _turn = TURN.lock();
    assert!(size_of_servers(200, 500) < 150 << 20);
}
