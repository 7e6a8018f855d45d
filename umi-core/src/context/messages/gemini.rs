//! `generateContent` of Gemini: instructions apart from the one content of the user.

use super::{Entry, Node, Provider};
use crate::context::part::Part;

pub(super) fn part(part: &Part) -> Option<Node> {
    Some(match part {
        Part::Text(text) => Node::Object(vec![("text", Node::Text(text.clone()))]),
        Part::Link { url, media_type, .. } => {
            let mut fields = vec![("file_uri", Node::Text(url.clone()))];
            if let Some(media_type) = media_type {
                fields.push(("mime_type", Node::text(media_type.as_str())));
            }
            Node::Object(vec![("file_data", Node::Object(fields))])
        }
        Part::Media(media) => {
            let media_type = match media.media_type.as_str() {
                "audio/mpeg" => "audio/mp3",
                "audio/wav" | "audio/aiff" | "audio/aac" | "audio/ogg" | "audio/flac" | "application/pdf" => {
                    media.media_type.as_str()
                }
                other if other.starts_with("image/") || other.starts_with("video/") => other,
                _ => return None,
            };
            let fields = vec![("mime_type", Node::text(media_type)), ("data", Node::Bytes(media.clone()))];
            Node::Object(vec![("inline_data", Node::Object(fields))])
        }
    })
}

pub(super) fn messages(entries: &[Entry]) -> Node {
    let nodes = |entry: &Entry| {
        let label = entry.label(Provider::Gemini);
        label.into_iter().chain(entry.nodes(Provider::Gemini)).collect::<Vec<_>>()
    };
    of_user(entries.iter().flat_map(nodes).collect())
}

fn of_user(parts: Vec<Node>) -> Node {
    Node::List(vec![Node::Object(vec![("role", Node::Word("user")), ("parts", Node::List(parts))])])
}

pub(super) fn request(entries: Vec<Entry>) -> Node {
    let (system, user): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::is_system);
    let nodes = |entries: &[Entry]| entries.iter().flat_map(|entry| entry.nodes(Provider::Gemini)).collect();
    let mut fields = vec![("contents", of_user(nodes(&user)))];
    if !system.is_empty() {
        let instruction = Node::Object(vec![("parts", Node::List(nodes(&system)))]);
        fields.push(("config", Node::Object(vec![("system_instruction", instruction)])));
    }
    Node::Object(fields)
}
