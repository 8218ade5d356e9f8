//! The API's JSON as sent: one file per answer.

mod calls;
mod list;
mod object;
mod pass;
mod servers;
mod units;
mod value;

pub(super) use self::calls::decode_calls;
pub use self::pass::Pass;
pub(super) use self::servers::decode_servers;
pub(super) use self::units::decode_units;
