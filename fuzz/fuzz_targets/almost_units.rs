//! The reader `units`, with input that almost fits.

#![no_main]

use sonorancad_exporter_fuzz::{almost, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| read("units", &almost("units", bytes)));
