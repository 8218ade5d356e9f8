//! Turns a fuzzer's bytes into input from outside, and checks what must be true of it.

#[path = "../../tests/support/promises.rs"]
mod promises;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use sonorancad_exporter::client::{Calls, Endpoint as _, Units};
use sonorancad_exporter::config::LabelTexts;

use self::promises::SECRET;

/// Answers of the API, one after the other, separated by zero bytes, which JSON cannot contain.
pub fn answer(bytes: &[u8]) {
    let bodies: Vec<_> = bytes.split(|byte| *byte == 0).collect();
    // The others all lead to the same text, which takes long to write.
    if bodies
        .last()
        .is_some_and(|body| Calls::decode(body, &LabelTexts::default()).is_ok())
    {
        promises::answers(&bodies);
    }
}

/// The same of units.
pub fn units(bytes: &[u8]) {
    let bodies: Vec<_> = bytes.split(|byte| *byte == 0).collect();
    if bodies
        .last()
        .is_some_and(|body| Units::decode(body, &LabelTexts::default()).is_ok())
    {
        promises::unit_answers(&bodies);
    }
}

/// Lines of `Accept`.
pub fn accept(bytes: &[u8]) {
    promises::negotiation(&headers(bytes));
}

/// Lines of `Retry-After` and its kin.
pub fn retry_after(bytes: &[u8]) {
    promises::rate_limit(&headers(bytes));
}

/// A web configuration file.
pub fn web_config(bytes: &[u8]) {
    promises::web_config(&text(bytes));
}

/// A file of communities.
pub fn communities(bytes: &[u8]) {
    promises::communities(&without_files(&text(bytes)));
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

/// The same text naming no file of a key, not even by escapes: it would be read.
fn without_files(text: &str) -> String {
    let escapes = ["\\x", "\\u", "\\U", "\\\n", "\\\r"];
    let text = escapes
        .iter()
        .fold(text.to_owned(), |text, escape| text.replace(escape, "\\q"));
    text.replace("_file", "-file")
}
