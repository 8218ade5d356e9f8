//! YAML files: their entries with line numbers, and error messages that quote nothing of the file.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_saphyr::{Error, Spanned};

use crate::spelling::most_alike;

/// Minimum similarity (0 to 1) at which a name counts as a typo of a known one.
const MIN_SIMILARITY: f64 = 0.5;

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

/// Says what is wrong with a file, and in which line.
///
/// It quotes nothing of the file: a misplaced secret can be anywhere, even where the name of a setting belongs.
#[must_use]
pub fn describe(error: &Error) -> String {
    let reason = match error {
        // A snippet would show lines of the file.
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => return describe(error),
        Error::SerdeUnknownField { field, expected, .. } => match nearest(field, expected) {
            Some(name) => format!("has a setting that does not exist; the nearest one is {name}"),
            None => format!("has a setting that does not exist; these do: {}", expected.join(", ")),
        },
        Error::DuplicateMappingKey { .. } => "has a key that is given twice".to_owned(),
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
        | Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => return error.to_string(),
        _ => "cannot be understood".to_owned(),
    };
    match error.location() {
        Some(location) => format!("line {}: {reason}", location.line()),
        None => reason,
    }
}

/// The name that `text` is most likely a typo of, if it is similar enough to any.
fn nearest<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    let (similarity, name) = most_alike(text, names.iter().map(|name| (*name, *name)))?;
    (similarity > MIN_SIMILARITY).then_some(name)
}
