//! Lists, also as languages send them that have one type for lists and objects.
//!
//! Lua and PHP encode an empty list as `{}`, and one with gaps as an object whose keys are the indices. An object with any
//! other key is no list: it is unreadable by itself, and does not fail what surrounds it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A list that grows item by item.
pub(super) trait Collect {
    type Item<'de>: Deserialize<'de>;

    /// An empty list.
    fn empty() -> Self;

    fn add_item(&mut self, item: Self::Item<'_>);
}

/// A list as far as it can be read; `None` if it is an object that is no list.
pub(super) struct List<T>(pub(super) Option<T>);

impl<'de, T: Collect> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData)).map(Self)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Collect> Visitor<'de> for ListVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<T>, A::Error> {
        let mut list = T::empty();
        while let Some(item) = items.next_element()? {
            list.add_item(item);
        }
        Ok(Some(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Option<T>, A::Error> {
        let mut list = Some(T::empty());
        while let Some(Key(key)) = entries.next_key()? {
            let is_index = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
            if let Some(list) = list.as_mut().filter(|_| is_index) {
                list.add_item(entries.next_value()?);
            } else {
                entries.next_value::<IgnoredAny>()?;
                list = None;
            }
        }
        Ok(list)
    }
}

/// Borrowed where it has no escapes.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
