//! Items of lists, of which a few fields are read.
//!
//! The visitor is written by hand because a derived struct refuses duplicate keys, fails a whole list for one odd item, and
//! accepts an array in the place of an object.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an item that are read; `null` is the same as a missing field.
pub(super) trait Fields<'a>: Default {
    /// The names of the fields, and one for all others.
    type Name: Deserialize<'a>;

    /// The place of this field; `None` for one that is not read.
    fn place(&mut self, name: Self::Name) -> Option<&mut Option<&'a RawValue>>;
}

/// A list of objects.
pub(super) trait Objects {
    /// What is read of an object.
    type Fields<'de>: Fields<'de>;

    /// Adds an item; `None` stands for anything but an object.
    fn add(&mut self, item: Option<&Self::Fields<'_>>);
}

/// Reads an item and adds it.
pub(super) fn read<'de, T: Objects, D: Deserializer<'de>>(list: &mut T, deserializer: D) -> Result<(), D::Error> {
    deserializer.deserialize_any(ItemVisitor(list))
}

struct ItemVisitor<'a, T>(&'a mut T);

impl<'de, T: Objects> Visitor<'de> for ItemVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// If a field comes twice, the last one counts.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut fields = T::Fields::default();
        while let Some(name) = map.next_key()? {
            match fields.place(name) {
                Some(place) => *place = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.0.add(Some(&fields));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        self.0.add(None);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.0.add(None);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.add(None);
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.add(None);
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.add(None);
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.0.add(None);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.add(None);
        Ok(())
    }
}
