//! Metadata in words, for trees and HTML.

use serde_json::value::RawValue;

use super::{
    super::items::Item,
    markdown::{cut, one_line_of},
};

/// The characters of one value that are shown.
const VALUE_CHARS: usize = 120;
/// The keys that are shown each for itself; all others are shown together.
const CONVENTIONAL: [&str; 3] = ["note", "summary", "tags"];

/// The metadata of an item as lines: `note`, `summary` and `tags` in the order in which they were given, then all other
/// keys as one line `metadata: {…}`.
pub(super) fn lines(item: &Item) -> Vec<String> {
    let Some(metadata) = item.metadata() else { return Vec::new() };
    let (shown, others): (Vec<_>, Vec<_>) =
        metadata.entries().into_iter().partition(|(key, _)| CONVENTIONAL.contains(&key.as_str()));
    let mut lines: Vec<String> = shown.iter().map(|(key, value)| format!("{key}: {}", in_words(value))).collect();
    if !others.is_empty() {
        let fields: Vec<String> =
            others.iter().map(|(key, value)| format!("{}: {}", quoted(key), json(value))).collect();
        lines.push(format!("metadata: {}", short(&format!("{{{}}}", fields.join(", ")))));
    }
    lines
}

/// A value as it is shown: a list of texts without their quotes, anything else as JSON.
fn in_words(value: &RawValue) -> String {
    match serde_json::from_str::<Vec<String>>(value.get()) {
        Ok(texts) => short(&format!("[{}]", texts.join(", "))),
        Err(_) => short(&json(value)),
    }
}

/// JSON with a space behind commas and colons, and texts with the characters that they stand for.
fn json(value: &RawValue) -> String {
    if let Ok(text) = serde_json::from_str::<String>(value.get()) {
        return quoted(&text);
    }
    let (mut out, mut is_quoted, mut is_escaped) = (String::with_capacity(value.get().len()), false, false);
    for character in value.get().chars() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            other if !is_quoted && other.is_ascii_whitespace() => continue,
            _ => {}
        }
        out.push(character);
        if !is_quoted && matches!(character, ',' | ':') {
            out.push(' ');
        }
    }
    out
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn short(text: &str) -> String {
    cut(&one_line_of(text, VALUE_CHARS), VALUE_CHARS).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        context::{Context, NewItem},
        metadata::Metadata,
    };

    fn lines_of(metadata: &str) -> Vec<String> {
        let context = Context::sim(1);
        context.add(NewItem::text("x").with_metadata(Metadata::parse(metadata).unwrap())).unwrap();
        context.snapshot().iter().flat_map(lines).collect()
    }

    #[test]
    fn known_keys_have_lines_and_others_share_one() {
        let metadata =
            r#"{"scene":3,"tags":["nlp","[bold]"],"note":"hero \"shot\"","actor":"A","x":{"a":[1,2],"b:c":null}}"#;
        assert_eq!(
            lines_of(metadata),
            [
                "tags: [nlp, [bold]]",
                r#"note: "hero \"shot\"""#,
                r#"metadata: {"scene": 3, "actor": "A", "x": {"a": [1, 2], "b:c": null}}"#
            ]
        );
        assert_eq!(
            lines_of(r#"{"note":12345678901234567890,"tags":["a",1]}"#),
            ["note: 12345678901234567890", "tags: [\"a\", 1]"]
        );
        assert_eq!(lines_of("{}"), Vec::<String>::new());
    }

    #[test]
    fn values_stay_short_and_on_their_line() {
        let shown = lines_of(&format!(r#"{{"note":"é\n{}"}}"#, "x".repeat(500))).remove(0);
        assert_eq!(shown.chars().count(), "note: ".len() + VALUE_CHARS);
        assert!(shown.starts_with("note: \"é\\nxx"), "{shown}");
        assert_eq!(lines_of("{\"tags\":[\"a\\nb\"]}"), ["tags: [a b]"]);
    }
}
