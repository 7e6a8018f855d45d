//! The bundled embedding table: one vector a token, a text is their mean. See `assets/make_static_table.py`.

use std::fmt;

use async_trait::async_trait;
use once_cell::race::OnceBox;

use super::{Embedder, EmbeddingSpace, word_piece::WordPiece};
use crate::{
    blocking::{blocking, is_quick},
    error::Result,
    index::vector::normalise,
};

static ASSET: &[u8] = include_bytes!("../../assets/static_table.bin");
const MAGIC: &[u8; 8] = b"UMISTATT";
const VERSION: u32 = 1;
const MODEL: &str = "static-minilm-wordnet-256";

/// A vector for each piece of a vocabulary, kept as int8 with one scale a row.
pub(crate) struct StaticTable {
    word_piece: WordPiece,
    dimensions: usize,
    rows: &'static [i8],
    scales: Vec<f32>,
    unit_scales: Vec<f32>,
    digest: u64,
}

/// What the table begins with.
struct Header {
    rows: usize,
    dimensions: usize,
    vocabulary_bytes: usize,
    digest: u64,
}

impl Header {
    /// Takes the header of the format that `make_static_table.py` writes.
    fn parse(asset: &mut &'static [u8]) -> Option<Self> {
        let magic: [u8; 8] = take_array(asset)?;
        let [version, rows, dimensions, vocabulary_bytes] = [
            u32::from_le_bytes(take_array(asset)?),
            u32::from_le_bytes(take_array(asset)?),
            u32::from_le_bytes(take_array(asset)?),
            u32::from_le_bytes(take_array(asset)?),
        ];
        let digest = u64::from_le_bytes(take_array(asset)?);
        (&magic == MAGIC && version == VERSION && dimensions != 0).then_some(Self {
            rows: rows as usize,
            dimensions: dimensions as usize,
            vocabulary_bytes: vocabulary_bytes as usize,
            digest,
        })
    }
}

impl StaticTable {
    /// The table that is compiled in, read on first use, which takes a millisecond or two.
    ///
    /// Threads that come at once each read it, and one of them wins. None waits for another, so that a child forked
    /// meanwhile does not wait for a thread that it does not have.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceBox<StaticTable> = OnceBox::new();
        SHARED.get_or_init(|| Box::new(Self::parse(ASSET).expect("invariant: the compiled-in table is well formed")))
    }

    /// Reads the format that `make_static_table.py` writes; none when the bytes are not of it.
    fn parse(mut asset: &'static [u8]) -> Option<Self> {
        let Header { rows: row_count, dimensions, vocabulary_bytes, digest } = Header::parse(&mut asset)?;
        let scales = take_floats(&mut asset, row_count)?;
        let unit_scales = take_floats(&mut asset, row_count)?;
        let rows = bytemuck::cast_slice(take(&mut asset, row_count.checked_mul(dimensions)?)?);
        let word_piece = WordPiece::parse(take(&mut asset, vocabulary_bytes)?)?;
        (asset.is_empty() && word_piece.len() == row_count).then_some(Self {
            word_piece,
            dimensions,
            rows,
            scales,
            unit_scales,
            digest,
        })
    }

    /// The ids of a text's tokens: all of the text, no special tokens.
    pub(crate) fn tokens(&self, text: &str) -> Vec<u16> {
        self.word_piece.tokens(text)
    }

    /// The share of characters in tokens that say something by themselves; 1 without any token.
    pub(crate) fn legibility(&self, tokens: &[u16]) -> f32 {
        let (mut told, mut all) = (0, 0);
        for &token in tokens {
            let (characters, is_telling) = self.word_piece.telling(token);
            all += characters;
            told += if is_telling { characters } else { 0 };
        }
        if all == 0 { 1.0 } else { told as f32 / all as f32 }
    }

    /// The tokens as they are, or none where all are unknown: texts in scripts that the table does not know would
    /// otherwise all point to where the unknown token points, and look alike.
    fn known<'a>(&self, tokens: &'a [u16]) -> &'a [u16] {
        if tokens.iter().all(|&token| token == self.word_piece.unknown()) { &[] } else { tokens }
    }

    /// The unit vector of a text of these tokens; zeros when there are none, or when they cancel each other out.
    pub(crate) fn embed(&self, tokens: &[u16]) -> Vec<f32> {
        let mut vector = vec![0.0_f32; self.dimensions];
        for &token in tokens {
            let Some((row, &scale)) = self.values(token).zip(self.scales.get(usize::from(token))) else { continue };
            for (sum, &value) in vector.iter_mut().zip(row) {
                *sum += f32::from(value) * scale;
            }
        }
        normalise(&mut vector);
        vector
    }

    fn embed_texts(&self, texts: &[String]) -> Vec<Vec<f32>> {
        texts.iter().map(|text| self.embed(self.known(&self.tokens(text)))).collect()
    }

    /// A token's direction: int8 values and the factor that makes them a unit vector, so that the cosine of two tokens
    /// is the product of both factors and the integer dot product of the values. None for an unknown id.
    pub(crate) fn unit_row(&self, token: u16) -> Option<(&'static [i8], f32)> {
        self.values(token).zip(self.unit_scales.get(usize::from(token)).copied())
    }

    /// The length of a token's row; 0 for an unknown id.
    pub(crate) fn row_length(&self, token: u16) -> f32 {
        let index = usize::from(token);
        match (self.scales.get(index), self.unit_scales.get(index)) {
            (Some(scale), Some(unit)) if *unit > 0.0 => scale / unit,
            _ => 0.0,
        }
    }

    fn values(&self, token: u16) -> Option<&'static [i8]> {
        let start = usize::from(token) * self.dimensions;
        self.rows.get(start..start + self.dimensions)
    }
}

impl fmt::Debug for StaticTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTable")
            .field("rows", &self.scales.len())
            .field("dimensions", &self.dimensions)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

fn take(bytes: &mut &'static [u8], count: usize) -> Option<&'static [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn take_array<const N: usize>(bytes: &mut &'static [u8]) -> Option<[u8; N]> {
    take(bytes, N)?.try_into().ok()
}

fn take_floats(bytes: &mut &'static [u8], count: usize) -> Option<Vec<f32>> {
    let (floats, _) = take(bytes, count.checked_mul(4)?)?.as_chunks::<4>();
    Some(floats.iter().map(|&float| f32::from_le_bytes(float)).collect())
}

/// The default embedder: a table of token vectors that is compiled in. A text's vector is the mean of its tokens'
/// vectors; the whole text counts. It needs no model download and takes microseconds a text.
///
/// # Example
/// ```
/// use umi_core::{Embedder, StaticEmbedder};
///
/// let embedder = StaticEmbedder::new();
/// assert_eq!(embedder.space().dimensions, 256);
/// assert!(embedder.is_in_process());
/// ```
#[derive(Clone, Debug)]
pub struct StaticEmbedder {
    space: EmbeddingSpace,
}

impl StaticEmbedder {
    /// An embedder over the bundled table, which all embedders of the process share. The table is read on first use.
    pub fn new() -> Self {
        let header = Header::parse(&mut &*ASSET).expect("invariant: the compiled-in table is well formed");
        Self { space: EmbeddingSpace::new(MODEL, header.dimensions, format!("{:016x}", header.digest)) }
    }
}

impl Default for StaticEmbedder {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Embedder for StaticEmbedder {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    fn is_in_process(&self) -> bool {
        true
    }

    fn legibility(&self, text: &str) -> f32 {
        let table = StaticTable::shared();
        table.legibility(&table.tokens(text))
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        if is_quick(texts) {
            return Ok(StaticTable::shared().embed_texts(texts));
        }
        let texts = texts.to_vec();
        blocking(move || Ok(StaticTable::shared().embed_texts(&texts))).await
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;

    /// What the Python package `tokenizers` and the source table give for a text.
    #[derive(Deserialize)]
    struct Fixture {
        text: String,
        ids: Vec<u16>,
        vector: Vec<f32>,
    }

    fn fixtures() -> Vec<Fixture> {
        serde_json::from_str(include_str!("../../assets/static_table_fixtures.json")).unwrap()
    }

    #[test]
    fn ids_are_those_of_the_original_tokenizer() {
        for fixture in fixtures() {
            assert_eq!(StaticTable::shared().tokens(&fixture.text), fixture.ids, "{:?}", fixture.text);
        }
    }

    #[test]
    fn vectors_are_those_of_the_original_table() {
        let fixtures = fixtures();
        assert!(fixtures.iter().any(|fixture| fixture.vector.len() == 256));
        for fixture in fixtures {
            let vector = StaticTable::shared().embed(&fixture.ids);
            for (ours, original) in vector.iter().zip(&fixture.vector) {
                assert!((ours - original).abs() < 1e-5, "{ours} is not {original} in {:?}", fixture.text);
            }
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
            let expected = if fixture.ids.is_empty() { 0.0 } else { 1.0 };
            assert!((length - expected).abs() < 1e-5, "length {length} in {:?}", fixture.text);
        }
    }

    #[test]
    fn unit_rows_have_length_one() {
        let table = StaticTable::shared();
        let cosine = |a: u16, b: u16| {
            let ((a, a_scale), (b, b_scale)) = (table.unit_row(a).unwrap(), table.unit_row(b).unwrap());
            crate::index::vector::dot(a, b) as f32 * a_scale * b_scale
        };
        for token in (0..30_522).step_by(997) {
            assert!((cosine(token, token) - 1.0).abs() < 1e-5, "row {token}");
        }
        let [cat, dog, bank] = ["cat", "dog", "bank"].map(|word| table.tokens(word)[0]);
        assert!(cosine(cat, dog) > cosine(cat, bank));
        assert!(table.unit_row(u16::MAX).is_none());
    }

    #[test]
    fn the_digest_is_that_of_the_asset() {
        assert_eq!(xxh3_64(&ASSET[32..]), StaticTable::shared().digest);
    }

    #[test]
    fn damaged_assets_are_refused() {
        assert!(StaticTable::parse(b"").is_none());
        assert!(StaticTable::parse(&ASSET[1..]).is_none(), "no magic");
        assert!(StaticTable::parse(&ASSET[..ASSET.len() - 1]).is_none(), "cut off");
    }

    #[tokio::test]
    async fn the_embedder_names_its_asset_and_embeds_in_order() {
        let embedder = StaticEmbedder::new();
        let table = StaticTable::shared();
        let space = EmbeddingSpace::new("static-minilm-wordnet-256", 256, format!("{:016x}", table.digest));
        assert_eq!(embedder.space(), &space);
        let texts = ["a dog".to_owned(), String::new(), "a cat".to_owned()];
        let expected = texts.each_ref().map(|text| table.embed(&table.tokens(text)));
        assert_eq!(embedder.embed(&texts).await.unwrap(), expected);
        assert_eq!(expected[1], [0.0; 256]);
    }

    #[test]
    fn scripts_that_the_table_does_not_know_are_hardly_legible() {
        let embedder = StaticEmbedder::new();
        assert!(embedder.legibility("Where did Tarek find the oak shelves in 1962?") > 0.99);
        assert!(embedder.legibility("كم عدد سكان الصين؟") < 0.6);
        assert!(embedder.legibility("中国的人口是多少") < 0.2);
    }

    #[tokio::test]
    async fn a_large_batch_leaves_the_worker_and_is_embedded_alike() {
        let (embedder, large) = (StaticEmbedder::new(), ["a dog ".repeat(4_000)]);
        assert!(futures::poll!(embedder.embed(&["a dog".to_owned()])).is_ready());
        let mut embedding = embedder.embed(&large);
        assert!(futures::poll!(&mut embedding).is_pending());
        assert_eq!(embedding.await.unwrap(), StaticTable::shared().embed_texts(&large));
    }

    #[tokio::test]
    async fn a_text_of_unknown_words_has_no_direction() {
        let vectors = StaticEmbedder::new().embed(&["ข้าวเหนียว".to_owned(), "ข้าวเหนียว rice".to_owned()]).await.unwrap();
        assert_eq!(vectors[0], [0.0; 256]);
        assert_ne!(vectors[1], [0.0; 256]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_text_has_tokens_of_the_table_and_white_space_parts_them(a in ".*", b in "(?s).*") {
            let table = StaticTable::shared();
            let both = table.tokens(&format!("{a} {b}"));
            prop_assert!(both.iter().all(|&token| table.unit_row(token).is_some()));
            prop_assert_eq!(both, [table.tokens(&a), table.tokens(&b)].concat());
        }
    }
}
