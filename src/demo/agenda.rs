//! What will happen, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Future events, each at a time since 1970.
#[derive(Debug)]
pub(super) struct Agenda<E>(BinaryHeap<Reverse<(Duration, E)>>);

impl<E: Ord> Agenda<E> {
    pub(super) fn new() -> Self {
        Self(BinaryHeap::new())
    }

    pub(super) fn add(&mut self, at: Duration, event: E) {
        self.0.push(Reverse((at, event)));
    }

    /// When the next event happens.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes the next event. Of events at the same time, the smaller one is the first.
    pub(super) fn pop(&mut self) -> Option<(Duration, E)> {
        self.0.pop().map(|Reverse(next)| next)
    }
}
