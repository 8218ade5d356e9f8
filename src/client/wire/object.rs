//! Objects of which a few fields are read.
//!
//! The visitor is written by hand because a derived struct refuses duplicate keys, fails a whole list for one odd item, and
//! accepts an array in the place of an object.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::list::Key;
use super::pass::{Pass, Within};

/// The fields of an object that are read; `null` is the same as a missing field.
pub(super) trait Fields<'de>: Default {
    /// Reads the value of the field with this name, or ignores it. If a field comes twice, the last one counts.
    fn read<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A, pass: Pass) -> Result<(), A::Error>;
}

/// Fills the fields of an object. Returns whether it is one.
pub(super) struct FieldsSeed<'a, T>(pub(super) &'a mut T, pub(super) Pass);

/// Reads the next value of a map: an object within an object. Anything else has no fields.
pub(super) fn next_object<'de, T: Fields<'de>, A: MapAccess<'de>>(map: &mut A, pass: Pass) -> Result<T, A::Error> {
    let mut fields = T::default();
    let is_read = map
        .next_value_seed(Within(pass, FieldsSeed(&mut fields, pass)))?
        .is_ok();
    Ok(if is_read { fields } else { T::default() })
}

impl<'de, T: Fields<'de>> DeserializeSeed<'de> for FieldsSeed<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Fields<'de>> Visitor<'de> for FieldsSeed<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let Self(fields, pass) = self;
        while let Some(Key(name)) = map.next_key()? {
            fields.read(&name, &mut map, pass)?;
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}
