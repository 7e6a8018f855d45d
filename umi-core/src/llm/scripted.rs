//! [`ScriptedModel`]: a model whose answers are known beforehand, for tests and examples.

use std::{collections::VecDeque, fmt};

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Completion, CompletionRequest, LanguageModel};
use crate::error::{Error, ErrorKind, Result};

type Answers = Box<dyn FnMut(&CompletionRequest) -> Result<Completion> + Send>;

/// A model that gives the answers of a list, or those of a function, and keeps what it was asked.
///
/// # Example
/// ```
/// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
/// use umi_core::{CompletionRequest, LanguageModel, ScriptedModel};
/// let model = ScriptedModel::new(["Paris"]);
/// let answer = model.complete(&CompletionRequest::new("Answer in a word.", "The capital of France?")).await?;
/// assert_eq!(answer.text, "Paris");
/// assert_eq!(model.requests()[0].system, "Answer in a word.");
/// # Ok(()) }
/// ```
pub struct ScriptedModel {
    answers: Mutex<Answers>,
    requests: Mutex<Vec<CompletionRequest>>,
}

impl fmt::Debug for ScriptedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedModel").field("requests", &self.requests.lock().len()).finish_non_exhaustive()
    }
}

impl ScriptedModel {
    /// Answers with these texts, in order. A request beyond them is a `Provider` error.
    pub fn new<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::from_results(texts.into_iter().map(|text| Ok(Completion::new(text))))
    }

    /// Answers and fails like this, in order. A request beyond them is a `Provider` error.
    pub fn from_results(results: impl IntoIterator<Item = Result<Completion>>) -> Self {
        let mut left: VecDeque<_> = results.into_iter().collect();
        let given = left.len();
        Self::from_fn(move |_| {
            left.pop_front().unwrap_or_else(|| {
                let message = format!("the script has {given} answers and was asked for one more");
                Err(Error::new(ErrorKind::Provider, message).with_provider("scripted"))
            })
        })
    }

    /// Answers with a function, one request at a time.
    ///
    /// # Example
    /// ```
    /// # #[tokio::main(flavor = "multi_thread")] async fn main() -> umi_core::Result<()> {
    /// use umi_core::{Completion, CompletionRequest, LanguageModel, ScriptedModel};
    /// let model = ScriptedModel::from_fn(|request| Ok(Completion::new(request.system.to_uppercase())));
    /// assert_eq!(model.complete(&CompletionRequest::new("shout", "?")).await?.text, "SHOUT");
    /// # Ok(()) }
    /// ```
    pub fn from_fn(answer: impl FnMut(&CompletionRequest) -> Result<Completion> + Send + 'static) -> Self {
        Self { answers: Mutex::new(Box::new(answer)), requests: Mutex::default() }
    }

    /// What it was asked, in order.
    pub fn requests(&self) -> Vec<CompletionRequest> {
        self.requests.lock().clone()
    }
}

#[async_trait]
impl LanguageModel for ScriptedModel {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn complete(&self, request: &CompletionRequest) -> Result<Completion> {
        request.check()?;
        self.requests.lock().push(request.clone());
        let mut answer = (self.answers.lock())(request)?;
        answer.usage.requests = answer.usage.requests.max(1);
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_in_order_and_end() {
        let failure = Error::new(ErrorKind::RateLimit, "busy");
        let model = ScriptedModel::from_results([Ok(Completion::new("one")), Err(failure)]);
        let request = CompletionRequest::new("", "?");
        assert_eq!(model.complete(&request).await.unwrap().text, "one");
        assert_eq!(model.complete(&request).await.unwrap_err().kind(), ErrorKind::RateLimit);
        let beyond = model.complete(&request).await.unwrap_err();
        assert_eq!(beyond.message(), "the script has 2 answers and was asked for one more");
        assert_eq!(model.requests().len(), 3);
    }

    #[tokio::test]
    async fn a_function_sees_the_request() {
        let model = ScriptedModel::from_fn(|request| Ok(Completion::new(request.system.to_uppercase())));
        let answer = model.complete(&CompletionRequest::new("shout", "?")).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.usage.requests), ("SHOUT", 1));
    }
}
