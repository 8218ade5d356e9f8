//! The memory of responses that clients have not taken.
//!
//! A response stays in memory until its client has taken all of it. All responses together have a limit. At the limit,
//! the client with the most bytes loses the response of which it has taken nothing for longest, for a new one; a new one
//! for itself is refused.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::OpenConnection;

/// The most bytes of responses that clients have not taken. Those of connections that are closing may come on top, up
/// to the same number.
pub(in super::super) const MAX_UNSENT: u64 = 64 << 20;

/// Clients are compared by units of so many bytes. Two scrapes of the same servers differ by a few bytes, which says
/// nothing about who takes them.
const UNIT: u64 = 1 << 20;

impl OpenConnection {
    /// Notes that a response of this many bytes has been made. Returns whether there is room for it; if not, an empty
    /// one must take its place.
    #[must_use]
    pub(in super::super) fn answer(&self, bytes: u64) -> bool {
        let has_room = self.make_room(bytes);
        self.connection.answer(if has_room { bytes } else { 0 });
        has_room
    }

    /// Asks connections of other clients to close until there is room for this many bytes. Returns whether there is.
    fn make_room(&self, bytes: u64) -> bool {
        let open = self.connections.open.lock();
        loop {
            let mut closing = 0;
            // Each client's bytes, and its response that has stood still for longest.
            let mut clients = HashMap::new();
            for connection in &open.connections {
                let progress = connection.progress.lock();
                if progress.is_closing {
                    closing += progress.unsent;
                } else if progress.unsent > 0 {
                    let since = progress.active_at;
                    let (sum, oldest) = clients.entry(progress.client).or_insert((0, (since, connection)));
                    *sum += progress.unsent;
                    if since < oldest.0 {
                        *oldest = (since, connection);
                    }
                }
            }
            let kept: u64 = clients.values().map(|(sum, _)| sum).sum();
            let units = |sum: &u64| sum.div_ceil(UNIT);
            let most = clients
                .iter()
                .max_by_key(|(_, (sum, (since, _)))| (units(sum), Reverse(*since)));
            let Some((_, (most, (_, connection)))) = most.filter(|_| kept + bytes > MAX_UNSENT) else {
                // Those that close do so once their tasks have their turn. Until then, their memory is not free.
                return closing == 0 || kept + closing + bytes <= 2 * MAX_UNSENT;
            };
            if clients
                .get(&self.connection.client())
                .is_some_and(|(own, _)| units(own) >= units(most))
            {
                return false;
            }
            connection.ask_to_close(&mut connection.progress.lock());
        }
    }
}
