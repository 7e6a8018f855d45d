//! The power goes at any moment of anything: what was acknowledged is there, the rest is there as a whole or not at all.

use std::{collections::BTreeSet, path::Path};

use futures::future::{BoxFuture, FutureExt, join_all};
use umi_core::{ErrorKind, ForgetReach, Memory, Result, Scope};
use umi_faults::{Disk, Fault, FileKind, Operation};

use super::{contents, copy, open, sound_contents};

/// A store with something in it, closed, to be copied.
async fn template() -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let memory = open(folder.path()).await.unwrap();
    for number in 0..6 {
        memory.remember(format!("kept {number} {}", "words ".repeat(50))).await.unwrap();
    }
    let lines = contents(&memory).await;
    memory.close().await.unwrap();
    (folder, lines)
}

/// What an action acknowledged, in the words of [`contents`], before the power went.
type Acknowledged = Vec<String>;
/// Works on a store and gives what was acknowledged, whatever becomes of the rest.
type Action = for<'m> fn(&'m Memory, &'m Path) -> BoxFuture<'m, Acknowledged>;

/// Where the power is cut: at each change that a step leads to, from 0 on; and what then becomes of the rest.
#[derive(Clone, Copy)]
struct Cuts {
    step: usize,
    seed: u64,
}

impl Cuts {
    fn every(step: usize) -> Self {
        Self { step, seed: 0 }
    }

    fn changes(self) -> impl Iterator<Item = u64> {
        (0..).step_by(self.step)
    }
}

/// Does the action with the power cut at one change after the other, until it survives.
async fn cut_at_each(name: &str, cuts: Cuts, may_lose: &[&str], action: Action) -> usize {
    let (template, before) = template().await;
    let seed = cuts.seed;
    for (cuts, after) in cuts.changes().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        copy(&template.path().join("store"), &folder.path().join("store"));
        let disk = Disk::at(folder.path());
        let memory = open(folder.path()).await.unwrap();
        disk.fail(Fault { after, power_off: true, ..Fault::EVERY_CHANGE });
        let acknowledged = action(&memory, folder.path()).await;
        let is_over = !disk.is_off();
        disk.power_off();
        drop(memory.close().await);
        drop(memory);
        disk.power_on(seed + after);
        let context = format!("{name}, the power cut at change {after}, seed {seed}");
        let memory = open(folder.path()).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        let found: BTreeSet<String> = sound_contents(&memory).await.into_iter().collect();
        for line in before.iter().chain(&acknowledged) {
            let may_be_lost = may_lose.iter().any(|start| line.starts_with(start));
            assert!(may_be_lost || found.contains(line), "{context}: `{line}` was acknowledged and lost");
        }
        memory.remember("afterwards").await.unwrap_or_else(|error| panic!("{context}: {error}"));
        memory.close().await.unwrap();
        if is_over {
            return cuts;
        }
    }
    unreachable!("the loop ends where the action does")
}

fn remember<'m>(memory: &'m Memory, text: &str) -> BoxFuture<'m, Option<String>> {
    let text = text.to_owned();
    async move { memory.remember(text.as_str()).await.ok().map(|_| format!("episode {text}")) }.boxed()
}

#[tokio::test]
async fn the_power_goes_while_something_is_remembered() {
    while_remembering(Cuts::every(2)).await;
}

async fn while_remembering(cuts: Cuts) {
    let found = cut_at_each("remember", cuts, &[], |memory, _| {
        async move {
            let one = remember(memory, "one").await;
            let two = remember(memory, "two").await;
            one.into_iter().chain(two).collect()
        }
        .boxed()
    })
    .await;
    assert!(found > 10, "{found} cuts");
}

#[tokio::test]
async fn the_power_goes_while_a_group_is_written() {
    while_a_group_is_written(Cuts::every(2)).await;
}

async fn while_a_group_is_written(cuts: Cuts) {
    let found = cut_at_each("group", cuts, &[], |memory, _| {
        let callers = (0..12).map(move |caller| remember(memory, &format!("caller {caller}")));
        join_all(callers).map(|outcomes| outcomes.into_iter().flatten().collect()).boxed()
    })
    .await;
    assert!(found > 10, "{found} cuts");
}

#[tokio::test]
async fn the_power_goes_while_the_log_is_emptied_on_closing() {
    while_closing(Cuts::every(2)).await;
}

async fn while_closing(cuts: Cuts) {
    let found = cut_at_each("close", cuts, &[], |memory, _| {
        async move {
            let said = remember(memory, "before closing").await;
            drop(memory.close().await);
            said.into_iter().collect()
        }
        .boxed()
    })
    .await;
    assert!(found > 10, "{found} cuts");
}

#[tokio::test]
async fn the_power_goes_while_the_store_is_purged() {
    while_purging(Cuts::every(11)).await;
}

async fn while_purging(cuts: Cuts) {
    let found = cut_at_each("purge", cuts, &["episode kept 0"], |memory, _| {
        async move {
            let first = memory.episodes(1, 0, &Scope::new()).await.unwrap().remove(0);
            drop(memory.forget(&first.id.to_string(), ForgetReach::Version, &Scope::new()).await);
            drop(memory.purge().await);
            Vec::new()
        }
        .boxed()
    })
    .await;
    assert!(found > 10, "{found} cuts");
}

#[tokio::test]
async fn the_power_goes_while_a_backup_is_written() {
    while_backing_up(Cuts::every(9)).await;
}

async fn while_backing_up(cuts: Cuts) {
    let (template, before) = template().await;
    let (mut done, mut refused) = (0, 0);
    let seed = cuts.seed;
    for after in cuts.changes() {
        let folder = tempfile::tempdir().unwrap();
        copy(&template.path().join("store"), &folder.path().join("store"));
        let disk = Disk::at(folder.path());
        let memory = open(folder.path()).await.unwrap();
        disk.fail(Fault { after, power_off: true, ..Fault::EVERY_CHANGE });
        let to = folder.path().join("copy");
        let outcome = memory.backup(&to.join("store")).await;
        let is_over = !disk.is_off();
        disk.power_off();
        drop(memory.close().await);
        drop(memory);
        disk.power_on(seed + after);
        let context = format!("a backup, the power cut at change {after}, seed {seed}");
        assert_eq!(sound_contents(&open(folder.path()).await.unwrap()).await, before, "{context}");
        // What was not finished is a store of nothing, or no store.
        match open(&to).await {
            Ok(copied) => {
                let found = sound_contents(&copied).await;
                assert!(found == before || found.is_empty() && outcome.is_err(), "{context}: {found:?}");
                done += usize::from(found == before);
            }
            Err(error) => {
                assert!(outcome.is_err() && error.is_storage(), "{context}: {error}");
                refused += 1;
            }
        }
        if is_over {
            break;
        }
    }
    assert!(done > 0, "{done} done, {refused} refused");
}

#[tokio::test]
async fn the_power_goes_while_a_store_is_made() {
    while_a_store_is_made(Cuts::every(4)).await;
}

async fn while_a_store_is_made(cuts: Cuts) {
    let mut opened = 0;
    let seed = cuts.seed;
    for after in cuts.changes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path());
        disk.fail(Fault { after, power_off: true, ..Fault::EVERY_CHANGE });
        let context = format!("making a store, the power cut at change {after}, seed {seed}");
        let said = match open(folder.path()).await {
            Ok(memory) => {
                opened += 1;
                let said = memory.remember("the first words").await.is_ok();
                let is_over = !disk.is_off();
                disk.power_off();
                drop(memory.close().await);
                said.then_some(is_over)
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::StoreIo, "{context}: {error}");
                None
            }
        };
        disk.power_off();
        disk.power_on(seed + after);
        let memory = open(folder.path()).await.unwrap_or_else(|error| panic!("{context}: {error}"));
        let found = sound_contents(&memory).await;
        assert!(found.len() <= 1, "{context}: {found:?}");
        assert!(said.is_none() || found == ["episode the first words"], "{context}: {found:?}");
        memory.remember("afterwards").await.unwrap();
        if said == Some(true) {
            break;
        }
    }
    assert!(opened > 3, "{opened}");
}

#[tokio::test]
async fn what_was_refused_stays_away_when_the_power_goes() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::at(folder.path());
        let memory = open(folder.path()).await.unwrap();
        memory.remember("kept").await.unwrap();
        disk.fail(Fault {
            operation: Some(Operation::Sync),
            file: Some(FileKind::Wal),
            count: 1,
            ..Fault::EVERY_CHANGE
        });
        let refused: Result<_> = memory.remember("refused").await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::StoreIo);
        disk.power_off();
        drop(memory.close().await);
        drop(memory);
        disk.power_on(seed);
        assert_eq!(sound_contents(&open(folder.path()).await.unwrap()).await, ["episode kept"], "seed {seed}");
    }
}

#[tokio::test]
async fn a_refusal_that_may_not_last_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::at(folder.path());
    let memory = open(folder.path()).await.unwrap();
    disk.fail(Fault { operation: Some(Operation::Sync), file: Some(FileKind::Wal), ..Fault::EVERY_CHANGE });
    let refused = memory.remember("refused").await.unwrap_err();
    assert!(refused.hint().unwrap().contains("loses power before the next write succeeds"), "{refused}");
    disk.clear();
    // The next write that succeeds settles it.
    memory.remember("kept").await.unwrap();
    disk.power_off();
    drop(memory.close().await);
    drop(memory);
    disk.power_on(0);
    assert_eq!(sound_contents(&open(folder.path()).await.unwrap()).await, ["episode kept"]);
}

/// Every change of everything, each with several ends: minutes.
#[tokio::test]
#[ignore = "a part of `make torture`"]
async fn the_power_goes_at_every_change_of_everything() {
    for round in 0..8 {
        let cuts = Cuts { step: 1, seed: 1_000 * round };
        while_remembering(cuts).await;
        while_a_group_is_written(cuts).await;
        while_closing(cuts).await;
        while_purging(cuts).await;
        while_backing_up(cuts).await;
        while_a_store_is_made(cuts).await;
    }
}
