//! [`Context`]: items in the order in which they were added, each found by its ref.

mod store;

use std::{fmt, sync::Arc};

use parking_lot::RwLock;

use self::store::{Slots, Store};
use super::{
    captions,
    describe::Descriptions,
    encode::EncoderRegistry,
    facts::{self, Tier},
    items::{Item, NewItem},
    not_found::RefNotFound,
    refs::{NUMBERS, RefId, check_session, shown},
    render::{
        markdown,
        tree::{self, Layout},
    },
};
use crate::{
    error::{Error, ErrorKind, Result},
    llm::LanguageModel,
    world::{Clock, IDS, Ids, ManualClock, SeededIds, SystemClock},
};

/// An ordered list of texts, files, images, bytes and addresses, each behind a short ref, to be rendered into the
/// messages of a provider.
///
/// All methods take `&self` and may be called from several threads. A clone is a context of its own with the same session
/// and items; the contents are shared.
///
/// # Example
/// ```
/// use umi_core::context::{Context, NewItem, Role};
/// let context = Context::new();
/// let rule = context.add(NewItem::text("You are terse.").with_role(Role::System)?)?;
/// assert_eq!(context.get(&rule.to_string())?.source().as_text(), Some("You are terse."));
/// assert_eq!(context.get(&format!("{}/{rule}", context.session_id()))?.ref_id(), rule);
/// context.remove(&rule.to_string())?;
/// assert!(context.is_empty());
/// # Ok::<(), umi_core::Error>(())
/// ```
pub struct Context {
    session_id: Arc<str>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
    store: RwLock<Store>,
    descriptions: Descriptions,
}

impl Context {
    /// An empty context of a new session.
    pub fn new() -> Self {
        let clock = SystemClock;
        let session_id = IDS.next(clock.now()).to_string();
        Self::of(session_id.into(), Arc::clone(&IDS) as Arc<dyn Ids>, Arc::new(clock))
    }

    /// An empty context of a session.
    ///
    /// # Errors
    /// `InvalidInput` for a session id that is empty, over 256 bytes, or has a slash or a control character.
    pub fn with_session(session_id: &str) -> Result<Self> {
        check_session(session_id)?;
        Ok(Self::of(session_id.into(), Arc::clone(&IDS) as Arc<dyn Ids>, Arc::new(SystemClock)))
    }

    /// An empty context whose session and refs are the same in every run with the same seed.
    pub fn sim(seed: u64) -> Self {
        let ids = SeededIds::new(seed);
        let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
        let session_id = ids.next(clock.now()).to_string();
        Self::of(session_id.into(), Arc::new(ids), Arc::new(clock))
    }

    fn of(session_id: Arc<str>, ids: Arc<dyn Ids>, clock: Arc<dyn Clock>) -> Self {
        Self { session_id, ids, clock, store: RwLock::default(), descriptions: Descriptions::default() }
    }

    /// The id of its session.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.store.read().len()
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts an item behind all others, and gives its new ref.
    ///
    /// # Errors
    /// `Capacity` where all 16,777,216 refs of its kind are in use.
    pub fn add(&self, item: NewItem) -> Result<RefId> {
        let random = self.ids.next(self.clock.now()).as_u128() as u64;
        let mut store = self.store.write();
        let mut number = random as u32;
        let step = (random >> 32) as u32 | 1; // odd, so that it comes by every number
        for _ in 0..NUMBERS {
            let ref_id = RefId::new(item.kind, number);
            if !store.contains(ref_id) {
                store.push(item.named(ref_id));
                return Ok(ref_id);
            }
            number = number.wrapping_add(step);
        }
        let message = format!("all {NUMBERS} refs of the kind `{}` are in use", item.kind);
        Err(Error::new(ErrorKind::Capacity, message).with_sizes(NUMBERS as usize, NUMBERS as usize + 1))
    }

    /// Puts an item that has a ref already behind all others, as when a context is loaded.
    ///
    /// # Errors
    /// `InvalidInput` where the ref is of another kind, or in use.
    pub fn insert(&self, ref_id: RefId, item: NewItem) -> Result<()> {
        if ref_id.kind() != item.kind {
            let message = format!("the ref `{ref_id}` is not one of the kind `{}`", item.kind);
            return Err(Error::invalid_input(message));
        }
        let mut store = self.store.write();
        if store.contains(ref_id) {
            return Err(Error::invalid_input(format!("the ref `{ref_id}` is in use")));
        }
        store.push(item.named(ref_id));
        Ok(())
    }

    /// The item of a ref, or of a global ref of this session.
    ///
    /// # Errors
    /// `RefNotFound` where there is none; its source is a [`RefNotFound`], which tells the refs that there are.
    /// `InvalidInput` for a global ref of another session.
    pub fn get(&self, reference: &str) -> Result<Item> {
        self.read(reference, Item::clone)?.ok_or_else(|| self.not_found(reference).into())
    }

    /// What `read` makes of the item of a ref, or of a global ref of this session; none where there is no such item.
    /// `read` must not call this context, nor wait for anything that does.
    ///
    /// # Errors
    /// `InvalidInput` for a global ref of another session.
    #[inline]
    pub fn read<T>(&self, reference: &str, read: impl FnOnce(&Item) -> T) -> Result<Option<T>> {
        let Some(ref_id) = self.local(reference)? else { return Ok(None) };
        Ok(self.store.read().get(ref_id).map(read))
    }

    /// Whether a ref, or a global ref of this session, is that of an item.
    pub fn contains(&self, reference: &str) -> bool {
        matches!(self.local(reference), Ok(Some(ref_id)) if self.store.read().contains(ref_id))
    }

    /// Takes the item of a ref, or of a global ref of this session, out.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn remove(&self, reference: &str) -> Result<Item> {
        self.take(reference)?.ok_or_else(|| self.not_found(reference).into())
    }

    /// As [`Self::remove`]; none where there is no such item.
    ///
    /// # Errors
    /// `InvalidInput` for a global ref of another session.
    pub fn take(&self, reference: &str) -> Result<Option<Item>> {
        let Some(ref_id) = self.local(reference)? else { return Ok(None) };
        Ok(self.store.write().remove(ref_id))
    }

    /// The items as they are now. It costs one reference count; later changes do not show in it.
    pub fn snapshot(&self) -> Snapshot {
        let store = self.store.read();
        Snapshot { session_id: Arc::clone(&self.session_id), slots: store.slots().clone(), length: store.len() }
    }

    /// A Markdown table of all items with what can be told of them without a model: the beginning of a text, or else media
    /// type and size; where that is nothing, the `summary` or `note` of the metadata. Files are read, those that did not
    /// change only once; one that cannot be read says so in its row.
    pub fn to_md(&self) -> String {
        let items = self.snapshot();
        let described = self.descriptions.of(&items);
        markdown::contents(described.iter().map(|(item, text)| (*item, (&**text).into())), Tier::Metadata)
    }

    /// As [`Self::to_md`] with everything that can be extracted without a model: the words of documents, their pages and
    /// tables, EXIF, duration. At most 10,000 characters an item.
    pub fn to_md_fast(&self) -> String {
        let items = self.snapshot();
        let told = facts::of_all(&items);
        markdown::contents(items.iter().zip(told).map(|(item, text)| (item, text.into())), Tier::Fast)
    }

    /// As [`Snapshot::to_md_accurate`], of the items as they are now.
    pub async fn to_md_accurate(&self, model: &dyn LanguageModel, registry: &Arc<EncoderRegistry>) -> String {
        self.snapshot().to_md_accurate(model, registry).await
    }

    /// What is to be told of a ref that is not there.
    pub fn not_found(&self, reference: &str) -> RefNotFound {
        RefNotFound::new(reference, self.snapshot())
    }

    /// The ref of a text, without its session, where that is this one; none where it is no ref at all.
    #[inline]
    fn local(&self, reference: &str) -> Result<Option<RefId>> {
        match RefId::parse(reference) {
            Some(ref_id) => Ok(Some(ref_id)),
            None => self.of_this_session(reference),
        }
    }

    fn of_this_session(&self, reference: &str) -> Result<Option<RefId>> {
        let Some((session_id, ref_id)) = reference.rsplit_once('/') else { return Ok(None) };
        if session_id == &*self.session_id {
            return Ok(RefId::parse(ref_id));
        }
        let error = match check_session(session_id) {
            Ok(()) => Error::invalid_input(format!(
                "global ref `{}` belongs to session `{}`, not to this context's, `{}`",
                shown(reference),
                shown(session_id),
                shown(&self.session_id)
            )),
            Err(cause) => {
                Error::invalid_input(format!("`{}` is not a global ref", shown(reference))).with_source(cause)
            }
        };
        Err(error)
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for Context {
    fn clone(&self) -> Self {
        Self {
            session_id: Arc::clone(&self.session_id),
            ids: Arc::clone(&self.ids),
            clock: Arc::clone(&self.clock),
            store: RwLock::new(self.store.read().clone()),
            descriptions: Descriptions::default(),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("session_id", &self.session_id)
            .field("items", &self.len())
            .finish_non_exhaustive()
    }
}

impl NewItem {
    fn named(self, ref_id: RefId) -> Item {
        Item { source: self.source, metadata: self.metadata, ref_id, role: self.role }
    }
}

/// The items of a context at one moment, in the order in which they were added. Cheap to clone.
///
/// # Example
/// ```
/// use umi_core::context::{Context, NewItem};
/// let context = Context::new();
/// context.add(NewItem::text("one"))?;
/// let before = context.snapshot();
/// context.add(NewItem::text("two"))?;
/// assert_eq!((before.len(), context.len()), (1, 2));
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    session_id: Arc<str>,
    slots: Slots,
    length: usize,
}

impl Snapshot {
    /// The id of the session.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The header and, where there are items, a Markdown table of them.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{Context, NewItem};
    /// let context = Context::with_session("s")?;
    /// assert_eq!(context.snapshot().summary(), "Context(session=s, items=0)\n");
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn summary(&self) -> String {
        markdown::summary(self)
    }

    /// A Markdown table of the items.
    pub fn table(&self) -> String {
        markdown::table(self.iter())
    }

    /// A tree of text; no line end is behind its last line.
    ///
    /// # Example
    /// ```
    /// use umi_core::context::{Context, Layout, NewItem};
    /// let context = Context::with_session("s")?;
    /// let ref_id = context.add(NewItem::text("Hello."))?;
    /// let tree = context.snapshot().tree(Layout::Insertion);
    /// assert_eq!(tree, format!("Context(session=s, items=1)\n└── [1] {ref_id}  user  text  Hello."));
    /// # Ok::<(), umi_core::Error>(())
    /// ```
    pub fn tree(&self, layout: Layout) -> String {
        tree::tree(self, layout)
    }

    /// As [`Context::to_md_fast`], with what a language model tells of images and films (a caption), of documents and of
    /// texts of more than 1,000 characters (a summary).
    ///
    /// The model is shown images as `resize` of the registry encodes them, documents as `page-text` and films as `mosaic`
    /// does; at most eight requests run at once. A content is asked about once: the registry keeps what a model said of
    /// it. Where a model fails, or an item cannot be shown to it, the row says why, and then what the fast tier tells;
    /// sounds, addresses and unknown files are told by the fast tier alone.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use std::sync::Arc;
    /// use umi_core::{ScriptedModel, context::{Context, EncoderRegistry, NewItem}};
    /// let context = Context::new();
    /// context.add(NewItem::text("The kiln is fired at dawn. ".repeat(100)))?;
    /// let model = ScriptedModel::new(["About the firing of a kiln."]);
    /// let table = context.to_md_accurate(&model, &Arc::new(EncoderRegistry::default())).await;
    /// assert!(table.contains("| About the firing of a kiln. |"));
    /// # Ok(()) }
    /// ```
    pub async fn to_md_accurate(&self, model: &dyn LanguageModel, registry: &Arc<EncoderRegistry>) -> String {
        let told = captions::of_all(self, model, registry).await;
        markdown::contents(self.iter().zip(told).map(|(item, text)| (item, text.into())), Tier::Fast)
    }

    /// The items.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> + Clone {
        self.slots.iter()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("session_id", &self.session_id)
            .field("items", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::context::items::Role;

    #[test]
    fn a_full_kind_is_not_searched_for_ever() {
        let context = Context::sim(7);
        let first = context.add(NewItem::text("a")).unwrap();
        assert_eq!(Context::sim(7).add(NewItem::text("a")).unwrap(), first, "seeded");
        // the same number is drawn again for the same seed, and is in use
        let again = Context::sim(7);
        again.insert(first, NewItem::text("b")).unwrap();
        let other = again.add(NewItem::text("a")).unwrap();
        assert_ne!(other, first);
        assert!(again.insert(first, NewItem::text("c")).unwrap_err().is_invalid_input());
        assert!(again.insert(first, NewItem::bytes(vec![], "image/png").unwrap()).is_err());
        assert_eq!(again.len(), 2);
    }

    #[test]
    fn refs_of_other_sessions_and_unknown_ones_are_told_apart() {
        let context = Context::with_session("s1").unwrap();
        let ref_id = context.add(NewItem::text("a").with_role(Role::Developer).unwrap()).unwrap();
        assert_eq!(context.get(&format!("s1/{ref_id}")).unwrap().role(), Role::Developer);
        for foreign in [format!("s2/{ref_id}"), format!("/{ref_id}"), format!("s1/s1/{ref_id}")] {
            assert!(context.get(&foreign).unwrap_err().is_invalid_input(), "{foreign}");
            assert!(context.remove(&foreign).unwrap_err().is_invalid_input());
            assert!(!context.contains(&foreign));
        }
        for unknown in ["", "nonsense", "txt_zzzzzz", "s1/nonsense", "img_000000"] {
            let error = context.get(unknown).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RefNotFound, "{unknown}");
            assert!(error.is_not_found());
        }
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let context = Context::sim(1);
        let refs: Vec<_> = (0..700).map(|index| context.add(NewItem::text(index.to_string())).unwrap()).collect();
        let before = context.snapshot();
        for ref_id in &refs[..600] {
            context.remove(&ref_id.to_string()).unwrap();
        }
        context.add(NewItem::text("new")).unwrap();
        assert_eq!(before.len(), 700);
        assert!(before.iter().map(Item::ref_id).eq(refs.iter().copied()));
        assert_eq!((context.len(), context.snapshot().iter().count()), (101, 101));
    }

    #[test]
    fn threads_may_add_get_and_remove_at_once() {
        let context = Context::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let context = &context;
                scope.spawn(move || {
                    for turn in 0..500 {
                        let ref_id = context.add(NewItem::text(format!("{thread} {turn}"))).unwrap().to_string();
                        assert_eq!(
                            context.get(&ref_id).unwrap().source().as_text().unwrap(),
                            format!("{thread} {turn}")
                        );
                        if turn % 2 == 0 {
                            context.remove(&ref_id).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!((context.len(), context.snapshot().iter().count()), (1_000, 1_000));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_behaves_as_an_ordered_map(steps in prop::collection::vec((0_u8..10, any::<prop::sample::Index>()), 0..2_000)) {
            let context = Context::sim(3);
            let (mut model, mut order) = (BTreeMap::new(), 0_usize);
            for (step, index) in steps {
                if step < 6 || model.is_empty() {
                    let ref_id = context.add(NewItem::text(order.to_string())).unwrap();
                    prop_assert!(model.insert(order, ref_id).is_none());
                    order += 1;
                } else {
                    let (&place, &ref_id) = model.iter().nth(index.index(model.len())).unwrap();
                    let item = context.remove(&ref_id.to_string()).unwrap();
                    prop_assert_eq!(item.source().as_text().unwrap(), place.to_string());
                    prop_assert!(context.remove(&ref_id.to_string()).is_err());
                    model.remove(&place);
                }
            }
            prop_assert_eq!(context.len(), model.len());
            let snapshot = context.snapshot();
            prop_assert!(snapshot.iter().map(Item::ref_id).eq(model.values().copied()));
            for (place, ref_id) in model {
                let (item, place) = (context.get(&ref_id.to_string()).unwrap(), place.to_string());
                prop_assert_eq!(item.source().as_text(), Some(place.as_str()));
            }
        }
    }
}
