//! Saved contexts, attachments and blobs.

use std::sync::Arc;

use super::*;
use crate::{
    context::Role,
    error::ErrorKind,
    ledger::saved::{Attachment, SavedItem, SavedSource},
};

fn session(user: Option<&str>, name: &str) -> Scope {
    Scope::from_parts(user.map(str::to_owned), None, Some(name.to_owned())).unwrap()
}

fn new_blob(content: &str) -> NewBlob {
    NewBlob { content: BlobContent::Bytes(Arc::new(content.as_bytes().to_vec())), extension: "bin".to_owned() }
}

fn item(reference: &str, source: SavedSource) -> SavedItem {
    let metadata = Metadata::parse(r#"{"b":1,"a":123456789012345678901}"#).unwrap();
    SavedItem { ref_id: reference.parse().unwrap(), role: Role::User, source, metadata: Some(metadata) }
}

fn bytes(reference: &str, blob: &Blob) -> SavedItem {
    item(reference, SavedSource::Bytes { media_type: "image/png".to_owned(), blob: blob.clone() })
}

fn attachment(blob: Option<&Blob>) -> Attachment {
    Attachment {
        session_id: "s".to_owned(),
        ref_id: "img_000001".parse().unwrap(),
        name: Some("a.png".to_owned()),
        uri: Some("file:///a.png".to_owned()),
        media_type: Some("image/png".to_owned()),
        blob: blob.cloned(),
    }
}

#[test]
fn a_context_is_read_as_it_was_saved_and_only_by_its_user() {
    over_all(async |store| {
        let blob = store.put_blobs(vec![new_blob("pixels")], at(1)).await.unwrap().remove(0);
        let items = vec![
            item("txt_000001", SavedSource::Text("line\nand \0 another".to_owned())),
            bytes("img_000002", &blob),
            item("img_000003", SavedSource::Url { uri: "https://a/b.png".to_owned(), media_type: None }),
            item("doc_000004", SavedSource::File { uri: "file:///gone.pdf".to_owned(), content: None }),
        ];
        let mine = session(Some("alice"), "s");
        store.save_context(&mine, items.clone(), at(1)).await.unwrap();
        store.save_context(&mine, items.clone(), at(2)).await.unwrap();
        let saved = store.saved_context(&mine).await.unwrap().unwrap();
        assert_eq!((saved.saved_at, &saved.items), (at(2), &items));
        let found = store.saved_item(&mine, "img_000003".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(found, (items[2].clone(), 2, at(2)));

        for other in [session(Some("bob"), "s"), session(None, "s"), session(Some("alice"), "t")] {
            assert_eq!(store.saved_context(&other).await.unwrap(), None);
            assert_eq!(store.saved_item(&other, "img_000003".parse().unwrap()).await.unwrap(), None);
        }
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.contexts, stats.context_items), (1, 4));
        store.save_context(&mine, Vec::new(), at(3)).await.unwrap();
        assert_eq!(store.saved_context(&mine).await.unwrap().unwrap().items, []);
        store.assert_sound().await;
    });
}

#[test]
fn one_content_of_two_sessions_is_one_blob_that_goes_with_the_last_of_them() {
    over_all(async |store| {
        let blob = store.put_blobs(vec![new_blob("shared")], at(1)).await.unwrap().remove(0);
        let again = store.put_blobs(vec![new_blob("shared")], at(2)).await.unwrap().remove(0);
        assert_eq!(blob, again);
        let (one, other) = (session(Some("alice"), "one"), session(Some("bob"), "other"));
        store.save_context(&one, vec![bytes("img_000001", &blob)], at(3)).await.unwrap();
        store.save_context(&other, vec![bytes("img_000001", &blob)], at(3)).await.unwrap();
        store.forget_scope(&alice(), at(4)).await.unwrap();
        assert_eq!(store.saved_context(&one).await.unwrap(), None);
        assert_eq!(store.collect_blobs(at(1_000)).await.unwrap(), 0);
        assert_eq!(store.blob(&blob).await.unwrap().unwrap(), b"shared");
        assert!(store.blob_path(&blob).is_none_or(|path| std::fs::read(path).unwrap() == b"shared"));
        store.forget_scope(&Scope::new().with_user("bob").unwrap(), at(4)).await.unwrap();
        assert_eq!(store.collect_blobs(at(1_000)).await.unwrap(), 1);
        assert_eq!(store.blob(&blob).await.unwrap(), None);
    });
}

#[test]
fn a_young_blob_is_spared_until_a_purge_and_a_row_that_names_a_lost_one_is_refused() {
    over_all(async |store| {
        let old = store.put_blobs(vec![new_blob("old")], at(10)).await.unwrap().remove(0);
        let young = store.put_blobs(vec![new_blob("young")], at(100)).await.unwrap().remove(0);
        assert_eq!(store.collect_blobs(at(100)).await.unwrap(), 1);
        assert_eq!(store.blob(&old).await.unwrap(), None);
        assert_eq!(store.blob(&young).await.unwrap().unwrap(), b"young");
        // What is put again is young again.
        store.put_blobs(vec![new_blob("young")], at(200)).await.unwrap();
        assert_eq!(store.collect_blobs(at(150)).await.unwrap(), 0);
        store.purge(at(200)).await.unwrap();
        assert_eq!(store.blob(&young).await.unwrap(), None);

        let mine = session(Some("alice"), "s");
        let refused = store.save_context(&mine, vec![bytes("img_000001", &young)], at(201)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::NotFound);
        assert_eq!(store.saved_context(&mine).await.unwrap(), None);
        let new = NewEpisode { attachment: Some(attachment(Some(&young))), ..episode(1, 10, "an image") };
        assert_eq!(store.append(&space(), vec![new]).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(store.episode(&alice(), id(1)).await.unwrap(), None);
    });
}

#[test]
fn an_attachment_goes_with_its_episode() {
    over_all(async |store| {
        let blob = store.put_blobs(vec![new_blob("pixels")], at(1)).await.unwrap().remove(0);
        let attached = attachment(Some(&blob));
        for number in [1, 2] {
            let new = NewEpisode { attachment: Some(attached.clone()), ..episode(number, 10, "an image") };
            store.append_one(new).await;
        }
        let reference: crate::context::GlobalRef = "s/img_000001".parse().unwrap();
        let of = |scope: Scope| {
            let (store, reference) = (&store, &reference);
            async move { store.attachment_of(&scope, reference).await.unwrap() }
        };
        assert_eq!(of(alice()).await, Some((id(2), attached.clone())));
        assert_eq!(of(Scope::new()).await, None);
        assert_eq!(of(Scope::new().with_user("bob").unwrap()).await, None);
        let found = store.attachments(&alice(), &[id(1), id(1), id(3)]).await.unwrap();
        assert_eq!(found, [(id(1), attached.clone())]);
        store.assert_sound().await;

        store.forget(&alice(), id(2), ForgetReach::Version, at(20)).await.unwrap();
        assert_eq!(of(alice()).await, Some((id(1), attached)));
        store.forget(&alice(), id(1), ForgetReach::Version, at(20)).await.unwrap();
        assert_eq!(of(alice()).await, None);
        store.purge(at(20)).await.unwrap();
        assert_eq!(store.blob(&blob).await.unwrap(), None);
        store.assert_sound().await;
    });
}
