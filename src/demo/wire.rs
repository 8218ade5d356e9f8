//! The simulated answers, as the API's versions write them.

pub(super) mod calls;
pub(super) mod units;

/// Where calls and units are.
const PLACES: [&str; 6] = [
    "Vespucci Boulevard",
    "Mission Row",
    "Innocence Boulevard",
    "Alta Street",
    "Route 68",
    "Great Ocean Highway",
];
