//! The Messages API of Anthropic: instructions apart from the one message of the user.

use super::{Entry, Node, Provider, openai::typed};
use crate::context::{kinds::Kind, part::Part};

pub(super) fn part(part: &Part) -> Option<Node> {
    Some(match part {
        // The API takes no texts of white space alone; the ref in front of it is still there.
        Part::Text(text) if text.trim().is_empty() => typed("text", vec![("text", Node::Word("[empty]"))]),
        Part::Text(text) => typed("text", vec![("text", Node::Text(text.clone()))]),
        Part::Link { url, kind: Kind::Image, .. } => source("image", url_source(url)),
        Part::Link { url, media_type: Some(media_type), .. } if media_type == "application/pdf" => {
            source("document", url_source(url))
        }
        Part::Link { .. } => return None,
        Part::Media(media) => {
            let (kind, media_type) = match media.media_type.as_str() {
                "image/png" => ("image", "image/png"),
                "image/jpeg" => ("image", "image/jpeg"),
                "image/gif" => ("image", "image/gif"),
                "image/webp" => ("image", "image/webp"),
                "application/pdf" => ("document", "application/pdf"),
                _ => return None,
            };
            let fields = vec![("media_type", Node::Word(media_type)), ("data", Node::Base64(media.clone()))];
            let mut fields = vec![("source", typed("base64", fields))];
            if let Some(name) = media.name.as_ref().filter(|_| kind == "document") {
                fields.push(("title", Node::text(name.chars().take(200).collect::<String>())));
            }
            typed(kind, fields)
        }
    })
}

fn source(kind: &'static str, source: Node) -> Node {
    typed(kind, vec![("source", source)])
}

fn url_source(url: &std::sync::Arc<str>) -> Node {
    typed("url", vec![("url", Node::Text(url.clone()))])
}

pub(super) fn messages(entries: &[Entry]) -> Node {
    let nodes = |entry: &Entry| {
        let label = entry.label(Provider::Anthropic);
        label.into_iter().chain(entry.nodes(Provider::Anthropic)).collect::<Vec<_>>()
    };
    of_user(entries.iter().flat_map(nodes).collect())
}

fn of_user(content: Vec<Node>) -> Node {
    if content.is_empty() {
        return Node::List(Vec::new());
    }
    Node::List(vec![Node::Object(vec![("role", Node::Word("user")), ("content", Node::List(content))])])
}

pub(super) fn request(entries: Vec<Entry>) -> Node {
    let (system, user): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(Entry::is_system);
    let nodes = |entries: &[Entry]| entries.iter().flat_map(|entry| entry.nodes(Provider::Anthropic)).collect();
    let mut fields = Vec::new();
    if !system.is_empty() {
        fields.push(("system", Node::List(nodes(&system))));
    }
    fields.push(("messages", of_user(nodes(&user))));
    Node::Object(fields)
}
