//! What the parts of the core cost, without Python: `cargo bench -p umi-core --bench speed -- recall`.
//!
//! `bench/bench_memory.py` holds the same operations to their budgets through the bindings; the difference between the
//! two is what the bindings cost.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, Throughput};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;
use umi_core::{
    BlockType, CoreLimits, CoreMemory, Embedder, Memory, RememberRequest, Scope, Sighting, StaticEmbedder, Timestamp,
    Turn, Uuid, WorkingLimits, WorkingMemory, chain,
};

/// Frequent English words, most frequent first; `bench/conversation.py` speaks with the same ones.
const COMMON_WORDS: &str = include_str!("../../bench/common_words.txt");

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    core_memory(&mut criterion);
    working_memory(&mut criterion);
    embed(&mut criterion);
    chains(&mut criterion);
    remember(&mut criterion);
    recall(&mut criterion);
    criterion.final_summary();
}

fn core_memory(criterion: &mut Criterion) {
    let limits = CoreLimits::default();
    let mut core = CoreMemory::new(limits);
    let content: String = Speaker::new(1).text(2_000).chars().take(limits.total_bytes / BlockType::ALL.len()).collect();
    for block_type in BlockType::ALL {
        core.set_block(block_type, &content, None, None, Timestamp::UNIX_EPOCH).expect("six equal blocks fit");
    }
    let mut group = criterion.benchmark_group("core_memory");
    group.throughput(Throughput::Bytes(core.used_bytes() as u64));
    group.bench_function("render six blocks, 32 KiB", |bench| bench.iter(|| black_box(&core).render()));
    group.finish();
}

fn working_memory(criterion: &mut Criterion) {
    let now = Timestamp::UNIX_EPOCH;
    let keys: Vec<String> = (0..1_000).map(|index| format!("session:{index}")).collect();
    let mut working = WorkingMemory::new(WorkingLimits::default());
    for key in &keys {
        working.set(key, &[b'x'; 100], None, now).expect("a thousand short values fit");
    }
    let mut next = (0..keys.len()).cycle();
    let mut group = criterion.benchmark_group("working_memory");
    group.bench_function("get", |bench| {
        bench.iter(|| working.get(&keys[next.next().unwrap_or_default()], now).map(<[u8]>::len));
    });
    group.bench_function("set", |bench| {
        bench.iter(|| working.set(&keys[next.next().unwrap_or_default()], black_box(&[b'y'; 100]), None, now).is_ok());
    });
    group.finish();
}

fn embed(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let embedder = StaticEmbedder::new();
    let texts = [Speaker::new(2).text(30)];
    let mut group = criterion.benchmark_group("embed");
    group.bench_function("a turn of 30 words", |bench| {
        bench.iter(|| runtime.block_on(embedder.embed(black_box(&texts))).expect("the bundled embedder does not fail"));
    });
    group.finish();
}

fn chains(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chain");
    for count in [10_u32, 1_000] {
        // they arrive newest first, and two of three say the same as the one before
        let sightings: Vec<Sighting> = (0..count)
            .map(|index| Sighting {
                id: Uuid::from_u128(u128::from(index)),
                seq: i64::from(index),
                content: format!("employer {}", index / 3),
                valid_from: Timestamp::from_second(i64::from(count - index)).expect("within the years of a timestamp"),
                starts_version: false,
            })
            .collect();
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(format!("{count} sightings"), |bench| bench.iter(|| chain(black_box(&sightings), &[])));
    }
    group.finish();
}

fn remember(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    // beside the build, since the folder for temporary files may be in memory, where a commit costs nothing
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the build's folder can be written");
    let memory = runtime.block_on(Memory::open(folder.path())).expect("an empty folder opens");
    let mut speaker = Speaker::new(3);
    let mut group = criterion.benchmark_group("remember");
    group.bench_function("one turn, durable", |bench| {
        bench.iter_batched(
            || speaker.turn(),
            |text| runtime.block_on(memory.remember(text).into_future()).expect("the turn is stored"),
            BatchSize::PerIteration,
        );
    });
    group.throughput(Throughput::Elements(256));
    group.bench_function("256 turns, durable", |bench| {
        bench.iter_batched(
            || speaker.requests(256, "alice"),
            |requests| runtime.block_on(memory.remember_batch(requests)).expect("the turns are stored"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    runtime.block_on(memory.close()).expect("the store closes");
}

fn recall(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("recall");
    for count in [1_000, 10_000] {
        let memory = runtime.block_on(Memory::in_memory()).expect("a store in memory opens");
        let mut speaker = Speaker::new(4);
        let requests = speaker.requests(count, "alice");
        runtime.block_on(memory.remember_many(requests, |_| ())).expect("the turns are stored");
        let queries: Vec<String> = (0..64).map(|_| speaker.text(7)).collect();
        let mut next = queries.iter().cycle();
        let mut ask = || {
            let question = memory.recall(next.next().map_or("", String::as_str)).user("alice");
            runtime.block_on(question.expect("the name is short").into_future()).expect("recall answers")
        };
        ask(); // loads the user
        group.bench_function(format!("{count} memories"), |bench| bench.iter(&mut ask));
        runtime.block_on(memory.close()).expect("the store closes");
    }
    group.finish();
}

/// Says seeded texts of words whose frequencies follow Zipf's law: the common ones, numbers, derivations, then
/// invented names.
struct Speaker {
    random: ChaCha8Rng,
    words: Vec<String>,
    /// The sums of 1/rank up to each word.
    weights: Vec<f64>,
}

impl Speaker {
    /// Words that are known in all.
    const WORDS: usize = 8_000;
    const SUFFIXES: [&str; 5] = ["s", "ed", "ing", "er", "ly"];
    const SYLLABLES: [&str; 20] = [
        "ka", "lo", "min", "ra", "te", "so", "vi", "na", "du", "pel", "gar", "is", "mo", "ze", "fi", "hul", "an", "be",
        "cor", "ti",
    ];

    fn new(seed: u64) -> Self {
        let name = |index: usize| -> String {
            [index / 400 % 20, index / 20 % 20, index % 20].iter().map(|&place| Self::SYLLABLES[place]).collect()
        };
        let derived = Self::SUFFIXES.iter().flat_map(|suffix| {
            COMMON_WORDS.lines().filter(|word| word.len() > 3).map(move |word| format!("{word}{suffix}"))
        });
        let common = COMMON_WORDS.lines().map(str::to_owned).chain((1..1_000).map(|number| number.to_string()));
        let words: Vec<String> = common.chain(derived).chain((0..).map(name)).take(Self::WORDS).collect();
        let mut weights = Vec::with_capacity(words.len());
        for rank in 1..=words.len() {
            weights.push(weights.last().copied().unwrap_or(0.0) + 1.0 / rank as f64);
        }
        Self { random: ChaCha8Rng::seed_from_u64(seed), words, weights }
    }

    fn text(&mut self, words: usize) -> String {
        let mut text = String::new();
        for _ in 0..words {
            let total = self.weights.last().copied().unwrap_or(0.0);
            let drawn = total * f64::from(self.random.next_u32()) / f64::from(u32::MAX);
            let place = self.weights.partition_point(|&weight| weight < drawn);
            text.push_str(&self.words[place]);
            text.push(' ');
        }
        text
    }

    /// A text of 8 to 40 words.
    fn turn(&mut self) -> String {
        let words = 8 + self.random.next_u32() as usize % 33;
        self.text(words)
    }

    fn requests(&mut self, count: usize, user: &str) -> Vec<RememberRequest> {
        let scope = Scope::new().with_user(user).expect("the name is short");
        (0..count).map(|_| RememberRequest::from(Turn::new(self.turn())).with_scope(scope.clone())).collect()
    }
}
