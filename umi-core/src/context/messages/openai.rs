//! Chat completions of OpenAI: one message for items of one role in a row.

use super::{Entry, Node, Provider};
use crate::context::{kinds::Kind, part::Part};

pub(super) fn part(part: &Part) -> Option<Node> {
    Some(match part {
        Part::Text(text) => typed("text", vec![("text", Node::Text(text.clone()))]),
        Part::Link { url, kind: Kind::Image, .. } => image(Node::Text(url.clone())),
        Part::Link { .. } => return None,
        Part::Media(media) => match media.media_type.as_str() {
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => image(Node::DataUrl(media.clone())),
            "audio/wav" | "audio/mpeg" => {
                let format = if media.media_type == "audio/wav" { "wav" } else { "mp3" };
                let fields = vec![("data", Node::Base64(media.clone())), ("format", Node::Word(format))];
                typed("input_audio", vec![("input_audio", Node::Object(fields))])
            }
            "application/pdf" => {
                let name = Node::text(media.name.clone().unwrap_or_else(|| "document.pdf".to_owned()));
                let fields = vec![("filename", name), ("file_data", Node::DataUrl(media.clone()))];
                typed("file", vec![("file", Node::Object(fields))])
            }
            _ => return None,
        },
    })
}

fn image(url: Node) -> Node {
    typed("image_url", vec![("image_url", Node::Object(vec![("url", url)]))])
}

pub(super) fn typed(kind: &'static str, mut fields: Vec<(&'static str, Node)>) -> Node {
    fields.insert(0, ("type", Node::Word(kind)));
    Node::Object(fields)
}

pub(super) fn messages(entries: &[Entry]) -> Node {
    by_role(entries, Provider::OpenAi)
}

/// One message for entries of one role in a row.
pub(super) fn by_role(entries: &[Entry], provider: Provider) -> Node {
    let runs = entries.chunk_by(|one, next| one.role == next.role);
    let message = |run: &[Entry]| {
        let role = run.first().map_or("user", |entry| entry.role.as_str());
        let content = run.iter().flat_map(|entry| entry.nodes(provider)).collect();
        Node::Object(vec![("role", Node::Word(role)), ("content", Node::List(content))])
    };
    Node::List(runs.map(message).collect())
}
