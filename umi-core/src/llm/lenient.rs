//! Reading the JSON of a model's answer leniently: fences and prose around it, commas too many, an end that is missing.

use serde_json::{Map, Number, Value};

/// How deep values may be nested; what lies deeper is null.
const DEPTH: usize = 32;
/// At how many places of an answer JSON is looked for.
const STARTS: usize = 64;

/// A value that was found in an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// The value; of one that was cut off, what is whole of it: items, and the fields of the last one.
    pub value: Value,
    /// Whether the text ended before the value did.
    pub is_cut: bool,
}

/// The first value of a text that `accepts` takes: the whole text where it is JSON, else the first object or list in it
/// that is meant.
pub(crate) fn find(text: &str, accepts: impl Fn(&Value) -> bool) -> Option<Found> {
    let text = behind_thoughts(text);
    if let Ok(value) = serde_json::from_str::<Value>(text.trim())
        && accepts(&value)
    {
        return Some(Found { value, is_cut: false });
    }
    let mut from = 0;
    for _ in 0..STARTS {
        let start = from + text[from..].find(['{', '['])?;
        let mut reader = Reader { rest: &text[start..], is_cut: false };
        let value = reader.value(0);
        let end = text.len() - reader.rest.len();
        match value {
            Some(value) if accepts(&value) => return Some(Found { value, is_cut: reader.is_cut }),
            // What is inside of another value is that one's part.
            Some(_) if !reader.is_cut => from = end.max(start + 1),
            _ => from = start + 1,
        }
    }
    None
}

/// What follows the thoughts that a reasoning model of an open server begins its answer with: drafts are no answer.
fn behind_thoughts(text: &str) -> &str {
    let thoughts = text.trim_start().strip_prefix("<think>");
    thoughts.and_then(|thoughts| thoughts.split_once("</think>")).map_or(text, |(_, answer)| answer)
}

/// Whether a value that was cut off is kept: a list or an object, with what is whole of it. A text or number that was
/// cut off is not the one that was meant, and an object without a field says nothing.
fn is_worth_keeping(cut: &Value) -> bool {
    match cut {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(_) => true,
        _ => false,
    }
}

/// Reads JSON and what is nearly JSON, in one pass. Once it is cut, nothing of the text is left.
struct Reader<'a> {
    rest: &'a str,
    is_cut: bool,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        self.skip_space();
        let value = match self.peek()? {
            '{' => self.object(depth)?,
            '[' => self.list(depth)?,
            quote @ ('"' | '\'') => Value::String(self.string(quote)),
            _ => self.word()?,
        };
        Some(if depth > DEPTH { Value::Null } else { value })
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.bump();
        let mut fields = Map::new();
        loop {
            self.skip_separators();
            match self.peek() {
                None => {
                    self.is_cut = true;
                    return Some(Value::Object(fields));
                }
                Some('}') => {
                    self.bump();
                    return Some(Value::Object(fields));
                }
                Some(_) => {}
            }
            if depth > DEPTH {
                return None;
            }
            let Some(name) = self.name() else {
                return self.is_cut.then_some(Value::Object(fields));
            };
            self.skip_space();
            if self.peek() != Some(':') {
                self.is_cut |= self.peek().is_none();
                return self.is_cut.then_some(Value::Object(fields));
            }
            self.bump();
            self.skip_space();
            let value = match self.peek() {
                // A value that was left out.
                Some(',' | '}') => Some(Value::Null),
                Some('{' | '[' | '"' | '\'') => self.value(depth + 1),
                // A word that is no value costs its field alone.
                Some(_) => Some(self.word().unwrap_or_else(|| self.skip_word())),
                None => {
                    self.is_cut = true;
                    None
                }
            };
            match value {
                Some(value) if !self.is_cut || is_worth_keeping(&value) => {
                    fields.insert(name, value);
                }
                _ if self.is_cut => return Some(Value::Object(fields)),
                _ => return None,
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.bump();
        let mut values = Vec::new();
        loop {
            self.skip_separators();
            match self.peek() {
                None => {
                    self.is_cut = true;
                    return Some(Value::Array(values));
                }
                Some(']') => {
                    self.bump();
                    return Some(Value::Array(values));
                }
                Some(_) => {}
            }
            if depth > DEPTH {
                return None;
            }
            match self.value(depth + 1) {
                Some(value) if !self.is_cut || is_worth_keeping(&value) => values.push(value),
                _ if self.is_cut => return Some(Value::Array(values)),
                _ => return None,
            }
        }
    }

    /// A field's name, quoted or not.
    fn name(&mut self) -> Option<String> {
        if let quote @ ('"' | '\'') = self.peek()? {
            return Some(self.string(quote));
        }
        let Some(end) = self.rest.find(|char: char| !(char.is_alphanumeric() || matches!(char, '_' | '-'))) else {
            self.is_cut = true;
            self.rest = "";
            return None;
        };
        let name = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        (!name.is_empty()).then_some(name)
    }

    /// A string. Raw line breaks are taken, a lone half of a surrogate pair becomes U+FFFD.
    fn string(&mut self, quote: char) -> String {
        self.bump();
        let mut out = String::new();
        loop {
            let Some(char) = self.bump() else {
                self.is_cut = true;
                return out;
            };
            match char {
                char if char == quote => return out,
                '\\' => self.escape(&mut out),
                char => out.push(char),
            }
        }
    }

    fn escape(&mut self, out: &mut String) {
        match self.bump() {
            None => self.is_cut = true,
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let Some(unit) = self.unit() else { return out.push(char::REPLACEMENT_CHARACTER) };
                let mut units = vec![unit];
                if (0xd800..0xdc00).contains(&unit) && self.rest.starts_with("\\u") {
                    let before = self.rest;
                    self.rest = &self.rest[2..];
                    match self.unit() {
                        Some(low) if (0xdc00..0xe000).contains(&low) => units.push(low),
                        _ => self.rest = before,
                    }
                }
                out.extend(char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
            Some(other) => out.push(other),
        }
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.rest.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let unit = u16::from_str_radix(digits, 16).ok()?;
        self.rest = &self.rest[4..];
        Some(unit)
    }

    /// A number, or a word such as `true`. One that goes to the end of the text may have gone on.
    fn word(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|char: char| matches!(char, ',' | ':' | ']' | '}' | '{' | '[' | '"') || char.is_whitespace())
            .unwrap_or(self.rest.len());
        let (word, behind) = self.rest.split_at(end);
        if behind.is_empty() {
            self.is_cut = true;
            self.rest = behind;
        }
        let value = match word {
            "true" | "True" => Value::Bool(true),
            "false" | "False" => Value::Bool(false),
            "null" | "None" | "NaN" | "Infinity" | "-Infinity" | "undefined" => Value::Null,
            _ => Value::Number(word.trim_start_matches('+').parse::<Number>().ok()?),
        };
        self.rest = behind;
        Some(value)
    }

    fn skip_word(&mut self) -> Value {
        let end = self.rest.find([',', ']', '}', '\n']).unwrap_or(self.rest.len());
        self.rest = &self.rest[end..];
        self.is_cut |= self.rest.is_empty();
        Value::Null
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let char = chars.next();
        self.rest = chars.as_str();
        char
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// White space, commas and comments to the end of a line.
    fn skip_separators(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches(|char: char| char == ',' || char.is_whitespace());
            if !self.rest.starts_with("//") {
                return;
            }
            self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn found(text: &str) -> Option<(Value, bool)> {
        find(text, |value| value.get("facts").is_some()).map(|found| (found.value, found.is_cut))
    }

    #[test]
    fn json_is_found_in_fences_and_prose() {
        let facts = json!({"facts": [{"name": "Ana", "confidence": 0.5}]});
        for text in [
            r#"{"facts": [{"name": "Ana", "confidence": 0.5}]}"#,
            "```json\n{\"facts\": [{\"name\": \"Ana\", \"confidence\": 0.5}]}\n```",
            "Here {you} are [as asked]:\n{\"facts\": [{\"name\": \"Ana\", \"confidence\": 0.5},],} I hope it helps {}",
            "{'facts': [{'name': 'Ana', 'confidence': 0.5 , }, // the only one\n]}",
            "{facts: [{name: \"Ana\", confidence: 0.5}]}",
            "<think>Perhaps {\"facts\": []}?</think>{\"facts\": [{\"name\": \"Ana\", \"confidence\": 0.5}]}",
        ] {
            assert_eq!(found(text), Some((facts.clone(), false)), "{text}");
        }
        let bad = found(r#"{"facts": [{"name": "Ana", "confidence": very high, "x": 1e400}]}"#);
        assert_eq!(bad, Some((json!({"facts": [{"name": "Ana", "confidence": null, "x": null}]}), false)));
    }

    #[test]
    fn what_came_before_a_cut_is_kept() {
        let (one, two) = (json!({"facts": [{"a": 1}]}), json!({"facts": [{"a": 1}, {"a": "é"}]}));
        for (text, whole) in [
            (r#"{"facts": [{"a": 1}]"#, &one),
            (r#"{"facts": [{"a": 1}"#, &one),
            (r#"{"facts": [{"a": 1}, "#, &one),
            (r#"{"facts": [{"a": 1}, {"#, &one),
            (r#"{"facts": [{"a": 1}, {"a"#, &one),
            (r#"{"facts": [{"a": 1}, {"a":"#, &one),
            // It might have gone on.
            (r#"{"facts": [{"a": 1}, {"a": 2"#, &one),
            (r#"{"facts": [{"a": 1}, nul"#, &one),
            ("{facts: [{a: 1}, {b", &one),
            (r#"{"facts": [{"a": 1}, {"a": "é""#, &two),
            (r#"{"facts": [{"a": 1}, {"a": "é", "b": "uncl"#, &two),
            (r#"{"facts": [{"a": 1}, {"a": "é", "b": "uncl"#, &two),
            (r#"{"facts": [{"a": 1}, {"a": "é", "b": tru"#, &two),
            ("{facts: [{a: 1}, {a: 'é', b", &two),
        ] {
            assert_eq!(found(text), Some((whole.clone(), true)), "{text}");
        }
    }

    #[test]
    fn escapes_and_lone_surrogates_are_read() {
        let (value, _) = found(r#"x {"facts": "a\n\u00e9\ud83d\ude00\ud83dz\"\\"}"#).unwrap();
        assert_eq!(value, json!({"facts": "a\né😀\u{fffd}z\"\\"}));
    }

    #[test]
    fn what_is_no_json_is_nothing() {
        for text in ["", "I cannot do that.", "{", "[1, 2", "{\"other\": 1}", "facts: none", "{\"facts\" 1}"] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(found(&"[".repeat(100_000)), None);
        assert_eq!(found(&"{\"a\":".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fall(text in "\\PC{0,200}") {
            let _ = find(&text, |_| true);
        }

        #[test]
        fn no_nearly_json_makes_it_fall(parts in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "'", "\\", "\\u", "d83d", "facts", "\"facts\"", "1", "-", "e9", "true",
            "//", "\n", "é", "```",
        ]), 0..60)) {
            let _ = find(&parts.concat(), |value| value.get("facts").is_some());
        }

        /// Of an answer that is cut anywhere the items before the cut are there, and of the item that was cut those of
        /// its fields that are whole.
        #[test]
        fn every_beginning_of_an_answer_is_read(
            items in prop::collection::vec(
                prop::collection::btree_map("[a-c]", (any::<bool>(), "[a-z\"\\\\{},é\n]{0,6}", 0..1_000), 1..4), 1..5),
            place in any::<prop::sample::Index>(),
        ) {
            let item = |fields: &std::collections::BTreeMap<String, (bool, String, i32)>| -> Value {
                fields.iter().map(|(name, (is_text, text, number))| {
                    (name.clone(), if *is_text { json!(text) } else { json!(number) })
                }).collect()
            };
            let items: Vec<Value> = items.iter().map(item).collect();
            let before = r#"{"facts":["#.len();
            let text = json!({"facts": &items}).to_string();
            let cut = &text[..text.floor_char_boundary(place.index(text.len()))];
            let mut ends: Vec<usize> = Vec::new();
            for item in &items {
                let start = ends.last().map_or(before, |end| end + 1);
                ends.push(start + item.to_string().len());
            }
            let whole = ends.iter().filter(|end| **end <= cut.len()).count();
            let Some((value, is_cut)) = found(cut) else {
                prop_assert!(cut.len() < before);
                return Ok(());
            };
            prop_assert!(is_cut);
            let read = value["facts"].as_array().unwrap();
            prop_assert_eq!(&read[..whole], &items[..whole]);
            prop_assert!(read.len() <= whole + 1);
            // A field is whole once what ends it was seen: its quote, or what follows a number.
            let mut expected = Map::new();
            let mut place = ends.get(whole).map_or(0, |end| end - items[whole].to_string().len() + 1);
            for (name, value) in items.get(whole).and_then(Value::as_object).into_iter().flatten() {
                let end = place + json!(name).to_string().len() + 1 + value.to_string().len();
                if end + usize::from(value.is_number()) <= cut.len() {
                    expected.insert(name.clone(), value.clone());
                }
                place = end + 1;
            }
            let kept = read.get(whole).and_then(Value::as_object).cloned().unwrap_or_default();
            prop_assert_eq!(kept, expected);
        }
    }
}
