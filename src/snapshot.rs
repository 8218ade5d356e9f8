//! What one answer of the API said, as plain data: one type per endpoint.
//!
//! Nothing here knows HTTP, JSON or Prometheus, and nothing here is personal.

mod calls;
mod identified;
mod units;

pub use self::calls::{
    ActiveCalls, Call, CallSnapshot, DispatchCall, EmergencyCall, EmergencyCalls, EmergencyKind, Origin, Priority,
    Status, UnreadableField,
};
pub use self::identified::{Identified, IdentifiedCalls};
pub use self::units::{Discipline, Unit, UnitCounts, UnitSnapshot, UnitStatus};
