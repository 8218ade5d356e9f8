//! YAML files: their entries with line numbers, and error messages that quote nothing of the file.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Spanned};
use zeroize::Zeroizing;

use crate::spelling::nearest;

/// The most values of one file of any shape, those of aliases included. Ten thousand communities with every setting have
/// half of that. As many as this take up to 170 MB while they are read.
const MAX_NODES: usize = 1_000_000;

/// Every entry of a mapping, in order and duplicates included, with the line of its key.
///
/// It has no `Debug`: it may contain secrets.
pub struct Entries<T>(
    /// Keys and values.
    pub Vec<(Spanned<String>, T)>,
);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

/// A part of a file as it is written: every scalar is a text, so that `007` stays `007`.
///
/// It has no `Debug`: it may contain secrets.
pub enum Node {
    /// A scalar; `None` for null, or for nothing.
    Text(Option<String>),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order and duplicates included.
    Mapping(Vec<(Key, Node)>),
}

/// The key of an entry.
pub struct Key {
    /// `None` for null, a sequence or a mapping.
    pub text: Option<String>,
    /// Its line, from 1.
    pub line: u64,
}

/// Reads a file of any shape.
///
/// # Errors
///
/// It is not YAML, or has more than one document. [`describe`] says it in words.
pub fn parse(text: &str) -> Result<Node, Error> {
    let options = || {
        serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::LastWins,
            non_finite_float_policy: NonFiniteFloatPolicy::AsString,
            budget: serde_saphyr::budget! {
                max_nodes: MAX_NODES,
                // A list or a mapping has an end too.
                max_events: 2 * MAX_NODES,
                // One list that thousands of communities share by aliases is no attack.
                enforce_alias_anchor_ratio: false,
            },
        }
    };
    // Only a reader that knows the shape gets scalars as they are written, so it is read first.
    let shape: Option<Shape> = serde_saphyr::from_str_with_options(text, options())?;
    let shape = shape.unwrap_or(Shape::Scalar);
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |deserializer| {
        shape.deserialize(deserializer)
    })
}

/// What a [`Node`] will be.
enum Shape {
    Scalar,
    List(Vec<Shape>),
    /// Keys and values.
    Mapping(Vec<(Shape, Shape)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_string<E>(self, text: String) -> Result<Shape, E> {
        let _wiped = Zeroizing::new(text);
        Ok(Shape::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Mapping(entries))
    }
}

impl<'de> DeserializeSeed<'de> for &Shape {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self {
            Shape::Scalar => Option::deserialize(deserializer).map(Node::Text),
            Shape::List(items) => deserializer.deserialize_seq(ListVisitor(items)),
            Shape::Mapping(entries) => deserializer.deserialize_map(MappingVisitor(entries)),
        }
    }
}

struct ListVisitor<'a>(&'a [Shape]);

impl<'de> Visitor<'de> for ListVisitor<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        for shape in self.0 {
            items.extend(list.next_element_seed(shape)?);
        }
        // The end has to be read too.
        list.next_element::<IgnoredAny>()?;
        Ok(Node::List(items))
    }
}

struct MappingVisitor<'a>(&'a [(Shape, Shape)]);

impl<'de> Visitor<'de> for MappingVisitor<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        for (key, value) in self.0 {
            let key = if matches!(key, Shape::Scalar) {
                map.next_key::<Spanned<Option<String>>>()?
            } else {
                map.next_key::<Spanned<IgnoredAny>>()?.map(|key| Spanned {
                    value: None,
                    referenced: key.referenced,
                    defined: key.defined,
                })
            };
            let Some(key) = key else {
                return Err(A::Error::custom("a mapping has another length than before"));
            };
            let line = key.referenced.line();
            entries.push((Key { text: key.value, line }, map.next_value_seed(value)?));
        }
        map.next_key::<IgnoredAny>()?;
        Ok(Node::Mapping(entries))
    }
}

/// Says what is wrong with a file, and in which line.
///
/// It quotes nothing of the file: a misplaced secret can be anywhere, even where the name of a setting belongs.
#[must_use]
pub fn describe(error: &Error) -> String {
    let reason = match error {
        // A snippet would show lines of the file.
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => return describe(error),
        Error::SerdeUnknownField { field, expected, .. } => {
            match nearest(field, expected.iter().map(|name| (*name, *name))) {
                Some(name) => format!("has a setting that does not exist; the nearest one is {name}"),
                None => format!("has a setting that does not exist; these do: {}", expected.join(", ")),
            }
        }
        Error::DuplicateMappingKey { .. } => "has a duplicate key".to_owned(),
        Error::Budget { .. } | Error::AliasReplayLimitExceeded { .. } => {
            "has too many values, or is nested too deep".to_owned()
        }
        Error::MultipleDocuments { .. } => "begins a second document; there must be one".to_owned(),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            format!("must be {expected}")
        }
        // These messages contain only the library's own words.
        Error::ExternalMessage { .. }
        | Error::Eof { .. }
        | Error::Unexpected { .. }
        | Error::InvalidScalar { .. }
        | Error::NullIntoString { .. }
        | Error::UnknownAnchor { .. }
        | Error::MergeValueNotMapOrSeqOfMaps { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => return error.to_string(),
        _ => "cannot be understood".to_owned(),
    };
    match error.location() {
        Some(location) => format!("line {}: {reason}", location.line()),
        None => reason,
    }
}
