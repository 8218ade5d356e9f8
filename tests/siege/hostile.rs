//! Hostile APIs: what their answers count as, what they may cost, and that the exporter recovers from them.

mod http;
mod keys;
mod memory;
mod text;
mod time;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use sonorancad_exporter::clock::ManualClock;

use crate::support::cad::{Answer, Cad};
use crate::support::exporter::{Running, failures, has, value};

/// The outcome of an answer that is a snapshot.
const SUCCESS: &str = "success";

/// The head of a response whose body ends with the connection.
const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

const GZIP: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";

const MEBIBYTE: usize = 1 << 20;

/// The calls of [`small`] answers.
const CALLS: &str = "sonorancad_active_calls{server_id=\"1\",priority=\"1\",status=\"pending\",origin=\"caller\"}";

/// A valid answer with this many calls.
fn small(calls: usize) -> String {
    let calls = vec![r#"{"priority":1,"status":0,"origin":0}"#; calls].join(",");
    format!("{{\"activeCalls\":[{calls}]}}")
}

fn is_up(text: &str) -> bool {
    value(text, "sonorancad_up{server_id=\"1\"}") == 1.0
}

/// Whether a fetch has ended.
fn has_completed(text: &str) -> bool {
    is_up(text) || !failures(text).is_empty()
}

/// Whether the answer of [`small`] with one call is shown.
fn has_recovered(text: &str) -> bool {
    is_up(text) && has(text, CALLS) && value(text, CALLS) == 1.0
}

/// The label of the failures of server 1, or [`SUCCESS`].
#[track_caller]
fn outcome(text: &str) -> String {
    let labels: Vec<_> = failures(text).into_iter().map(|(label, _)| label).collect();
    match &labels[..] {
        [] if is_up(text) => SUCCESS.to_owned(),
        [label] => {
            assert!(!has(text, "sonorancad_active_calls{server_id=\"1\""), "{text}");
            label.clone()
        }
        _ => panic!("no outcome, or several: {labels:?}\n{text}"),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn ok_gzip(body: &[u8]) -> Answer {
    Answer::status_with_bytes(200, &[("Content-Encoding", "gzip")], body)
}

/// An exporter on a manual clock, whose API gives another answer each time.
struct Fixture {
    cad: Cad,
    exporter: Running,
    clock: ManualClock,
    failures: BTreeMap<String, u64>,
}

impl Fixture {
    async fn start() -> Self {
        let cad = Cad::start().await;
        let (exporter, clock) = Running::start_at_noon(&cad, &[("SONORANCAD_API_TIMEOUT", "30s")]);
        Self {
            cad,
            exporter,
            clock,
            failures: BTreeMap::new(),
        }
    }

    /// The outcome of one answer, and the scrape that shows it: [`SUCCESS`], or the label of one failure that leaves
    /// no snapshot.
    async fn answer_with(&mut self, answer: &Answer) -> (String, String) {
        self.clock.advance(Duration::from_secs(3600));
        self.cad.answer(answer.clone());
        let text = self.exporter.scrape_within("60").await;
        let failures: BTreeMap<_, _> = failures(&text).into_iter().collect();
        let before = std::mem::replace(&mut self.failures, failures);
        let is_new = |(label, count): &(&String, &u64)| before.get(*label).is_none_or(|before| before < count);
        let new: Vec<_> = self
            .failures
            .iter()
            .filter(is_new)
            .map(|(label, _)| label.clone())
            .collect();
        let count = |failures: &BTreeMap<_, u64>| failures.values().sum::<u64>();
        let is_up = value(&text, "sonorancad_up{server_id=\"1\"}") == 1.0;
        match &new[..] {
            [] if is_up => (SUCCESS.to_owned(), text),
            [label] if !is_up && count(&self.failures) == count(&before) + 1 => {
                assert!(!has(&text, "sonorancad_active_calls"), "{answer:?}\n{text}");
                (label.clone(), text)
            }
            _ => panic!("{answer:?}: no outcome, or several: {new:?}\n{text}"),
        }
    }
}
