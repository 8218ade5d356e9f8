//! See `sonorancad_exporter_fuzz::answer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sonorancad_exporter_fuzz::answer(bytes));
