//! See `sonorancad_exporter_fuzz::accept`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sonorancad_exporter_fuzz::accept(bytes));
