//! The plan of a run: steps drawn from a seed, each from its own dice, so that leaving steps out changes no other.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use umi_core::BlockType;

use crate::{dice::Dice, embedder::CURSED, trouble::Trouble};

/// When every run begins.
pub(crate) const START: &str = "2026-01-01T00:00:00Z";

/// Who calls, or whose row it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who {
    pub(crate) user: Option<&'static str>,
    pub(crate) agent: Option<&'static str>,
    pub(crate) session: Option<&'static str>,
}

/// Every tenant of a run.
pub(crate) const USERS: [Option<&str>; 3] = [None, Some("ana"), Some("bo")];
const AGENTS: [&str; 2] = ["scout", "clerk"];
const SESSIONS: [&str; 2] = ["monday", "tuesday"];

/// How the embedder behaves during a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers.
    #[default]
    Well,
    /// It fails in a way that may pass.
    Down,
    /// It refuses calls with a cursed text.
    Picky,
    /// Its vectors have too few dimensions.
    Short,
    /// It gives no vectors.
    Few,
    /// Its numbers are not finite.
    Infinite,
    /// It never answers, and the caller gives up.
    Hangs,
}

impl Mood {
    /// Whether it gives no vector for a text that is tried by itself.
    pub(crate) fn refuses(self, text: &str) -> bool {
        match self {
            Self::Well => false,
            Self::Picky => text.contains(CURSED),
            _ => true,
        }
    }
}

/// The handle that a step goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The first handle, with the scope in the call.
    First,
    /// A handle scoped from the first one.
    Scoped,
    /// A second opening of the folder, where there is one.
    Second,
}

/// A turn to remember.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) at: Option<Timestamp>,
    pub(crate) role: Option<&'static str>,
    pub(crate) name: Option<&'static str>,
    pub(crate) metadata: Vec<(&'static str, String)>,
}

/// One request to remember.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) who: Who,
    pub(crate) turns: Vec<Said>,
    pub(crate) key: Option<String>,
    pub(crate) wants_vectors: bool,
}

/// A fact to record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) name: &'static str,
    pub(crate) attribute: Option<&'static str>,
    pub(crate) content: &'static str,
    pub(crate) event_time: Option<Timestamp>,
    pub(crate) metadata: Vec<(&'static str, String)>,
    pub(crate) confidence: f64,
    pub(crate) importance: f64,
}

/// What a step does. A `pick` names one of the things that are there, counted round.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Remember { request: Request, waits: bool },
    RememberMany { requests: Vec<Request> },
    AddEntity { claim: Claim },
    Update { pick: u64, content: Option<&'static str>, metadata: Vec<(&'static str, String)>, importance: Option<f64> },
    ForgetEpisode { pick: u64 },
    ForgetFact { pick: u64, chain: bool },
    ForgetNothing,
    ForgetScope,
    Recall { pick: u64 },
    Context { pick: u64 },
    AsOf { at: Timestamp },
    CoreSet { block: BlockType, content: String, label: Option<&'static str>, importance: Option<f64> },
    CoreRemove { block: BlockType },
    CoreClear,
    CoreRestore { block: BlockType, version: u64 },
    WorkingSet { key: &'static str, value: String, ttl: Option<u64> },
    WorkingIncrement { key: &'static str, by: i64 },
    WorkingAppend { key: &'static str, value: &'static str },
    WorkingTouch { key: &'static str, ttl: Option<u64> },
    WorkingDelete { key: &'static str },
    WorkingCleanup,
    WorkingClear,
    Retry,
    Flush,
    Purge,
    Backup,
    Clock { by: SignedDuration },
    Reopen,
    SecondHandle,
    PowerCut,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) index: usize,
    pub(crate) who: Who,
    pub(crate) via: Via,
    pub(crate) mood: Mood,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) action: Action,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, who, via, mood, trouble, action } = self;
        let name = |name: Option<&'static str>| name.unwrap_or("-");
        write!(f, "{index} {}/{}/{} {via:?} {mood:?}", name(who.user), name(who.agent), name(who.session))?;
        if let Some(trouble) = trouble {
            write!(f, " {trouble:?}")?;
        }
        write!(f, " {action:?}")
    }
}

/// A seed, and which of its steps are taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Whether the embedder computes before the first transaction.
    pub(crate) is_in_process: bool,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// The whole plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut dice = Dice::of(seed, u64::MAX);
        let count = 16 + dice.below(48) as usize;
        let profile = Profile {
            moods: dice.one_in(2),
            troubles: !dice.one_in(3),
            cuts: dice.one_in(2),
            is_small: dice.one_in(3),
        };
        let is_in_process = dice.one_in(3);
        let steps = (0..count).map(|index| profile.step(seed, index)).collect();
        Self { seed, is_in_process, steps }
    }

    /// The same plan with some of its steps only.
    pub(crate) fn keeping(&self, kept: &[usize]) -> Self {
        let steps = self.steps.iter().filter(|step| kept.contains(&step.index)).cloned().collect();
        Self { steps, ..self.clone() }
    }

    /// The places of its steps.
    pub(crate) fn indices(&self) -> Vec<usize> {
        self.steps.iter().map(|step| step.index).collect()
    }

    /// Reads a line of the kept list: `17`, or `17 keep 0,3,9`; what follows `#` is for people.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let line = line.split('#').next()?.trim();
        let (seed, kept) = line.split_once(" keep ").map_or((line, None), |(seed, kept)| (seed, Some(kept)));
        let plan = Self::of(seed.trim().parse().ok()?);
        let Some(kept) = kept else { return Some(plan) };
        let kept: Option<Vec<usize>> = kept.split(',').map(|index| index.trim().parse().ok()).collect();
        Some(plan.keeping(&kept?))
    }

    /// The line that [`Plan::parse`] reads.
    pub(crate) fn line(&self) -> String {
        let kept: Vec<String> = self.indices().iter().map(usize::to_string).collect();
        format!("{} keep {}", self.seed, kept.join(","))
    }
}

/// What a seed's steps may hold.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn by itself")]
struct Profile {
    moods: bool,
    troubles: bool,
    cuts: bool,
    is_small: bool,
}

const NAMES: [&str; 3] = ["Ana Silva", "ANA  silva", "Acme"];
const ATTRIBUTES: [&str; 3] = ["employer", "Employer", "home"];
const CONTENTS: [&str; 4] = ["works at Initech", "lives in Lisbon", "likes green tea", "said \"<no>\" & left"];
const WORDS: [&str; 10] =
    ["harbour", "violin", "Käse", "peanuts", "🦊 fox", "語る", "\"quoted\"", "<tag/>", "rain%", "o'clock"];
const KEYS: [&str; 5] = ["draft", "count", "step", "a key", "ключ"];

impl Profile {
    fn step(self, seed: u64, index: usize) -> Step {
        let mut dice = Dice::of(seed, index as u64);
        let dice = &mut dice;
        let who = who(dice, self.is_small);
        let via = dice.pick(&[Via::First, Via::First, Via::Scoped, Via::Second]);
        let bad = [Mood::Down, Mood::Picky, Mood::Picky, Mood::Short, Mood::Few, Mood::Infinite, Mood::Hangs];
        let mood = if self.moods { dice.maybe(3, &bad).unwrap_or_default() } else { Mood::Well };
        let trouble = if self.troubles && dice.one_in(5) { Some(Trouble::draw(dice, self.cuts)) } else { None };
        let action = self.action(dice, who, index);
        Step { index, who, via, mood, trouble, action }
    }

    fn action(self, dice: &mut Dice, who: Who, index: usize) -> Action {
        let pick = dice.next() >> 8;
        match dice.below(100) {
            0..14 => Action::Remember { request: request(dice, who, index, 0, 1), waits: !dice.one_in(4) },
            14..19 => {
                let turns = 2 + dice.below(3) as usize;
                Action::Remember { request: request(dice, who, index, 0, turns), waits: true }
            }
            19..23 => {
                let count = 2 + dice.below(4) as usize;
                let requests = (0..count).map(|part| {
                    let who = if dice.one_in(3) { self::who(dice, self.is_small) } else { who };
                    request(dice, who, index, part, 1)
                });
                Action::RememberMany { requests: requests.collect() }
            }
            23..41 => Action::AddEntity { claim: claim(dice) },
            41..48 => Action::Update {
                pick,
                content: dice.maybe(2, &CONTENTS),
                metadata: metadata(dice),
                importance: dice.maybe(3, &[0.1, 0.9]),
            },
            48..52 => Action::ForgetEpisode { pick },
            52..58 => Action::ForgetFact { pick, chain: dice.one_in(4) },
            58 => Action::ForgetNothing,
            59 => Action::ForgetScope,
            60..66 => Action::Recall { pick },
            66..68 => Action::Context { pick },
            68..71 => Action::AsOf { at: moment(dice) },
            71..75 => core(dice),
            75..87 => working(dice),
            87..89 => Action::Retry,
            89 => Action::Flush,
            90 => Action::Purge,
            91 => Action::Backup,
            92..96 => Action::Clock { by: jump(dice) },
            96 => Action::Reopen,
            97..99 => Action::SecondHandle,
            _ if self.cuts => Action::PowerCut,
            _ => Action::Reopen,
        }
    }
}

fn who(dice: &mut Dice, is_small: bool) -> Who {
    let user = if is_small { USERS[1] } else { dice.pick(&USERS) };
    Who { user, agent: dice.maybe(3, &AGENTS), session: dice.maybe(3, &SESSIONS) }
}

/// A time within some weeks of the start, on whole quarters of a day, so that some fall together.
fn moment(dice: &mut Dice) -> Timestamp {
    let start: Timestamp = START.parse().unwrap();
    start + SignedDuration::from_hours(6 * (dice.below(60).cast_signed() - 40))
}

/// Steps of the clock: forward and back. They keep clear of what is left of a lease of a minute.
fn jump(dice: &mut Dice) -> SignedDuration {
    let length = dice.pick(&[
        SignedDuration::from_millis(1),
        SignedDuration::from_secs(20),
        SignedDuration::from_mins(2),
        SignedDuration::from_hours(1),
        SignedDuration::from_hours(31),
    ]);
    if dice.one_in(3) { -length } else { length }
}

fn metadata(dice: &mut Dice) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    for key in ["a", "b", "ö"] {
        if dice.one_in(4) {
            fields.push((key, dice.below(1_000).to_string()));
        }
    }
    fields
}

fn request(dice: &mut Dice, who: Who, index: usize, part: usize, turns: usize) -> Request {
    // Few keys, with texts that depend on the key alone or on the step: repeated calls, and keys of another text.
    let key = dice.maybe(3, &["k1", "k2", "k3"]);
    let is_own = key.is_none() || dice.one_in(3);
    let turns = (0..turns).map(|turn| {
        let word = |dice: &mut Dice| dice.pick(&WORDS);
        let mut text = match key {
            Some(key) if !is_own => format!("the words of {key}t{turn}"),
            _ => format!("{} note{index}p{part}t{turn} {}", word(dice), word(dice)),
        };
        if dice.one_in(6) && is_own {
            text = format!("{text} {CURSED}");
        }
        Said {
            text,
            at: if dice.one_in(3) { Some(moment(dice)) } else { None },
            role: dice.maybe(3, &["assistant", "tool"]),
            name: dice.maybe(4, &["Ana", "Bo"]),
            metadata: metadata(dice),
        }
    });
    let turns = turns.collect();
    Request { who, turns, key: key.map(str::to_owned), wants_vectors: !dice.one_in(8) }
}

fn claim(dice: &mut Dice) -> Claim {
    Claim {
        name: dice.pick(&NAMES),
        attribute: if dice.one_in(3) { None } else { Some(dice.pick(&ATTRIBUTES)) },
        content: dice.pick(&CONTENTS),
        event_time: if dice.one_in(4) { None } else { Some(moment(dice)) },
        metadata: metadata(dice),
        confidence: dice.pick(&[1.0, 0.5, 0.25]),
        importance: dice.pick(&[0.5, 0.5, 0.75, 0.0]),
    }
}

fn core(dice: &mut Dice) -> Action {
    let block = dice.pick(&[BlockType::Human, BlockType::Goals, BlockType::Scratch]);
    match dice.below(8) {
        0 => Action::CoreRemove { block },
        1 => Action::CoreClear,
        2 | 3 => Action::CoreRestore { block, version: 1 + dice.below(4) },
        _ => Action::CoreSet {
            block,
            content: format!("{} <{}>", dice.pick(&WORDS), dice.below(100)),
            label: dice.maybe(3, &["", "about \"me\"", "plain"]),
            importance: dice.maybe(3, &[0.0, 0.25, 1.0]),
        },
    }
}

fn working(dice: &mut Dice) -> Action {
    let key = dice.pick(&KEYS);
    // Seconds.
    let ttl = dice.maybe(2, &[1, 30, 3_600, 86_400]);
    match dice.below(16) {
        0..5 => Action::WorkingSet { key, value: dice.pick(&["7", "text", "", "-3"]).to_owned(), ttl },
        5..8 => Action::WorkingIncrement { key, by: dice.below(9).cast_signed() - 4 },
        8..10 => Action::WorkingAppend { key, value: dice.pick(&["1", "ä"]) },
        10..12 => Action::WorkingTouch { key, ttl },
        12 | 13 => Action::WorkingDelete { key },
        14 => Action::WorkingCleanup,
        _ => Action::WorkingClear,
    }
}
