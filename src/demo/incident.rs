//! What calls are about.

use super::discipline::Discipline::{self, Ems, Fire, Police};

/// A kind of call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) title: &'static str,
    /// The 10-code.
    pub(super) code: &'static str,
    /// Whose units take such calls, if they are free.
    pub(super) discipline: Discipline,
}

const fn incident(title: &'static str, code: &'static str, discipline: Discipline) -> Incident {
    Incident {
        title,
        code,
        discipline,
    }
}

/// By priority.
static INCIDENTS: [[Incident; 4]; 3] = [
    [
        incident("Armed Robbery", "10-31", Police),
        incident("Structure Fire", "10-70", Fire),
        incident("Shots Fired", "10-71", Police),
        incident("Officer Down", "10-99", Ems),
    ],
    [
        incident("Traffic Accident", "10-50", Fire),
        incident("Burglary", "10-62", Police),
        incident("Medical Emergency", "10-52", Ems),
        incident("Pursuit", "10-80", Police),
    ],
    [
        incident("Traffic Stop", "10-38", Police),
        incident("Welfare Check", "10-25", Ems),
        incident("Noise Complaint", "10-24", Police),
        incident("Parking Problem", "10-54", Police),
    ],
];

impl Incident {
    /// What a call is about that opens with this priority, 1 to 3.
    pub(super) fn of(call_id: u64, priority: usize) -> &'static Self {
        pick(&INCIDENTS[priority - 1], call_id)
    }
}

/// The same one for the same id.
pub(super) fn pick<T>(choices: &[T], id: u64) -> &T {
    let count = choices.len() as u64;
    &choices[usize::try_from(id % count).unwrap_or_default()]
}
