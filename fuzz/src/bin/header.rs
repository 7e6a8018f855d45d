//! libFuzzer's entry to [`umi_fuzz::header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umi_fuzz::header(data));
