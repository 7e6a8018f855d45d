//! From columns of raw signals to hits: the order of [`ranking`]'s steps, the same for loaded and for scanned tenants.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::catalogue::{BY_ASSISTANT, BY_USER, Catalogue, HAS_VECTOR, IS_EPISODE};
use crate::index::{
    Hit, SearchQuery,
    analysis::{AnalysedQuery, FIRST_PERSON, IS_ASKING, TEMPORAL},
    ranking::{self, Fusion, Range, Turn},
};

/// The raw signals of the items that a question may find, by slot; other slots hold anything.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// The slots that may be found, ascending.
    pub(super) admitted: Vec<u32>,
    /// BM25, whole and best piece half and half.
    pub(super) lexical: Vec<f32>,
    /// The part of the question's terms, by weight, that the item holds.
    pub(super) share: Vec<f32>,
    /// The cosine, whole and best piece half and half.
    pub(super) vector: Vec<f32>,
    /// The better of the cosines of the whole and the best piece.
    pub(super) cosine: Vec<f32>,
    /// Whether the question's words count.
    pub(super) has_words: bool,
    /// Whether the question's vector counts.
    pub(super) has_vector: bool,
}

/// Memory that one search needs and the next can use again.
#[derive(Debug, Default)]
pub(super) struct Work {
    fused: Vec<f32>,
    token: Vec<f32>,
    before: Vec<f32>,
    value: Vec<f32>,
    bonus: Vec<f32>,
    is_admitted: Vec<bool>,
    turns: Vec<Turn>,
    slots: Vec<u32>,
    lent: Vec<f32>,
}

/// The facts about one question that decide about priors.
struct Priors {
    speaker: Option<u32>,
    has_roles: bool,
    asks_when: bool,
}

impl Priors {
    /// (role, speaker, wording) of an item.
    fn of(&self, features: &super::catalogue::Features) -> (f32, f32, f32) {
        let has = |flag: u8| features.flags & flag != 0;
        // A fact was drawn from what was said to the agent: it must not stand behind the turn that it comes from.
        let role = if self.has_roles && (has(BY_USER) || !has(IS_EPISODE)) { ranking::ROLE_PRIOR } else { 0.0 };
        let is_named = self.speaker.is_some_and(|speaker| speaker == features.speaker);
        let mut wording = 0.0;
        if has(FIRST_PERSON) && !(self.has_roles && has(BY_ASSISTANT)) {
            wording += ranking::FIRST_PERSON_PRIOR;
        }
        if self.asks_when && has(TEMPORAL) {
            wording += ranking::WHEN_PRIOR;
        }
        (role, if is_named { ranking::SPEAKER_PRIOR } else { 0.0 }, wording)
    }
}

/// Ranks the admitted items. `token_match` gives the raw token match of a slot.
pub(super) fn rank(
    catalogue: &Catalogue,
    columns: &Columns,
    query: &SearchQuery,
    analysed: &AnalysedQuery,
    token_match: &mut dyn FnMut(u32) -> f32,
    work: &mut Work,
) -> Vec<Hit> {
    let admitted = &columns.admitted;
    if admitted.is_empty() || !(columns.has_words || columns.has_vector) {
        return Vec::new();
    }
    let slots = catalogue.items.len();
    for column in [&mut work.fused, &mut work.token, &mut work.before, &mut work.value] {
        column.clear();
        column.resize(slots, 0.0);
    }
    work.is_admitted.clear();
    work.is_admitted.resize(slots, admitted.len() == slots);
    if admitted.len() < slots {
        admitted.iter().for_each(|&slot| work.is_admitted[slot as usize] = true);
    }
    let scaled = Scaled::new(catalogue, columns);
    for &slot in admitted {
        work.fused[slot as usize] = scaled.fused(catalogue, columns, slot);
    }
    if columns.has_words {
        match_tokens(catalogue, columns, token_match, work);
    } else {
        work.before.clone_from(&work.fused);
    }
    let has_roles = has_several_roles(catalogue, admitted);
    spread(catalogue, admitted, has_roles, work);
    let priors = Priors {
        speaker: columns.has_words.then(|| catalogue.named_speaker(&analysed.words, admitted)).flatten(),
        has_roles,
        asks_when: columns.has_words && analysed.asks_when,
    };
    for &slot in admitted {
        let features = &catalogue.features[slot as usize];
        let (role, speaker, wording) = priors.of(features);
        work.value[slot as usize] += features.prior + role + speaker + wording;
    }
    let mut out = Vec::new();
    let mut wanted = query.limit.max(1);
    loop {
        let ranked = best(catalogue, admitted, &work.value, wanted);
        let seen = out.len();
        for &slot in &ranked[seen..] {
            out.push((slot, relevance(columns, query, slot, token_match, catalogue)));
        }
        let enough = out.iter().filter(|(_, score)| score.is_some()).count() >= query.limit;
        if enough || wanted >= admitted.len() {
            break;
        }
        wanted = wanted.saturating_mul(8);
    }
    let hits = out.into_iter().filter_map(|(slot, score)| Some((slot, score?))).take(query.limit);
    hits.map(|(slot, score)| {
        let signals = signals(catalogue, columns, &scaled, &priors, work, slot, query.explain);
        let item = &catalogue.items[slot as usize];
        Hit { id: item.id, kind: item.kind, score, signals }
    })
    .collect()
}

/// The ranges of the signals over the admitted items.
struct Scaled {
    lexical: Range,
    vector: Range,
    fusion: Fusion,
}

impl Scaled {
    fn new(catalogue: &Catalogue, columns: &Columns) -> Self {
        let (mut lexical, mut vector) = (Range::FROM_ZERO, Range::EMPTY);
        if columns.has_words {
            columns.admitted.iter().for_each(|&slot| lexical.include(columns.lexical[slot as usize]));
        }
        if columns.has_vector {
            for &slot in &columns.admitted {
                if catalogue.features[slot as usize].flags & HAS_VECTOR != 0 {
                    vector.include(columns.vector[slot as usize]);
                }
            }
        }
        Self { lexical, vector, fusion: Fusion::new(columns.has_words, columns.has_vector) }
    }

    fn lexical(&self, columns: &Columns, slot: u32) -> f32 {
        if columns.has_words { self.lexical.scale(columns.lexical[slot as usize]) } else { 0.0 }
    }

    /// An item whose vector is not there yet counts as the farthest one.
    fn vector(&self, catalogue: &Catalogue, columns: &Columns, slot: u32) -> f32 {
        let has_vector = columns.has_vector && catalogue.features[slot as usize].flags & HAS_VECTOR != 0;
        if has_vector { self.vector.scale(columns.vector[slot as usize]) } else { 0.0 }
    }

    fn fused(&self, catalogue: &Catalogue, columns: &Columns, slot: u32) -> f32 {
        self.fusion.fuse(self.lexical(columns, slot), self.vector(catalogue, columns, slot))
    }
}

/// Adds the token match of the best by fusion: `before` is what the neighbours then share.
fn match_tokens(catalogue: &Catalogue, columns: &Columns, token_match: &mut dyn FnMut(u32) -> f32, work: &mut Work) {
    work.before.clone_from(&work.fused);
    let candidates = best(catalogue, &columns.admitted, &work.fused, ranking::CANDIDATES);
    let raw: Vec<f32> = candidates.iter().map(|&slot| token_match(slot)).collect();
    let highest = raw.iter().copied().fold(0.0, f32::max);
    for (&slot, &raw) in candidates.iter().zip(&raw) {
        let scaled = ranking::scaled_token_match(raw, highest);
        work.token[slot as usize] = scaled;
        work.before[slot as usize] += ranking::TOKEN_WEIGHT * scaled;
    }
}

/// Whether the admitted episodes have more than one role.
fn has_several_roles(catalogue: &Catalogue, admitted: &[u32]) -> bool {
    let mut roles = admitted.iter().map(|&slot| catalogue.features[slot as usize].role).filter(|&role| role != 0);
    let Some(first) = roles.next() else { return false };
    roles.any(|role| role != first)
}

fn mean(admitted: &[u32], column: &[f32]) -> f32 {
    (admitted.iter().map(|&slot| f64::from(column[slot as usize])).sum::<f64>() / admitted.len() as f64) as f32
}

/// Adds what neighbours lend and what the session's best turns add: `value` from `before`.
fn spread(catalogue: &Catalogue, admitted: &[u32], has_roles: bool, work: &mut Work) {
    let Work { before, value, bonus, is_admitted, turns, slots, lent, .. } = work;
    value.clone_from(before);
    bonus.clear();
    bonus.resize(catalogue.sessions.len(), 0.0);
    let mean_before = mean(admitted, before);
    for members in &catalogue.sessions {
        turns.clear();
        slots.clear();
        for &(at, slot) in members {
            if is_admitted[slot as usize] {
                let features = &catalogue.features[slot as usize];
                turns.push(Turn {
                    at,
                    evidence: (before[slot as usize] - mean_before) * features.lends,
                    is_asking: features.flags & IS_ASKING != 0,
                    may_answer: !(has_roles && features.flags & BY_ASSISTANT != 0),
                });
                slots.push(slot);
            }
        }
        if turns.len() > 1 {
            ranking::spread(turns, lent);
            slots.iter().zip(lent.iter()).for_each(|(&slot, lent)| value[slot as usize] += lent);
        }
    }
    let mean_spread = mean(admitted, value);
    for (members, bonus) in catalogue.sessions.iter().zip(bonus) {
        let members = members.iter().map(|&(_, slot)| slot as usize).filter(|&slot| is_admitted[slot]);
        *bonus = ranking::session_bonus(members.clone().map(|slot| value[slot]), mean_spread);
        members.for_each(|slot| value[slot] += *bonus);
    }
}

/// A slot with its value; the greater one is the worse, so that a heap has the worst on top.
struct Ranked {
    value: f32,
    id: uuid::Uuid,
    slot: u32,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.value.total_cmp(&self.value).then(other.id.cmp(&self.id))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The `count` best slots by a column, best first; of equal ones the larger id, which is the newer.
fn best(catalogue: &Catalogue, admitted: &[u32], column: &[f32], count: usize) -> Vec<u32> {
    let count = count.min(admitted.len());
    let ranked = |slot: u32| Ranked { value: column[slot as usize], id: catalogue.items[slot as usize].id, slot };
    if count == 0 {
        return Vec::new();
    }
    if count * 4 >= admitted.len() {
        let mut all: Vec<Ranked> = admitted.iter().map(|&slot| ranked(slot)).collect();
        all.sort_unstable();
        return all[..count].iter().map(|ranked| ranked.slot).collect();
    }
    let (first, rest) = admitted.split_at(count);
    let mut heap: BinaryHeap<Ranked> = first.iter().map(|&slot| ranked(slot)).collect();
    for &slot in rest {
        let Some(mut worst) = heap.peek_mut() else { break };
        if column[slot as usize] >= worst.value {
            let new = ranked(slot);
            if new < *worst {
                *worst = new;
            }
        }
    }
    heap.into_sorted_vec().into_iter().map(|ranked| ranked.slot).collect()
}

/// The score of an item; none when it is below what the question asks for.
fn relevance(
    columns: &Columns,
    query: &SearchQuery,
    slot: u32,
    token_match: &mut dyn FnMut(u32) -> f32,
    catalogue: &Catalogue,
) -> Option<f64> {
    let has_vector = catalogue.features[slot as usize].flags & HAS_VECTOR != 0;
    let cosine = columns.has_vector.then(|| if has_vector { columns.cosine[slot as usize] } else { 0.0 });
    let score = |token: f32| ranking::score(cosine, columns.has_words.then(|| (columns.share[slot as usize], token)));
    // The token match is the costly part: it is left out where even the best could not lift the item over the bar.
    if query.min_score > 0.0 && score(1.0) < query.min_score {
        return None;
    }
    let score = score(if columns.has_words { token_match(slot) } else { 0.0 });
    (score >= query.min_score).then_some(score)
}

fn signals(
    catalogue: &Catalogue,
    columns: &Columns,
    scaled: &Scaled,
    priors: &Priors,
    work: &Work,
    slot: u32,
    explain: bool,
) -> Vec<(&'static str, f64)> {
    let index = slot as usize;
    let (item, features) = (&catalogue.items[index], &catalogue.features[index]);
    let mut out = vec![
        ("lexical", scaled.lexical(columns, slot)),
        ("vector", scaled.vector(catalogue, columns, slot)),
        ("token", work.token[index]),
    ];
    if explain {
        let is_in_session = features.flags & IS_EPISODE != 0 && item.session != 0;
        let session = if is_in_session { work.bonus[item.session as usize] } else { 0.0 };
        let (role, speaker, wording) = priors.of(features);
        let importance = ranking::importance_prior(f64::from(item.importance));
        let spread = work.value[index] - work.before[index] - session - features.prior - role - speaker - wording;
        out.extend([
            ("spread", spread),
            ("session", session),
            ("role", role),
            ("speaker", speaker),
            ("importance", importance),
            ("wording", wording + features.prior - importance),
        ]);
    }
    out.push(("rank", work.value[index]));
    out.into_iter().map(|(name, value)| (name, f64::from(value))).collect()
}
