//! The real exporter on a real socket, against a fake CAD on another.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::float_cmp, reason = "the values compared are whole numbers")]

mod answer;
mod authority;
mod cad;
mod exporter;
mod newcomers;
mod program;
mod promises;
mod simulated;
mod tools;

mod budget;
mod check;
mod cli;
mod communities;
mod dashboards;
mod deploy;
mod failures;
mod hostile;
mod life;
mod modules;
mod prometheus;
mod properties;
mod readme;
mod scraping;
mod secrets;
mod siege;
mod situations;
mod system;
mod web;
