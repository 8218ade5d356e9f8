//! The calls of one list that can be told apart.

/// Beyond so many calls a list is not followed. Much is kept of each that is, across answers and for every
/// server, so that an API with new ids each time could fill the memory. A CAD has tens of calls.
const MOST_CALLS: usize = 2_000;

/// The calls of one list that have an id, in the order of the answer; or unknown, where the answer
/// lacks the list or it is too long to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sightings<T>(Option<Vec<T>>);

impl<T> Sightings<T> {
    /// A list without calls.
    #[must_use]
    pub fn listed() -> Self {
        Self(Some(Vec::new()))
    }

    /// The calls, which can share an id; `None`: unknown.
    #[must_use]
    pub fn calls(&self) -> Option<&[T]> {
        self.0.as_deref()
    }
}

impl<T> Default for Sightings<T> {
    /// Unknown.
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Extend<T> for Sightings<T> {
    /// Adds calls to the list; nothing to an unknown one.
    fn extend<I: IntoIterator<Item = T>>(&mut self, calls: I) {
        let Some(list) = &mut self.0 else {
            return;
        };
        list.extend(calls);
        if list.len() > MOST_CALLS {
            self.0 = None;
        }
    }
}

impl<T> FromIterator<T> for Sightings<T> {
    /// A list of these calls.
    fn from_iter<I: IntoIterator<Item = T>>(calls: I) -> Self {
        let mut sightings = Self::listed();
        sightings.extend(calls);
        sightings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_too_long_is_unknown() {
        let mut sightings: Sightings<_> = (0..2_000).collect();
        assert_eq!(sightings.calls().map(<[_]>::len), Some(2_000));
        sightings.extend([1]);
        assert!(sightings.calls().is_none());
        sightings.extend([2]);
        assert!(sightings.calls().is_none());
    }
}
