//! The lists of calls, v1 and v2 alike, read into a [`CallSnapshot`] in one pass.
//!
//! Tolerant inside the lists: a value that cannot be read becomes "other", an item that is not an object is skipped,
//! and both are counted. So is an object in a list's place that is no list; the list is unknown then, as if it were
//! missing. Strict outside: an answer without any list of calls, or with anything else in a list's place, says nothing
//! about calls and is refused. So is one that JSON's grammar allows but `serde_json` cannot
//! represent (a key that is half a surrogate pair, or such an item, or an item `1e999`), except among the closed
//! calls, which are unknown then. Fields that are not named here, all personal ones among them, are skipped without
//! being built.
//!
//! The visitors are written by hand because derived structs refuse duplicate keys, fail a whole list for one odd
//! item, and accept arrays in the place of objects.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::list::{Collect, List};
use super::value::{integer, json_text, unquoted};
use crate::snapshot::{
    ActiveCalls, Call, CallSnapshot, DispatchCall, EmergencyCalls, EmergencyKind, IdentifiedCalls, Origin, Priority,
    Status, UnreadableField,
};

/// Units of one call beyond this number are ignored, so that no answer can fill the memory.
const MAX_UNITS_PER_CALL: usize = 1000;

/// Reads an answer's body.
pub(in crate::client) fn decode_calls(body: &[u8]) -> Result<CallSnapshot, serde_json::Error> {
    serde_json::from_str(&json_text(body)).map(|Answer(snapshot)| snapshot)
}

struct Answer(CallSnapshot);

/// The keys of an answer; v1 and v2 differ in the first letter.
#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum Key {
    #[serde(rename = "activeCalls", alias = "ActiveCalls")]
    Active,
    #[serde(rename = "emergencyCalls", alias = "EmergencyCalls")]
    Emergency,
    #[serde(rename = "closedCalls", alias = "ClosedCalls")]
    Closed,
    #[serde(rename = "ClosedCallCount", alias = "closedCallCount")]
    ClosedCount,
    #[serde(other)]
    Other,
}

/// A list of calls.
trait Calls: Default + for<'de> Collect<Item<'de> = Item<'de>> {
    /// Counts an object in the place of the list.
    fn add_unreadable_list(&mut self);
}

/// An element of a list of calls.
pub(super) enum Item<'a> {
    Object(Fields<'a>),
    /// Anything else.
    Odd,
}

/// The fields of a call of either kind that are read; `null` is the same as a missing field.
#[derive(Default)]
pub(super) struct Fields<'a> {
    call_id: Option<&'a RawValue>,
    priority: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    origin: Option<&'a RawValue>,
    idents: Option<&'a RawValue>,
    /// The same as `idents`, before 2022.
    units: Option<&'a RawValue>,
    is_emergency: Option<&'a RawValue>,
    meta_data: Option<&'a RawValue>,
}

/// The part of a call's `metaData` that is read.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaData<'a> {
    #[serde(borrow)]
    created_from_id: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    CallId,
    Priority,
    Status,
    Origin,
    Idents,
    Units,
    IsEmergency,
    MetaData,
    #[serde(other)]
    Other,
}

/// The units in a list.
#[derive(Default)]
struct Units {
    /// Whether there is any, readable or not.
    is_any: bool,
    is_any_unreadable: bool,
    ids: Vec<i64>,
}

impl Calls for ActiveCalls {
    fn add_unreadable_list(&mut self) {
        self.add_unreadable(UnreadableField::Call);
    }
}

impl Collect for ActiveCalls {
    type Item<'de> = Item<'de>;

    fn empty() -> Self {
        Self::empty()
    }

    fn add_item(&mut self, item: Item) {
        let Item::Object(fields) = item else {
            self.add_unreadable(UnreadableField::Call);
            return;
        };
        let priority = fields.priority.and_then(priority);
        let status = fields.status.and_then(status);
        let origin = fields.origin.and_then(origin);
        for (is_unreadable, what) in [
            (priority.is_none(), UnreadableField::Priority),
            (status.is_none(), UnreadableField::Status),
            (origin.is_none(), UnreadableField::Origin),
        ] {
            if is_unreadable {
                self.add_unreadable(what);
            }
        }
        // Without the field, no unit is attached.
        let units = fields.idents.or(fields.units).map_or(Some(Units::default()), units);
        if units.as_ref().is_none_or(|units| units.is_any_unreadable) {
            self.add_unreadable(UnreadableField::Units);
        }
        self.add(&Call {
            id: fields.call_id.and_then(id),
            priority: priority.unwrap_or(Priority::Other),
            status: status.unwrap_or(Status::Other),
            origin: origin.unwrap_or(Origin::Other),
            assigned: units.as_ref().map(|units| units.is_any),
            units: units.map(|units| units.ids).unwrap_or_default(),
            made_from: fields.meta_data.and_then(made_from),
        });
    }
}

impl Calls for EmergencyCalls {
    fn add_unreadable_list(&mut self) {
        self.add_unreadable();
    }
}

impl Collect for EmergencyCalls {
    type Item<'de> = Item<'de>;

    fn empty() -> Self {
        Self::empty()
    }

    /// A call of unknown kind counts as an emergency: one too many is better than a caller who is forgotten.
    fn add_item(&mut self, item: Item) {
        let Item::Object(fields) = item else {
            self.add_unreadable();
            return;
        };
        let kind = fields.is_emergency.and_then(emergency_kind);
        if kind.is_none() {
            self.add_unreadable();
        }
        self.add(fields.call_id.and_then(id), kind.unwrap_or(EmergencyKind::Emergency));
    }
}

/// Closed calls are only followed, never shown, so odd values in them are not counted.
impl Calls for IdentifiedCalls<DispatchCall> {
    fn add_unreadable_list(&mut self) {}
}

impl Collect for IdentifiedCalls<DispatchCall> {
    type Item<'de> = Item<'de>;

    fn empty() -> Self {
        Self::empty()
    }

    fn add_item(&mut self, item: Item) {
        let Item::Object(fields) = item else {
            return;
        };
        if let Some(id) = fields.call_id.and_then(id) {
            self.push_or_forget(DispatchCall {
                id,
                priority: fields.priority.and_then(priority).unwrap_or(Priority::Other),
                status: Status::Closed,
                origin: fields.origin.and_then(origin).unwrap_or(Origin::Other),
                made_from: fields.meta_data.and_then(made_from),
            });
        }
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnswerVisitor).map(Self)
    }
}

struct AnswerVisitor;

impl<'de> Visitor<'de> for AnswerVisitor {
    type Value = CallSnapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with lists of calls")
    }

    /// If a list comes twice, in either spelling, the last one counts; `null` is ignored.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CallSnapshot, A::Error> {
        let mut snapshot = CallSnapshot::default();
        let mut has_list = false;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Active => has_list |= place(map.next_value()?, &mut snapshot.active),
                Key::Emergency => has_list |= place(map.next_value()?, &mut snapshot.emergency),
                Key::Closed => {
                    let json = map.next_value::<Option<&RawValue>>()?.map(RawValue::get);
                    if json.is_some_and(|json| !json.starts_with(['[', '{'])) {
                        return Err(A::Error::custom("no list of closed calls"));
                    }
                    // No gauge needs them, so an odd item must not lose the rest of the answer.
                    let list = json.map_or(Ok(None), serde_json::from_str);
                    has_list |= list.map_or(true, |list| place(list, &mut snapshot.closed));
                }
                Key::ClosedCount => {
                    let count = map.next_value::<Option<&RawValue>>()?.and_then(integer);
                    snapshot.closed_stored = count.and_then(|count| u64::try_from(count).ok());
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if has_list {
            Ok(snapshot)
        } else {
            Err(A::Error::custom("no list of calls"))
        }
    }
}

/// Stores a list. Whether the answer has it: an object that is no list says nothing.
fn place<T: Calls>(list: Option<List<T>>, place: &mut T) -> bool {
    match list {
        None => true,
        Some(List(Some(list))) => {
            *place = list;
            true
        }
        Some(List(None)) => {
            *place = T::default();
            place.add_unreadable_list();
            false
        }
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

    /// If a field comes twice, the last one counts.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(field) = map.next_key()? {
            let place = match field {
                Field::CallId => &mut fields.call_id,
                Field::Priority => &mut fields.priority,
                Field::Status => &mut fields.status,
                Field::Origin => &mut fields.origin,
                Field::Idents => &mut fields.idents,
                Field::Units => &mut fields.units,
                Field::IsEmergency => &mut fields.is_emergency,
                Field::MetaData => &mut fields.meta_data,
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

impl Collect for Units {
    type Item<'de> = Option<&'de RawValue>;

    fn empty() -> Self {
        Self::default()
    }

    fn add_item(&mut self, item: Option<&RawValue>) {
        let Some(item) = item else {
            return;
        };
        self.is_any = true;
        match integer(item) {
            Some(id) if self.ids.len() < MAX_UNITS_PER_CALL => self.ids.push(id),
            Some(_) => {}
            None => self.is_any_unreadable = true,
        }
    }
}

/// The units in a list; anything else cannot be read.
fn units(value: &RawValue) -> Option<Units> {
    let list = serde_json::from_str(value.get());
    list.ok().and_then(|List(units)| units)
}

/// A call's id; in the API's documentation, -1 stands for no id.
fn id(value: &RawValue) -> Option<u64> {
    u64::try_from(integer(value)?).ok()
}

/// The id of the emergency call that a call was made from. A 0 may stand for none.
fn made_from(meta_data: &RawValue) -> Option<u64> {
    // A derived struct would accept an array as well.
    let json = Some(meta_data.get()).filter(|json| json.starts_with('{'))?;
    let MetaData { created_from_id } = serde_json::from_str(json).ok()?;
    id(created_from_id?).filter(|id| *id > 0)
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

#[cfg(test)]
mod tests;
