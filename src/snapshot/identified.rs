//! The calls of one list that can be recognised in the next answer.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Lists with more calls than this are counted but not followed.
///
/// Following a call costs memory across answers and for every server, so an API that sends new ids each time could
/// fill it. A real CAD has tens of calls.
const MAX_CALLS: usize = 2_000;

/// A call with an id, by which it can be recognised in other answers.
pub trait Identified {
    /// Its id.
    fn id(&self) -> u64;
}

/// The calls of one list that have an id, in the order of the answer.
///
/// The list is unknown if the answer lacks it or if it is too long to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentifiedCalls<T>(Option<Vec<T>>);

impl<T> IdentifiedCalls<T> {
    /// A list without calls.
    #[must_use]
    pub fn empty() -> Self {
        Self(Some(Vec::new()))
    }

    /// The calls, which may share an id; `None` if the list is unknown.
    #[must_use]
    pub fn calls(&self) -> Option<&[T]> {
        self.0.as_deref()
    }

    /// Adds the calls of the next page. Returns whether it has any that this one lacks. Calls that this one has are
    /// ignored: while the pages were fetched, another call may have closed, and moved these to the next page.
    pub fn append(&mut self, page: Self) -> bool
    where
        T: Identified,
    {
        let Some(list) = &self.0 else {
            return false;
        };
        let known: HashSet<u64> = list.iter().map(Identified::id).collect();
        let mut new = page.0.unwrap_or_default();
        new.retain(|call| !known.contains(&call.id()));
        let has_new = !new.is_empty();
        for call in new {
            self.push_or_forget(call);
        }
        has_new
    }

    /// How many calls share their id with another one, so that neither can be recognised.
    #[must_use]
    pub fn ambiguous(&self) -> u64
    where
        T: Identified,
    {
        // Every scrape asks, and sorting a list this short is quicker than hashing it.
        let mut ids: Vec<u64> = self.0.iter().flatten().map(Identified::id).collect();
        ids.sort_unstable();
        let alike = ids.chunk_by(|one, next| one == next);
        alike.map(|ids| ids.len() as u64).filter(|calls| *calls > 1).sum()
    }

    /// Makes the list unknown if it has more than `max` calls.
    pub fn limit(&mut self, max: usize) {
        if self.0.as_ref().is_some_and(|calls| calls.len() > max) {
            self.0 = None;
        }
    }

    /// Adds a call; one call too many makes the list unknown, and an unknown list stays unknown.
    pub fn push_or_forget(&mut self, call: T) {
        if let Some(list) = &mut self.0 {
            list.push(call);
            self.limit(MAX_CALLS);
        }
    }
}

impl<T> Default for IdentifiedCalls<T> {
    /// Unknown.
    fn default() -> Self {
        Self(None)
    }
}

impl<T> FromIterator<T> for IdentifiedCalls<T> {
    /// A list of these calls.
    fn from_iter<I: IntoIterator<Item = T>>(calls: I) -> Self {
        let mut list = Self::empty();
        calls.into_iter().for_each(|call| list.push_or_forget(call));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_too_long_is_unknown() {
        let mut list: IdentifiedCalls<_> = (0..2_000).collect();
        assert_eq!(list.calls().map(<[_]>::len), Some(2_000));
        list.push_or_forget(1);
        assert!(list.calls().is_none());
        list.push_or_forget(2);
        assert!(list.calls().is_none());
    }
}
