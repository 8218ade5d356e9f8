//! The API's JSON as sent: one file per answer.

mod calls;
mod list;
mod servers;
mod value;

pub(super) use self::calls::decode_calls;
pub(super) use self::servers::decode_servers;
