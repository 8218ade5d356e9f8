//! A unit on duty.

use std::time::Duration;

use super::discipline::Discipline;

/// The status of a unit on duty, with the API's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum UnitStatus {
    Unavailable = 0,
    Busy = 1,
    Available = 2,
    EnRoute = 3,
    OnScene = 4,
}

/// A unit on duty.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) discipline: Discipline,
    pub(super) status: UnitStatus,
    pub(super) is_in_panic: bool,
    pub(super) since: Duration,
    /// It signs off when its call is closed.
    pub(super) is_leaving: bool,
    /// Numbers of its sign-on and of its newest change of status: what was to happen before that does not happen.
    pub(super) visit: u64,
    pub(super) change: u64,
}

impl Unit {
    /// A unit that has just signed on; it is not ready yet.
    pub(super) fn new(id: u32, now: Duration, visit: u64) -> Self {
        Self {
            discipline: Discipline::of(id),
            status: UnitStatus::Unavailable,
            is_in_panic: false,
            since: now,
            is_leaving: false,
            visit,
            change: visit,
        }
    }

    pub(super) fn is_free(&self) -> bool {
        self.status == UnitStatus::Available
    }

    pub(super) fn has_call(&self) -> bool {
        matches!(self.status, UnitStatus::EnRoute | UnitStatus::OnScene)
    }
}
