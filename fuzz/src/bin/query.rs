//! libFuzzer's entry to [`umi_fuzz::query`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umi_fuzz::query(data));
