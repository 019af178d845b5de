//! See `gamut_fuzz::TARGETS`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gamut_fuzz::run("lazy-index", data));
