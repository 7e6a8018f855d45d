//! remember: check, cut into pieces, embed, write in one transaction; then find facts, with a language model.

use std::{future::IntoFuture, pin::Pin};

use jiff::Timestamp;

use super::{
    Memory,
    extraction::is_to_extract,
    held::HeldJobs,
    options::{RememberOptions, Wait},
    request::{RememberRequest, Turn},
    results::{RememberResult, StepFailure},
    work::{Held, Left, Work},
};
use crate::{
    blocking::blocking_when_large,
    embed::{EmbeddingSpace, embed_encoded},
    entity::{SOURCE_BYTES, check_bytes, check_time},
    episode::{Episode, KEY_BYTES, ROLE_BYTES},
    error::{Error, ErrorKind, Result},
    index::analysis::{AnalysedPiece, analyse_episode},
    ledger::{Attachment, EmbedJob, ExtractJob, JobLease, NewEpisode, Piece},
    scope::{SCOPE_NAME_BYTES, Scope},
};

/// How many items [`Memory::remember_many`] writes in one transaction.
pub const REMEMBER_BATCH: usize = 256;

/// A text that is about to be remembered; await it.
#[derive(Debug)]
#[must_use = "nothing is remembered until it is awaited"]
pub struct Remember<'a> {
    memory: &'a Memory,
    request: RememberRequest,
}

impl Remember<'_> {
    /// Whose memory it is, where it is not the handle's.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is empty or longer than 256 bytes.
    pub fn user(mut self, user: &str) -> Result<Self> {
        self.request.scope = self.request.scope.with_user(user)?;
        Ok(self)
    }

    /// Which agent records it.
    ///
    /// # Errors
    /// As [`Remember::user`].
    pub fn agent(mut self, agent: &str) -> Result<Self> {
        self.request.scope = self.request.scope.with_agent(agent)?;
        Ok(self)
    }

    /// Which session it belongs to.
    ///
    /// # Errors
    /// As [`Remember::user`].
    pub fn session(mut self, session: &str) -> Result<Self> {
        self.request.scope = self.request.scope.with_session(session)?;
        Ok(self)
    }

    /// When it was said, where that is not now.
    pub fn at(mut self, at: Timestamp) -> Self {
        for turn in &mut self.request.turns {
            turn.at = Some(at);
        }
        self
    }

    /// The speaker's name.
    pub fn name(mut self, name: &str) -> Self {
        for turn in &mut self.request.turns {
            turn.name = Some(name.to_owned());
        }
        self
    }

    /// The speaker's part, where it is not `user`.
    pub fn role(mut self, role: &str) -> Self {
        for turn in &mut self.request.turns {
            turn.role = Some(role.to_owned());
        }
        self
    }

    /// Makes a repeated call idempotent.
    pub fn key(mut self, key: &str) -> Self {
        self.request.key = Some(key.to_owned());
        self
    }

    /// Remembers otherwise than by default.
    pub fn options(mut self, options: RememberOptions) -> Self {
        self.request.options = options;
        self
    }
}

impl<'a> IntoFuture for Remember<'a> {
    type Output = Result<RememberResult>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.memory.remember_request(self.request))
    }
}

/// A checked turn on its way to the ledger.
#[derive(Clone)]
struct Prepared {
    episode: Episode,
    key: Option<(String, u32)>,
    /// Which request it is part of.
    request: usize,
    wants_vectors: bool,
    /// Whether facts are to be found in it, and if they are to be related to stored ones.
    extracts: Option<bool>,
    waits: bool,
    pieces: Vec<AnalysedPiece>,
    attachment: Option<Attachment>,
}

/// Where the vectors of a write come from.
enum Vectors {
    /// They are here, encoded, one a piece that wants one.
    Here(Vec<Vec<u8>>),
    /// A job makes them.
    Job,
    /// The store's space is this one and not the embedder's: `reembed` makes them.
    Reembed(EmbeddingSpace),
}

impl Memory {
    /// Remembers a text or a conversation, which is one transaction. A text is kept verbatim as an episode. With a
    /// language model its facts are found then, those of a conversation together, and recorded in a second one.
    ///
    /// What a model fails at is a warning with the job that is left: [`Memory::pending`] lists it, and
    /// [`Memory::retry_pending`] says when it is tried again. An answer that cannot be read is asked for once more; one
    /// that ends at its limit of tokens is asked for with half of the turns, down to a single one, of which what came
    /// before the end is used, with a warning. A call that is cancelled stops the model's request. Either nothing has
    /// happened then, or the episodes are stored with their jobs, which [`Memory::flush`], `retry_pending` or the next
    /// opening runs. What is forgotten while the model reads it is in no result. With
    /// [`Wait::Durable`](super::Wait::Durable) the model is asked behind the call, which gives the episodes in their note
    /// form, and its failures are in `pending` alone.
    ///
    /// What was recalled is not read a second time. A `<memory>` document of [`Memory::context`] in a text is left out,
    /// and the words around it are read. A turn whose `source` is that of
    /// [`Recalled::recalled_source`](super::Recalled::recalled_source) is kept and not read at all, so that what is new
    /// in it belongs into a turn of its own.
    ///
    /// # Errors
    /// When the returned builder is awaited: `EmptyText`, `TextTooLong` or `InvalidInput` for what is malformed, in
    /// which case nothing is written; `Storage` kinds when the ledger fails, and nothing is written. What fails once the
    /// words are durable is a warning: an embedder, a model, the ledger when it is to store what they made, and that the
    /// store waits for [`Memory::reembed`].
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    ///
    /// let at = "2026-03-19T20:40:00Z".parse().unwrap();
    /// let result = memory.remember("The wiring is from 1962.").user("nadia")?.session("studio")?.at(at).await?;
    /// assert_eq!((result.episode_ids.len(), result.entities[0].valid_from), (1, at));
    /// # Ok(()) }
    /// ```
    pub fn remember(&self, request: impl Into<RememberRequest>) -> Remember<'_> {
        Remember { memory: self, request: request.into() }
    }

    /// Remembers one request; [`Memory::remember`] in the form that bindings use.
    ///
    /// # Errors
    /// As [`Memory::remember`].
    pub async fn remember_request(&self, request: RememberRequest) -> Result<RememberResult> {
        let mut results = self.remember_batch(vec![request]).await?;
        results.pop().ok_or_else(|| Error::internal("one request gave no result"))
    }

    /// Remembers many requests, in transactions of [`REMEMBER_BATCH`] of them. Gives the results of all; `progress` is
    /// told how many are done.
    ///
    /// # Errors
    /// As [`Memory::remember`]; the failed transaction and those behind it are not written.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// # let memory = umi_core::Memory::in_memory().await?;
    ///
    /// use umi_core::RememberRequest;
    /// let notes = (1..=300).map(|day| RememberRequest::from(format!("On day {day} I watered the basil.")));
    /// let mut done = 0;
    /// let results = memory.remember_many(notes, |so_far| done = so_far).await?;
    /// assert_eq!((results.len(), done), (300, 300));
    /// # Ok(()) }
    /// ```
    pub async fn remember_many(
        &self,
        requests: impl IntoIterator<Item = RememberRequest>,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<RememberResult>> {
        let mut results = Vec::new();
        let mut requests = requests.into_iter();
        loop {
            let batch: Vec<RememberRequest> = requests.by_ref().take(REMEMBER_BATCH).collect();
            if batch.is_empty() {
                return Ok(results);
            }
            results.extend(self.remember_batch(batch).await?);
            progress(results.len());
        }
    }

    /// Remembers requests in one transaction.
    ///
    /// # Errors
    /// As [`Memory::remember`]; then none of them is written.
    pub async fn remember_batch(&self, requests: Vec<RememberRequest>) -> Result<Vec<RememberResult>> {
        self.check_open()?;
        let now = self.now();
        let mut prepared = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let place = |error: Error| match requests.len() {
                1 => error,
                _ => error.with_place(&format!("item `{index}` of its batch")),
            };
            self.prepare(index, request, now, &mut prepared).map_err(place)?;
        }
        let bytes = prepared.iter().map(|turn| turn.episode.text.len()).sum();
        let mut prepared = blocking_when_large(bytes, move || Ok(analysed(prepared))).await?;
        loop {
            let vectors = self.vectors(&prepared).await?;
            // Nothing was written when the store has moved to this handle's space meanwhile.
            let again = matches!(vectors, Vectors::Reembed(_)).then(|| prepared.clone());
            match (self.write(requests.len(), prepared, vectors).await, again) {
                (Err(error), Some(again)) if error.kind() == ErrorKind::EmbeddingSpace => prepared = again,
                (outcome, _) => return outcome,
            }
        }
    }

    /// Checks a request and makes its episodes.
    fn prepare(
        &self,
        index: usize,
        request: &RememberRequest,
        now: Timestamp,
        prepared: &mut Vec<Prepared>,
    ) -> Result<()> {
        let scope = self.resolve(&request.scope)?;
        if request.turns.is_empty() {
            return Err(Error::new(ErrorKind::EmptyText, "the conversation has no turns"));
        }
        if let Some(key) = &request.key {
            if key.is_empty() {
                return Err(Error::invalid_input("key is empty").with_hint("leave it out to mean none"));
            }
            check_bytes("key", key, KEY_BYTES)?;
        }
        for (turn_index, turn) in request.turns.iter().enumerate() {
            let turn_number = u32::try_from(turn_index)
                .map_err(|error| Error::invalid_input("the conversation has too many turns").with_source(error))?;
            let key = request.key.clone().map(|key| (key, turn_number));
            let place = |error: Error| match request.turns.len() {
                1 => error,
                _ => error.with_place(&format!("turn `{turn_index}`")),
            };
            let episode = self.episode(turn, &request.options, &scope, now).map_err(place)?;
            let extracts = self.parts.model.is_some() && request.options.extract_entities() && is_to_extract(&episode);
            prepared.push(Prepared {
                episode,
                key,
                request: index,
                wants_vectors: request.options.generate_embeddings(),
                extracts: extracts.then(|| request.options.detect_evolutions()),
                waits: request.options.wait() == Wait::Extracted,
                pieces: Vec::new(),
                attachment: turn.attachment.clone(),
            });
        }
        Ok(())
    }

    fn episode(&self, turn: &Turn, options: &RememberOptions, scope: &Scope, now: Timestamp) -> Result<Episode> {
        self.check_text("text", &turn.text)?;
        if turn.text.trim().is_empty() {
            return Err(Error::new(ErrorKind::EmptyText, "the text to remember is empty or white space"));
        }
        let role = turn.role.as_deref().unwrap_or("user");
        if role.trim().is_empty() {
            return Err(Error::invalid_input("role is empty").with_hint("leave it out to mean user"));
        }
        check_bytes("role", role, ROLE_BYTES)?;
        if let Some(name) = &turn.name {
            if name.trim().is_empty() {
                return Err(Error::invalid_input("name is empty").with_hint("leave it out to mean none"));
            }
            check_bytes("name", name, SCOPE_NAME_BYTES)?;
        }
        if let Some(source) = &turn.source {
            check_bytes("source", source, SOURCE_BYTES)?;
        }
        if let Some(at) = turn.at {
            check_time("at", at)?;
        }
        Ok(Episode {
            id: self.next_id(now),
            text: turn.text.clone(),
            role: role.to_owned(),
            name: turn.name.clone(),
            at: turn.at.map_or(now, crate::world::to_microseconds),
            recorded_at: now,
            user: scope.user().map(str::to_owned),
            agent: scope.agent().map(str::to_owned),
            session: scope.session().map(str::to_owned),
            source: turn.source.clone(),
            metadata: turn.metadata.clone(),
            importance: options.importance(),
        })
    }

    /// Checks the length of a text or query.
    pub(super) fn check_text(&self, what: &str, text: &str) -> Result<()> {
        let limit = self.parts.config.text_bytes();
        if text.len() <= limit {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TextTooLong, format!("{what} has {} bytes, at most {limit} are allowed", text.len()))
            .with_sizes(limit, text.len())
            .with_hint("cut it into several, or raise `MemoryConfig(text_bytes=…)`"))
    }

    /// The vectors of an in-process embedder, before anything is written; a remote one runs behind the first
    /// transaction, so that the caller's words are safe whatever fails.
    async fn vectors(&self, prepared: &[Prepared]) -> Result<Vectors> {
        if let Some(space) = self.space_to_leave().await? {
            return Ok(Vectors::Reembed(space));
        }
        if !self.parts.embedder.is_in_process() {
            return Ok(Vectors::Job);
        }
        let texts: Vec<String> = prepared
            .iter()
            .filter(|turn| turn.wants_vectors)
            .flat_map(|turn| turn.pieces.iter().map(|piece| piece.text_to_embed.clone()))
            .collect();
        match embed_encoded(self.parts.embedder.as_ref(), &texts).await {
            Ok(vectors) => Ok(Vectors::Here(vectors)),
            Err(error) => {
                tracing::warn!(target: "umi::memory", step = "embed", kind = ?error.kind(), "the in-process embedder failed; the text is stored and a job is left");
                Ok(Vectors::Job)
            }
        }
    }

    async fn write(&self, requests: usize, prepared: Vec<Prepared>, vectors: Vectors) -> Result<Vec<RememberResult>> {
        let own = self.parts.embedder.space();
        let (here, space, leaves_jobs) = match vectors {
            Vectors::Here(vectors) => (Some(vectors), own.clone(), false),
            Vectors::Job => (None, own.clone(), true),
            Vectors::Reembed(space) => (None, space, false),
        };
        let has_vectors = here.is_some();
        let mut here = here.unwrap_or_default().into_iter();
        let mut rows = Vec::with_capacity(prepared.len());
        let mut results: Vec<RememberResult> = (0..requests).map(|_| RememberResult::default()).collect();
        let mut turns = Vec::with_capacity(prepared.len());
        let mut held = Held::default();
        for turn in prepared {
            let embeds_now = turn.wants_vectors && has_vectors;
            let pieces = turn
                .pieces
                .into_iter()
                .map(|piece| Piece {
                    ordinal: piece.ordinal,
                    lexical: piece.lexical,
                    vector: if embeds_now { here.next() } else { None },
                })
                .collect();
            // Leases begin now: an in-process embedder may have taken longer than they last.
            let now = self.now();
            let embed_job = if turn.wants_vectors && leaves_jobs {
                let lease = self.lease_now(turn.waits, &mut held.embed, now);
                Some(EmbedJob { id: self.next_id(now), lease })
            } else {
                None
            };
            let extract_job = match turn.extracts {
                Some(detects_evolutions) => {
                    let lease = self.lease_now(turn.waits, &mut held.extract, now);
                    Some(ExtractJob { id: self.next_id(now), lease, detects_evolutions })
                }
                None => None,
            };
            let wants_vectors = turn.wants_vectors;
            turns.push(Left {
                request: turn.request,
                embed_job: embed_job.map(|job| job.id),
                extract_job,
                waits: turn.waits,
                needs_reembed: wants_vectors && !has_vectors && !leaves_jobs,
            });
            rows.push(NewEpisode {
                episode: turn.episode,
                pieces,
                key: turn.key,
                wants_vectors,
                embed_job,
                extract_job,
                attachment: turn.attachment,
            });
        }
        let episodes: Vec<Episode> = rows.iter().map(|row| row.episode.clone()).collect();
        let appended = self.ledger().append(&space, rows).await?;
        let mut work = Work::default();
        for ((appended, mut episode), left) in appended.into_iter().zip(episodes).zip(turns) {
            let result = &mut results[left.request];
            if let Some(known) = appended.known {
                // A repeated call: the first one's words stand.
                episode = *known;
            } else {
                if left.needs_reembed && result.warnings.is_empty() {
                    result.warnings.push(StepFailure { step: "embed", error: space.mismatch(own), job_id: None });
                }
                work.take(&left, &episode);
            }
            result.episode_ids.push(appended.id);
            result.entities.push(episode.to_note());
        }
        // The words are durable: whatever fails from here on is a warning.
        self.feed_index();
        self.work(held, work, &mut results).await;
        Ok(results)
    }

    /// The lease of a job that this call does itself; it lets go of it when it is cancelled.
    fn lease_now(&self, waits: bool, held: &mut Option<HeldJobs>, now: Timestamp) -> Option<JobLease> {
        waits.then(|| held.get_or_insert_with(|| self.hold()).lease(now))
    }
}

fn analysed(mut prepared: Vec<Prepared>) -> Vec<Prepared> {
    for turn in &mut prepared {
        turn.pieces = analyse_episode(turn.episode.name.as_deref(), turn.episode.at, &turn.episode.text);
    }
    prepared
}
