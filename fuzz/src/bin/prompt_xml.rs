//! libFuzzer's entry to [`umi_fuzz::prompt_xml`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umi_fuzz::prompt_xml(data));
