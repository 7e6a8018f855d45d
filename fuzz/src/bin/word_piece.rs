//! libFuzzer's entry to [`umi_fuzz::word_piece`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| umi_fuzz::word_piece(data));
