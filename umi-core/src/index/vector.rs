//! Vectors as the ledger and the index keep them: directions of length 1, as int8 values with one scale a vector.

use multiversion::multiversion;

use crate::error::{Error, ErrorKind, Result};

/// The first byte of an encoded vector.
const VERSION: u8 = 1;
/// The bytes before the values: the version and the scale.
const HEADER: usize = 5;

/// Scales a vector to length 1; false when it has no direction, and then all of its values are 0.
pub(crate) fn normalise(vector: &mut [f32]) -> bool {
    // in f64, in which neither the squares of the largest nor those of the smallest f32 are lost
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    let has_direction = length.is_finite() && length > 0.0;
    for value in vector {
        *value = if has_direction { (f64::from(*value) / length) as f32 } else { 0.0 };
    }
    has_direction
}

/// The dot product of two vectors of int8 values, over the shorter one's length.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// A vector as int8 values; times the scale they are a unit vector, so that no length is lost to the rounding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quantized {
    pub(crate) values: Vec<i8>,
    pub(crate) scale: f32,
}

impl Quantized {
    /// Rounds a vector of finite values, whatever its length is. One without direction has the scale 0.
    pub(crate) fn new(vector: &[f32]) -> Self {
        let largest = vector.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let factor = if largest > 0.0 { 127.0 / f64::from(largest) } else { 0.0 };
        let values: Vec<i8> = vector.iter().map(|&value| (f64::from(value) * factor).round() as i8).collect();
        let square = dot(&values, &values);
        let scale = if square > 0 { (1.0 / f64::from(square).sqrt()) as f32 } else { 0.0 };
        Self { values, scale }
    }

    /// The bytes that the ledger keeps: a version, the scale in little endian, the values.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.values.len());
        bytes.push(VERSION);
        bytes.extend(self.scale.to_le_bytes());
        bytes.extend_from_slice(bytemuck::cast_slice(&self.values));
        bytes
    }
}

/// Reads an encoded vector without copying its values.
///
/// # Errors
/// `CorruptStore` when the bytes are no vector of these dimensions.
pub(crate) fn decode(bytes: &[u8], dimensions: usize) -> Result<(&[i8], f32)> {
    let damaged = |problem: String| Error::new(ErrorKind::CorruptStore, format!("a stored vector has {problem}"));
    let Some(([version, scale @ ..], values)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(damaged(format!("`{}` bytes", bytes.len())));
    };
    let scale = f32::from_le_bytes(*scale);
    if *version != VERSION {
        return Err(damaged(format!("the unknown version `{version}`")));
    }
    if values.len() != dimensions {
        return Err(damaged(format!("`{}` dimensions instead of {dimensions}", values.len())));
    }
    if !(0.0..=1.0).contains(&scale) {
        return Err(damaged(format!("the scale `{scale}`")));
    }
    Ok((bytemuck::cast_slice(values), scale))
}

/// Encodes a unit vector as the ledger keeps it; a text without direction gets zeros, so that it is not without vector.
pub(crate) fn encode(vector: Option<&[f32]>, dimensions: usize) -> Vec<u8> {
    match vector {
        Some(vector) => Quantized::new(vector).encode(),
        None => Quantized::new(&vec![0.0; dimensions]).encode(),
    }
}

/// The dot products of one row with several rows that were widened beforehand and stand one behind the other.
#[multiversion(targets("x86_64+avx2"))]
pub(crate) fn dots(row: &[i8], others: &[i16], widened: &mut Vec<i16>, mut each: impl FnMut(i32)) {
    widened.clear();
    widened.extend(row.iter().map(|&value| i16::from(value)));
    for other in others.chunks_exact(row.len().max(1)) {
        each(other.iter().zip(&*widened).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum());
    }
}

/// The dimensions of an encoded vector, by its length.
pub(crate) fn encoded_dimensions(bytes: &[u8]) -> usize {
    bytes.len().saturating_sub(HEADER)
}

/// Vectors in one block of memory, in the order in which they came, for exact scans.
#[derive(Clone, Debug)]
pub(crate) struct QuantizedVectors {
    dimensions: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
}

impl QuantizedVectors {
    /// An empty store of vectors of these dimensions.
    pub(crate) fn new(dimensions: usize) -> Self {
        Self { dimensions, values: Vec::new(), scales: Vec::new() }
    }

    /// Appends an encoded vector.
    ///
    /// # Errors
    /// `CorruptStore` when the bytes are no vector of the store's dimensions.
    pub(crate) fn push(&mut self, encoded: &[u8]) -> Result<()> {
        let (values, scale) = decode(encoded, self.dimensions)?;
        self.values.extend_from_slice(values);
        self.scales.push(scale);
        Ok(())
    }

    /// Appends a row without direction, whose dot product with everything is 0.
    pub(crate) fn push_none(&mut self) {
        self.values.resize(self.values.len() + self.dimensions, 0);
        self.scales.push(0.0);
    }

    /// The dimensions of the rows.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Keeps the rows that `kept` says, in their order, in memory of their own size.
    pub(crate) fn retain(&mut self, kept: impl Fn(usize) -> bool) {
        let mut next = Self::new(self.dimensions);
        for row in (0..self.len()).filter(|&row| kept(row)) {
            let start = row * self.dimensions;
            next.values.extend_from_slice(&self.values[start..start + self.dimensions]);
            next.scales.push(self.scales[row]);
        }
        *self = next;
        self.shrink();
    }

    /// Gives back the memory that growing took too much.
    pub(crate) fn shrink(&mut self) {
        self.values.shrink_to_fit();
        self.scales.shrink_to_fit();
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.scales.len()
    }

    /// The bytes of memory that the rows hold.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.values.capacity() + self.scales.capacity() * size_of::<f32>()
    }

    /// The values and the scale of a row.
    pub(crate) fn row(&self, row: usize) -> (&[i8], f32) {
        let start = row * self.dimensions;
        (&self.values[start..start + self.dimensions], self.scales[row])
    }

    /// The cosine of a rounded query with one row; a query of other dimensions matches nothing.
    pub(crate) fn cosine(&self, row: usize, query: &Quantized) -> f32 {
        let (values, scale) = self.row(row);
        cosine(values, scale, query)
    }

    /// The cosine of `query` with every row, in their order, in place of what `out` held. The query is rounded like the
    /// rows; one of other dimensions matches nothing.
    pub(crate) fn dot_all(&self, query: &Quantized, out: &mut Vec<f32>) {
        out.clear();
        if query.values.len() != self.dimensions || query.values.is_empty() {
            out.resize(self.len(), 0.0);
            return;
        }
        let values: Vec<i16> = query.values.iter().map(|&value| value.into()).collect();
        scan(&self.values, &self.scales, &values, query.scale, out);
    }
}

/// The cosine of an encoded vector and a rounded query; one of other dimensions matches nothing.
pub(crate) fn cosine(values: &[i8], scale: f32, query: &Quantized) -> f32 {
    if values.len() != query.values.len() {
        return 0.0;
    }
    dot(values, &query.values) as f32 * scale * query.scale
}

/// The loops below are plain: the compiler turns them into the vector instructions of each target, and the best one that
/// the machine has is chosen at run time. A query widened to i16 beforehand saves a fifth of a scan.
#[multiversion(targets("x86_64+avx2"))]
fn scan(rows: &[i8], scales: &[f32], query: &[i16], query_scale: f32, out: &mut Vec<f32>) {
    out.extend(rows.chunks_exact(query.len()).zip(scales).map(|(row, scale)| {
        let product: i32 = row.iter().zip(query).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        product as f32 * scale * query_scale
    }));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(a: &[f32], b: &[f32]) -> f32 {
        let (mut a, mut b) = (a.to_vec(), b.to_vec());
        normalise(&mut a);
        normalise(&mut b);
        a.iter().zip(&b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn a_vector_is_at_one_with_itself() {
        let mut store = QuantizedVectors::new(3);
        store.push(&Quantized::new(&[0.1, -0.7, 12.0]).encode()).unwrap();
        store.push_none();
        store.push(&Quantized::new(&[-0.1, 0.7, -12.0]).encode()).unwrap();
        let mut out = vec![9.0];
        store.dot_all(&Quantized::new(&[0.1, -0.7, 12.0]), &mut out);
        assert!((out[0] - 1.0).abs() < 1e-6 && out[1] == 0.0 && (out[2] + 1.0).abs() < 1e-6, "{out:?}");
        assert_eq!(store.len(), 3);
        assert!(store.heap_bytes() >= 3 * (3 + 4));
        let query = Quantized::new(&[0.1, -0.7, 12.0]);
        store.retain(|row| row > 1);
        assert_eq!((store.len(), store.heap_bytes()), (1, 3 + 4));
        assert!((store.cosine(0, &query) + 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_has_no_direction_matches_nothing() {
        let mut store = QuantizedVectors::new(2);
        store.push(&Quantized::new(&[1.0, 0.0]).encode()).unwrap();
        let mut out = Vec::new();
        for query in [&[0.0, 0.0][..], &[1.0], &[]] {
            store.dot_all(&Quantized::new(query), &mut out);
            assert_eq!(out, [0.0]);
        }
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = Quantized::new(&[1.0, 2.0]).encode();
        assert!(decode(&bytes, 2).is_ok());
        let other_version = [&[9], &bytes[1..]].concat();
        let bad_scale = [&bytes[..1], &f32::NAN.to_le_bytes(), &bytes[HEADER..]].concat();
        for (damaged, dimensions) in [(&bytes, 3), (&bytes[..4].to_vec(), 2), (&other_version, 2), (&bad_scale, 2)] {
            assert_eq!(decode(damaged, dimensions).unwrap_err().kind(), ErrorKind::CorruptStore);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_dot_product_is_exact_at_every_length(
            pairs in proptest::collection::vec((any::<i8>(), any::<i8>()), 0..600),
        ) {
            let (a, b): (Vec<i8>, Vec<i8>) = pairs.iter().copied().unzip();
            let expected: i64 = pairs.iter().map(|&(a, b)| i64::from(a) * i64::from(b)).sum();
            prop_assert_eq!(i64::from(dot(&a, &b)), expected);
        }

        #[test]
        fn rounding_costs_little(
            pairs in proptest::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 1..300),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let encoded = Quantized::new(&a).encode();
            let (values, scale) = decode(&encoded, a.len()).unwrap();
            prop_assert_eq!((values, scale), (&*Quantized::new(&a).values, Quantized::new(&a).scale));
            let mut store = QuantizedVectors::new(a.len());
            store.push(&encoded).unwrap();
            let mut out = Vec::new();
            store.dot_all(&Quantized::new(&b), &mut out);
            prop_assert!((out[0] - exact(&a, &b)).abs() < 0.02, "{} is not {}", out[0], exact(&a, &b));
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), dimensions in 0_usize..40) {
            let _ = decode(&bytes, dimensions);
        }
    }
}
