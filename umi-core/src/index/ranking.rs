//! The ranking: pure functions over columns of signals. DESIGN and the benchmark say how it came to be.
//!
//! For each item of the scope: `fused = a·lexical + (1 − a)·vector` over signals scaled to [0, 1]; plus the token match
//! on the best of them; plus what neighbours of the session lend (spread) and the session's best turns (bonus); plus
//! priors. The score that users see is another, absolute number, see [`score`].

/// BM25's saturation of repeated terms; the usual value, which hardly matters in the whole pipeline.
pub(crate) const K1: f32 = 1.2;
/// BM25's normalisation by length; 0.75 finds 8 points more than 0.4 among long messages and costs chat turns nothing.
pub(crate) const B: f32 = 0.75;
/// The share of the lexical signal in the fusion; flat between 0.35 and 0.55.
pub(crate) const LEXICAL_SHARE: f32 = 0.45;
/// The share of the best piece of a long text against the whole of it; measured on long messages (+1.4).
pub(crate) const PIECE_SHARE: f32 = 0.5;
/// How many of the best by fusion get a token match; flat from 100 to 400.
pub(crate) const CANDIDATES: usize = 100;
/// The weight of the token match (+4 recall at 10, +5 at 1 over the fusion alone); flat from 0.6 to 1.
pub(crate) const TOKEN_WEIGHT: f32 = 0.8;
/// The part of the best token match that counts as nothing, so that the number of candidates does not matter.
pub(crate) const TOKEN_FLOOR: f32 = 0.5;
/// The cosine of two tokens below which they have nothing in common.
pub(crate) const COSINE_FLOOR: f32 = 0.2;
/// The most tokens of a question that take part in the token match, its heaviest; longer questions are texts.
pub(crate) const QUERY_TOKENS: usize = 128;
/// What the turn before and after lends (+4 recall at 10, together with [`SECOND_NEIGHBOUR`]).
pub(crate) const FIRST_NEIGHBOUR: f32 = 0.3;
/// What the turns two away lend.
pub(crate) const SECOND_NEIGHBOUR: f32 = 0.12;
/// What a question lends to the turn that answers it, on top.
pub(crate) const ANSWERED_QUESTION: f32 = 0.15;
/// The length, in tokens, up to which a turn lends in full: long messages say less about their neighbours.
pub(crate) const LENDER_TOKENS: f32 = 80.0;
/// The longest pause that evidence crosses, in microseconds: an hour.
pub(crate) const PAUSE_MICROSECONDS: i64 = 3_600_000_000;
/// The weight of a session's best turns against the mean of all items (+0.9).
pub(crate) const SESSION_WEIGHT: f32 = 0.3;
/// How many of a session's turns stand for it.
pub(crate) const SESSION_BEST: usize = 3;
/// The prior for the speaker that the question names: small, because some questions name the wrong one.
pub(crate) const SPEAKER_PRIOR: f32 = 0.1;
/// The prior for what the user said, where roles differ: it held 77 % of the evidence in half of the messages.
pub(crate) const ROLE_PRIOR: f32 = 0.2;
/// The weight of importance around its neutral 0.5: at most a tenth either way. Chosen to be small, not measured.
pub(crate) const IMPORTANCE_WEIGHT: f32 = 0.2;
/// The prior for turns in which speakers speak of themselves (+0.5 recall at 1).
pub(crate) const FIRST_PERSON_PRIOR: f32 = 0.05;
/// What a text made of questions loses: it asks for facts and holds none.
pub(crate) const QUESTION_MALUS: f32 = 0.15;
/// The length, in tokens, over which the loss shrinks.
pub(crate) const QUESTION_TOKENS: f32 = 40.0;
/// The prior for texts that name a time when the question asks for one.
pub(crate) const WHEN_PRIOR: f32 = 0.15;
/// The parts of the score: cosine, share of the question's terms by weight, token match. They sum to 1. The area under
/// the curve that tells answerable questions from others is 0.98 (the cosine alone: 0.91).
pub(crate) const SCORE_PARTS: [f32; 3] = [0.4, 0.2, 0.4];

/// The inverse document frequency of a term in `frequency` of `items`.
pub(crate) fn inverse_document_frequency(frequency: u32, items: usize) -> f32 {
    let (frequency, items) = (f64::from(frequency), items as f64);
    (1.0 + ((items - frequency).max(0.0) + 0.5) / (frequency + 0.5)).ln() as f32
}

/// BM25's part for a term `count` times in a text of `length` terms, without the term's weight.
pub(crate) fn term_weight(count: u16, length: u32, mean_length: f32) -> f32 {
    let count = f32::from(count);
    count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length as f32 / mean_length.max(1e-9)))
}

/// How two tokens match, from their cosine.
pub(crate) fn token_similarity(cosine: f32) -> f32 {
    ((cosine - COSINE_FLOOR) / (1.0 - COSINE_FLOOR)).max(0.0)
}

/// The whole text and its best piece, half and half; a text without pieces is its own.
pub(crate) fn with_piece(whole: f32, best_piece: Option<f32>) -> f32 {
    best_piece.map_or(whole, |piece| (1.0 - PIECE_SHARE) * whole + PIECE_SHARE * piece)
}

/// The range of a signal over the items of the scope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    low: f32,
    high: f32,
}

impl Range {
    /// The range of nothing yet.
    pub(crate) const EMPTY: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };
    /// A range that begins at 0.
    pub(crate) const FROM_ZERO: Self = Self { low: 0.0, high: 0.0 };

    /// Takes a value in.
    pub(crate) fn include(&mut self, value: f32) {
        self.low = self.low.min(value);
        self.high = self.high.max(value);
    }

    /// Takes many values in: in lanes, so that the compiler can use vector instructions.
    pub(crate) fn include_all(&mut self, values: &[f32]) {
        let (lanes, rest) = values.as_chunks::<8>();
        let (mut low, mut high) = ([self.low; 8], [self.high; 8]);
        for lane in lanes {
            for ((low, high), value) in low.iter_mut().zip(&mut high).zip(lane) {
                *low = if value < low { *value } else { *low };
                *high = if value > high { *value } else { *high };
            }
        }
        self.low = low.into_iter().fold(self.low, f32::min);
        self.high = high.into_iter().fold(self.high, f32::max);
        for &value in rest {
            self.include(value);
        }
    }

    /// A value's place in the range, from 0 to 1; 0 where the range is a point.
    pub(crate) fn scale(self, value: f32) -> f32 {
        let width = self.high - self.low;
        if width > 1e-9 { (value - self.low) / width } else { 0.0 }
    }
}

/// Fuses scaled signals; one that is missing leaves the other alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fusion {
    lexical: f32,
    vector: f32,
}

impl Fusion {
    /// The weights for the signals that are there.
    pub(crate) fn new(has_lexical: bool, has_vector: bool) -> Self {
        match (has_lexical, has_vector) {
            (true, true) => Self { lexical: LEXICAL_SHARE, vector: 1.0 - LEXICAL_SHARE },
            (true, false) => Self { lexical: 1.0, vector: 0.0 },
            (false, _) => Self { lexical: 0.0, vector: 1.0 },
        }
    }

    /// One item's value.
    pub(crate) fn fuse(self, lexical: f32, vector: f32) -> f32 {
        self.lexical * lexical + self.vector * vector
    }
}

/// A candidate's token match against the best of all candidates, from 0 to 1.
pub(crate) fn scaled_token_match(raw: f32, best: f32) -> f32 {
    let floor = TOKEN_FLOOR * best;
    ((raw - floor) / (best - floor).max(1e-9)).max(0.0)
}

/// How much of its evidence a text of so many tokens lends.
pub(crate) fn lending(tokens: u32) -> f32 {
    (LENDER_TOKENS / tokens.max(1) as f32).min(1.0).sqrt()
}

/// The prior of an item that no question changes.
pub(crate) fn standing_prior(importance: f64, question_share: f32, tokens: u32) -> f32 {
    importance_prior(importance) - question_malus(question_share, tokens)
}

/// The part of [`standing_prior`] that importance has.
pub(crate) fn importance_prior(importance: f64) -> f32 {
    let importance = if importance.is_finite() { importance.clamp(0.0, 1.0) as f32 } else { 0.5 };
    IMPORTANCE_WEIGHT * (importance - 0.5)
}

fn question_malus(question_share: f32, tokens: u32) -> f32 {
    QUESTION_MALUS * question_share * (QUESTION_TOKENS / tokens.max(1) as f32).min(1.0)
}

/// A turn of a session, for [`spread`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Turn {
    /// Microseconds since 1970.
    pub(crate) at: i64,
    /// Its evidence above the mean of all items, times what it lends.
    pub(crate) evidence: f32,
    /// Whether it ends with a question.
    pub(crate) is_asking: bool,
    /// Whether it may answer one: not when an assistant says it and others speak too.
    pub(crate) may_answer: bool,
}

/// What the neighbours of each turn of one session lend it, in the order of the turns; nothing crosses a long pause.
pub(crate) fn spread(turns: &[Turn], out: &mut Vec<f32>) {
    out.clear();
    // Whether the turn at a place follows the one before it closely.
    let is_close = |place: usize| match (turns.get(place.wrapping_sub(1)), turns.get(place)) {
        (Some(one), Some(next)) => next.at.saturating_sub(one.at) <= PAUSE_MICROSECONDS,
        _ => false,
    };
    // Of the turn in hand: what is close around it, moved along instead of asked again.
    let (mut second_before, mut before, mut behind) = (false, false, is_close(1));
    for (place, turn) in turns.iter().enumerate() {
        let second_behind = is_close(place + 2);
        let mut lent = 0.0;
        if before {
            let one = &turns[place - 1];
            let answers = one.is_asking && turn.may_answer;
            lent += (FIRST_NEIGHBOUR + if answers { ANSWERED_QUESTION } else { 0.0 }) * one.evidence;
            if second_before {
                lent += SECOND_NEIGHBOUR * turns[place - 2].evidence;
            }
        }
        if behind {
            lent += FIRST_NEIGHBOUR * turns[place + 1].evidence;
            if second_behind {
                lent += SECOND_NEIGHBOUR * turns[place + 2].evidence;
            }
        }
        out.push(lent);
        (second_before, before, behind) = (before, behind, second_behind);
    }
}

/// What a session's best turns add to each of its turns, before [`SESSION_WEIGHT`] times the mean of all items is taken
/// off.
pub(crate) fn session_bonus(values: impl IntoIterator<Item = f32>) -> f32 {
    let mut best = [f32::NEG_INFINITY; SESSION_BEST];
    let mut count = 0;
    for mut value in values {
        count += 1;
        // Both ways are computed, because which one it is cannot be foreseen.
        for place in &mut best {
            let is_better = value > *place;
            (*place, value) = (if is_better { value } else { *place }, if is_better { *place } else { value });
        }
    }
    let taken = count.min(SESSION_BEST);
    if taken == 0 { 0.0 } else { SESSION_WEIGHT * best[..taken].iter().sum::<f32>() / taken as f32 }
}

/// The signals that an absolute score is made of, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evidence {
    /// The cosine with the question, and how far it can be trusted; none where the search does without vectors.
    pub(crate) vector: Option<(f32, f32)>,
    /// The words; none where the search does without them.
    pub(crate) words: Option<WordEvidence>,
}

/// What the words say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WordEvidence {
    /// The share of the question's terms, by weight, that the item holds.
    pub(crate) share: f32,
    /// The token match.
    pub(crate) token: f32,
    /// How far the token match can be trusted.
    pub(crate) token_trust: f32,
}

/// The absolute relevance of an item, from 0 to 1. A signal that the search does without gives its part to the others;
/// what cannot be trusted gives its part to the words that are the same: tokens and bundled vectors know little of a
/// script that they see as single letters, and would find everything in it alike.
pub(crate) fn score(evidence: Evidence) -> f64 {
    let [vector_part, share_part, token_part] = SCORE_PARTS;
    let (mut sum, mut parts) = (0.0, 0.0);
    if let Some((cosine, trust)) = evidence.vector {
        sum += vector_part * trust * cosine.clamp(0.0, 1.0);
        parts += vector_part * if evidence.words.is_some() { trust } else { 1.0 };
    }
    if let Some(words) = evidence.words {
        let whole = if evidence.vector.is_some() { 1.0 } else { share_part + token_part };
        let token_part = token_part * words.token_trust;
        // Alone, a share of words is too strict: where no stop words are known, every particle of a question counts.
        let share = words.share.clamp(0.0, 1.0).powf(0.5 + 0.5 * words.token_trust);
        sum += (whole - parts - token_part) * share + token_part * words.token.clamp(0.0, 1.0);
        parts = whole;
    }
    if parts > 0.0 { f64::from(sum / parts).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(at: i64, evidence: f32) -> Turn {
        Turn { at, evidence, is_asking: false, may_answer: true }
    }

    #[test]
    fn neighbours_lend_inside_of_an_hour() {
        let mut out = Vec::new();
        spread(&[turn(0, 1.0), turn(1, 0.0), turn(2, 0.0), turn(3, 0.0)], &mut out);
        assert_eq!(out, [0.0, 0.3, 0.12, 0.0]);
        spread(&[turn(0, 1.0), turn(PAUSE_MICROSECONDS + 1, 0.0), turn(PAUSE_MICROSECONDS + 2, 0.0)], &mut out);
        assert_eq!(out, [0.0, 0.0, 0.0]);
        let asking = Turn { is_asking: true, ..turn(0, 1.0) };
        spread(&[asking, turn(1, 0.0)], &mut out);
        assert!((out[1] - 0.45).abs() < 1e-6);
        spread(&[asking, Turn { may_answer: false, ..turn(1, 0.0) }], &mut out);
        assert!((out[1] - 0.3).abs() < 1e-6);
    }

    #[test]
    fn a_session_is_worth_its_best_three() {
        assert!((session_bonus([1.0, 4.0, 3.0, 2.0]) - 0.9).abs() < 1e-6);
        assert!((session_bonus([2.0]) - 0.6).abs() < 1e-6);
        assert_eq!(session_bonus([]).to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn the_score_uses_what_is_there() {
        let score = |cosine: Option<f32>, words: Option<(f32, f32)>, trust: f32| {
            score(Evidence {
                vector: cosine.map(|cosine| (cosine, trust)),
                words: words.map(|(share, token)| WordEvidence { share, token, token_trust: trust }),
            })
        };
        assert!((score(Some(0.5), Some((1.0, 0.5)), 1.0) - 0.6).abs() < 1e-6);
        assert!((score(None, Some((1.0, 0.5)), 1.0) - 4.0 / 6.0).abs() < 1e-6);
        assert!((score(Some(0.5), None, 1.0) - 0.5).abs() < 1e-6);
        assert!(score(None, None, 1.0).abs() < f64::EPSILON);
        assert!(score(Some(-1.0), None, 1.0).abs() < f64::EPSILON);
        // without trust the shared words alone count
        assert!((score(Some(0.9), Some((0.25, 0.9)), 0.0) - 0.5).abs() < 1e-6);
        assert!(score(Some(0.9), None, 0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn ranges_scale_to_one() {
        let mut range = Range::EMPTY;
        range.include(-1.0);
        range.include(3.0);
        assert!((range.scale(1.0) - 0.5).abs() < 1e-6);
        let mut many = Range::EMPTY;
        many.include_all(&(0..21).map(|value| value as f32).collect::<Vec<_>>());
        assert!((many.scale(10.0) - 0.5).abs() < 1e-6);
        let mut few = Range::EMPTY;
        few.include_all(&[-1.0, 1.0]);
        assert!((few.scale(0.0) - 0.5).abs() < 1e-6);
        let mut flat = Range::EMPTY;
        flat.include(0.7);
        assert!(flat.scale(0.7).abs() < 1e-9);
    }

    #[test]
    fn a_rare_term_weighs_more() {
        assert!(inverse_document_frequency(1, 100) > inverse_document_frequency(50, 100));
        assert!(inverse_document_frequency(100, 100) > 0.0);
        assert!(term_weight(2, 10, 10.0) > term_weight(1, 10, 10.0));
        assert!(term_weight(1, 5, 10.0) > term_weight(1, 50, 10.0));
    }
}
