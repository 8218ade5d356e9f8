//! The lists of calls, v1 and v2 alike, read into a [`CallSnapshot`].
//!
//! Tolerant inside the lists: a value that cannot be read becomes "other", an item that is not an object is skipped,
//! and both are counted. So is an object in a list's place that is no list; the list is unknown then, as if it were
//! missing. Strict outside: an answer without any list of calls, or with anything else in a list's place, says nothing
//! about calls and is refused. So is one that JSON's grammar allows but `serde_json` cannot represent (a key that is
//! half a surrogate pair, or such an item, or an item `1e999`), except among the closed calls, which are unknown then.
//! Fields that are not named here, all personal ones among them, are skipped without being built.
//!
//! The visitors are written by hand because derived structs refuse duplicate keys, fail a whole list for one odd
//! item, and accept arrays in the place of objects.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed as _, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::list::{Collect, Key, List, ListSeed};
use super::object::{Fields, FieldsSeed};
use super::pass::{self, Pass, Within};
use super::value::{id, integer, json_text, text};
use crate::label::{TextIndex, TextSet};
use crate::snapshot::{
    ActiveCalls, Call, CallSnapshot, DispatchCall, EmergencyCalls, EmergencyKind, IdentifiedCalls, Origin, Priority,
    Status, UnreadableField,
};

/// Units of one call beyond this number are ignored, so that no answer can fill the memory.
const MAX_UNITS_PER_CALL: usize = 1000;

/// Reads an answer's body, beginning with this pass.
pub(in crate::client) fn decode_calls(
    body: &[u8],
    first: Pass,
    codes: &TextSet,
) -> Result<CallSnapshot, serde_json::Error> {
    pass::read(&json_text(body), first, |pass| AnswerVisitor { codes, pass })
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
    fn add_item(&mut self, item: Option<&mut CallFields>, codes: &TextSet);
}

impl<T: Calls> Collect for Reading<'_, T> {
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D, pass: Pass) -> Result<(), D::Error> {
        let mut fields = CallFields::default();
        let is_object = FieldsSeed(&mut fields, pass).deserialize(deserializer)?;
        self.calls.add_item(is_object.then_some(&mut fields), self.codes);
        Ok(())
    }
}

/// The fields of a call of either kind that are read.
#[derive(Default)]
struct CallFields<'a> {
    id: Option<u64>,
    priority: Option<Priority>,
    status: Option<Status>,
    origin: Option<Origin>,
    idents: Option<Units>,
    /// The same as `idents`, before 2022.
    units: Option<Units>,
    kind: Option<EmergencyKind>,
    meta_data: Option<&'a RawValue>,
    code: Option<&'a RawValue>,
}

impl<'de> Fields<'de> for CallFields<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A, pass: Pass) -> Result<(), A::Error> {
        match name {
            "callId" => self.id = pass.integer(map)?.and_then(id),
            "priority" => {
                let number = pass.next::<Option<i64>, A>(map)?;
                self.priority = number.map_or_else(odd_priority, |number| number.and_then(priority));
            }
            "status" => self.status = pass.integer(map)?.and_then(status),
            "origin" => self.origin = pass.integer(map)?.and_then(origin),
            "idents" => self.idents = Units::next(map, pass)?,
            "units" => self.units = Units::next(map, pass)?,
            "isEmergency" => self.kind = pass.boolean(map)?.map(emergency_kind),
            "metaData" => self.meta_data = map.next_value()?,
            "code" => self.code = map.next_value()?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

/// The part of a call's `metaData` that is read.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetaData<'a> {
    #[serde(borrow)]
    created_from_id: Option<&'a RawValue>,
}

/// The units that are attached to a call.
#[derive(Default)]
struct Units {
    /// Whether there is any, readable or not.
    is_any: bool,
    is_any_unreadable: bool,
    /// Whether they are not even a list.
    is_no_list: bool,
    ids: Vec<i64>,
}

impl Calls for ActiveCalls {
    fn empty() -> Self {
        Self::empty()
    }

    fn add_unreadable_list(&mut self) {
        self.add_unreadable(UnreadableField::Call);
    }

    fn add_item(&mut self, item: Option<&mut CallFields>, codes: &TextSet) {
        let Some(fields) = item else {
            self.add_unreadable(UnreadableField::Call);
            return;
        };
        for (is_unreadable, what) in [
            (fields.priority.is_none(), UnreadableField::Priority),
            (fields.status.is_none(), UnreadableField::Status),
            (fields.origin.is_none(), UnreadableField::Origin),
        ] {
            if is_unreadable {
                self.add_unreadable(what);
            }
        }
        // Without the field, no unit is attached.
        let units = fields.idents.take().or_else(|| fields.units.take()).unwrap_or_default();
        if units.is_any_unreadable || units.is_no_list {
            self.add_unreadable(UnreadableField::Units);
        }
        self.add(&Call {
            id: fields.id,
            priority: fields.priority.unwrap_or(Priority::Other),
            status: fields.status.unwrap_or(Status::Other),
            origin: fields.origin.unwrap_or(Origin::Other),
            assigned: (!units.is_no_list).then_some(units.is_any),
            units: units.ids,
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
    fn add_item(&mut self, item: Option<&mut CallFields>, _: &TextSet) {
        let Some(fields) = item else {
            self.add_unreadable();
            return;
        };
        if fields.kind.is_none() {
            self.add_unreadable();
        }
        self.add(fields.id, fields.kind.unwrap_or(EmergencyKind::Emergency));
    }
}

/// Closed calls are only followed, never shown, so odd values in them are not counted.
impl Calls for IdentifiedCalls<DispatchCall> {
    fn empty() -> Self {
        Self::empty()
    }

    fn add_unreadable_list(&mut self) {}

    fn add_item(&mut self, item: Option<&mut CallFields>, codes: &TextSet) {
        let Some(fields) = item else {
            return;
        };
        if let Some(id) = fields.id {
            self.push_or_forget(DispatchCall {
                id,
                priority: fields.priority.unwrap_or(Priority::Other),
                status: Status::Closed,
                origin: fields.origin.unwrap_or(Origin::Other),
                made_from: fields.meta_data.and_then(made_from),
                code: code(fields.code, codes),
            });
        }
    }
}

struct AnswerVisitor<'a> {
    codes: &'a TextSet,
    pass: Pass,
}

impl<'a> AnswerVisitor<'a> {
    fn list<T: Calls>(&self) -> ListSeed<Reading<'a, T>> {
        let reading = Reading {
            calls: T::empty(),
            codes: self.codes,
        };
        ListSeed(reading, self.pass)
    }
}

impl<'de> Visitor<'de> for AnswerVisitor<'_> {
    type Value = CallSnapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with lists of calls")
    }

    /// If a list comes twice, in either spelling, the last one counts; `null` is ignored.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CallSnapshot, A::Error> {
        let mut snapshot = CallSnapshot::default();
        let mut has_list = false;
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "activeCalls" | "ActiveCalls" => {
                    has_list |= place(map.next_value_seed(self.list())?, &mut snapshot.active);
                }
                "emergencyCalls" | "EmergencyCalls" => {
                    has_list |= place(map.next_value_seed(self.list())?, &mut snapshot.emergency);
                }
                "closedCalls" | "ClosedCalls" => match map.next_value_seed(Within(self.pass, self.list()))? {
                    Ok(list) => has_list |= place(list, &mut snapshot.closed),
                    // No gauge needs them, so an odd item must not lose the rest of the answer.
                    Err(json) if json.get().starts_with(['[', '{']) => has_list = true,
                    Err(_) => return Err(A::Error::custom("no list of closed calls")),
                },
                "closedCallCount" | "ClosedCallCount" => {
                    snapshot.closed_stored = self.pass.integer(&mut map)?.and_then(id);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
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
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D, pass: Pass) -> Result<(), D::Error> {
        let item = Within(pass, PhantomData::<Option<i64>>).deserialize(deserializer)?;
        // A `null` is no unit.
        let Some(id) = item.map_or_else(|json| Some(integer(json)), |id| id.map(Some)) else {
            return Ok(());
        };
        self.is_any = true;
        match id {
            Some(id) if self.ids.len() < MAX_UNITS_PER_CALL => self.ids.push(id),
            Some(_) => {}
            None => self.is_any_unreadable = true,
        }
        Ok(())
    }
}

impl Units {
    /// Reads the next value of a map, which is a list unless it cannot be read.
    fn next<'de, A: MapAccess<'de>>(map: &mut A, pass: Pass) -> Result<Option<Self>, A::Error> {
        let list = map.next_value_seed(Within(pass, ListSeed(Self::default(), pass)))?;
        Ok(match list {
            Ok(None) => None,
            Ok(Some(List(Some(units)))) => Some(units),
            Ok(Some(List(None))) | Err(_) => Some(Self {
                is_no_list: true,
                ..Self::default()
            }),
        })
    }
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
    created_from_id.and_then(integer).and_then(id).filter(|id| *id > 0)
}

fn priority(number: i64) -> Option<Priority> {
    match number {
        1 => Some(Priority::One),
        2 => Some(Priority::Two),
        3 => Some(Priority::Three),
        _ => None,
    }
}

/// A priority that is no plain number. A custom layout's priorities are texts.
fn odd_priority(value: &RawValue) -> Option<Priority> {
    let is_text = value.get().starts_with('"');
    let number = integer(value).and_then(priority);
    number.or_else(|| is_text.then_some(Priority::Other))
}

fn status(number: i64) -> Option<Status> {
    match number {
        0 => Some(Status::Pending),
        1 => Some(Status::Active),
        2 => Some(Status::Closed),
        _ => None,
    }
}

fn origin(number: i64) -> Option<Origin> {
    match number {
        0 => Some(Origin::Caller),
        1 => Some(Origin::RadioDispatch),
        2 => Some(Origin::Observed),
        3 => Some(Origin::WalkUp),
        _ => None,
    }
}

fn emergency_kind(is_emergency: bool) -> EmergencyKind {
    if is_emergency {
        EmergencyKind::Emergency
    } else {
        EmergencyKind::Civil
    }
}

#[cfg(test)]
mod tests;
