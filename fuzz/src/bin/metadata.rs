//! libFuzzer's entry to [`umi_fuzz::metadata`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umi_fuzz::metadata(data));
