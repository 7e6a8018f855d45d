//! [`EncodeOptions`]: what a caller asks of an encoder, checked by name, type and range.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The options of one encoder, a JSON object.
///
/// # Example
/// ```
/// use umi_core::context::EncodeOptions;
/// let options = EncodeOptions::parse(r#"{"max_width": 512}"#)?;
/// assert_eq!(options.integer("max_width", 1_024, 1..=8_192)?, 512);
/// assert!(options.integer("max_width", 1_024, 1..=256).is_err());
/// assert!(options.check(&["quality"]).is_err());
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    fields: Map<String, Value>,
}

impl EncodeOptions {
    /// The options of a JSON object.
    ///
    /// # Errors
    /// `InvalidInput` where the text is no JSON object.
    pub fn parse(json: &str) -> Result<Self> {
        let fields = serde_json::from_str(json)
            .map_err(|error| Error::invalid_input("options of an encoder are a JSON object").with_source(error))?;
        Ok(Self { fields })
    }

    /// One option more, or in the place of one of the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// The options as a JSON object, the same text for the same options.
    pub fn to_json(&self) -> String {
        Value::Object(self.fields.clone()).to_string()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Refuses options that are not known.
    ///
    /// # Errors
    /// `InvalidInput` with the known ones.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        let Some(name) = self.fields.keys().find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
        let shown: String = name.chars().take(64).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::invalid_input(format!("unknown option `{shown}`")).with_hint(format!("known ones: {known}")))
    }

    /// A whole number.
    ///
    /// # Errors
    /// `InvalidInput` where it is something else or out of range.
    pub fn integer(&self, name: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> Result<u32> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_null()) else { return Ok(default) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let (from, to) = range.into_inner();
            wrong(name, value, &format!("a whole number from {from} to {to}"))
        })
    }

    /// A number.
    ///
    /// # Errors
    /// `InvalidInput` where it is something else or out of range.
    pub fn number(&self, name: &str, default: f64, range: std::ops::RangeInclusive<f64>) -> Result<f64> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_null()) else { return Ok(default) };
        value.as_f64().filter(|number| range.contains(number)).ok_or_else(|| {
            let (from, to) = range.into_inner();
            wrong(name, value, &format!("a number from {from} to {to}"))
        })
    }

    /// Yes or no.
    ///
    /// # Errors
    /// `InvalidInput` where it is something else.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.fields.get(name).filter(|value| !value.is_null()) else { return Ok(default) };
        value.as_bool().ok_or_else(|| wrong(name, value, "true or false"))
    }
}

fn wrong(name: &str, value: &Value, wanted: &str) -> Error {
    let shown: String = value.to_string().chars().take(64).collect();
    Error::invalid_input(format!("option `{name}` is {wanted}, not `{shown}`"))
}
