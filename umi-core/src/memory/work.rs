//! What a call that remembers does behind its first transaction: embed, extract, and start what it does not wait for.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{
    Memory,
    extraction::ExtractTask,
    held::HeldJobs,
    jobs::HeldEmbed,
    results::{RememberResult, StepFailure},
};
use crate::{
    episode::Episode,
    error::Result,
    ledger::{ExtractJob, OwnerText},
    scope::Scope,
};

impl Memory {
    /// Embeds and extracts what this call waits for, at once, and starts what it does not wait for. A failure becomes a
    /// warning of the request that it belongs to.
    pub(super) async fn work(&self, held: Held, work: Work, results: &mut [RememberResult]) {
        let has_waited = held.embed.is_some() || held.extract.is_some();
        let embeds = async {
            match held.embed {
                Some(held) => self.run_own_jobs(held, work.embeds).await,
                None => Vec::new(),
            }
        };
        let extracts = async {
            match held.extract {
                Some(held) => self.extract_own(held, work.extracts).await,
                None => Vec::new(),
            }
        };
        let (unembedded, extracted) = futures::join!(embeds, extracts);
        for (job, error) in unembedded {
            if let Some(result) = work.requests.get(&job).and_then(|&request| results.get_mut(request)) {
                result.warnings.push(StepFailure { step: "embed", error, job_id: Some(job) });
            }
        }
        for (request, extracted) in extracted {
            extracted.put_into(&mut results[request]);
        }
        if has_waited && let Err(error) = self.leave_out_forgotten(results).await {
            tracing::warn!(target: "umi::memory", kind = ?error.kind(), "a result was not compared with what was forgotten meanwhile");
        }
        if !work.background.is_empty()
            && let Err(error) = self.start_left_jobs().await
        {
            for (step, job, request) in work.background {
                let warning = StepFailure { step, error: error.clone(), job_id: Some(job) };
                results[request].warnings.push(warning);
            }
        }
    }

    /// Takes out of results what was forgotten while a call waited for its embedder and its model.
    async fn leave_out_forgotten(&self, results: &mut [RememberResult]) -> Result<()> {
        let mut shown: BTreeMap<Option<String>, (Vec<Uuid>, Vec<Uuid>)> = BTreeMap::new();
        let episodes: BTreeSet<Uuid> = results.iter().flat_map(|result| result.episode_ids.iter().copied()).collect();
        for entity in results.iter().flat_map(|result| &result.entities) {
            let (notes, facts) = shown.entry(entity.user.clone()).or_default();
            if episodes.contains(&entity.id) { notes.push(entity.id) } else { facts.push(entity.id) }
        }
        let mut gone: BTreeSet<Uuid> = BTreeSet::new();
        for (user, (notes, facts)) in shown {
            let tenant = Scope::from_parts(user, None, None)?;
            gone.extend(notes.iter().chain(&facts));
            if !notes.is_empty() {
                for episode in self.ledger().episodes_by_id(&tenant, &notes).await? {
                    gone.remove(&episode.id);
                }
            }
            if !facts.is_empty() {
                for fact in self.ledger().facts_by_id(&tenant, &facts).await? {
                    gone.remove(&fact.id);
                }
            }
            for id in facts {
                // A version of which an earlier saying is known by now has the id of that one.
                if gone.contains(&id) && self.ledger().fact(&tenant, id).await?.is_some() {
                    gone.remove(&id);
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let ids: BTreeSet<String> = gone.iter().map(Uuid::to_string).collect();
        for result in results {
            result.entities.retain(|entity| !gone.contains(&entity.id));
            result
                .evolutions
                .retain(|relation| ![&relation.source_id, &relation.target_id].iter().any(|&id| ids.contains(id)));
        }
        Ok(())
    }
}

/// The jobs that a call holds itself.
#[derive(Default)]
pub(super) struct Held {
    pub(super) embed: Option<HeldJobs>,
    pub(super) extract: Option<HeldJobs>,
}

/// What the write of a turn leaves to be done.
pub(super) struct Left {
    pub(super) request: usize,
    pub(super) embed_job: Option<Uuid>,
    pub(super) extract_job: Option<ExtractJob>,
    pub(super) waits: bool,
    pub(super) needs_reembed: bool,
}

/// What the turns of a call leave to be done.
#[derive(Default)]
pub(super) struct Work {
    embeds: Vec<HeldEmbed>,
    /// Turns by their request.
    extracts: BTreeMap<usize, Vec<ExtractTask>>,
    /// The request of every job that this call waits for.
    requests: BTreeMap<Uuid, usize>,
    /// What nobody waits for: the step, the job and its request.
    background: Vec<(&'static str, Uuid, usize)>,
}

impl Work {
    pub(super) fn take(&mut self, left: &Left, episode: &Episode) {
        let &Left { request, embed_job, extract_job, waits, .. } = left;
        if !waits {
            self.background.extend(embed_job.map(|job| ("embed", job, request)));
            self.background.extend(extract_job.map(|job| ("extract", job.id, request)));
            return;
        }
        if let Some(job) = embed_job {
            self.requests.insert(job, request);
            self.embeds.push(HeldEmbed { job, attempts: 0, text: OwnerText::Episode(episode.clone()) });
        }
        if let Some(ExtractJob { id, detects_evolutions, .. }) = extract_job {
            let task = ExtractTask { job: id, attempts: 0, episode: episode.clone(), detects_evolutions };
            self.extracts.entry(request).or_default().push(task);
        }
    }
}
