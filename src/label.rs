//! Labels whose values come from a closed set.
//!
//! Each is an enum, so that a table with one entry per value (an [`EnumMap`](enum_map::EnumMap)) always has the right
//! size, and no index can be out of bounds.

/// Declares an enum whose variants are all the values of one label.
macro_rules! label_values {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, enum_map::Enum)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
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
