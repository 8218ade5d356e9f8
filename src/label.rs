//! Labels whose values come from a closed set.
//!
//! Most are enums, so that a table with one entry per value (an [`EnumMap`](enum_map::EnumMap)) always has the right
//! size, and no index can be out of bounds. The values of the others are texts that the configuration lists: a
//! [`TextSet`], with [`TextCounts`] as its table.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The value of a label for everything that is not known.
pub const OTHER: &str = "other";

/// Declares an enum whose variants are all the values of one label.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, enum_map::Enum, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $label)] $variant,)*
        }

        impl $name {
            /// Every value, in the order of exposition.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The value as a label shows it.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

pub(crate) use label_values;

/// The texts that may become values of one label. All other texts count as [`OTHER`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextSet(Arc<[String]>);

/// A text of a [`TextSet`], or [`OTHER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextIndex(usize);

/// A number for each text of a [`TextSet`], and one for [`OTHER`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TextCounts {
    texts: TextSet,
    /// The last one is that of all other texts.
    counts: Vec<u64>,
}

impl TextSet {
    /// Whether nothing is listed, so that there is nothing to show.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The texts, in the order in which they are listed.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Looks a text up, without regard to case and to white space around it.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<TextIndex> {
        let text = folded(text);
        let index = self.0.iter().position(|listed| folded(listed) == text);
        index.map(TextIndex)
    }

    /// The index of all texts that are not listed.
    #[must_use]
    pub fn other(&self) -> TextIndex {
        TextIndex(self.0.len())
    }
}

impl FromIterator<String> for TextSet {
    /// A set of these texts.
    fn from_iter<I: IntoIterator<Item = String>>(texts: I) -> Self {
        Self(texts.into_iter().collect())
    }
}

impl TextCounts {
    /// A 0 for each text.
    #[must_use]
    pub fn new(texts: &TextSet) -> Self {
        Self {
            texts: texts.clone(),
            counts: vec![0; texts.0.len() + 1],
        }
    }

    /// The texts.
    #[must_use]
    pub fn texts(&self) -> &TextSet {
        &self.texts
    }

    /// Adds 1 to the number of a text, which belongs to the same set.
    pub fn add(&mut self, TextIndex(index): TextIndex) {
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
    }

    /// Whether both have a number for each of these texts.
    #[must_use]
    pub fn has_texts_of(&self, other: &Self) -> bool {
        self.texts == other.texts && self.counts.len() == other.counts.len()
    }

    /// Each text with its number, [`OTHER`] last; nothing if no text is listed.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let listed = self.texts.0.iter().map(String::as_str);
        let all = listed.chain([OTHER]).zip(self.counts.iter().copied());
        all.filter(|_| !self.texts.is_empty())
    }
}

fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_text_is_found_in_any_case_and_other_texts_are_counted_together() {
        let texts: TextSet = ["LSPD".to_owned(), "Sheriff's Office".to_owned()].into_iter().collect();
        let mut counts = TextCounts::new(&texts);
        for text in ["lspd", " LSPD\t", "sheriff's office", "LSPD2", "", "other"] {
            counts.add(texts.find(text).unwrap_or_else(|| texts.other()));
        }
        let expected = [("LSPD", 2), ("Sheriff's Office", 1), (OTHER, 3)];
        assert_eq!(counts.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn without_a_list_there_is_nothing_to_show() {
        let texts = TextSet::default();
        let mut counts = TextCounts::new(&texts);
        counts.add(texts.other());
        assert_eq!(counts.iter().count(), 0);
        assert_eq!(TextCounts::default().iter().count(), 0);
    }
}
