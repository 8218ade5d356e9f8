//! The real exporter on a real socket, against a fake CAD on another.
//!
//! `cargo test` runs these, except the slow ones, which are ignored; `tests/siege` has what takes minutes or needs other
//! programs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::float_cmp, reason = "the values compared are whole numbers")]

#[path = "../support/lib.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod support;

mod budget;
mod check;
mod cli;
mod communities;
mod demo;
mod documentation;
mod failures;
mod modules;
mod network;
mod properties;
mod reload;
mod scraping;
mod seeds;
mod situations;
mod units;
mod versions;
mod web;
