//! Asking a model for a list of items: the request, its answer read leniently, and one more request where it cannot be.

use serde_json::{Map, Value};

use super::{Completion, CompletionRequest, LanguageModel, lenient};
use crate::{
    error::{Error, ErrorKind, Result},
    memory::Usage,
};

/// How many notes are kept of one answer.
const NOTES: usize = 8;
/// How much of a bad value a note shows, in characters.
const SHOWN: usize = 64;

/// What was read from an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer<T> {
    /// What is right of it.
    pub value: T,
    /// What was wrong and is left out or put right, a sentence each.
    pub notes: Vec<String>,
}

/// What is wrong with an answer, up to a number of notes.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    kept: Vec<String>,
    more: usize,
}

impl Notes {
    pub(crate) fn push(&mut self, note: impl Into<String>) {
        if self.kept.len() < NOTES {
            self.kept.push(note.into());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn into_answer<T>(mut self, value: T) -> Answer<T> {
        if self.more > 0 {
            self.kept.push(format!("{} more of this kind", self.more));
        }
        Answer { value, notes: self.kept }
    }
}

/// Asks for a value and, where the answer cannot be read, once more, with the reason in the instructions: the last message
/// stays the data alone. What the service counted for its answers is added to `usage`.
///
/// # Errors
/// What the model fails with; `InvalidResponse` when both answers cannot be read.
pub(crate) async fn ask<T>(
    model: &dyn LanguageModel,
    mut request: CompletionRequest,
    usage: &mut Usage,
    read: impl Fn(&str) -> Result<Answer<T>>,
) -> Result<Answer<T>> {
    let completion = model.complete(&request).await?;
    *usage += completion.usage;
    let error = match read(&completion.text) {
        Ok(answer) => return Ok(with_cut_told(answer, &completion)),
        Err(error) => error,
    };
    tracing::debug!(target: "umi::llm", model = model.name(), "an answer cannot be read and is asked for again");
    let reason = error.message();
    request.system.push_str("\n\nAn earlier answer to this message could not be used: ");
    request.system.push_str(reason);
    request.system.push_str(". Answer with the one JSON object alone: no fence, no words around it.");
    let completion = model.complete(&request).await?;
    *usage += completion.usage;
    match read(&completion.text) {
        Ok(answer) => Ok(with_cut_told(answer, &completion)),
        Err(error) => {
            let error = error.with_provider(provider(model.name()));
            Err(if completion.is_cut { error.with_hint("raise the model's `max_tokens`") } else { error })
        }
    }
}

/// Says that an answer ended at its limit where nothing else in it does.
fn with_cut_told<T>(mut answer: Answer<T>, completion: &Completion) -> Answer<T> {
    if completion.is_cut && answer.notes.is_empty() {
        answer.notes.push("the answer ended at its limit of tokens; what was behind that is lost".to_owned());
    }
    answer
}

/// The part of a model's name that names its service.
fn provider(name: &str) -> &str {
    name.split_once(':').map_or(name, |(provider, _)| provider)
}

/// The list `key` of the object in an answer; a bare list is taken for it.
///
/// # Errors
/// `InvalidResponse` when there is none.
pub(crate) fn list(text: &str, key: &str, notes: &mut Notes) -> Result<(Vec<Value>, Map<String, Value>)> {
    if text.trim().is_empty() {
        return Err(unreadable("the answer is empty"));
    }
    // A list of other things, `[1]` in the prose say, is not the one.
    let is_items =
        |items: &[Value]| items.iter().any(|item| item.is_object() || item.is_string()) || text.trim() == "[]";
    let accepts = |value: &Value| match value {
        Value::Object(fields) => matches!(fields.get(key), Some(Value::Array(_) | Value::Object(_) | Value::Null)),
        Value::Array(items) => is_items(items),
        _ => false,
    };
    // The object is looked for in the whole text before a bare list is taken.
    let found = lenient::find(text, |value| value.is_object() && accepts(value))
        .or_else(|| lenient::find(text, accepts))
        .ok_or_else(|| unreadable(format!("the answer holds no JSON object with the list `{key}`")))?;
    let (items, fields) = match found.value {
        Value::Object(mut fields) => {
            let items = match fields.remove(key) {
                Some(Value::Array(items)) => items,
                Some(item @ Value::Object(_)) => vec![item],
                _ => Vec::new(),
            };
            (items, fields)
        }
        Value::Array(items) => (items, Map::new()),
        _ => (Vec::new(), Map::new()),
    };
    match (found.is_cut, items.is_empty()) {
        (true, true) => return Err(unreadable(format!("the answer was cut off before the first item of `{key}`"))),
        (true, false) => notes.push("the answer was cut off; what came before its end is used"),
        (false, _) => {}
    }
    Ok((items, fields))
}

fn unreadable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidResponse, message).with_hint("the model may be too small for structured answers")
}

/// A text as a note shows it.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).map(|char| if char.is_control() { ' ' } else { char }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// A field as text: trimmed, none where it is missing, null or empty. A number is taken as it is written.
pub(crate) fn text(item: &Value, field: &str) -> Option<String> {
    let text = match item.get(field)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A field as a number, which may stand in quotes, with a comma or as a percentage.
pub(crate) fn number(item: &Value, field: &str) -> Option<f64> {
    match item.get(field)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => {
            let text = text.trim().replace(',', ".");
            let number = match text.strip_suffix('%') {
                Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
                None => text.parse().ok()?,
            };
            Some(number)
        }
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// A field as a whole number from 1 to `most`.
pub(crate) fn ordinal(item: &Value, field: &str, most: usize) -> Option<usize> {
    let number = number(item, field)?;
    (number.fract() == 0.0 && number >= 1.0 && number <= most as f64).then(|| {
        #[expect(clippy::cast_sign_loss, reason = "it is at least 1")]
        let whole = number as usize;
        whole
    })
}

/// A confidence, from 0 to 1: clamped, and `fallback` where there is none.
pub(crate) fn confidence(item: &Value, fallback: f64, place: &str, notes: &mut Notes) -> f64 {
    if let Some(value) = number(item, "confidence") {
        return value.clamp(0.0, 1.0);
    }
    if item.get("confidence").is_some_and(|value| !value.is_null()) {
        notes.push(format!("{place} has a confidence that is no number; it counts as {fallback}"));
    }
    fallback
}

/// The beginning of a text within a number of bytes.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items(text: &str) -> Result<Vec<Value>> {
        list(text, "facts", &mut Notes::default()).map(|(items, _)| items)
    }

    #[test]
    fn the_list_is_found_bare_single_or_in_its_object() {
        let item = json!({"name": "Ana"});
        for text in [
            r#"{"facts": [{"name": "Ana"}]}"#,
            r#"{"facts": {"name": "Ana"}}"#,
            r#"[{"name": "Ana"}]"#,
            r#"Note [1]: the list [{"name": "Bo"}] is this: {"facts": [{"name": "Ana"}]}"#,
        ] {
            assert_eq!(items(text).unwrap(), std::slice::from_ref(&item), "{text}");
        }
        assert!(items(r#"{"facts": []}"#).unwrap().is_empty());
        assert!(items(r#"{"facts": null}"#).unwrap().is_empty());
        assert!(items(" [] ").unwrap().is_empty());
        for text in
            ["", " \n", "no facts", r#"{"items": []}"#, r#"{"facts": "none"}"#, "none []", "[[[[", r#"{"facts": ["#]
        {
            assert_eq!(items(text).unwrap_err().kind(), ErrorKind::InvalidResponse, "{text}");
        }
    }

    #[test]
    fn fields_are_read_leniently() {
        let item = json!({"a": " x ", "b": "0,5", "c": "80%", "d": "2", "e": "", "f": 7, "g": 1.5, "h": "x"});
        assert_eq!(text(&item, "a").as_deref(), Some("x"));
        assert_eq!((text(&item, "e"), text(&item, "f").as_deref()), (None, Some("7")));
        assert_eq!((number(&item, "b"), number(&item, "c"), number(&item, "h")), (Some(0.5), Some(0.8), None));
        assert_eq!((ordinal(&item, "d", 2), ordinal(&item, "d", 1), ordinal(&item, "g", 9)), (Some(2), None, None));
    }
}
