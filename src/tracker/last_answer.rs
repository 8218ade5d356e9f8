//! Recognises a CAD that was wiped, by the answer before.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The ids of the newest answer that listed any call. A list that it lacked is `None`.
///
/// Ids rise as long as a CAD lives, and begin anew when it is wiped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct LastAnswer {
    open: Option<BTreeSet<u64>>,
    closed: Option<BTreeSet<u64>>,
}

impl LastAnswer {
    /// Whether the CAD was wiped before it gave this answer: the highest id fell, and either none of the ids is still
    /// there, or a call that was closed is open.
    ///
    /// Only answers with the same lists are compared: a list that is there for the first time contains old calls.
    pub(super) fn is_from_before_a_wipe(&self, open: Option<&BTreeSet<u64>>, closed: Option<&BTreeSet<u64>>) -> bool {
        let has_same_lists = open.is_some() == self.open.is_some() && closed.is_some() == self.closed.is_some();
        let earlier = || self.open.iter().chain(&self.closed);
        let now = || open.into_iter().chain(closed);
        let Some(highest) = now().filter_map(BTreeSet::last).max() else {
            return false;
        };
        let has_fallen = Some(highest) < earlier().filter_map(BTreeSet::last).max();
        let are_all_gone = || now().all(|ids| earlier().all(|earlier| earlier.is_disjoint(ids)));
        let is_any_open_again = || {
            let closed_earlier = self.closed.iter();
            closed_earlier.zip(open).any(|(closed, open)| !closed.is_disjoint(open))
        };
        has_same_lists && has_fallen && (are_all_gone() || is_any_open_again())
    }

    /// Notes an answer, unless it lists no call or lacks a list that this one has: then it says less.
    pub(super) fn update(&mut self, open: Option<BTreeSet<u64>>, closed: Option<BTreeSet<u64>>) {
        let is_empty = open.iter().chain(&closed).all(BTreeSet::is_empty);
        let says_less = open.is_none() && self.open.is_some() || closed.is_none() && self.closed.is_some();
        if !is_empty && !says_less {
            *self = Self { open, closed };
        }
    }
}
