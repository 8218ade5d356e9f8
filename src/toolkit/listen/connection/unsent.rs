//! The memory of responses that clients have not taken.
//!
//! A response stays in memory until its client has taken all of it. All responses together have a limit. At the limit,
//! the client with the most bytes loses the response of which it has taken nothing for longest, for a new one; a new one
//! for itself is refused.

use std::cmp::Reverse;
use std::collections::HashMap;

use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::{Client, Connection, Open, Progress, Stage};

/// The most bytes of responses that clients have not taken. Those of connections that are closing may come on top, up
/// to the same number.
pub(in super::super) const MAX_UNSENT: u64 = 64 << 20;

/// Clients are compared by units of so many bytes. Two scrapes of the same servers differ by a few bytes, which says
/// nothing about who takes them.
const UNIT: u64 = 1 << 20;

impl Connection {
    /// Notes that a response of this many bytes has been made. Returns whether there is room for it; if not, an empty
    /// one must take its place.
    #[must_use]
    pub(in super::super) fn answer(&self, bytes: u64) -> bool {
        // Until it is counted: otherwise, others could find the same room.
        let open = self.connections.open.lock();
        let client = self.progress.lock().client;
        let has_room = open.make_room(client, bytes);
        let mut progress = self.progress.lock();
        progress.stage = Stage::Sending;
        progress.active_at = Instant::now();
        progress.unsent = if has_room { bytes } else { 0 };
        has_room
    }
}

impl Open {
    /// Asks connections of clients other than this one to close until there is room for this many bytes. Returns whether
    /// there is.
    fn make_room(&self, client: Client, bytes: u64) -> bool {
        loop {
            let progresses = self.connections.iter().map(|progress| progress.lock());
            let unsent = progresses.filter(|progress| progress.unsent > 0);
            let (closing, kept): (Vec<_>, Vec<_>) = unsent.partition(|progress| progress.is_closing());
            let mut by_client = HashMap::new();
            for progress in &kept {
                *by_client.entry(progress.client).or_insert(0) += progress.unsent;
            }
            let units = |client| by_client.get(client).map_or(0, |bytes: &u64| bytes.div_ceil(UNIT));
            let first_to_go = kept
                .iter()
                .min_by_key(|progress| (Reverse(units(&progress.client)), progress.active_at));
            let sum = |list: &[MutexGuard<Progress>]| list.iter().map(|progress| progress.unsent).sum::<u64>();
            let Some(first_to_go) = first_to_go.filter(|_| sum(&kept) + bytes > MAX_UNSENT) else {
                // Those that close do so once their tasks have their turn. Until then, their memory is not free.
                return closing.is_empty() || sum(&kept) + sum(&closing) + bytes <= 2 * MAX_UNSENT;
            };
            if units(&client) >= units(&first_to_go.client) {
                return false;
            }
            first_to_go.is_closing.send_replace(true);
        }
    }
}
