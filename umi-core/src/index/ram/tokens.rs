//! The token match: for each token of the question its best cosine with any token of a text, weighted and summed.

use super::footprint::of_vec;
use crate::index::{ranking, tokens, vector};

/// Matches one question; the cosine of each pair of tokens is computed once.
#[derive(Debug, Default)]
pub(super) struct TokenMatcher {
    /// The rows of the question's tokens, widened, one behind the other.
    rows: Vec<i16>,
    factors: Vec<f32>,
    widened: Vec<i16>,
    weights: Vec<f32>,
    total: f32,
    /// For each token of the vocabulary the number of its similarities, where `stamps` has this question's stamp.
    places: Vec<(u32, u32)>,
    stamp: u32,
    similarities: Vec<f32>,
    best: Vec<f32>,
}

impl TokenMatcher {
    /// Takes a new question: its tokens, each with the number of items that hold it.
    pub(super) fn start(&mut self, question: &[(u16, u32)], items: usize) {
        let mut weighted: Vec<(f32, u16)> = question
            .iter()
            .map(|&(token, frequency)| {
                (ranking::inverse_document_frequency(frequency, items) * tokens::length(token), token)
            })
            .collect();
        if weighted.len() > ranking::QUERY_TOKENS {
            weighted.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(&other.1)));
            weighted.truncate(ranking::QUERY_TOKENS);
        }
        self.rows.clear();
        self.factors.clear();
        self.weights.clear();
        for (weight, token) in weighted {
            if let Some((row, factor)) = tokens::unit_row(token) {
                self.rows.extend(row.iter().map(|&value| i16::from(value)));
                self.factors.push(factor);
                self.weights.push(weight);
            }
        }
        self.total = self.weights.iter().sum();
        self.similarities.clear();
        if self.places.is_empty() {
            self.places = vec![(0, 0); usize::from(u16::MAX) + 1];
        }
        self.stamp = self.stamp.wrapping_add(1);
        if self.stamp == 0 {
            self.places.fill((0, 0));
            self.stamp = 1;
        }
    }

    /// Bytes of memory.
    pub(super) fn heap_bytes(&self) -> usize {
        let numbers: usize = [&self.factors, &self.weights, &self.similarities, &self.best].map(of_vec).iter().sum();
        numbers + of_vec(&self.rows) + of_vec(&self.widened) + of_vec(&self.places)
    }

    /// The match of a text with these tokens, from 0 to 1.
    pub(super) fn match_text(&mut self, text: &[u16]) -> f32 {
        let width = self.factors.len();
        if width == 0 || self.total <= 0.0 {
            return 0.0;
        }
        self.best.clear();
        self.best.resize(width, 0.0);
        for &token in text {
            let place = self.place(token);
            for (best, similarity) in self.best.iter_mut().zip(&self.similarities[place..place + width]) {
                *best = best.max(*similarity);
            }
        }
        self.best.iter().zip(&self.weights).map(|(best, weight)| best * weight).sum::<f32>() / self.total
    }

    /// Where the similarities of a text's token are.
    fn place(&mut self, token: u16) -> usize {
        let (stamp, place) = self.places[usize::from(token)];
        if stamp == self.stamp {
            return place as usize;
        }
        let place = self.similarities.len();
        self.places[usize::from(token)] = (self.stamp, place as u32);
        let Self { rows, factors, widened, similarities, .. } = self;
        let Some((row, factor)) = tokens::unit_row(token) else {
            similarities.resize(place + factors.len(), 0.0);
            return place;
        };
        let mut factors = factors.iter();
        vector::dots(row, rows, widened, |product| {
            let cosine = product as f32 * factor * factors.next().copied().unwrap_or(0.0);
            similarities.push(ranking::token_similarity(cosine));
        });
        place
    }
}
