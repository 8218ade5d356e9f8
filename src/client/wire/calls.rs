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

use serde::de::{Deserialize as _, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::item::{self, Fields, Objects};
use super::list::{Collect, List, ListSeed};
use super::value::{boolean, id, integer, json_text, text};
use crate::label::{TextIndex, TextSet};
use crate::snapshot::{
    ActiveCalls, Call, CallSnapshot, DispatchCall, EmergencyCalls, EmergencyKind, IdentifiedCalls, Origin, Priority,
    Status, UnreadableField,
};

/// Units of one call beyond this number are ignored, so that no answer can fill the memory.
const MAX_UNITS_PER_CALL: usize = 1000;

/// Reads an answer's body.
pub(in crate::client) fn decode_calls(body: &[u8], codes: &TextSet) -> Result<CallSnapshot, serde_json::Error> {
    let json = json_text(body);
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    let snapshot = deserializer.deserialize_map(AnswerVisitor { codes })?;
    deserializer.end()?;
    Ok(snapshot)
}

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

/// A list of calls that is being read.
struct Reading<'a, T> {
    calls: T,
    codes: &'a TextSet,
}

/// A list of calls.
trait Calls: Default {
    /// A list without calls.
    fn empty() -> Self;

    /// Counts an object in the place of the list.
    fn add_unreadable_list(&mut self);

    /// Counts an item of the list; `None` stands for anything but an object.
    fn add_item(&mut self, item: Option<&CallFields>, codes: &TextSet);
}

impl<T: Calls> Collect for Reading<'_, T> {
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        item::read(self, deserializer)
    }
}

impl<T: Calls> Objects for Reading<'_, T> {
    type Fields<'de> = CallFields<'de>;

    fn add(&mut self, item: Option<&CallFields>) {
        self.calls.add_item(item, self.codes);
    }
}

impl<'a, T: Calls> Reading<'a, T> {
    fn seed(codes: &'a TextSet) -> ListSeed<Self> {
        ListSeed(Self {
            calls: T::empty(),
            codes,
        })
    }
}

/// The fields of a call of either kind that are read.
#[derive(Default)]
pub(super) struct CallFields<'a> {
    call_id: Option<&'a RawValue>,
    priority: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    origin: Option<&'a RawValue>,
    idents: Option<&'a RawValue>,
    /// The same as `idents`, before 2022.
    units: Option<&'a RawValue>,
    is_emergency: Option<&'a RawValue>,
    meta_data: Option<&'a RawValue>,
    code: Option<&'a RawValue>,
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
pub(super) enum Field {
    CallId,
    Priority,
    Status,
    Origin,
    Idents,
    Units,
    IsEmergency,
    MetaData,
    Code,
    #[serde(other)]
    Other,
}

impl<'a> Fields<'a> for CallFields<'a> {
    type Name = Field;

    fn place(&mut self, name: Field) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            Field::CallId => &mut self.call_id,
            Field::Priority => &mut self.priority,
            Field::Status => &mut self.status,
            Field::Origin => &mut self.origin,
            Field::Idents => &mut self.idents,
            Field::Units => &mut self.units,
            Field::IsEmergency => &mut self.is_emergency,
            Field::MetaData => &mut self.meta_data,
            Field::Code => &mut self.code,
            Field::Other => return None,
        })
    }
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
    fn empty() -> Self {
        Self::empty()
    }

    fn add_unreadable_list(&mut self) {
        self.add_unreadable(UnreadableField::Call);
    }

    fn add_item(&mut self, item: Option<&CallFields>, codes: &TextSet) {
        let Some(fields) = item else {
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
            code: code(fields.code, codes),
        });
    }
}

impl Calls for EmergencyCalls {
    fn empty() -> Self {
        Self::empty()
    }

    fn add_unreadable_list(&mut self) {
        self.add_unreadable();
    }

    /// A call of unknown kind counts as an emergency: one too many is better than a caller who is forgotten.
    fn add_item(&mut self, item: Option<&CallFields>, _: &TextSet) {
        let Some(fields) = item else {
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
    fn empty() -> Self {
        Self::empty()
    }

    fn add_unreadable_list(&mut self) {}

    fn add_item(&mut self, item: Option<&CallFields>, codes: &TextSet) {
        let Some(fields) = item else {
            return;
        };
        if let Some(id) = fields.call_id.and_then(id) {
            self.push_or_forget(DispatchCall {
                id,
                priority: fields.priority.and_then(priority).unwrap_or(Priority::Other),
                status: Status::Closed,
                origin: fields.origin.and_then(origin).unwrap_or(Origin::Other),
                made_from: fields.meta_data.and_then(made_from),
                code: code(fields.code, codes),
            });
        }
    }
}

struct AnswerVisitor<'a> {
    codes: &'a TextSet,
}

impl<'de> Visitor<'de> for AnswerVisitor<'_> {
    type Value = CallSnapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with lists of calls")
    }

    /// If a list comes twice, in either spelling, the last one counts; `null` is ignored.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CallSnapshot, A::Error> {
        let codes = self.codes;
        let mut snapshot = CallSnapshot::default();
        let mut has_list = false;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Active => has_list |= place(map.next_value_seed(Reading::seed(codes))?, &mut snapshot.active),
                Key::Emergency => {
                    has_list |= place(map.next_value_seed(Reading::seed(codes))?, &mut snapshot.emergency);
                }
                Key::Closed => {
                    let json = map.next_value::<Option<&RawValue>>()?.map(RawValue::get);
                    if json.is_some_and(|json| !json.starts_with(['[', '{'])) {
                        return Err(A::Error::custom("no list of closed calls"));
                    }
                    // No gauge needs them, so an odd item must not lose the rest of the answer.
                    let list = json.map_or(Ok(None), |json| Reading::seed(codes).read(json));
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
fn place<T: Calls>(list: Option<List<Reading<T>>>, place: &mut T) -> bool {
    match list {
        None => true,
        Some(List(Some(Reading { calls, .. }))) => {
            *place = calls;
            true
        }
        Some(List(None)) => {
            *place = T::default();
            place.add_unreadable_list();
            false
        }
    }
}

impl Collect for Units {
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        let Some(item) = <Option<&RawValue>>::deserialize(deserializer)? else {
            return Ok(());
        };
        self.is_any = true;
        match integer(item) {
            Some(id) if self.ids.len() < MAX_UNITS_PER_CALL => self.ids.push(id),
            Some(_) => {}
            None => self.is_any_unreadable = true,
        }
        Ok(())
    }
}

/// The units in a list; anything else cannot be read.
fn units(value: &RawValue) -> Option<Units> {
    let json = value.get();
    // Nearly all are short lists of plain numbers. One this short has no more units than are read.
    if json.len() <= MAX_UNITS_PER_CALL
        && let Ok(ids) = serde_json::from_str::<Vec<i64>>(json)
    {
        return Some(Units {
            is_any: !ids.is_empty(),
            is_any_unreadable: false,
            ids,
        });
    }
    let list = ListSeed(Units::default()).read(json).ok()?;
    list.and_then(|List(units)| units)
}

/// Which of the codes a call has: its whole `code`, or the part before the words of a 10-code (`10-39 - Traffic Stop`).
/// The text is compared and dropped.
fn code(value: Option<&RawValue>, codes: &TextSet) -> TextIndex {
    let find = |value: &RawValue| {
        let text = text(value);
        let short = text.split_once(" - ").map(|(short, _)| short);
        codes.find(&text).or_else(|| codes.find(short?))
    };
    let value = value.filter(|_| !codes.is_empty());
    value.and_then(find).unwrap_or_else(|| codes.other())
}

/// The id of the emergency call that a call was made from. A 0 may stand for none.
fn made_from(meta_data: &RawValue) -> Option<u64> {
    // A derived struct would accept an array as well. Finding the name is quicker than reading what lacks it.
    let json = Some(meta_data.get()).filter(|json| json.starts_with('{') && json.contains("createdFromId"))?;
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
    Some(if boolean(value)? {
        EmergencyKind::Emergency
    } else {
        EmergencyKind::Civil
    })
}

#[cfg(test)]
mod tests;
