//! See `sonorancad_exporter_fuzz::web_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sonorancad_exporter_fuzz::web_config(bytes));
