//! The production engine over a file layer that records, refuses and loses power.

mod acknowledgements;

use std::{path::Path, sync::Arc};

use umi_core::{Memory, MemoryBuilder, Result, SimEmbedder, StorageBackend};

/// Opens the store below `folder` as users do, with an embedder that takes no time.
async fn open(folder: &Path) -> Result<Memory> {
    let storage = StorageBackend::sqlite(folder.join("store"));
    MemoryBuilder::new().storage(storage).embedder(Arc::new(SimEmbedder::new(1))).build().await
}
