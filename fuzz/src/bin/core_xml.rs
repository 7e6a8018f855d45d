//! libFuzzer's entry to [`umi_fuzz::core_xml`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umi_fuzz::core_xml(data));
