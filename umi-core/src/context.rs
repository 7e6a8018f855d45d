//! The multimodal context: an ordered list of texts, files, images, bytes and addresses, each behind a short ref, to be
//! shown to people and rendered into the messages of a provider.
//!
//! A module of its own name, because its words (`Kind`, `Item`, `Url`) are those of other things in the crate's root.
//!
//! # Example
//! ```
//! use umi_core::{Metadata, context::{Context, NewItem, Role}};
//! let context = Context::new();
//! context.add(NewItem::text("You are a terse visual analyst.").with_role(Role::System)?)?;
//! let item = NewItem::bytes(b"\x89PNG".to_vec(), "image/png")?;
//! let image = context.add(item.with_metadata(Metadata::parse(r#"{"note": "hero shot"}"#)?))?;
//! assert!(image.to_string().starts_with("img_"));
//! # Ok::<(), umi_core::Error>(())
//! ```

mod captions;
mod collection;
mod describe;
mod encode;
mod facts;
mod files;
mod items;
mod kinds;
mod messages;
mod not_found;
mod parallel;
mod part;
mod refs;
mod render;
pub(crate) mod save;
mod scan;

pub use self::{
    collection::{Context, Snapshot},
    encode::{
        Content, EncodeOptions, Encoder, EncoderRegistry, FILM_FORMATS, FILM_TIME, Ffmpeg, IMAGE_PIXELS, ImageReader,
        SOURCE_BYTES, Source, VideoFacts, VideoReader,
    },
    facts::Tier,
    items::{Bytes, Channels, Held, Item, ItemSource, NewItem, Object, Pixels, Role, Url},
    kinds::{Format, Kind},
    messages::{MessageOptions, Node, OnError, Provider, Rendering},
    not_found::RefNotFound,
    part::{Media, Part},
    refs::{GlobalRef, RefId, RefText, SESSION_BYTES},
    render::tree::Layout,
    scan::{
        BATCH_ROWS, COLUMNS, Cell, FileEntry, FileFilter, GrepMatch, GrepOptions, GrepResults, REF_COLUMNS,
        RESULT_BYTES, SCAN_THREADS, Scan, ScanOptions, SqlParameters, SqlValue, TEXT_FILE_BYTES, Table, parse_size,
    },
};
pub use crate::{
    ledger::{Attachment, Blob, FileContent, FileStamp, SavedItem, SavedSource},
    memory::{ContextStore, LoadedContext, RememberedItem, StoredItem},
};

/// Lets a forked child forget the work of threads that it does not have.
pub(crate) fn after_fork_in_child() {
    parallel::after_fork_in_child();
    encode::after_fork_in_child();
}
