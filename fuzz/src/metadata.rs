//! Metadata: a JSON object, of a user or of a store.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use umi_core::{METADATA_BYTES, METADATA_DEPTH, Metadata};

use crate::{engine::accepted, fields::Fields};

/// Two texts, read as metadata. What is accepted is bounded and reads the same again; merging loses and adds no key.
pub fn metadata(data: &[u8]) {
    let mut fields = Fields::new(data);
    let (one, other) = (fields.text(), fields.text());
    let parsed = accepted(Metadata::parse(&one));
    let object = serde_json::from_str::<IndexMap<String, Box<RawValue>>>(&one);
    match (&parsed, &object) {
        (Some(_), Err(error)) => panic!("{one:?} was accepted: {error}"),
        (None, Ok(_)) => assert!(one.len() > METADATA_BYTES || depth(&one) > METADATA_DEPTH, "{one:?} was refused"),
        (Some(_), Ok(_)) | (None, Err(_)) => {}
    }
    let Some(parsed) = parsed else { return };
    check(&parsed, &object.unwrap_or_default());
    let Some(other) = accepted(Metadata::parse(&other)) else { return };
    let Some(merged) = accepted(parsed.merged(&other)) else {
        assert!(parsed.as_str().len() + other.as_str().len() > METADATA_BYTES);
        return;
    };
    let expected: BTreeSet<String> = keys(&parsed).into_iter().chain(keys(&other)).collect();
    assert_eq!(keys(&merged).into_iter().collect::<BTreeSet<_>>(), expected);
    for key in &expected {
        assert_eq!(merged.get(key), other.get(key).or_else(|| parsed.get(key)), "{key:?}");
    }
    assert_eq!(merged.merged(&other).expect("nothing is added"), merged);
}

fn check(parsed: &Metadata, object: &IndexMap<String, Box<RawValue>>) {
    assert!(parsed.as_str().len() <= METADATA_BYTES && depth(parsed.as_str()) <= METADATA_DEPTH);
    assert_eq!(Metadata::parse(parsed.as_str()).expect("it was accepted").as_str(), parsed.as_str());
    assert_eq!(keys(parsed), object.keys().cloned().collect::<Vec<_>>());
    for (key, value) in object {
        assert_eq!(parsed.get(key).as_deref(), Some(value.get()), "{key:?}");
    }
    assert_eq!(parsed.is_empty(), object.is_empty());
    assert_eq!(&parsed.merged(parsed).expect("nothing is added"), parsed);
}

fn keys(metadata: &Metadata) -> Vec<String> {
    let object: IndexMap<String, Box<RawValue>> = serde_json::from_str(metadata.as_str()).expect("it is an object");
    object.into_keys().collect()
}

/// The deepest nesting of a valid JSON text.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut characters) = (0_usize, 0, json.chars());
    while let Some(character) = characters.next() {
        match character {
            '"' => {
                while let Some(character) = characters.next().filter(|&character| character != '"') {
                    if character == '\\' {
                        characters.next();
                    }
                }
            }
            '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    deepest
}
