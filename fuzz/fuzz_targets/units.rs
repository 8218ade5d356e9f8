//! See `sonorancad_exporter_fuzz::units`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sonorancad_exporter_fuzz::units(bytes));
