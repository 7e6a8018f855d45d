use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::*;
use crate::{
    context::{self, Channels, NewItem, Object, Pixels, Role},
    episode::Kind,
    ledger::sqlite::blobs::BLOBS,
    llm::{Completion, scripted::ScriptedModel},
    memory::{builder::MemoryBuilder, options::RecallOptions},
    metadata::Metadata,
    world::ManualClock,
};

#[derive(Debug)]
struct Red;

impl Object for Red {
    fn kind(&self) -> context::Kind {
        context::Kind::Image
    }

    fn description(&self) -> String {
        "red".to_owned()
    }

    fn bytes(&self) -> Option<u64> {
        Some(3)
    }

    fn pixels(&self, _: u64) -> Result<Pixels> {
        Pixels::new(1, 1, Channels::Rgb, vec![255, 0, 0])
    }
}

fn names(folder: &Path) -> Vec<String> {
    let listed = fs::read_dir(folder.join(BLOBS)).map_or_else(
        |_| Vec::new(),
        |listed| listed.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
    );
    let mut listed: Vec<String> = listed;
    listed.sort();
    listed
}

#[tokio::test]
async fn a_context_comes_back_as_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a b%é.txt");
    fs::write(&file, "hello").unwrap();
    let context = Context::with_session("s").unwrap();
    let metadata = Metadata::parse(r#"{"z":1,"a":[123456789012345678901]}"#).unwrap();
    context.add(NewItem::text("be terse").with_role(Role::System).unwrap().with_metadata(metadata)).unwrap();
    context.add(NewItem::file(&file).unwrap()).unwrap();
    context.add(NewItem::object(Red)).unwrap();
    context.add(NewItem::bytes(b"x,y\n".to_vec(), "text/csv").unwrap()).unwrap();
    let store = ContextStore::open(folder.path().join("store")).await.unwrap();
    store.save(&context.snapshot(), None).await.unwrap();
    store.save(&context.snapshot(), None).await.unwrap();
    assert_eq!(names(&folder.path().join("store")).len(), 2);

    let loaded = store.load("s", None).await.unwrap();
    let (before, after) = (context.snapshot(), loaded.context.snapshot());
    for (one, other) in before.iter().zip(after.iter()) {
        assert_eq!((one.ref_id(), one.role(), one.metadata()), (other.ref_id(), other.role(), other.metadata()));
    }
    assert_eq!((before.len(), loaded.changed.len(), loaded.objects.len()), (after.len(), 0, 1));
    // Another context of the same content takes no other file.
    let other = Context::with_session("t").unwrap();
    other.add(NewItem::object(Red)).unwrap();
    store.save(&other.snapshot(), Some("bob")).await.unwrap();
    assert_eq!(names(&folder.path().join("store")).len(), 2);
    assert_eq!(store.load("t", None).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_became_of_files_is_told_also_where_their_times_were_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let context = Context::with_session("s").unwrap();
    let mut refs = Vec::new();
    for name in ["same", "gone", "longer", "disguised", "touched"] {
        fs::write(path(name), "12345").unwrap();
        refs.push(context.add(NewItem::file(path(name)).unwrap()).unwrap());
    }
    let store = ContextStore::open(path("store")).await.unwrap();
    store.save(&context.snapshot(), None).await.unwrap();
    assert_eq!(store.load("s", None).await.unwrap().changed, []);
    fs::remove_file(path("gone")).unwrap();
    fs::write(path("longer"), "123456").unwrap();
    let before = fs::metadata(path("disguised")).unwrap().modified().unwrap();
    fs::write(path("disguised"), "54321").unwrap();
    fs::File::options().write(true).open(path("disguised")).unwrap().set_modified(before).unwrap();
    fs::write(path("touched"), "12345").unwrap();
    assert_eq!(store.load("s", None).await.unwrap().changed, refs[1..4]);
    let one = GlobalRef::new("s", refs[3]).unwrap();
    assert!(store.item(&one, None).await.unwrap().unwrap().is_changed);

    // What is gone is saved too, and told again.
    store.save(&store.load("s", None).await.unwrap().context.snapshot(), None).await.unwrap();
    assert_eq!(store.load("s", None).await.unwrap().changed, refs[1..2]);
}

#[tokio::test]
async fn collecting_spares_what_is_named_and_what_is_younger_than_an_hour() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
    let store = ContextStore::open(folder.path()).await.unwrap().with_clock(Arc::new(clock.clone()));
    let save = async |session: &str, content: &str| {
        let context = Context::with_session(session).unwrap();
        context.add(NewItem::bytes(content.as_bytes().to_vec(), "image/png").unwrap()).unwrap();
        store.save(&context.snapshot(), None).await.unwrap();
    };
    save("named", "named").await;
    save("s", "old").await;
    save("s", "new").await; // nothing names the old one any more
    clock.advance(Duration::from_mins(59)).unwrap();
    assert_eq!(store.gc().await.unwrap(), 0);
    clock.advance(Duration::from_mins(2)).unwrap();
    fs::write(folder.path().join(BLOBS).join("notes.txt"), "somebody else's").unwrap();
    fs::write(folder.path().join(BLOBS).join(format!("{}.part", Uuid::nil())), "young").unwrap();
    assert_eq!(store.gc().await.unwrap(), 1);
    assert_eq!(names(folder.path()).len(), 4);
    assert_eq!(store.load("named", None).await.unwrap().context.len(), 1);
}

#[tokio::test]
async fn a_blob_that_was_changed_is_told_by_loading_and_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let store = ContextStore::open(folder.path()).await.unwrap();
    let context = Context::with_session("s").unwrap();
    context.add(NewItem::bytes(b"content".to_vec(), "image/png").unwrap()).unwrap();
    store.save(&context.snapshot(), None).await.unwrap();
    let blob = folder.path().join(BLOBS).join(&names(folder.path())[0]);
    fs::write(&blob, "CONTENT").unwrap();
    assert_eq!(store.load("s", None).await.unwrap_err().kind(), ErrorKind::CorruptStore);
    let memory = Memory::open(folder.path()).await.unwrap();
    let problems = memory.check().await.unwrap().problems;
    assert!(problems.len() == 1 && problems[0].contains("another content"), "{problems:?}");
    fs::remove_file(&blob).unwrap();
    let problems = memory.check().await.unwrap().problems;
    assert!(problems.len() == 1 && problems[0].contains("is missing"), "{problems:?}");
}

#[tokio::test]
async fn copies_and_what_is_saved_of_a_store_have_its_contexts_and_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let context = Context::with_session("s").unwrap();
    context.add(NewItem::bytes(b"content".to_vec(), "image/png").unwrap()).unwrap();
    context.add(NewItem::text("a text of the context")).unwrap();
    let store = ContextStore::open(path("store")).await.unwrap();
    store.save(&context.snapshot(), Some("alice")).await.unwrap();
    let memory = Memory::open(path("store")).await.unwrap();
    memory.remember_context(&context.snapshot(), RememberOptions::default(), &Scope::new()).await.unwrap();
    memory.backup(&path("copy")).await.unwrap();
    memory.close().await.unwrap();
    store.close().await.unwrap();
    let report = Memory::recover(&path("store"), &path("saved"), None).await.unwrap();
    assert_eq!((report.context_items, report.episodes, report.problems), (2, 2, Vec::new()));
    for name in ["copy", "saved"] {
        let store = ContextStore::open(path(name)).await.unwrap();
        let loaded = store.load("s", Some("alice")).await.unwrap().context;
        assert_eq!(
            loaded.snapshot().iter().map(Item::ref_id).collect::<Vec<_>>(),
            context.snapshot().iter().map(Item::ref_id).collect::<Vec<_>>()
        );
        let memory = Memory::open(path(name)).await.unwrap();
        assert_eq!(memory.check().await.unwrap().problems, Vec::<String>::new());
        let found = memory.recall("content").await.unwrap();
        let refs: Vec<_> = found.iter().filter_map(|hit| hit.reference.clone()).collect();
        for reference in refs {
            assert!(memory.remembered_item(&reference, &Scope::new()).await.unwrap().unwrap().content.is_some());
        }
    }
}

#[tokio::test]
async fn a_remembered_context_is_found_and_its_images_are_shown() {
    let memory = Memory::in_memory().await.unwrap();
    let context = Context::with_session("trip").unwrap();
    let note = Metadata::parse(r#"{"note":"the red kiln in the yard"}"#).unwrap();
    let image = context.add(NewItem::object(Red).with_metadata(note)).unwrap();
    let long = "Tarek wants oak shelves. ".repeat(5_000);
    let text = context.add(NewItem::text(long.clone())).unwrap();
    context.add(NewItem::text("   ")).unwrap();
    let (options, scope) = (RememberOptions::default, Scope::new().with_user("alice").unwrap());
    let first = memory.remember_context(&context.snapshot(), options(), &scope).await.unwrap();
    let again = memory.remember_context(&context.snapshot(), options(), &scope).await.unwrap();
    assert_eq!((first.episode_ids.len(), &first.episode_ids), (2, &again.episode_ids));

    let found = memory.recall("Where is the kiln?").user("alice").unwrap().await.unwrap();
    let reference = GlobalRef::new("trip", image).unwrap();
    assert_eq!(found[0].reference.as_ref(), Some(&reference));
    let item = memory.remembered_item(&reference, &scope).await.unwrap().unwrap();
    assert!(
        item.content.unwrap().starts_with(b"\x89PNG") && item.attachment.media_type.as_deref() == Some("image/png")
    );
    let whole = memory.remembered_item(&GlobalRef::new("trip", text).unwrap(), &scope).await.unwrap().unwrap();
    assert_eq!(whole.content.unwrap(), long.as_bytes());
    assert!(whole.text.len() <= 100_000 && whole.text.ends_with("[cut]"));
    assert_eq!(memory.remembered_item(&reference, &Scope::new()).await.unwrap(), None);

    let shown = memory.context_items(Some("Where is the kiln?"), 2_000, None, &scope).await.unwrap().snapshot();
    let document = shown.iter().next().unwrap().source().as_text().unwrap().to_owned();
    assert!(document.contains(&format!("ref=\"{reference}\"")), "{document}");
    assert_eq!(shown.iter().nth(1).unwrap().ref_id(), image);

    memory.forget(&first.episode_ids[0].to_string(), crate::ForgetReach::Version, &scope).await.unwrap();
    assert_eq!(memory.remembered_item(&reference, &scope).await.unwrap(), None);
}

#[tokio::test]
async fn a_fact_from_the_words_of_an_image_leads_to_it_and_shows_it_once() {
    let said = r#"{"facts":[{"turn":1,"type":"note","name":"kiln","attribute":null,
        "content":"The kiln in the yard is red","confidence":0.9,"event_time":null}]}"#;
    let model = ScriptedModel::from_fn(move |_| Ok(Completion::new(said)));
    let memory = MemoryBuilder::sim(7).language_model(Arc::new(model)).build().await.unwrap();
    let context = Context::with_session("trip").unwrap();
    let note = Metadata::parse(r#"{"note":"the red kiln in the yard"}"#).unwrap();
    let image = context.add(NewItem::object(Red).with_metadata(note)).unwrap();
    let result = memory.remember_context(&context.snapshot(), RememberOptions::default(), &Scope::new()).await.unwrap();
    assert_eq!(result.entity_count(), 1, "{result:?}");
    for (include, places) in [(vec![Kind::Fact], 1), (vec![Kind::Fact, Kind::Episode], 2)] {
        let options = RecallOptions::default().with_include(include).unwrap();
        let shown = memory.context_items(None, 2_000, Some(&options), &Scope::new()).await.unwrap().snapshot();
        let document = shown.iter().next().unwrap().source().as_text().unwrap().to_owned();
        assert_eq!(document.matches(&format!("ref=\"trip/{image}\"")).count(), places, "{document}");
        assert_eq!(shown.iter().skip(1).map(Item::ref_id).collect::<Vec<_>>(), [image]);
    }
}

#[tokio::test]
async fn what_is_noted_of_an_item_is_remembered_again_once_it_changes() {
    let memory = Memory::in_memory().await.unwrap();
    let mut seen = Vec::new();
    for (role, metadata) in [(Role::User, r#"{"tag":1}"#), (Role::User, r#"{"tag":2}"#), (Role::System, r#"{"tag":2}"#)]
    {
        for _ in 0..2 {
            let context = Context::with_session("s").unwrap();
            let item = NewItem::text("oak").with_role(role).unwrap().with_metadata(Metadata::parse(metadata).unwrap());
            context.insert("txt_000001".parse().unwrap(), item).unwrap();
            let result =
                memory.remember_context(&context.snapshot(), RememberOptions::default(), &Scope::new()).await.unwrap();
            seen.push(result.episode_ids[0]);
        }
    }
    assert!(seen.chunks(2).all(|same| same[0] == same[1]));
    assert!(seen[0] != seen[2] && seen[2] != seen[4]);
}

/// An object that knows how many of its kind are encoded and not yet dropped with their blobs.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>, PathBuf);

impl Object for Counted {
    fn kind(&self) -> context::Kind {
        context::Kind::Image
    }

    fn description(&self) -> String {
        "counted".to_owned()
    }

    fn bytes(&self) -> Option<u64> {
        None
    }

    fn pixels(&self, _: u64) -> Result<Pixels> {
        let made = self.0.fetch_add(1, Ordering::SeqCst);
        // What was made before, but for the batch that is being made, has to be on the disk.
        let put =
            names(&self.1).iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "png")).count();
        assert!(made < put + 16, "{made} were made and {put} put");
        Pixels::new(1, 1, Channels::Rgb, vec![made as u8, 0, 0])
    }
}

#[tokio::test]
async fn images_are_put_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let context = Context::with_session("s").unwrap();
    let (made, store) = (Arc::new(AtomicUsize::new(0)), folder.path().join("store"));
    for number in 0..100 {
        context.add(NewItem::object(Counted(Arc::clone(&made), store.clone()))).unwrap();
        context.add(NewItem::text(number.to_string())).unwrap();
    }
    let contexts = ContextStore::open(&store).await.unwrap();
    contexts.save(&context.snapshot(), None).await.unwrap();
    assert_eq!(contexts.load("s", None).await.unwrap().context.len(), 200);
    made.store(0, Ordering::SeqCst);
    fs::remove_dir_all(store.join(BLOBS)).unwrap();
    let memory = Memory::open(&store).await.unwrap();
    let remembered = memory.remember_context(&context.snapshot(), RememberOptions::default(), &Scope::new()).await;
    assert_eq!(remembered.unwrap().episode_ids.len(), 200);
    assert_eq!(names(&store).len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_beside_one_who_saves_again_and_purges_finds_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(ContextStore::open(folder.path()).await.unwrap());
    let save = async |store: &ContextStore, number: usize| {
        let context = Context::with_session("s").unwrap();
        for item in 0..8 {
            let content = format!("{number} {item}").into_bytes();
            context.add(NewItem::bytes(content, "image/png").unwrap()).unwrap();
        }
        store.save(&context.snapshot(), None).await.unwrap();
        store.ledger().collect_blobs(Timestamp::MAX).await.unwrap();
    };
    save(&store, 0).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let (reader, done) = (Arc::clone(&store), Arc::clone(&is_done));
    let reading = tokio::spawn(async move {
        while !done.load(Ordering::SeqCst) {
            let loaded = reader.load("s", None).await.unwrap();
            assert_eq!(loaded.context.len(), 8);
        }
    });
    for number in 1..50 {
        save(&store, number).await;
    }
    is_done.store(true, Ordering::SeqCst);
    reading.await.unwrap();
}

#[tokio::test]
async fn a_recovered_context_says_when_it_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let clock = ManualClock::new("2026-01-01T00:00:00Z".parse().unwrap());
    let store = ContextStore::open(path("store")).await.unwrap().with_clock(Arc::new(clock.clone()));
    let context = Context::with_session("s").unwrap();
    context.add(NewItem::text("a text of the context")).unwrap();
    store.save(&context.snapshot(), Some("alice")).await.unwrap();
    store.close().await.unwrap();
    Memory::recover(&path("store"), &path("saved"), None).await.unwrap();
    let saved = ContextStore::open(path("saved")).await.unwrap();
    assert_eq!(saved.load("s", Some("alice")).await.unwrap().saved_at, clock.now());
}
