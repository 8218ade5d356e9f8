//! Two passes over an answer: a quick one, and a tolerant one if that fails.
//!
//! JSON allows values that `serde_json` cannot represent, such as `1e999` or half a surrogate pair, and `serde_json`
//! cannot go on after one. The quick pass reads everything where it is, so such a value fails it. The tolerant pass
//! finds the end of a value first, and then reads the value by itself, so that nothing else is lost. Both read the same
//! fields with the same code.

use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::Error;
use serde_json::value::RawValue;

use super::value::{boolean, integer};

/// How the values within an answer are read.
#[derive(Clone, Copy, Debug)]
pub enum Pass {
    /// Where they are.
    Quick,
    /// Each by itself, which takes longer.
    Tolerant,
}

/// Reads a value within an answer with another seed. What cannot be read is returned as sent.
pub(super) struct Within<S>(pub(super) Pass, pub(super) S);

/// Reads a text in this pass, or in the tolerant one if the quick one fails.
pub(super) fn read<'de, V: Visitor<'de>>(
    json: &'de str,
    first: Pass,
    visitor: impl Fn(Pass) -> V,
) -> Result<V::Value, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = deserializer.deserialize_any(visitor(first));
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    // It may have a byte for each level of nesting, which is most of the answer's size.
    drop(deserializer);
    match first {
        Pass::Quick => value.or_else(|_| read(json, Pass::Tolerant, visitor)),
        Pass::Tolerant => value,
    }
}

/// Reads a text that is one value.
pub(super) fn read_text<'de, S: DeserializeSeed<'de>>(json: &'de str, seed: S) -> Result<S::Value, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let value = seed.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<S> {
    type Value = Result<S::Value, &'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let Self(pass, seed) = self;
        match pass {
            Pass::Quick => seed.deserialize(deserializer).map(Ok),
            Pass::Tolerant => {
                let json = <&RawValue>::deserialize(deserializer)?;
                Ok(read_text(json.get(), seed).map_err(|_| json))
            }
        }
    }
}

impl Pass {
    /// Reads the next value of a map. What cannot be read is returned as sent.
    pub(super) fn next<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
        self,
        map: &mut A,
    ) -> Result<Result<T, &'de RawValue>, A::Error> {
        map.next_value_seed(Within(self, PhantomData))
    }

    /// Reads a whole number.
    pub(super) fn integer<'de, A: MapAccess<'de>>(self, map: &mut A) -> Result<Option<i64>, A::Error> {
        Ok(self.next(map)?.unwrap_or_else(integer))
    }

    /// Reads what is true or false.
    pub(super) fn boolean<'de, A: MapAccess<'de>>(self, map: &mut A) -> Result<Option<bool>, A::Error> {
        Ok(self.next(map)?.unwrap_or_else(boolean))
    }
}
