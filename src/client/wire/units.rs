//! The list of units, v1 and v2 alike, read into a [`UnitSnapshot`].
//!
//! It is an array. An object around it, with the array as its `units`, is accepted as well. Tolerant inside: a value that
//! cannot be read becomes "other", and a row that is not an object is skipped. Strict outside: an answer without such a list
//! says nothing about units and is refused.
//!
//! Nothing personal is read: of the fields that are not named here (names, accounts, places) not even a copy is made.

use std::fmt;

use serde::de::{DeserializeSeed as _, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::list::{Collect, ItemSeed, Key, List, ListSeed, is_index};
use super::object::{Fields, FieldsSeed, next_object};
use super::pass::{self, Pass};
use super::value::{id, json_text, text};
use crate::label::TextSet;
use crate::snapshot::{Discipline, Unit, UnitSnapshot, UnitStatus};

/// The status of a unit that is not on duty.
const OFFLINE: i64 = 100;

/// The page of dispatchers.
const DISPATCH_PAGE: i64 = 3;

/// Reads an answer's body, beginning with this pass.
pub(in crate::client) fn decode_units(
    body: &[u8],
    first: Pass,
    departments: &TextSet,
) -> Result<UnitSnapshot, serde_json::Error> {
    pass::read(&json_text(body), first, |pass| AnswerVisitor { departments, pass })
}

/// The list as it is read.
impl Collect for UnitSnapshot {
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D, pass: Pass) -> Result<(), D::Error> {
        let mut row = Row::default();
        let is_object = FieldsSeed(&mut row, pass).deserialize(deserializer)?;
        let unit = is_object.then(|| row.unit(self.departments()));
        self.add(unit.flatten());
        Ok(())
    }
}

/// The fields of a row that are read.
#[derive(Default)]
struct Row<'a> {
    id: Option<u64>,
    status: Option<i64>,
    is_panic: bool,
    is_dispatch: bool,
    data: Data<'a>,
}

impl<'de> Fields<'de> for Row<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A, pass: Pass) -> Result<(), A::Error> {
        match name {
            "id" => self.id = pass.integer(map)?.and_then(id),
            "status" => self.status = pass.integer(map)?,
            "isPanic" => self.is_panic = pass.boolean(map)?.unwrap_or_default(),
            "isDispatch" => self.is_dispatch = pass.boolean(map)?.unwrap_or_default(),
            "data" => self.data = next_object(map, pass)?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

/// The part of a unit's `data` that is read.
#[derive(Default)]
struct Data<'a> {
    page: Option<i64>,
    department: Option<&'a RawValue>,
}

impl<'de> Fields<'de> for Data<'de> {
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A, pass: Pass) -> Result<(), A::Error> {
        match name {
            "page" => self.page = pass.integer(map)?,
            "department" => self.department = map.next_value()?,
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

impl Row<'_> {
    /// The unit; `None` if it is not on duty.
    fn unit(&self, departments: &TextSet) -> Option<Unit> {
        if self.status == Some(OFFLINE) {
            return None;
        }
        let page = self.data.page;
        let is_dispatcher = self.is_dispatch || page == Some(DISPATCH_PAGE);
        let department = self.data.department.filter(|_| !departments.is_empty());
        Some(Unit {
            id: self.id,
            discipline: (!is_dispatcher).then_some(discipline(page)),
            status: unit_status(self.status),
            is_in_panic: self.is_panic,
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
    pass: Pass,
}

impl<'de> Visitor<'de> for AnswerVisitor<'_> {
    type Value = UnitSnapshot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of units")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<UnitSnapshot, A::Error> {
        let mut rows = UnitSnapshot::empty(self.departments);
        while items.next_element_seed(ItemSeed(&mut rows, self.pass))?.is_some() {}
        Ok(rows)
    }

    /// An object whose keys are the indices of a list is one; otherwise, the list is one of its values.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<UnitSnapshot, A::Error> {
        let mut rows = UnitSnapshot::empty(self.departments);
        let mut is_list = true;
        let mut wrapped = None;
        while let Some(Key(key)) = entries.next_key()? {
            if matches!(&*key, "units" | "Units") {
                let list = entries.next_value_seed(ListSeed(UnitSnapshot::empty(self.departments), self.pass))?;
                wrapped = list.and_then(|List(list)| list).or(wrapped);
                is_list = false;
            } else if is_list && is_index(&key) {
                entries.next_value_seed(ItemSeed(&mut rows, self.pass))?;
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
