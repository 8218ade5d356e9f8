//! The calls of the simulated CAD.

use std::time::Duration;

use super::incident::Incident;

/// The status of a dispatch call, with the API's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Pending = 0,
    Active = 1,
    Closed = 2,
}

/// A dispatch call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) incident: &'static Incident,
    /// 1 to 3.
    pub(super) priority: usize,
    /// 1 to 3: the priority when it opened.
    pub(super) first_priority: usize,
    /// 0 caller, 1 radio dispatch, 2 observed, 3 walk-up.
    pub(super) origin: usize,
    pub(super) status: Status,
    pub(super) units: Vec<u32>,
    pub(super) opened_at: Duration,
    pub(super) updated_at: Duration,
}

/// A call that waits for a dispatcher.
#[derive(Clone, Debug)]
pub(super) struct EmergencyCall {
    pub(super) id: u64,
    pub(super) is_emergency: bool,
    pub(super) opened_at: Duration,
}

impl Call {
    /// A call that nobody has taken yet.
    pub(super) fn new(id: u64, priority: usize, origin: usize, now: Duration) -> Self {
        Self {
            id,
            incident: Incident::of(id, priority),
            priority,
            first_priority: priority,
            origin,
            status: Status::Pending,
            units: Vec::new(),
            opened_at: now,
            updated_at: now,
        }
    }
}

impl EmergencyCall {
    /// The place of its kind in the statistics: emergency, civil.
    pub(super) fn kind(&self) -> usize {
        usize::from(!self.is_emergency)
    }
}
