//! The list of units, v1 and v2 alike, read into a [`UnitSnapshot`] in one pass.
//!
//! It is an array. An object around it, with the array as its `units`, is accepted as well. Tolerant inside: a value that
//! cannot be read becomes "other", and a row that is not an object is skipped. Strict outside: an answer without such a list
//! says nothing about units and is refused.
//!
//! Nothing personal is read: of the fields that are not named here (names, accounts, places) not even a copy is made.

use std::fmt;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::item::{self, Fields, Objects};
use super::list::{Collect, ItemSeed, Key, List, ListSeed, is_index};
use super::value::{boolean, id, integer, json_text, text};
use crate::label::TextSet;
use crate::snapshot::{Discipline, Unit, UnitSnapshot, UnitStatus};

/// The status of a unit that is not on duty.
const OFFLINE: i64 = 100;

/// The page of dispatchers.
const DISPATCH_PAGE: i64 = 3;

/// Reads an answer's body.
pub(in crate::client) fn decode_units(body: &[u8], departments: &TextSet) -> Result<UnitSnapshot, serde_json::Error> {
    let json = json_text(body);
    let mut deserializer = serde_json::Deserializer::from_str(&json);
    let snapshot = deserializer.deserialize_any(AnswerVisitor { departments })?;
    deserializer.end()?;
    Ok(snapshot)
}

/// The list as it is read.
impl Collect for UnitSnapshot {
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D) -> Result<(), D::Error> {
        item::read(self, deserializer)
    }
}

impl Objects for UnitSnapshot {
    type Fields<'de> = Row<'de>;

    fn add(&mut self, item: Option<&Row>) {
        let unit = item.and_then(|row| row.unit(self.departments()));
        Self::add(self, unit);
    }
}

/// The fields of a row that are read.
#[derive(Default)]
pub(super) struct Row<'a> {
    id: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    is_panic: Option<&'a RawValue>,
    is_dispatch: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
pub(super) enum Field {
    Id,
    Status,
    IsPanic,
    IsDispatch,
    Data,
    #[serde(other)]
    Other,
}

impl<'a> Fields<'a> for Row<'a> {
    type Name = Field;

    fn place(&mut self, name: Field) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            Field::Id => &mut self.id,
            Field::Status => &mut self.status,
            Field::IsPanic => &mut self.is_panic,
            Field::IsDispatch => &mut self.is_dispatch,
            Field::Data => &mut self.data,
            Field::Other => return None,
        })
    }
}

/// The part of a unit's `data` that is read.
#[derive(Default, serde::Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    page: Option<&'a RawValue>,
    #[serde(borrow)]
    department: Option<&'a RawValue>,
}

impl Row<'_> {
    /// The unit; `None` if it is not on duty.
    fn unit(&self, departments: &TextSet) -> Option<Unit> {
        let status = self.status.and_then(integer);
        if status == Some(OFFLINE) {
            return None;
        }
        // A derived struct would accept an array as well.
        let data = self.data.map(RawValue::get).filter(|json| json.starts_with('{'));
        let data: Data = data
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let page = data.page.and_then(integer);
        let is_set = |value: Option<&RawValue>| value.and_then(boolean).unwrap_or_default();
        let is_dispatcher = is_set(self.is_dispatch) || page == Some(DISPATCH_PAGE);
        let department = data.department.filter(|_| !departments.is_empty());
        Some(Unit {
            id: self.id.and_then(id),
            discipline: (!is_dispatcher).then_some(discipline(page)),
            status: unit_status(status),
            is_in_panic: is_set(self.is_panic),
            department: department
                .and_then(|department| departments.find(&text(department)))
                .unwrap_or_else(|| departments.other()),
        })
    }
}

fn discipline(page: Option<i64>) -> Discipline {
    match page {
        Some(0) => Discipline::Police,
        Some(1) => Discipline::Fire,
        Some(2) => Discipline::Ems,
        _ => Discipline::Other,
    }
}

fn unit_status(status: Option<i64>) -> UnitStatus {
    match status {
        Some(0) => UnitStatus::Unavailable,
        Some(1) => UnitStatus::Busy,
        Some(2) => UnitStatus::Available,
        Some(3) => UnitStatus::EnRoute,
        Some(4) => UnitStatus::OnScene,
        _ => UnitStatus::Other,
    }
}

struct AnswerVisitor<'a> {
    departments: &'a TextSet,
}

impl<'de> Visitor<'de> for AnswerVisitor<'_> {
    type Value = UnitSnapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of units")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<UnitSnapshot, A::Error> {
        let mut snapshot = UnitSnapshot::empty(self.departments);
        while rows.next_element_seed(ItemSeed(&mut snapshot))?.is_some() {}
        Ok(snapshot)
    }

    /// An object whose keys are the indices of a list is one; otherwise, the list is one of its values.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<UnitSnapshot, A::Error> {
        let mut rows = UnitSnapshot::empty(self.departments);
        let mut is_list = true;
        let mut wrapped = None;
        while let Some(Key(key)) = entries.next_key()? {
            if matches!(&*key, "units" | "Units") {
                let list = entries.next_value_seed(ListSeed(UnitSnapshot::empty(self.departments)))?;
                wrapped = list.and_then(|List(list)| list).or(wrapped);
                is_list = false;
            } else if is_list && is_index(&key) {
                entries.next_value_seed(ItemSeed(&mut rows))?;
            } else {
                entries.next_value::<IgnoredAny>()?;
                is_list = false;
            }
        }
        wrapped
            .or_else(|| is_list.then_some(rows))
            .ok_or_else(|| A::Error::custom("no list of units"))
    }
}
