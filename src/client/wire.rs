//! The API's JSON as sent, v1 and v2 alike, read into a [`Snapshot`].
//!
//! Tolerant inside the lists: a value that cannot be read becomes "other", an item that cannot be
//! read is skipped, and both are counted. Strict outside: an answer without any list of calls, or
//! with something else in a list's place, says nothing about calls and is refused. Fields that are
//! not named here, all personal ones among them, are skipped without being built; so are closed calls.

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};
use serde_json::value::RawValue;

use crate::snapshot::{
    ActiveCalls, Call, EmergencyCalls, EmergencyKind, Origin, Priority, Snapshot, Status, Unreadable,
};

/// What precedes the JSON of some services; JSON itself does not allow it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads an answer's body.
pub(super) fn decode(body: &[u8]) -> Result<Snapshot, serde_json::Error> {
    let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    // Derived structs would read an array by position.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde_json::Error::custom("not an object"));
    }
    let answer: Answer = serde_json::from_slice(json)?;
    if let (List::Missing, List::Missing, None) = (&answer.active, &answer.emergency, &answer.closed) {
        return Err(serde_json::Error::custom("no list of calls"));
    }
    Ok(Snapshot {
        active: active_calls(answer.active.items()),
        emergency: emergency_calls(answer.emergency.items()),
        closed_stored: answer
            .closed_count
            .and_then(integer)
            .and_then(|count| u64::try_from(count).ok()),
    })
}

#[derive(serde::Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default, rename = "activeCalls", alias = "ActiveCalls")]
    active: List<'a>,
    #[serde(borrow, default, rename = "emergencyCalls", alias = "EmergencyCalls")]
    emergency: List<'a>,
    #[serde(default, rename = "closedCalls", alias = "ClosedCalls", deserialize_with = "skip")]
    closed: Option<IgnoredAny>,
    #[serde(borrow, rename = "ClosedCallCount", alias = "closedCallCount")]
    closed_count: Option<&'a RawValue>,
}

/// A list of calls, each still as sent.
#[derive(Default)]
enum List<'a> {
    #[default]
    Missing,
    Null,
    Items(Vec<&'a RawValue>),
}

#[derive(serde::Deserialize)]
struct WireCall<'a> {
    #[serde(borrow)]
    priority: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    origin: Option<&'a RawValue>,
    /// The attached units; `units` before 2022.
    #[serde(borrow)]
    idents: Option<&'a RawValue>,
    #[serde(borrow)]
    units: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEmergencyCall<'a> {
    #[serde(borrow)]
    is_emergency: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(|items| items.map_or(Self::Null, Self::Items))
    }
}

impl<'a> List<'a> {
    fn items(self) -> Vec<&'a RawValue> {
        match self {
            Self::Missing | Self::Null => Vec::new(),
            Self::Items(items) => items,
        }
    }
}

/// Notes that there is a value, `null` included.
fn skip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IgnoredAny>, D::Error> {
    IgnoredAny::deserialize(deserializer).map(Some)
}

fn active_calls(items: Vec<&RawValue>) -> ActiveCalls {
    let mut active = ActiveCalls::default();
    for item in items {
        let Some(wire) = object::<WireCall>(item) else {
            active.add_unreadable(Unreadable::Call);
            continue;
        };
        let priority = wire.priority.and_then(priority);
        let status = wire.status.and_then(status);
        let origin = wire.origin.and_then(origin);
        for (is_unreadable, what) in [
            (priority.is_none(), Unreadable::Priority),
            (status.is_none(), Unreadable::Status),
            (origin.is_none(), Unreadable::Origin),
        ] {
            if is_unreadable {
                active.add_unreadable(what);
            }
        }
        let units = wire.idents.or(wire.units).map(elements).unwrap_or_default();
        active.add(&Call {
            priority: priority.unwrap_or(Priority::Other),
            status: status.unwrap_or(Status::Other),
            origin: origin.unwrap_or(Origin::Other),
            assigned: !units.is_empty(),
            units: units.into_iter().filter_map(integer).collect(),
        });
    }
    active
}

/// A call of unknown kind counts as an emergency: rather one too many than somebody forgotten.
fn emergency_calls(items: Vec<&RawValue>) -> EmergencyCalls {
    let mut emergency = EmergencyCalls::default();
    for item in items {
        let Some(wire) = object::<WireEmergencyCall>(item) else {
            emergency.add_unreadable();
            continue;
        };
        let kind = wire.is_emergency.and_then(emergency_kind);
        if kind.is_none() {
            emergency.add_unreadable();
        }
        emergency.add(kind.unwrap_or(EmergencyKind::Emergency));
    }
    emergency
}

/// Reads an item, unless it is no object or cannot be read.
fn object<'a, T: Deserialize<'a>>(item: &'a RawValue) -> Option<T> {
    let json = item.get();
    json.starts_with('{').then(|| serde_json::from_str(json).ok()).flatten()
}

/// The elements of an array that are not `null`; none of anything else.
fn elements(value: &RawValue) -> Vec<&RawValue> {
    let elements: Vec<Option<&RawValue>> = serde_json::from_str(value.get()).unwrap_or_default();
    elements.into_iter().flatten().collect()
}

fn priority(value: &RawValue) -> Option<Priority> {
    match integer(value) {
        Some(1) => Some(Priority::One),
        Some(2) => Some(Priority::Two),
        Some(3) => Some(Priority::Three),
        // A custom layout's priorities are texts.
        _ => value.get().starts_with('"').then_some(Priority::Other),
    }
}

fn status(value: &RawValue) -> Option<Status> {
    match integer(value)? {
        0 => Some(Status::Pending),
        1 => Some(Status::Active),
        2 => Some(Status::Closed),
        _ => None,
    }
}

fn origin(value: &RawValue) -> Option<Origin> {
    match integer(value)? {
        0 => Some(Origin::Caller),
        1 => Some(Origin::RadioDispatch),
        2 => Some(Origin::Observed),
        3 => Some(Origin::WalkUp),
        _ => None,
    }
}

fn emergency_kind(value: &RawValue) -> Option<EmergencyKind> {
    match unquoted(value).to_ascii_lowercase().as_str() {
        "true" | "1" => Some(EmergencyKind::Emergency),
        "false" | "0" => Some(EmergencyKind::Civil),
        _ => None,
    }
}

/// A whole number, also as a text (`"2"`) or with an empty fraction (`2.0`).
fn integer(value: &RawValue) -> Option<i64> {
    let text = unquoted(value);
    let text = text
        .split_once('.')
        .filter(|(_, fraction)| fraction.bytes().all(|digit| digit == b'0'))
        .map_or(text, |(whole, _)| whole);
    text.parse().ok()
}

/// The value as sent; a string without its quotes and outer white space, its escapes left alone.
fn unquoted(value: &RawValue) -> &str {
    let json = value.get();
    json.strip_prefix('"')
        .and_then(|json| json.strip_suffix('"'))
        .unwrap_or(json)
        .trim()
}

#[cfg(test)]
mod tests;
