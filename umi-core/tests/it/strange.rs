//! Arguments of any shape: each call has a result or a typed error, and one that is refused has changed nothing.

use proptest::{prelude::*, sample, test_runner::TestRunner};
use umi_core::{
    BlockType, CoreLimits, CoreMemory, Entity, EntityType, Error, ErrorKind, FactChange, ForgetReach, Kind,
    ListOptions, Memory, Metadata, RecallOptions, RememberOptions, RememberRequest, Result, Scope, TimeToLive,
    Timestamp, Turn, Uuid, WorkingLimits, WorkingMemory,
};

/// What a caller's arguments may cause.
const REFUSALS: [ErrorKind; 6] = [
    ErrorKind::InvalidInput,
    ErrorKind::EmptyText,
    ErrorKind::TextTooLong,
    ErrorKind::InvalidLimit,
    ErrorKind::Capacity,
    ErrorKind::NotFound,
];

/// A call with its arguments. Ids are those of the store by their number, or any text.
#[derive(Clone, Debug)]
enum Call {
    Remember(Vec<Said>, Option<String>, f64),
    AddEntity(Box<Known>),
    Update(String, Option<String>, Option<String>, Option<f64>),
    Forget(String, bool),
    Read(String),
    Recall(String, Choice),
    Context(Option<String>, usize, Choice),
    List(usize, usize, Option<Timestamp>),
    Block(usize, String, Option<String>, Option<f64>),
    Restore(usize, u64),
    Working(String, Vec<u8>, Option<f64>, i64),
    Scoped(Option<String>, Option<String>, Option<String>),
}

#[derive(Clone, Debug)]
struct Said {
    text: String,
    role: Option<String>,
    name: Option<String>,
    source: Option<String>,
    at: Option<Timestamp>,
    metadata: String,
}

#[derive(Clone, Debug)]
struct Known {
    kind: usize,
    name: String,
    attribute: Option<String>,
    content: String,
    source: Option<String>,
    confidence: f64,
    importance: f64,
    times: [Option<Timestamp>; 2],
    metadata: String,
}

#[derive(Clone, Debug)]
struct Choice {
    limit: usize,
    search: (bool, bool),
    range: Option<(Timestamp, Timestamp)>,
    as_of: Option<Timestamp>,
    min_score: f64,
    facts_only: bool,
}

/// Texts of every kind, most of them short.
fn text() -> impl Strategy<Value = String> {
    const PIECES: [&str; 24] = [
        "",
        " \t\r\n",
        "\u{0}",
        "a\u{0}b",
        "\u{200B}\u{FEFF}",
        "\u{202E}",
        "\u{FFFE}\u{FFFF}",
        "e\u{301}",
        "İıẞß",
        "\u{1F98A}",
        "\u{10FFFF}",
        "東京で寿司",
        "Москва",
        "'; DROP TABLE episodes; --",
        "\" OR \"\"=\"",
        "NEAR(a, b) AND c*",
        "%_\\",
        "*",
        "?",
        "</block></memory>",
        "]]>&#0;",
        "{\"a\":",
        "2024-13-45T99:99",
        "-9223372036854775809",
    ];
    let piece = prop_oneof![
        6 => sample::select(&PIECES[..]).prop_map(str::to_owned),
        6 => prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter),
        4 => "[a-zA-Z ]{0,20}",
        1 => (sample::select(&["x", "é ", "wort ", "\u{0}", "🦊", "a.b?\n", "東"][..]), 1_usize..40_000)
            .prop_map(|(unit, count)| unit.repeat(count)),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn maybe() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.4, text())
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MIN),
        Just("0001-01-01T00:00:00Z".parse().unwrap()),
        Just(Timestamp::MAX),
        Just(Timestamp::UNIX_EPOCH),
        (-377_705_023_201_i64..=253_402_207_200).prop_map(|second| Timestamp::from_second(second).unwrap()),
        any::<i64>().prop_filter_map("a time", |nano| Timestamp::from_nanosecond(nano.into()).ok()),
    ]
}

fn share() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..=1.0, 1 => any::<f64>(), 1 => sample::select(&[f64::NAN, f64::INFINITY, -0.0, 1.0 + f64::EPSILON][..])]
}

fn count() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(usize::MAX), 1_usize..1_100, any::<usize>()]
}

/// JSON objects, and what is none.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("1e999".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        text().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let value = leaf.prop_recursive(40, 60, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(","))),
            (text(), inner).prop_map(|(key, value)| format!("{{{}:{value}}}", serde_json::to_string(&key).unwrap())),
        ]
    });
    prop_oneof![
        4 => Just("{}".to_owned()),
        2 => value.prop_map(|value| format!("{{\"k\":{value}}}")),
        1 => text(),
        1 => (1_usize..100).prop_map(|depth| format!("{}1{}", "{\"k\":".repeat(depth), "}".repeat(depth))),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let optional = prop::option::weighted(0.3, time());
    (text(), maybe(), maybe(), maybe(), optional, json()).prop_map(|(text, role, name, source, at, metadata)| Said {
        text,
        role,
        name,
        source,
        at,
        metadata,
    })
}

fn known() -> impl Strategy<Value = Known> {
    let times = [prop::option::of(time()), prop::option::of(time())];
    let words = (text(), prop::option::of(prop_oneof![Just("slot".to_owned()), text()]), text(), maybe());
    (0_usize..20, words, share(), share(), times, json()).prop_map(
        |(kind, (name, attribute, content, source), confidence, importance, times, metadata)| Known {
            kind,
            name: if kind % 2 == 0 { "Ana".to_owned() } else { name },
            attribute,
            content,
            source,
            confidence,
            importance,
            times,
            metadata,
        },
    )
}

fn choice() -> impl Strategy<Value = Choice> {
    let range = prop::option::of((time(), time()));
    (count(), any::<(bool, bool)>(), range, prop::option::of(time()), share(), any::<bool>()).prop_map(
        |(limit, search, range, as_of, min_score, facts_only)| Choice {
            limit,
            search,
            range,
            as_of,
            min_score,
            facts_only,
        },
    )
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![4 => (0_usize..6).prop_map(|number| format!("#{number}")), 1 => text(), 1 => any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string())]
}

fn call() -> impl Strategy<Value = Call> {
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), Just(b"41".to_vec()), Just(vec![b'9'; 70_000])];
    prop_oneof![
        3 => (prop::collection::vec(said(), 0..3), maybe(), share()).prop_map(|(turns, key, importance)| Call::Remember(turns, key, importance)),
        3 => known().prop_map(|known| Call::AddEntity(Box::new(known))),
        2 => (id(), maybe(), prop::option::of(json()), prop::option::of(share())).prop_map(|(id, content, metadata, share)| Call::Update(id, content, metadata, share)),
        1 => (id(), any::<bool>()).prop_map(|(id, chain)| Call::Forget(id, chain)),
        1 => id().prop_map(Call::Read),
        3 => (text(), choice()).prop_map(|(query, choice)| Call::Recall(query, choice)),
        2 => (maybe(), count(), choice()).prop_map(|(query, budget, choice)| Call::Context(query, budget, choice)),
        1 => (count(), count(), prop::option::of(time())).prop_map(|(limit, offset, as_of)| Call::List(limit, offset, as_of)),
        2 => (0_usize..6, text(), maybe(), prop::option::of(share())).prop_map(|(kind, content, label, share)| Call::Block(kind, content, label, share)),
        1 => (0_usize..6, any::<u64>()).prop_map(|(kind, version)| Call::Restore(kind, version)),
        3 => (text(), bytes, prop::option::of(prop_oneof![share(), any::<f64>()]), any::<i64>()).prop_map(|(key, value, ttl, delta)| Call::Working(key, value, ttl, delta)),
        1 => (maybe(), maybe(), maybe()).prop_map(|(user, agent, session)| Call::Scoped(user, agent, session)),
    ]
}

/// Everything that a handle reads.
async fn dump(memory: &Memory) -> String {
    let nobody = Scope::new();
    let every = ListOptions { current: false, limit: 1_000, ..ListOptions::default() };
    let mut working = Vec::new();
    for key in memory.working().keys().await.unwrap() {
        working.push((memory.working().get(&key).await.unwrap(), memory.working().ttl(&key).await.unwrap(), key));
    }
    format!(
        "{:?} {:?} {:?} {working:?} {:?}",
        memory.episodes(1_000, 0, &nobody).await.unwrap(),
        memory.list(&every, &nobody).await.unwrap(),
        memory.core().snapshot().await.unwrap(),
        memory.count(&nobody).await.unwrap(),
    )
}

/// The id that a number stands for.
async fn named(memory: &Memory, id: &str) -> String {
    let Some(number) = id.strip_prefix('#').and_then(|number| number.parse::<usize>().ok()) else {
        return id.to_owned();
    };
    let every = ListOptions { current: false, limit: 1_000, ..ListOptions::default() };
    let facts = memory.list(&every, &Scope::new()).await.unwrap();
    let episodes = memory.episodes(1_000, 0, &Scope::new()).await.unwrap();
    let ids: Vec<Uuid> = facts.iter().map(|fact| fact.id).chain(episodes.iter().map(|episode| episode.id)).collect();
    ids.get(number).map_or_else(|| id.to_owned(), Uuid::to_string)
}

impl Choice {
    fn options(&self) -> Result<RecallOptions> {
        let mut options = RecallOptions::default().with_limit(self.limit)?.with_min_score(self.min_score)?;
        options = options.with_search(self.search.0, self.search.1)?;
        if let Some((start, end)) = self.range {
            options = options.with_time_range(start, end)?;
        }
        if let Some(as_of) = self.as_of {
            options = options.with_as_of(as_of);
        }
        if self.facts_only { options.with_include([Kind::Fact]) } else { Ok(options) }
    }
}

impl Known {
    fn entity(&self) -> Result<Entity> {
        let kind = EntityType::ALL[self.kind % EntityType::ALL.len()];
        let mut entity = Entity::new(Uuid::nil(), Timestamp::UNIX_EPOCH, kind, &self.name, &self.content)?;
        (entity.attribute, entity.source) = (self.attribute.clone(), self.source.clone());
        (entity.confidence, entity.importance) = (self.confidence, self.importance);
        [entity.event_time, entity.document_time] = self.times;
        entity.metadata = Metadata::parse(&self.metadata)?;
        Ok(entity)
    }
}

impl Said {
    fn turn(&self) -> Result<Turn> {
        let mut turn = Turn::new(&self.text);
        (turn.role, turn.name, turn.source) = (self.role.clone(), self.name.clone(), self.source.clone());
        (turn.at, turn.metadata) = (self.at, Metadata::parse(&self.metadata)?);
        Ok(turn)
    }
}

impl Call {
    /// Makes the call; one that reads is made for its answer alone.
    async fn run(&self, memory: &Memory) -> Result<()> {
        let nobody = Scope::new();
        match self {
            Self::Remember(turns, key, importance) => {
                let turns: Result<Vec<Turn>> = turns.iter().map(Said::turn).collect();
                let mut request = RememberRequest::conversation(turns?)
                    .with_options(RememberOptions::default().with_importance(*importance)?);
                request.key.clone_from(key);
                memory.remember_request(request).await.map(drop)
            }
            Self::AddEntity(known) => memory.add_entity(known.entity()?, &nobody).await.map(drop),
            Self::Update(id, content, metadata, share) => {
                let change = FactChange {
                    content: content.clone(),
                    metadata: metadata.as_deref().map(Metadata::parse).transpose()?,
                    confidence: *share,
                    importance: *share,
                };
                memory.update(&named(memory, id).await, change, &nobody).await.map(drop)
            }
            Self::Forget(id, chain) => {
                let reach = if *chain { ForgetReach::Chain } else { ForgetReach::Version };
                memory.forget(&named(memory, id).await, reach, &nobody).await.map(drop)
            }
            Self::Read(id) => {
                let id = named(memory, id).await;
                memory.get(&id, &nobody).await?;
                memory.history(&id, &nobody).await?;
                memory.evolutions(&id, &nobody).await.map(drop)
            }
            Self::Recall(query, choice) => {
                let found = memory.recall_with(query, &choice.options()?, &nobody).await?;
                assert!(found.iter().all(|item| (0.0..=1.0).contains(&item.score)), "{found:?}");
                Ok(())
            }
            Self::Context(query, budget, choice) => {
                memory.context_with(query.as_deref(), *budget, Some(&choice.options()?), &nobody).await.map(drop)
            }
            Self::List(limit, offset, as_of) => {
                let options = ListOptions { limit: *limit, offset: *offset, as_of: *as_of, ..ListOptions::default() };
                memory.list(&options, &nobody).await?;
                memory.episodes(*limit, *offset, &nobody).await.map(drop)
            }
            Self::Block(kind, content, label, share) => {
                memory.core().set_block(BlockType::ALL[*kind], content, label.as_deref(), *share).await.map(drop)
            }
            Self::Restore(kind, version) => memory.core().restore(BlockType::ALL[*kind], *version).await.map(drop),
            Self::Working(key, value, ttl, delta) => {
                let ttl = ttl.map(TimeToLive::from_secs_f64).transpose()?;
                match delta.rem_euclid(4) {
                    0 => memory.working().set(key, value.clone(), ttl).await,
                    1 => memory.working().append(key, value.clone()).await.map(drop),
                    2 => memory.working().touch(key, ttl).await.map(drop),
                    _ => memory.working().incr(key, *delta).await.map(drop),
                }
            }
            Self::Scoped(user, agent, session) => {
                let scope = Scope::from_parts(user.clone(), agent.clone(), session.clone())?;
                memory.scoped(&scope)?.recall("anything").await.map(drop)
            }
        }
    }
}

fn refused(error: &Error, call: &impl std::fmt::Debug) {
    assert!(REFUSALS.contains(&error.kind()), "{error:?} of {call:?}");
    assert!(error.message().len() < 1_000, "{error}");
}

async fn check(calls: &[Call]) {
    let memory = Memory::sim(3).await.unwrap().scoped(&Scope::new().with_user("ana").unwrap()).unwrap();
    let mut before = dump(&memory).await;
    for call in calls {
        let outcome = call.run(&memory).await;
        let after = dump(&memory).await;
        if let Err(error) = outcome {
            refused(&error, call);
            assert!(before == after, "{error} and yet something changed: {call:?}");
        }
        before = after;
    }
    let report = memory.check().await.unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() }
}

#[test]
fn every_call_has_a_result_or_a_typed_error_and_a_refused_one_changes_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    TestRunner::new(config(24))
        .run(&prop::collection::vec(call(), 1..12), |calls| {
            runtime.block_on(check(&calls));
            Ok(())
        })
        .unwrap();
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn a_core_memory_takes_or_refuses_whatever_it_is_given(
        blocks in prop::collection::vec((0_usize..6, text(), maybe(), prop::option::of(share())), 0..8),
        limits in (count(), prop::option::of(count())),
    ) {
        let limits = CoreLimits::new(limits.0, limits.1).unwrap_or_default();
        let mut core = CoreMemory::new(limits);
        for (kind, content, label, share) in blocks {
            let before = core.clone();
            let kind = BlockType::ALL[kind];
            match core.set_block(kind, &content, label.as_deref(), share, Timestamp::MAX) {
                Ok(block) => prop_assert_eq!(core.get_block(kind), Some(&block)),
                Err(error) => {
                    refused(&error, &kind);
                    prop_assert_eq!(&core, &before);
                }
            }
            prop_assert!(core.used_bytes() <= core.max_bytes());
            prop_assert!(core.render().ends_with("</core_memory>") && !core.render_markdown().is_empty());
        }
    }

    #[test]
    fn a_working_memory_takes_or_refuses_whatever_it_is_given(
        edits in prop::collection::vec((text(), prop::collection::vec(any::<u8>(), 0..9), any::<i64>(), share(), time()), 0..12),
    ) {
        let mut working = WorkingMemory::new(WorkingLimits { max_bytes: 4_096, ..WorkingLimits::default() });
        for (key, value, delta, seconds, now) in edits {
            let ttl = TimeToLive::from_secs_f64(seconds).ok();
            let before = working.clone();
            let outcome = match delta.rem_euclid(4) {
                0 => working.set(&key, &value, ttl, now),
                1 => working.append(&key, &value, ttl, now).map(drop),
                2 => working.touch(&key, ttl, now).map(drop),
                _ => working.incr(&key, delta, ttl, now).map(drop),
            };
            if let Err(error) = outcome {
                refused(&error, &key);
                prop_assert_eq!(working.keys(now), before.keys(now));
                prop_assert_eq!(working.get(&key, now), before.get(&key, now));
            }
            prop_assert!(working.used_bytes(now) <= 4_096);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_are_refused_everywhere_at_once() {
    let memory = Memory::sim(3).await.unwrap();
    let huge = "word ".repeat(2_000_000);
    let scope = Scope::new();
    let before = dump(&memory).await;
    let fact = |name: &str, content: &str| Entity::new(Uuid::nil(), Timestamp::MIN, EntityType::Person, name, content);
    let too_long = [
        memory.remember(huge.clone()).await.map(drop).unwrap_err(),
        memory.recall(huge.clone()).await.map(drop).unwrap_err(),
        memory.context().query(huge.clone()).await.map(drop).unwrap_err(),
        fact("Ana", &huge).map(drop).unwrap_err(),
        fact(&huge, "content").map(drop).unwrap_err(),
        memory.core().set_block(BlockType::Human, &huge, None, None).await.map(drop).unwrap_err(),
        memory.core().set_block(BlockType::Human, "x", Some(&huge), None).await.map(drop).unwrap_err(),
        memory.working().set(&huge, Vec::new(), None).await.unwrap_err(),
        memory.working().set("key", huge.clone().into_bytes(), None).await.unwrap_err(),
        Metadata::parse(&format!("{{\"k\":{}}}", serde_json::to_string(&huge).unwrap())).map(drop).unwrap_err(),
        Scope::new().with_user(&huge).map(drop).unwrap_err(),
        memory.remember("x").key(&huge).await.map(drop).unwrap_err(),
        memory.remember("x").role(&huge).await.map(drop).unwrap_err(),
        memory.remember("x").name(&huge).await.map(drop).unwrap_err(),
    ];
    for error in &too_long {
        refused(error, &"a huge text");
        assert!(error.details().requested.is_some_and(|size| size >= 10_000_000), "{error:?}");
    }
    assert!(memory.get(&huge, &scope).await.unwrap().is_none());
    assert_eq!(dump(&memory).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_and_the_last_moment_of_all_are_kept() {
    let first = "0001-01-01T00:00:00Z".parse().unwrap();
    for moment in [first, Timestamp::MAX] {
        let clock = std::sync::Arc::new(umi_core::ManualClock::new(moment));
        let memory = umi_core::MemoryBuilder::sim(3).clock(clock).build().await.unwrap();
        let mut turn = Turn::new("said then");
        turn.at = Some(moment);
        memory.remember(turn).await.unwrap();
        let mut fact = Entity::new(Uuid::nil(), moment, EntityType::Person, "Ana", "known then").unwrap();
        (fact.event_time, fact.document_time) = (Some(moment), Some(moment));
        let known = memory.add_entity(fact, &Scope::new()).await.unwrap();
        memory.core().set_block(BlockType::Human, "set then", None, None).await.unwrap();
        memory.working().set("key", b"1".to_vec(), None).await.unwrap();
        memory.working().incr("key", 1).await.unwrap();
        assert!(dump(&memory).await.contains("said then"));
        let listed = memory.list(&ListOptions::default(), &Scope::new()).await.unwrap();
        assert_eq!(listed, known.entities);
        let whole = |time: Option<Timestamp>| time.map(Timestamp::as_second);
        assert_eq!(whole(listed[0].document_time), Some(moment.as_second()));
        memory.working().ttl("key").await.unwrap();
        assert_eq!(memory.recall("said").await.unwrap().len(), 2);
    }
}
