//! Lists, also as languages send them that have one type for lists and objects.
//!
//! Lua and PHP encode an empty list as `{}`, and one with gaps as an object whose keys are the indices. An object with any
//! other key is no list: it is unreadable by itself, and does not fail what surrounds it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::pass::Pass;

/// A list that grows item by item.
pub(super) trait Collect {
    /// Reads one item and adds it. No item is returned, because moving it out of the parser would take longer than reading
    /// some of its fields.
    fn read_item<'de, D: Deserializer<'de>>(&mut self, deserializer: D, pass: Pass) -> Result<(), D::Error>;
}

/// A list as far as it can be read; `None` if it is an object that is no list.
pub(super) struct List<T>(pub(super) Option<T>);

/// Fills a list that is empty at first. A `null` is no list, and no error.
pub(super) struct ListSeed<T>(pub(super) T, pub(super) Pass);

impl<'de, T: Collect> DeserializeSeed<'de> for ListSeed<T> {
    type Value = Option<List<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Reads an item of a list.
pub(super) struct ItemSeed<'a, T>(pub(super) &'a mut T, pub(super) Pass);

impl<'de, T: Collect> DeserializeSeed<'de> for ItemSeed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.read_item(deserializer, self.1)
    }
}

impl<'de, T: Collect> Visitor<'de> for ListSeed<T> {
    type Value = Option<List<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Self(mut list, pass) = self;
        while items.next_element_seed(ItemSeed(&mut list, pass))?.is_some() {}
        Ok(Some(List(Some(list))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let Self(list, pass) = self;
        let mut list = Some(list);
        while let Some(Key(key)) = entries.next_key()? {
            if let Some(list) = list.as_mut().filter(|_| is_index(&key)) {
                entries.next_value_seed(ItemSeed(list, pass))?;
            } else {
                entries.next_value::<IgnoredAny>()?;
                list = None;
            }
        }
        Ok(Some(List(list)))
    }
}

/// Whether this key makes its object a list.
pub(super) fn is_index(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit())
}

/// Borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
pub(super) struct Key<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);
