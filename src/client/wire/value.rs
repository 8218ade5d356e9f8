//! JSON as the API sends it: numbers that may be texts, and bytes that may not be UTF-8.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::text;

/// The JSON text of a body, without a byte order mark. One bad byte must not lose all calls.
pub(super) fn json_text(body: &[u8]) -> Cow<'_, str> {
    // Some services put a mark before their JSON, although JSON does not allow it.
    let json = text::without_mark(body);
    match std::str::from_utf8(json) {
        Ok(json) => Cow::Borrowed(json),
        Err(_) => Cow::Owned(readable(json)),
    }
}

/// The text, with a question mark for each byte that is not UTF-8: it is as long as the bytes, while a replacement
/// character for each would be three times as long.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

/// A whole number, also as a text (`"2"`) or with an empty fraction (`2.0`).
pub(super) fn integer(value: &RawValue) -> Option<i64> {
    let text = unquoted(value);
    text.parse().ok().or_else(|| {
        let (whole, fraction) = text.split_once('.')?;
        fraction
            .bytes()
            .all(|digit| digit == b'0')
            .then(|| whole.parse().ok())?
    })
}

/// The value as sent; a string without its quotes and outer white space, its escapes left alone.
pub(super) fn unquoted(value: &RawValue) -> &str {
    let json = value.get();
    json.strip_prefix('"')
        .and_then(|json| json.strip_suffix('"'))
        .unwrap_or(json)
        .trim()
}

/// An id; in the API's documentation, -1 stands for none.
pub(super) fn id(number: i64) -> Option<u64> {
    u64::try_from(number).ok()
}

/// Whether it is true or false, also as a text or as 1 or 0.
pub(super) fn boolean(value: &RawValue) -> Option<bool> {
    let text = unquoted(value);
    let is = |name| text.eq_ignore_ascii_case(name);
    if is("true") || is("1") {
        Some(true)
    } else {
        (is("false") || is("0")).then_some(false)
    }
}

/// A string with its escapes resolved; anything else as sent.
pub(super) fn text(value: &RawValue) -> Cow<'_, str> {
    let json = value.get();
    serde_json::from_str::<String>(json).map_or(Cow::Borrowed(json), Cow::Owned)
}
