//! The tokenizer and the table of the bundled embedder.

use std::sync::LazyLock;

use umi_core::{Embedder, StaticEmbedder};

use crate::{engine::run, fields::Fields};

static EMBEDDER: LazyLock<StaticEmbedder> = LazyLock::new(StaticEmbedder::new);

/// Two texts, embedded. A vector has length 1 or no direction at all, and depends on its own text alone.
pub fn word_piece(data: &[u8]) {
    let mut fields = Fields::new(data);
    let texts = [fields.text().into_owned(), fields.text().into_owned()];
    let vectors = run(EMBEDDER.embed(&texts)).expect("a text of any kind has a vector");
    assert_eq!(vectors.len(), 2);
    for (text, vector) in texts.iter().zip(&vectors) {
        assert_eq!(vector.len(), EMBEDDER.space().dimensions);
        let square: f64 = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        assert!(square == 0.0 || (square.sqrt() - 1.0).abs() < 1e-5, "length {} of {text:?}", square.sqrt());
        let alone = run(EMBEDDER.embed(std::slice::from_ref(text))).expect("a text of any kind has a vector");
        assert_eq!(&alone[0], vector, "{text:?}");
        let legibility = EMBEDDER.legibility(text);
        assert!((0.0..=1.0).contains(&legibility), "legibility {legibility} of {text:?}");
    }
}
