//! Asking a model for a list of items: the request, its answer read leniently, and one more request where it cannot be.

use serde_json::{Map, Value, json};

use super::{Completion, CompletionRequest, LanguageModel, lenient};
use crate::error::{Error, ErrorKind, Result};

/// How many notes are kept of one answer.
const NOTES: usize = 8;
/// How much of a bad value a note shows, in characters.
const SHOWN: usize = 64;
/// The note of an answer that ended too early.
const CUT: &str = "the answer was cut off, and what came before its end is used";
/// What to do about one that ended at its limit of tokens.
const RAISE_LIMIT: &str = "raise `max_tokens=` of the provider";

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

/// Asks for a value and, where there is no answer that can be read, once more, with the reason in the instructions: the
/// last message stays the data alone.
///
/// # Errors
/// What the model fails with; `InvalidResponse` when it gives no answer that can be read twice.
pub(crate) async fn ask<T>(
    model: &dyn LanguageModel,
    mut request: CompletionRequest,
    read: impl Fn(&str) -> Result<Answer<T>>,
) -> Result<Answer<T>> {
    let reason = match model.complete(&request).await {
        Ok(completion) => match read_whole(model, &completion, &read) {
            Ok(answer) => return Ok(answer),
            Err(error) => error.message().to_owned(),
        },
        // An empty one, say. A service's own words stay out of the instructions: they may repeat the data.
        Err(error) if error.kind() == ErrorKind::InvalidResponse => "it was empty or no proper answer".to_owned(),
        Err(error) => return Err(error),
    };
    tracing::debug!(target: "umi::llm", model = model.name(), "an answer cannot be read and is asked for again");
    request.system.push_str("\n\nAn earlier answer to this message could not be used: ");
    request.system.push_str(&reason);
    request.system.push_str(". Answer with the one JSON object alone: no fence, no words around it.");
    let completion = model.complete(&request).await?;
    read_whole(model, &completion, &read)
}

/// Reads an answer, and says so where it ended at its limit of tokens.
fn read_whole<T>(
    model: &dyn LanguageModel,
    completion: &Completion,
    read: impl Fn(&str) -> Result<Answer<T>>,
) -> Result<Answer<T>> {
    let answer = read(&completion.text).map_err(|error| error.with_provider(provider(model.name())));
    if !completion.is_cut {
        return answer;
    }
    let mut answer = answer.map_err(|error| error.with_hint(format!("the answer was cut: {RAISE_LIMIT}")))?;
    answer.notes.retain(|note| note != CUT);
    answer.notes.push(format!("{CUT}: it ended at its limit of tokens; {RAISE_LIMIT}"));
    Ok(answer)
}

/// The part of a model's name that names its service.
fn provider(name: &str) -> &str {
    name.split_once(':').map_or(name, |(provider, _)| provider)
}

/// The JSON Schema of an object with these properties: every one required, none beside them.
pub(crate) fn object_schema<const COUNT: usize>(properties: [(&str, Value); COUNT]) -> Value {
    let required = properties.each_ref().map(|(name, _)| *name).to_vec();
    let properties: Map<String, Value> =
        properties.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
    json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
}

/// The list `key` of the object in an answer, with the object's other fields; a bare list is taken for it. The last
/// item of an answer that was cut off is used as far as it goes if it has the `required` fields.
///
/// # Errors
/// `InvalidResponse` when there is none. An empty list is one, null is none.
pub(crate) fn list(
    text: &str,
    key: &str,
    required: &[&str],
    notes: &mut Notes,
) -> Result<(Vec<Value>, Map<String, Value>)> {
    if text.trim().is_empty() {
        return Err(unreadable("the answer is empty"));
    }
    // A list of other things, `[1]` in the prose say, is not the one.
    let is_items =
        |items: &[Value]| items.iter().any(|item| item.is_object() || item.is_string()) || text.trim() == "[]";
    let accepts = |value: &Value| match value {
        Value::Object(fields) => match fields.get(key) {
            Some(Value::Array(_)) => true,
            Some(Value::Object(item)) => !item.is_empty(),
            _ => false,
        },
        Value::Array(items) => is_items(items),
        _ => false,
    };
    // The object is looked for in the whole text before a bare list is taken.
    let found = lenient::find(text, |value| value.is_object() && accepts(value))
        .or_else(|| lenient::find(text, accepts))
        .ok_or_else(|| unreadable(format!("the answer holds no JSON object with the list `{key}`")))?;
    let (mut items, fields) = match found.value {
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
    if found.is_cut {
        items.pop_if(|last| required.iter().any(|field| last.get(field).is_none()));
        if items.is_empty() {
            return Err(unreadable(format!("the answer was cut off before the first item of `{key}` was whole")));
        }
        notes.push(CUT);
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

/// A confidence, from 0 to 1, and `fallback` where there is none. Another number is not guessed at: 85 may be meant as
/// a percentage, or be of no meaning.
pub(crate) fn confidence(item: &Value, fallback: f64, place: &str, notes: &mut Notes) -> f64 {
    let value = number(item, "confidence");
    if let Some(value) = value.filter(|value| (0.0..=1.0).contains(value)) {
        return value;
    }
    if let Some(given) = item.get("confidence").filter(|given| !given.is_null()) {
        let given = shown(&given.to_string());
        notes.push(format!("{place} has the confidence `{given}`, no number from 0 to 1; it counts as {fallback}"));
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
    use crate::llm::scripted::ScriptedModel;

    fn items(text: &str) -> Result<Vec<Value>> {
        list(text, "facts", &["name"], &mut Notes::default()).map(|(items, _)| items)
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
        assert!(items(" [] ").unwrap().is_empty());
        for text in [
            "",
            " \n",
            "no facts",
            r#"{"items": []}"#,
            r#"{"facts": "none"}"#,
            r#"{"facts": null}"#,
            r#"{"facts": {}}"#,
            r#"{"facts": }"#,
            r#"{"error": "overloaded"}"#,
            r#"{"error": {"message": "overloaded", "facts": []}}"#,
            "{}",
            "null",
            "none []",
            "[[[[",
            r#"{"facts": ["#,
            r#"{"facts": [{"name": "An"#,
            r#"{"facts": [{"confidence": 0.5, "name": "An"#,
        ] {
            assert_eq!(items(text).unwrap_err().kind(), ErrorKind::InvalidResponse, "{text}");
        }
    }

    #[test]
    fn an_item_that_was_cut_is_used_if_it_has_what_is_required() {
        let (ana, bo) = (json!({"name": "Ana"}), json!({"name": "Bo"}));
        for (text, expected) in [
            (r#"{"facts": [{"name": "Ana"}, {"name": "Bo", "content": "lives"#, vec![ana.clone(), bo.clone()]),
            (r#"{"facts": [{"name": "Ana"}, {"name": "Bo""#, vec![ana.clone(), bo]),
            (r#"{"facts": [{"name": "Ana"}, {"content": "x", "na"#, vec![ana.clone()]),
            (r#"{"facts": [{"name": "Ana"}"#, vec![ana]),
        ] {
            assert_eq!(items(text).unwrap(), expected, "{text}");
        }
    }

    /// What a model that gives these results makes of a question, with the requests that it took.
    async fn asked(
        results: impl IntoIterator<Item = Result<Completion>>,
    ) -> (Result<Answer<Vec<Value>>>, Vec<CompletionRequest>) {
        let model = ScriptedModel::from_results(results);
        let answer = ask(&model, CompletionRequest::new("Find.", "data"), |text| {
            let mut notes = Notes::default();
            list(text, "facts", &["name"], &mut notes).map(|(items, _)| notes.into_answer(items))
        });
        (answer.await, model.requests())
    }

    #[tokio::test]
    async fn what_is_no_answer_is_asked_for_once_more_with_the_reason() {
        let good = || Ok(Completion::new(r#"{"facts": []}"#));
        let none = || Err(Error::new(ErrorKind::InvalidResponse, "openai gave an empty answer: <data>"));
        for (first, reason) in [
            (none(), "it was empty or no proper answer"),
            (Ok(Completion::new(" ")), "the answer is empty"),
            (Ok(Completion::new(r#"{"facts": null}"#)), "the answer holds no JSON object with the list `facts`"),
            (Ok(Completion::new(r#"{"error": "busy"}"#)), "the answer holds no JSON object with the list `facts`"),
        ] {
            let (answer, requests) = asked([first, good()]).await;
            assert_eq!(answer.unwrap().value, Vec::<Value>::new());
            let [first, second] = requests.as_slice() else { panic!("{requests:?}") };
            assert_eq!((first.system.as_str(), &first.messages), ("Find.", &second.messages));
            assert!(second.system.contains(&format!("could not be used: {reason}. ")), "{}", second.system);
        }
        let (answer, requests) = asked([none(), none()]).await;
        assert_eq!((answer.unwrap_err().kind(), requests.len()), (ErrorKind::InvalidResponse, 2));
        let (answer, requests) = asked([Ok(Completion::new("")), Ok(Completion::new(""))]).await;
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.details().provider.as_deref()), (ErrorKind::InvalidResponse, Some("scripted")));
        assert_eq!((error.message(), requests.len()), ("the answer is empty", 2));
        let (answer, requests) = asked([Err(Error::new(ErrorKind::RateLimit, "busy"))]).await;
        assert_eq!((answer.unwrap_err().kind(), requests.len()), (ErrorKind::RateLimit, 1));
    }

    #[tokio::test]
    async fn an_answer_that_ended_at_its_limit_tells_what_raises_it() {
        let cut = |text: &str| Ok(Completion::new(text).with_cut(true));
        for text in [r#"{"facts": [{"name": "Ana"}, {"na"#, r#"{"facts": [{"name": "Ana"}]}"#] {
            let (answer, _) = asked([cut(text)]).await;
            let answer = answer.unwrap();
            let [note] = answer.notes.as_slice() else { panic!("{answer:?}") };
            assert!(answer.value.len() == 1 && note.contains("`max_tokens=`"), "{note}");
        }
        let (answer, _) = asked([cut(r#"{"facts": ["#), cut("")]).await;
        assert!(answer.unwrap_err().hint().unwrap().contains("`max_tokens=`"));
        let (answer, _) = asked([Ok(Completion::new(r#"{"facts": [{"name": "Ana"}, {"na"#))]).await;
        assert_eq!(answer.unwrap().notes, [CUT]);
    }

    #[test]
    fn a_confidence_out_of_range_is_told_and_not_guessed() {
        for given in [json!(85), json!(1.01), json!(-0.1), json!("850%"), json!(1e300), json!("high"), json!([])] {
            let mut notes = Notes::default();
            assert!((confidence(&json!({"confidence": given}), 0.5, "fact 1", &mut notes) - 0.5).abs() < f64::EPSILON);
            let [note] = notes.kept.as_slice() else { panic!("{given}: {notes:?}") };
            assert!(note.starts_with("fact 1 has the confidence `") && note.len() < 150, "{note}");
        }
        for (item, expected) in [
            (json!({"confidence": 1}), 1.0),
            (json!({"confidence": "85%"}), 0.85),
            (json!({"confidence": null}), 0.5),
            (json!({}), 0.5),
        ] {
            let mut notes = Notes::default();
            assert!((confidence(&item, 0.5, "fact 1", &mut notes) - expected).abs() < f64::EPSILON);
            assert!(notes.kept.is_empty());
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
