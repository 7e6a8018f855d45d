#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
//! The corpora and every input that once broke a target, run without libFuzzer.

use std::{fs, path::Path};

use umi_fuzz::{TARGETS, Target};

fn replay(name: &str, folder: &str) -> usize {
    let (_, target): (_, Target) = TARGETS.into_iter().find(|(known, _)| *known == name).expect("it is a target");
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(name);
    if !inputs.is_dir() {
        return 0;
    }
    let mut paths: Vec<_> = fs::read_dir(inputs).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in &paths {
        let input = fs::read(path).unwrap();
        let outcome = std::panic::catch_unwind(|| target(&input));
        assert!(outcome.is_ok(), "{} breaks {name}", path.display());
    }
    paths.len()
}

macro_rules! replayed {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            assert!(replay(stringify!($name), "corpus") > 0, "no corpus of {}", stringify!($name));
            replay(stringify!($name), "findings");
        }
    )*};
}

replayed!(core_xml, header, metadata, prompt_xml, query, stored, word_piece);

#[test]
fn every_target_takes_nothing_and_anything() {
    for (_, target) in TARGETS {
        target(b"");
        target(b"\x00\xff\x80\xffabc\xff\xff");
    }
}
