//! The words in front of an item: its ref, its note and what else is known of it.

use crate::context::items::Item;

/// `[ref=img_a1b2c3] hero shot; tags: ["a","b"]`: the note is what the user says of it, the rest is compact JSON.
pub(super) fn of(item: &Item) -> String {
    let mut lead = format!("[ref={}]", item.ref_id());
    let Some(metadata) = item.metadata() else { return lead };
    let fields = metadata.entries();
    let note = metadata.get("note").and_then(|note| serde_json::from_str::<String>(&note).ok());
    if let Some(note) = &note {
        lead.push_str(" note: ");
        lead.push_str(note);
    }
    for (key, value) in &fields {
        if key == "note" && note.is_some() {
            continue;
        }
        lead.push_str("; ");
        lead.push_str(key);
        lead.push_str(": ");
        compact(value.get(), &mut lead);
    }
    lead
}

/// JSON without the white space between its words.
fn compact(json: &str, out: &mut String) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in json.chars() {
        if !is_quoted && c.is_ascii_whitespace() {
            continue;
        }
        (is_quoted, is_escaped) = match c {
            _ if is_escaped => (is_quoted, false),
            '\\' if is_quoted => (true, true),
            '"' => (!is_quoted, false),
            _ => (is_quoted, false),
        };
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Metadata,
        context::{Context, NewItem},
    };

    fn lead(json: &str) -> String {
        let context = Context::sim(7);
        let item = NewItem::text("x").with_metadata(Metadata::parse(json).unwrap());
        let ref_id = context.add(item).unwrap();
        of(&context.get(&ref_id.to_string()).unwrap()).replace(&ref_id.to_string(), "txt_1")
    }

    #[test]
    fn the_note_comes_first_and_the_rest_as_it_was_given() {
        assert_eq!(lead("{}"), "[ref=txt_1]");
        assert_eq!(lead(r#"{"note": "hero \"shot\""}"#), r#"[ref=txt_1] note: hero "shot""#);
        assert_eq!(
            lead(r#"{"tags": ["a b", "c\" d"], "note": "n", "big": 12345678901234567890123, "x": {"k": true}}"#),
            r#"[ref=txt_1] note: n; tags: ["a b","c\" d"]; big: 12345678901234567890123; x: {"k":true}"#
        );
        assert_eq!(lead(r#"{"summary": "é", "note": 3}"#), r#"[ref=txt_1]; summary: "é"; note: 3"#);
    }
}
