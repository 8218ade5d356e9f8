//! Input from outside as bytes, one function for each reader: what it makes of them must be as `promises` says.
//!
//! The fuzzers call these functions, and the tests call them with the fuzzers' seeds.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use sonorancad_exporter::client::{Calls, Units};

use super::promises::{self, SECRET, decode};

/// Numbers up to here are counted exactly. In a state, larger ones are moments.
const MAX_COUNT: u128 = 1 << 53;

/// Moments of these years, in nanoseconds: 2023 to 2030.
const MOMENTS: std::ops::RangeInclusive<u128> = 1_700_000_000_000_000_000..=1_900_000_000_000_000_000;

/// Reads bytes, and panics if what it makes of them breaks a promise.
pub(crate) type Reader = fn(&[u8]);

/// Every reader by the name of its fuzz target.
pub(crate) const READERS: [(&str, Reader); 8] = [
    ("accept", accept),
    ("answer", answer),
    ("communities", communities),
    ("environment", environment),
    ("retry_after", retry_after),
    ("state", state),
    ("units", units),
    ("web_config", web_config),
];

/// Answers of the API, one after the other, separated by zero bytes, which JSON cannot contain.
pub(crate) fn answer(bytes: &[u8]) {
    let bodies: Vec<_> = bytes.split(|byte| *byte == 0).collect();
    // The others all lead to the same text, which takes long to write.
    if bodies.last().and_then(|body| decode::<Calls>(body)).is_some() {
        promises::answers(&bodies);
    }
}

/// The same of units.
pub(crate) fn units(bytes: &[u8]) {
    let bodies: Vec<_> = bytes.split(|byte| *byte == 0).collect();
    if bodies.last().and_then(|body| decode::<Units>(body)).is_some() {
        promises::unit_answers(&bodies);
    }
}

/// Lines of `Accept`.
pub(crate) fn accept(bytes: &[u8]) {
    promises::negotiation(&headers(bytes));
}

/// Lines of `Retry-After` and its kin.
pub(crate) fn retry_after(bytes: &[u8]) {
    promises::rate_limit(&headers(bytes));
}

/// A web configuration file.
pub(crate) fn web_config(bytes: &[u8]) {
    promises::web_config(&text(bytes));
}

/// A file of communities.
pub(crate) fn communities(bytes: &[u8]) {
    promises::communities(&without_files(&text(bytes)));
}

/// An environment: names and values with an equals sign between them, separated by zero bytes. Variables that name files are
/// left out.
pub(crate) fn environment(bytes: &[u8]) {
    let variables = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let equals = entry.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&entry[..equals], &entry[equals + 1..]);
        let names_file = [&b"_FILE"[..], b"_DIR"].iter().any(|end| name.ends_with(end));
        // A message may show a name.
        let has_secret = String::from_utf8_lossy(name).contains(SECRET);
        (!names_file && !has_secret).then(|| {
            (
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(with_secret(value)),
            )
        })
    });
    promises::environment(&variables.collect::<Vec<_>>());
}

/// What the store has under the name of a state; or, since only a replica with the key can write what is read, a state and
/// an answer with a zero byte between them.
///
/// States with counts above 2^53 are left out.
pub(crate) fn state(bytes: &[u8]) {
    promises::sealed(bytes);
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let state = parts.next().unwrap_or_default();
    let answer = parts.next().unwrap_or_default();
    let mut numbers = state.split(|byte| !byte.is_ascii_digit()).map(|digits| {
        let digits = std::str::from_utf8(digits).expect("digits are text");
        if digits.is_empty() {
            Some(0)
        } else {
            digits.parse().ok()
        }
    });
    let is_usual = |number: u128| number <= MAX_COUNT || MOMENTS.contains(&number);
    if numbers.all(|number| number.is_some_and(is_usual)) {
        promises::call_state(state, answer);
        promises::unit_state(state, answer);
    }
}

/// Headers as they are sent; other lines are ignored.
fn headers(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    headers
}

/// A text in which a tilde is short for the secret, so that a single byte plants it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('~', SECRET)
}

/// The same of a value that need not be UTF-8.
fn with_secret(bytes: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = bytes.split(|byte| *byte == b'~').collect();
    parts.join(SECRET.as_bytes())
}

/// The same text naming no file of a key, not even by escapes: it would be read.
fn without_files(text: &str) -> String {
    let escapes = ["\\x", "\\u", "\\U", "\\\n", "\\\r"];
    let text = escapes
        .iter()
        .fold(text.to_owned(), |text, escape| text.replace(escape, "\\q"));
    text.replace("_file", "-file")
}
