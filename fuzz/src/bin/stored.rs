//! libFuzzer's entry to [`umi_fuzz::stored`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umi_fuzz::stored(data));
