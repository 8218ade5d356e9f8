//! See `sonorancad_exporter_fuzz::communities`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sonorancad_exporter_fuzz::communities(bytes));
