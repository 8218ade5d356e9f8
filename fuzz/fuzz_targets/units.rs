//! See the reader of this name in `tests/support/foreign.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sonorancad_exporter_fuzz::read("units", bytes));
