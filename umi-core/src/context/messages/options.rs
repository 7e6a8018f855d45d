//! How messages are made.

use std::{collections::BTreeMap, str::FromStr};

use crate::{
    context::{encode::EncodeOptions, kinds::Kind},
    error::{Error, Result},
};

/// What becomes of an item that cannot be encoded, or that the provider does not take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// The call fails, with an error that names its ref.
    #[default]
    Raise,
    /// A text in its place says why.
    Placeholder,
}

impl FromStr for OnError {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "raise" => Ok(Self::Raise),
            "placeholder" => Ok(Self::Placeholder),
            other => {
                let shown: String = other.chars().take(64).collect();
                Err(Error::invalid_input(format!("on_error must be `raise` or `placeholder`, got `{shown}`")))
            }
        }
    }
}

/// How messages are made.
///
/// # Example
/// ```
/// use umi_core::context::{Kind, MessageOptions, OnError};
/// let options = MessageOptions::default()
///     .with_encoder(Kind::Image, "tile")
///     .with_budget_tokens(8_000)
///     .with_on_error(OnError::Placeholder);
/// assert_eq!(options.budget_tokens, Some(8_000));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MessageOptions {
    /// The encoders by kind, where they are not the defaults.
    pub encoders: BTreeMap<Kind, String>,
    /// The options of the encoders by kind.
    pub encoder_options: BTreeMap<Kind, EncodeOptions>,
    /// The most tokens that all items may take together, by an estimate.
    pub budget_tokens: Option<usize>,
    /// What becomes of an item that cannot be sent.
    pub on_error: OnError,
}

impl MessageOptions {
    /// Encodes items of a kind with the encoder of this name.
    #[must_use]
    pub fn with_encoder(mut self, kind: Kind, name: impl Into<String>) -> Self {
        self.encoders.insert(kind, name.into());
        self
    }

    /// Gives the encoder of a kind these options.
    #[must_use]
    pub fn with_encoder_options(mut self, kind: Kind, options: EncodeOptions) -> Self {
        self.encoder_options.insert(kind, options);
        self
    }

    /// Lets all items together take at most so many tokens.
    #[must_use]
    pub fn with_budget_tokens(self, tokens: usize) -> Self {
        Self { budget_tokens: Some(tokens), ..self }
    }

    /// Says what becomes of an item that cannot be sent.
    #[must_use]
    pub fn with_on_error(self, on_error: OnError) -> Self {
        Self { on_error, ..self }
    }
}
