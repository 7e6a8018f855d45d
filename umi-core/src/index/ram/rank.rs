//! From columns of raw signals to hits: the order of [`ranking`]'s steps, the same for loaded and for scanned tenants.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::{
    catalogue::{BY_ASSISTANT, BY_USER, Catalogue, Features, HAS_VECTOR, IN_SESSION, IS_EPISODE},
    footprint::of_vec,
};
use crate::index::{
    Hit, SearchQuery,
    analysis::{AnalysedQuery, FIRST_PERSON, IS_ASKING, TEMPORAL},
    ranking::{self, Evidence, Fusion, Range, Turn, WordEvidence},
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
    /// The value so far, by slot.
    value: Vec<f32>,
    is_admitted: Vec<bool>,
    /// The scaled token match of the candidates, by slot.
    token: Vec<(u32, f32)>,
    /// By session.
    bonus: Vec<f32>,
    turns: Vec<Turn>,
    slots: Vec<u32>,
    lent: Vec<f32>,
}

/// What a search over a part of a tenant knows of the rest: the raw signals of items taken evenly from all of it.
#[derive(Debug, Default)]
pub(super) struct Background {
    /// As [`Columns::lexical`].
    pub(super) lexical: Vec<f32>,
    /// As [`Columns::vector`], of the items that have one.
    pub(super) vector: Vec<f32>,
}

impl Columns {
    /// Bytes of memory.
    pub(super) fn heap_bytes(&self) -> usize {
        of_vec(&self.admitted)
            + [&self.lexical, &self.share, &self.vector, &self.cosine].map(of_vec).iter().sum::<usize>()
    }
}

impl Work {
    /// Bytes of memory.
    pub(super) fn heap_bytes(&self) -> usize {
        let numbers: usize = [&self.value, &self.bonus, &self.lent].map(of_vec).iter().sum();
        numbers + of_vec(&self.is_admitted) + of_vec(&self.token) + of_vec(&self.turns) + of_vec(&self.slots)
    }

    fn token(&self, slot: u32) -> f32 {
        self.token.binary_search_by_key(&slot, |entry| entry.0).map_or(0.0, |place| self.token[place].1)
    }
}

/// What one question makes of an item's flags.
struct Priors {
    speaker: Option<u32>,
    has_roles: bool,
    asks_when: bool,
    /// What is taken off in sessions, see [`ranking::session_bonus`].
    session_mean: f32,
}

impl Priors {
    fn role(&self, flags: u8) -> f32 {
        // A fact was drawn from what was said to the agent: it must not stand behind the turn that it comes from.
        let is_told = flags & BY_USER != 0 || flags & IS_EPISODE == 0;
        if self.has_roles && is_told { ranking::ROLE_PRIOR } else { 0.0 }
    }

    fn wording(&self, flags: u8) -> f32 {
        let speaks_of_itself = flags & FIRST_PERSON != 0 && !(self.has_roles && flags & BY_ASSISTANT != 0);
        let tells_when = self.asks_when && flags & TEMPORAL != 0;
        f32::from(u8::from(speaks_of_itself)) * ranking::FIRST_PERSON_PRIOR
            + f32::from(u8::from(tells_when)) * ranking::WHEN_PRIOR
    }

    fn session(&self, flags: u8) -> f32 {
        if flags & IN_SESSION == 0 { 0.0 } else { -self.session_mean }
    }

    fn speaker(&self, features: &Features) -> f32 {
        if self.speaker == Some(features.speaker) { ranking::SPEAKER_PRIOR } else { 0.0 }
    }

    /// Adds all priors to the values.
    fn add(&self, features: &[Features], admitted: &[u32], value: &mut [f32]) {
        let by_flags: Vec<f32> =
            (0..=u8::MAX).map(|flags| self.role(flags) + self.wording(flags) + self.session(flags)).collect();
        for &slot in admitted {
            let features = &features[slot as usize];
            value[slot as usize] += features.prior + by_flags[usize::from(features.flags)] + self.speaker(features);
        }
    }
}

/// The `count` best admitted items by fusion alone, best first.
#[cfg(feature = "lance")]
pub(super) fn strongest(
    catalogue: &Catalogue,
    columns: &Columns,
    background: Option<&Background>,
    count: usize,
    work: &mut Work,
) -> Vec<u32> {
    work.value.clear();
    work.value.resize(catalogue.items.len(), 0.0);
    Scaled::new(catalogue, columns, background).fuse_all(catalogue, columns, &mut work.value);
    best(catalogue, &columns.admitted, &work.value, count)
}

/// Ranks the admitted items. `token_match` gives the raw token match of a slot. With a `background` the items are a part
/// of the tenant's.
pub(super) fn rank(
    catalogue: &Catalogue,
    columns: &Columns,
    query: &SearchQuery,
    analysed: &AnalysedQuery,
    background: Option<&Background>,
    token_match: &mut dyn FnMut(u32) -> f32,
    work: &mut Work,
) -> Vec<Hit> {
    let admitted = &columns.admitted;
    if admitted.is_empty() || !(columns.has_words || columns.has_vector) {
        return Vec::new();
    }
    let slots = catalogue.items.len();
    work.value.clear();
    work.value.resize(slots, 0.0);
    work.is_admitted.clear();
    work.is_admitted.resize(slots, admitted.len() == slots);
    if admitted.len() < slots {
        for &slot in admitted {
            work.is_admitted[slot as usize] = true;
        }
    }
    let scaled = Scaled::new(catalogue, columns, background);
    let mut sum = scaled.fuse_all(catalogue, columns, &mut work.value);
    work.token.clear();
    if columns.has_words {
        sum += match_tokens(catalogue, columns, token_match, work);
    }
    let has_roles = has_several_roles(catalogue, admitted);
    // What is found by its signals is above the mean of the tenant. What tokens and neighbours add is found in so few
    // of its items that it hardly moves that mean.
    let elsewhere = background.and_then(|background| scaled.mean(background));
    let mean = |sum: f64| elsewhere.unwrap_or((sum / admitted.len() as f64) as f32);
    sum += spread(catalogue, mean(sum), has_roles, work);
    let priors = Priors {
        speaker: columns.has_words.then(|| catalogue.named_speaker(&analysed.words, admitted)).flatten(),
        has_roles,
        asks_when: columns.has_words && analysed.asks_when,
        session_mean: ranking::SESSION_WEIGHT * mean(sum),
    };
    priors.add(&catalogue.features, admitted, &mut work.value);
    let mut out = Vec::new();
    let mut wanted = query.limit.max(1);
    loop {
        let ranked = best(catalogue, admitted, &work.value, wanted);
        let seen = out.len();
        for &slot in &ranked[seen..] {
            out.push((slot, relevance(columns, query, analysed, slot, token_match, catalogue)));
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
    fn new(catalogue: &Catalogue, columns: &Columns, background: Option<&Background>) -> Self {
        let (mut lexical, mut vector) = (Range::FROM_ZERO, Range::EMPTY);
        if let Some(background) = background {
            lexical.include_all(&background.lexical);
            vector.include_all(&background.vector);
        }
        let admitted = &columns.admitted;
        let is_full = admitted.len() == catalogue.items.len();
        if columns.has_words && is_full {
            lexical.include_all(&columns.lexical);
        } else if columns.has_words {
            for &slot in admitted {
                lexical.include(columns.lexical[slot as usize]);
            }
        }
        if columns.has_vector && is_full && catalogue.has_all_vectors() {
            vector.include_all(&columns.vector);
        } else if columns.has_vector {
            let with_vector =
                admitted.iter().filter(|&&slot| catalogue.features[slot as usize].flags & HAS_VECTOR != 0);
            with_vector.for_each(|&slot| vector.include(columns.vector[slot as usize]));
        }
        Self { lexical, vector, fusion: Fusion::new(columns.has_words, columns.has_vector) }
    }

    /// The mean of the fused values of the background; none where it is empty.
    fn mean(&self, background: &Background) -> Option<f32> {
        let mean = |range: Range, values: &[f32]| {
            let sum: f64 = values.iter().map(|value| f64::from(range.scale(*value))).sum();
            (!values.is_empty()).then(|| (sum / values.len() as f64) as f32)
        };
        let lexical = mean(self.lexical, &background.lexical)?;
        Some(self.fusion.fuse(lexical, mean(self.vector, &background.vector).unwrap_or(0.0)))
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

    /// Fills in the fused value of every admitted slot and gives their sum.
    fn fuse_all(&self, catalogue: &Catalogue, columns: &Columns, value: &mut [f32]) -> f64 {
        let is_full = columns.admitted.len() == catalogue.items.len() && catalogue.has_all_vectors();
        if !(is_full && columns.has_words && columns.has_vector) {
            let mut sum = 0.0;
            for &slot in &columns.admitted {
                let fused = self.fused(catalogue, columns, slot);
                value[slot as usize] = fused;
                sum += f64::from(fused);
            }
            return sum;
        }
        // The common case without a look at each item.
        for ((value, lexical), vector) in value.iter_mut().zip(&columns.lexical).zip(&columns.vector) {
            *value = self.fusion.fuse(self.lexical.scale(*lexical), self.vector.scale(*vector));
        }
        value.iter().copied().map(f64::from).sum()
    }
}

/// Adds the token match of the best by fusion, and gives the sum of what it added.
fn match_tokens(
    catalogue: &Catalogue,
    columns: &Columns,
    token_match: &mut dyn FnMut(u32) -> f32,
    work: &mut Work,
) -> f64 {
    let mut candidates = best(catalogue, &columns.admitted, &work.value, ranking::CANDIDATES);
    candidates.sort_unstable();
    work.token.extend(candidates.iter().map(|&slot| (slot, token_match(slot))));
    let highest = work.token.iter().map(|entry| entry.1).fold(0.0, f32::max);
    let mut sum = 0.0;
    for (slot, token) in &mut work.token {
        *token = ranking::scaled_token_match(*token, highest);
        let added = ranking::TOKEN_WEIGHT * *token;
        work.value[*slot as usize] += added;
        sum += f64::from(added);
    }
    sum
}

/// Whether the admitted episodes have more than one role.
fn has_several_roles(catalogue: &Catalogue, admitted: &[u32]) -> bool {
    let mut roles = admitted.iter().map(|&slot| catalogue.features[slot as usize].role).filter(|&role| role != 0);
    let Some(first) = roles.next() else { return false };
    roles.any(|role| role != first)
}

/// Adds what neighbours lend and what the session's best turns add. Gives the sum of what neighbours lent.
fn spread(catalogue: &Catalogue, mean: f32, has_roles: bool, work: &mut Work) -> f64 {
    let Work { value, bonus, is_admitted, turns, slots, lent, .. } = work;
    bonus.clear();
    let mut sum = 0.0;
    for members in &catalogue.sessions {
        turns.clear();
        slots.clear();
        for &(at, slot) in members {
            if is_admitted[slot as usize] {
                let features = &catalogue.features[slot as usize];
                turns.push(Turn {
                    at,
                    evidence: (value[slot as usize] - mean) * features.lends,
                    is_asking: features.flags & IS_ASKING != 0,
                    may_answer: !(has_roles && features.flags & BY_ASSISTANT != 0),
                });
                slots.push(slot);
            }
        }
        ranking::spread(turns, lent);
        for (lent, &slot) in lent.iter_mut().zip(&*slots) {
            sum += f64::from(*lent);
            *lent += value[slot as usize];
        }
        let add = ranking::session_bonus(lent.iter().copied());
        lent.iter().zip(&*slots).for_each(|(lent, &slot)| value[slot as usize] = lent + add);
        bonus.push(add);
    }
    sum
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
    analysed: &AnalysedQuery,
    slot: u32,
    token_match: &mut dyn FnMut(u32) -> f32,
    catalogue: &Catalogue,
) -> Option<f64> {
    let has_vector = catalogue.features[slot as usize].flags & HAS_VECTOR != 0;
    let cosine = if has_vector && columns.has_vector { columns.cosine[slot as usize] } else { 0.0 };
    let score = |token: f32| {
        ranking::score(Evidence {
            vector: columns.has_vector.then_some((cosine, query.vector_trust)),
            words: columns.has_words.then(|| WordEvidence {
                share: columns.share[slot as usize],
                token,
                token_trust: analysed.legibility,
            }),
        })
    };
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
    let (lexical, vector, token) =
        (scaled.lexical(columns, slot), scaled.vector(catalogue, columns, slot), work.token(slot));
    let mut out = vec![("lexical", lexical), ("vector", vector), ("token", token)];
    if explain {
        let is_in_session = features.flags & IN_SESSION != 0;
        let session = if is_in_session { work.bonus[item.session as usize] - priors.session_mean } else { 0.0 };
        let (role, speaker) = (priors.role(features.flags), priors.speaker(features));
        let importance = ranking::importance_prior(f64::from(item.importance));
        let wording = priors.wording(features.flags) + features.prior - importance;
        let before = scaled.fused(catalogue, columns, slot) + ranking::TOKEN_WEIGHT * token;
        out.extend([
            ("spread", work.value[index] - before - session - role - speaker - importance - wording),
            ("session", session),
            ("role", role),
            ("speaker", speaker),
            ("importance", importance),
            ("wording", wording),
        ]);
    }
    out.push(("rank", work.value[index]));
    out.into_iter().map(|(name, value)| (name, f64::from(value))).collect()
}
