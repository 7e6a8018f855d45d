//! Calls that wait for a remote embedder wait beside one another.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::try_join_all;
use tokio::sync::Barrier;
use umi_core::{Embedder, EmbeddingSpace, MemoryBuilder, Result, StorageBackend};

const RECALLS: usize = 32;

/// A remote embedder that answers questions once all of them have come.
#[derive(Debug)]
struct Gathering {
    space: EmbeddingSpace,
    questions: Barrier,
}

#[async_trait]
impl Embedder for Gathering {
    fn space(&self) -> &EmbeddingSpace {
        &self.space
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        if texts[0].contains("question") {
            self.questions.wait().await;
        }
        Ok(vec![vec![1.0, 0.0]; texts.len()])
    }
}

#[tokio::test]
async fn all_recalls_are_in_the_embedder_at_once() {
    let embedder = Gathering { space: EmbeddingSpace::new("gathers", 2, ""), questions: Barrier::new(RECALLS) };
    let builder = MemoryBuilder::new().storage(StorageBackend::in_memory()).embedder(Arc::new(embedder));
    let memory = builder.build().await.unwrap();
    memory.remember("The kiln came from Utrecht.").await.unwrap();
    let recalls = (0..RECALLS).map(|number| memory.recall(format!("question {number}")).into_future());
    let found = try_join_all(recalls).await.unwrap();
    assert!(found.iter().all(|results| results.len() == 1 && results.warnings.is_empty()));
}
