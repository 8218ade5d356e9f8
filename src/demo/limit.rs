//! The rate limits of version v2, per key and endpoint, each in a sliding window of a minute.

use std::collections::VecDeque;
use std::time::Duration;

/// Requests per minute for calls and for units.
const CALL_REQUESTS: usize = 5;
const UNIT_REQUESTS: usize = 3;

const WINDOW: Duration = Duration::from_secs(60);

/// The limits of one key.
#[derive(Debug)]
pub(super) struct RateLimits {
    pub(super) calls: RateLimit,
    pub(super) units: RateLimit,
}

impl RateLimits {
    pub(super) fn new(game_servers: u32) -> Self {
        Self {
            calls: RateLimit::new(CALL_REQUESTS, game_servers),
            units: RateLimit::new(UNIT_REQUESTS, game_servers),
        }
    }
}

/// The limit of one endpoint. Each game server uses one request per minute.
#[derive(Debug)]
pub(super) struct RateLimit {
    requests: usize,
    game_servers: u32,
    /// Times of the requests in the window, oldest first. All times here count from the start of the simulation.
    granted: VecDeque<Duration>,
    /// When the next game server asks.
    next_game_request: Duration,
}

impl RateLimit {
    fn new(requests: usize, game_servers: u32) -> Self {
        Self {
            requests,
            game_servers,
            granted: VecDeque::new(),
            next_game_request: Duration::ZERO,
        }
    }

    /// Takes a request at `now`.
    ///
    /// # Errors
    ///
    /// The limit is reached; the value is the time until it allows a request.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        while self.next_game_request <= now {
            // A game server that is refused tries again at its next turn.
            let _ = self.grant(self.next_game_request);
            self.next_game_request += WINDOW / self.game_servers;
        }
        self.grant(now)
    }

    fn grant(&mut self, now: Duration) -> Result<(), Duration> {
        while self.granted.front().is_some_and(|at| *at + WINDOW <= now) {
            self.granted.pop_front();
        }
        match self.granted.front() {
            Some(oldest) if self.granted.len() >= self.requests => Err((*oldest + WINDOW).saturating_sub(now)),
            _ => {
                self.granted.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_game_server_takes_one_of_five() {
        let second = Duration::from_secs(1);
        let mut limit = RateLimits::new(1).calls;
        for at in 1..=4 {
            assert_eq!(limit.take(second * at), Ok(()), "{at}");
        }
        assert_eq!(limit.take(second * 30), Err(second * 30));
        // The game server's slot is its own again after a minute.
        assert_eq!(limit.take(second * 60), Err(second));
        assert_eq!(limit.take(second * 61), Ok(()));
    }

    #[test]
    fn game_servers_ask_in_turn() {
        let mut limit = RateLimits::new(4).calls;
        assert_eq!(limit.take(Duration::from_secs(59)), Ok(()));
        assert_eq!(limit.take(Duration::from_secs(59)), Err(Duration::from_secs(1)));
    }

    #[test]
    fn each_endpoint_has_its_own_limit() {
        let second = Duration::from_secs(1);
        let mut limits = RateLimits::new(1);
        for at in 1..=2 {
            assert_eq!(limits.units.take(second * at), Ok(()), "{at}");
            assert_eq!(limits.calls.take(second * at), Ok(()), "{at}");
        }
        assert_eq!(limits.units.take(second * 3), Err(second * 57));
        assert_eq!(limits.calls.take(second * 3), Ok(()));
    }
}
