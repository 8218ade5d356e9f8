//! The API's JSON as sent, v1 and v2 alike, read into a [`Snapshot`] in one pass.
//!
//! Tolerant inside the lists: a value that cannot be read becomes "other", an item that is no object
//! is skipped, and both are counted. Strict outside: an answer without any list of calls, or with
//! something else in a list's place, says nothing about calls and is refused. Fields that are not
//! named here, all personal ones among them, are skipped without being built; so are closed calls.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::snapshot::{
    ActiveCalls, Call, EmergencyCalls, EmergencyKind, Origin, Priority, Snapshot, Status, Unreadable,
};

/// What precedes the JSON of some services; JSON itself does not allow it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads an answer's body.
pub(super) fn decode(body: &[u8]) -> Result<Snapshot, serde_json::Error> {
    let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    // One bad byte in a name must not lose the calls; and text that is known to be UTF-8 parses faster.
    let json = String::from_utf8_lossy(json);
    // Derived structs would read an array by position.
    if !json.trim_ascii_start().starts_with('{') {
        return Err(serde_json::Error::custom("not an object"));
    }
    let answer: Answer = serde_json::from_str(&json)?;
    if let (List::Missing, List::Missing, None) = (&answer.active, &answer.emergency, &answer.closed) {
        return Err(serde_json::Error::custom("no list of calls"));
    }
    Ok(Snapshot {
        active: answer.active.or_empty(),
        emergency: answer.emergency.or_empty(),
        closed_stored: answer
            .closed_count
            .and_then(integer)
            .and_then(|count| u64::try_from(count).ok()),
    })
}

#[derive(serde::Deserialize)]
struct Answer<'a> {
    #[serde(default, rename = "activeCalls", alias = "ActiveCalls")]
    active: List<ActiveCalls>,
    #[serde(default, rename = "emergencyCalls", alias = "EmergencyCalls")]
    emergency: List<EmergencyCalls>,
    #[serde(default, rename = "closedCalls", alias = "ClosedCalls", deserialize_with = "skip")]
    closed: Option<IgnoredAny>,
    #[serde(borrow, rename = "ClosedCallCount", alias = "closedCallCount")]
    closed_count: Option<&'a RawValue>,
}

/// A list of calls, as the counts of what is in it.
#[derive(Default)]
enum List<T> {
    #[default]
    Missing,
    Null,
    Counted(T),
}

/// Counts of calls that grow item by item.
trait Count: Default {
    fn add_item(&mut self, item: &Item);
}

/// An element of a list of calls.
enum Item<'a> {
    Object(Fields<'a>),
    /// Anything else.
    Odd,
}

/// What is read of a call of either kind; `null` is the same as nothing.
#[derive(Default)]
struct Fields<'a> {
    priority: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    origin: Option<&'a RawValue>,
    /// The attached units.
    idents: Option<&'a RawValue>,
    /// The same, before 2022.
    units: Option<&'a RawValue>,
    is_emergency: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Priority,
    Status,
    Origin,
    Idents,
    Units,
    IsEmergency,
    #[serde(other)]
    Other,
}

impl Count for ActiveCalls {
    fn add_item(&mut self, item: &Item) {
        let Item::Object(fields) = item else {
            self.add_unreadable(Unreadable::Call);
            return;
        };
        let priority = fields.priority.and_then(priority);
        let status = fields.status.and_then(status);
        let origin = fields.origin.and_then(origin);
        for (is_unreadable, what) in [
            (priority.is_none(), Unreadable::Priority),
            (status.is_none(), Unreadable::Status),
            (origin.is_none(), Unreadable::Origin),
        ] {
            if is_unreadable {
                self.add_unreadable(what);
            }
        }
        let units = fields.idents.or(fields.units).map(elements).unwrap_or_default();
        self.add(&Call {
            priority: priority.unwrap_or(Priority::Other),
            status: status.unwrap_or(Status::Other),
            origin: origin.unwrap_or(Origin::Other),
            assigned: !units.is_empty(),
            units: units.into_iter().filter_map(integer).collect(),
        });
    }
}

impl Count for EmergencyCalls {
    /// A call of unknown kind counts as an emergency: rather one too many than somebody forgotten.
    fn add_item(&mut self, item: &Item) {
        let Item::Object(fields) = item else {
            self.add_unreadable();
            return;
        };
        let kind = fields.is_emergency.and_then(emergency_kind);
        if kind.is_none() {
            self.add_unreadable();
        }
        self.add(kind.unwrap_or(EmergencyKind::Emergency));
    }
}

impl<T: Default> List<T> {
    fn or_empty(self) -> T {
        match self {
            Self::Missing | Self::Null => T::default(),
            Self::Counted(counts) => counts,
        }
    }
}

impl<'de, T: Count> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Count> Visitor<'de> for ListVisitor<T> {
    type Value = List<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of calls")
    }

    fn visit_none<E>(self) -> Result<List<T>, E> {
        Ok(List::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<List<T>, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<T>, A::Error> {
        let mut counts = T::default();
        while let Some(item) = items.next_element()? {
            counts.add_item(&item);
        }
        Ok(List::Counted(counts))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call")
    }

    /// A field that comes twice counts as it came last.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(field) = map.next_key()? {
            let place = match field {
                Field::Priority => &mut fields.priority,
                Field::Status => &mut fields.status,
                Field::Origin => &mut fields.origin,
                Field::Idents => &mut fields.idents,
                Field::Units => &mut fields.units,
                Field::IsEmergency => &mut fields.is_emergency,
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *place = map.next_value()?;
        }
        Ok(Item::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Odd)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Item<'de>, E> {
        Ok(Item::Odd)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Item<'de>, E> {
        Ok(Item::Odd)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Item<'de>, E> {
        Ok(Item::Odd)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Item<'de>, E> {
        Ok(Item::Odd)
    }

    fn visit_str<E>(self, _: &str) -> Result<Item<'de>, E> {
        Ok(Item::Odd)
    }

    fn visit_unit<E>(self) -> Result<Item<'de>, E> {
        Ok(Item::Odd)
    }
}

/// Notes that there is a value, `null` included.
fn skip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<IgnoredAny>, D::Error> {
    IgnoredAny::deserialize(deserializer).map(Some)
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
    text.parse().ok().or_else(|| {
        let (whole, fraction) = text.split_once('.')?;
        fraction
            .bytes()
            .all(|digit| digit == b'0')
            .then(|| whole.parse().ok())?
    })
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
