//! The real exporter on a real socket, against a fake CAD on another.
//!
//! `cargo test` runs these. What takes minutes is in `tests/siege`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::float_cmp, reason = "the values compared are whole numbers")]

#[path = "../support/lib.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

mod budget;
mod check;
mod cli;
mod communities;
mod failures;
mod life;
mod modules;
mod properties;
mod readme;
mod scraping;
mod secrets;
mod situations;
mod web;
