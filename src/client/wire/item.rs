//! Items of lists, of which a few fields are read.
//!
//! The visitor is written by hand because a derived struct refuses duplicate keys, fails a whole list for one odd item, and
//! accepts an array in the place of an object.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an item that are read; `null` is the same as a missing field.
pub(super) trait Fields<'a>: Default {
    /// The names of the fields, and one for all others.
    type Name: Deserialize<'a>;

    /// The place of this field; `None` for one that is not read.
    fn place(&mut self, name: Self::Name) -> Option<&mut Option<&'a RawValue>>;
}

/// An item of a list.
pub(super) enum Item<F> {
    Object(F),
    /// Anything else.
    Odd,
}

impl<'de, F: Fields<'de>> Deserialize<'de> for Item<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor(PhantomData))
    }
}

struct ItemVisitor<F>(PhantomData<F>);

impl<'de, F: Fields<'de>> Visitor<'de> for ItemVisitor<F> {
    type Value = Item<F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    /// If a field comes twice, the last one counts.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<F>, A::Error> {
        let mut fields = F::default();
        while let Some(name) = map.next_key()? {
            match fields.place(name) {
                Some(place) => *place = map.next_value()?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Item::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item<F>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item::Odd)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Item<F>, E> {
        Ok(Item::Odd)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Item<F>, E> {
        Ok(Item::Odd)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Item<F>, E> {
        Ok(Item::Odd)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Item<F>, E> {
        Ok(Item::Odd)
    }

    fn visit_str<E>(self, _: &str) -> Result<Item<F>, E> {
        Ok(Item::Odd)
    }

    fn visit_unit<E>(self) -> Result<Item<F>, E> {
        Ok(Item::Odd)
    }
}
