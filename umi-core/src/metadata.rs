//! [`Metadata`]: a JSON object kept as its own text, so that key order, big integers and Unicode survive.

use std::fmt;

use indexmap::IndexMap;
use serde_json::{error::Category, value::RawValue};

use crate::error::{Error, Result};

/// The largest metadata, in bytes of JSON.
pub const METADATA_BYTES: usize = 64 * 1024;
/// The deepest nesting of metadata; the outer object is depth 1.
pub const METADATA_DEPTH: usize = 32;

/// A validated JSON object of at most 64 KiB and 32 levels.
///
/// # Example
/// ```
/// use umi_core::Metadata;
/// let old = Metadata::parse(r#"{"b": 1, "a": 12345678901234567890123}"#)?;
/// let merged = old.merged(&Metadata::parse(r#"{"c": null, "b": 2}"#)?)?;
/// assert_eq!(merged.as_str(), r#"{"b":2,"a":12345678901234567890123,"c":null}"#);
/// # Ok::<(), umi_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Metadata {
    json: String,
}

impl Default for Metadata {
    fn default() -> Self {
        Self { json: "{}".to_owned() }
    }
}

type Fields = IndexMap<String, Box<RawValue>>;

impl Metadata {
    /// Checks a JSON text.
    ///
    /// # Errors
    /// `InvalidInput` where it is not an object, is over 64 KiB or nests deeper than 32 levels.
    pub fn parse(json: &str) -> Result<Self> {
        if json.len() > METADATA_BYTES {
            return Err(too_long(json.len()));
        }
        let depth = depth(json);
        if depth > METADATA_DEPTH {
            return Err(Error::invalid_input(format!(
                "metadata nests {depth} levels deep, at most {METADATA_DEPTH} are allowed"
            )));
        }
        Self::from_fields(&fields(json)?)
    }

    fn from_fields(fields: &Fields) -> Result<Self> {
        let mut json = String::from("{");
        for (index, (key, value)) in fields.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            let key =
                serde_json::to_string(key).map_err(|error| Error::internal("a key is not JSON").with_source(error))?;
            json.push_str(&key);
            json.push(':');
            json.push_str(value.get());
        }
        json.push('}');
        if json.len() > METADATA_BYTES {
            return Err(too_long(json.len()));
        }
        Ok(Self { json })
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.json
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.json == "{}"
    }

    /// This object with every key of `other` set or added.
    ///
    /// # Errors
    /// `InvalidInput` where the result is over 64 KiB.
    pub fn merged(&self, other: &Self) -> Result<Self> {
        let mut merged = fields(&self.json)?;
        merged.extend(fields(&other.json)?);
        Self::from_fields(&merged)
    }

    /// The keys with the JSON texts of their values, in their order.
    pub(crate) fn entries(&self) -> Vec<(String, Box<RawValue>)> {
        fields(&self.json).unwrap_or_default().into_iter().collect()
    }

    /// The JSON text of one key's value.
    pub fn get(&self, key: &str) -> Option<String> {
        fields(&self.json).ok()?.get(key).map(|value| value.get().to_owned())
    }
}

fn fields(json: &str) -> Result<Fields> {
    serde_json::from_str(json).map_err(|error| match error.classify() {
        // in words it would repeat the whole value
        Category::Data => Error::invalid_input("metadata is JSON, but not an object"),
        _ => Error::invalid_input(format!("metadata is not a JSON object: {error}")).with_source(error),
    })
}

fn too_long(bytes: usize) -> Error {
    Error::invalid_input(format!("metadata has {bytes} bytes of JSON, at most {METADATA_BYTES} are allowed"))
        .with_sizes(METADATA_BYTES, bytes)
}

fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bounded_objects_are_metadata() {
        assert!(Metadata::parse("[1]").is_err());
        assert!(Metadata::parse("{").is_err());
        let words = Metadata::parse(&format!("\"{}\"", "x".repeat(2_000))).unwrap_err().to_string();
        assert!(words.len() < 100, "{words}");
        assert!(Metadata::parse(&format!("{{\"k\":\"{}\"}}", "x".repeat(METADATA_BYTES))).is_err());
        let nested = |levels: usize| format!("{{\"k\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(Metadata::parse(&nested(31)).is_ok());
        assert!(Metadata::parse(&nested(32)).is_err());
        assert!(Metadata::parse(&nested(20_000)).is_err());
        assert!(Metadata::parse("{\"brackets in text\":\"[[[[\\\"[[\"}").is_ok());
    }

    #[test]
    fn values_are_kept_as_they_were_written() {
        let metadata = Metadata::parse(r#"{ "z": 1.0e400, "a": "é" }"#).unwrap();
        assert_eq!(metadata.as_str(), r#"{"z":1.0e400,"a":"é"}"#);
        assert_eq!(metadata.get("z").unwrap(), "1.0e400");
    }
}
