//! Slow tests, and tests that need other programs: hostile load, limits on memory, a real Prometheus, linters.
//!
//! `cargo test` does not run these; `cargo test --test siege` does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::float_cmp, reason = "the values compared are whole numbers")]

#[path = "../support/lib.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

mod accuracy;
mod dashboards;
mod deploy;
mod faults;
mod flood;
mod hostile;
mod life;
mod prometheus;
mod replicas;
mod secrets;
mod system;
