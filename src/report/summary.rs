//! What an overview says about a community: sums over its servers.

use std::time::{Duration, Instant};

use super::{Failure, FeedStatus};
use crate::clock::Now;
use crate::snapshot::{CallSnapshot, EmergencyKind, Status, UnitSnapshot};
use crate::tracker::{CallStats, Oldest};

/// What is known about every community.
#[derive(Clone, Debug)]
pub struct Overview {
    /// When it was made.
    pub at: Now,
    /// The communities by alias; the first one has none if the environment describes it.
    pub communities: Vec<(Option<String>, Summary)>,
}

/// What is known about a server, or about several of them together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many servers it is about.
    pub servers: usize,
    /// Their calls; `None` if no snapshot of any of them is shown.
    pub calls: Option<CallSummary>,
    /// Their units; `None` if no snapshot of any of them is shown.
    pub units: Option<UnitSummary>,
    /// The state of the feed that is worst.
    pub health: Health,
}

/// The calls of one or more servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallSummary {
    /// Emergency calls, which wait for a dispatcher.
    pub emergency: Queue,
    /// Civil calls, which wait for a dispatcher.
    pub civil: Queue,
    /// Dispatch calls that wait for a unit.
    pub pending: Queue,
    /// Dispatch calls that units work on.
    pub active: u64,
}

/// Calls that wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// How many there are.
    pub count: u64,
    /// Since when the one that has waited for longest has been waiting, if that is known.
    pub since: Option<Instant>,
}

/// The units of one or more servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitSummary {
    /// Units on duty, without dispatchers.
    pub on_duty: u64,
    /// Units and dispatchers whose panic button is pressed.
    pub in_panic: u64,
}

/// The state of a feed, from the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The newest attempt succeeded, and not long ago.
    #[default]
    Up,
    /// No attempt has ended yet.
    New,
    /// The newest attempt succeeded, but long ago.
    Unasked,
    /// Nothing failed here, but the key is paused because of another server.
    Paused,
    /// The newest attempt failed.
    Failed,
}

impl Health {
    /// The state of a feed with these fields of a [`FeedStatus`].
    #[must_use]
    pub fn of(
        failure: Option<&Failure>,
        is_up: bool,
        retry_at: Option<Duration>,
        last_success: Option<Duration>,
    ) -> Self {
        if failure.is_some() {
            Self::Failed
        } else if is_up {
            Self::Up
        } else if retry_at.is_some() {
            Self::Paused
        } else if last_success.is_some() {
            Self::Unasked
        } else {
            Self::New
        }
    }
}

impl FeedStatus {
    /// The state of the feed.
    #[must_use]
    pub fn health(&self) -> Health {
        Health::of(self.failure.as_ref(), self.is_up, self.retry_at, self.last_success)
    }
}

impl Summary {
    /// Adds the calls of a server, and the server.
    pub fn add_calls(&mut self, health: Health, snapshot: Option<&CallSnapshot>, stats: &CallStats) {
        self.servers += 1;
        self.health = self.health.max(health);
        let Some(snapshot) = snapshot else {
            return;
        };
        let emergency = |kind| Queue {
            count: snapshot.emergency.count(kind),
            since: since(&stats.oldest_emergency[kind]),
        };
        self.calls.get_or_insert_default().add(&CallSummary {
            emergency: emergency(EmergencyKind::Emergency),
            civil: emergency(EmergencyKind::Civil),
            pending: Queue {
                count: snapshot.active.with_status(Status::Pending),
                since: stats.oldest_pending.values().filter_map(since).min(),
            },
            active: snapshot.active.with_status(Status::Active),
        });
    }

    /// Adds the units of a server.
    pub fn add_units(&mut self, health: Health, snapshot: Option<&UnitSnapshot>) {
        self.health = self.health.max(health);
        if let Some(snapshot) = snapshot {
            let counts = snapshot.counts();
            let units = self.units.get_or_insert_default();
            units.on_duty += counts.all();
            units.in_panic += counts.in_panic;
        }
    }

    /// Adds what is known about other servers.
    pub fn add(&mut self, other: &Self) {
        self.servers += other.servers;
        self.health = self.health.max(other.health);
        if let Some(calls) = &other.calls {
            self.calls.get_or_insert_default().add(calls);
        }
        if let Some(units) = &other.units {
            let sum = self.units.get_or_insert_default();
            sum.on_duty += units.on_duty;
            sum.in_panic += units.in_panic;
        }
    }

    /// How many units and dispatchers are in panic, as far as that is known.
    #[must_use]
    pub fn in_panic(&self) -> u64 {
        self.units.as_ref().map_or(0, |units| units.in_panic)
    }

    /// How many emergency calls wait, as far as that is known.
    #[must_use]
    pub fn emergencies(&self) -> u64 {
        self.calls.as_ref().map_or(0, |calls| calls.emergency.count)
    }
}

impl CallSummary {
    fn add(&mut self, other: &Self) {
        self.emergency.add(other.emergency);
        self.civil.add(other.civil);
        self.pending.add(other.pending);
        self.active += other.active;
    }
}

impl Queue {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.since = self.since.into_iter().chain(other.since).min();
    }
}

fn since(oldest: &Oldest) -> Option<Instant> {
    match oldest {
        Oldest::Since(since) => Some(*since),
        Oldest::NoneWaits | Oldest::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(health: Health, pending: u64, since: Option<Instant>) -> Summary {
        Summary {
            servers: 1,
            calls: Some(CallSummary {
                pending: Queue { count: pending, since },
                ..CallSummary::default()
            }),
            units: Some(UnitSummary {
                on_duty: pending,
                in_panic: 0,
            }),
            health,
        }
    }

    #[test]
    fn a_sum_has_all_calls_the_longest_wait_and_the_worst_state() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut sum = Summary::default();
        for (health, since) in [
            (Health::Up, None),
            (Health::Failed, Some(later)),
            (Health::Paused, Some(now)),
            (Health::New, Some(later)),
        ] {
            sum.add(&summary(health, 2, since));
        }
        let nothing = Summary {
            servers: 1,
            ..Summary::default()
        };
        sum.add(&nothing);
        let expected = Summary {
            servers: 5,
            ..summary(Health::Failed, 8, Some(now))
        };
        assert_eq!(sum, expected);
        assert_eq!((expected.emergencies(), expected.in_panic()), (0, 0));
    }

    #[test]
    fn a_failure_outweighs_what_is_still_known() {
        let second = Some(Duration::from_secs(1));
        let failure = Failure {
            label: "TIMEOUT".into(),
            reason: String::new(),
            advice: "".into(),
            at: crate::clock::Clock::system().now(),
        };
        assert_eq!(Health::of(Some(&failure), true, second, second), Health::Failed);
        assert_eq!(Health::of(None, true, second, second), Health::Up);
        assert_eq!(Health::of(None, false, second, second), Health::Paused);
        assert_eq!(Health::of(None, false, None, second), Health::Unasked);
        assert_eq!(Health::of(None, false, None, None), Health::New);
    }

    #[test]
    fn the_worse_feed_of_a_server_decides() {
        for (calls, units) in [(Health::Failed, Health::Up), (Health::Up, Health::Failed)] {
            let mut summary = Summary::default();
            summary.add_calls(calls, None, &CallStats::default());
            summary.add_units(units, None);
            assert_eq!((summary.health, summary.servers), (Health::Failed, 1));
            assert_eq!((summary.calls, summary.units), (None, None));
        }
    }
}
