//! The Responses API of OpenAI: the items of its `input`.

use super::{
    Entry, Node, Provider,
    openai::{by_role, typed},
};
use crate::context::{kinds::Kind, part::Part};

pub(super) fn part(part: &Part) -> Option<Node> {
    Some(match part {
        Part::Text(text) => typed("input_text", vec![("text", Node::Text(text.clone()))]),
        Part::Link { url, kind: Kind::Image, .. } => image(Node::Text(url.clone())),
        Part::Link { url, kind: Kind::Document, .. } => {
            typed("input_file", vec![("file_url", Node::Text(url.clone()))])
        }
        Part::Link { .. } => return None,
        Part::Media(media) => match media.media_type.as_str() {
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => image(Node::DataUrl(media.clone())),
            "application/pdf" => {
                let name = Node::text(media.name.clone().unwrap_or_else(|| "document.pdf".to_owned()));
                typed("input_file", vec![("filename", name), ("file_data", Node::DataUrl(media.clone()))])
            }
            _ => return None,
        },
    })
}

fn image(url: Node) -> Node {
    typed("input_image", vec![("detail", Node::Word("auto")), ("image_url", url)])
}

pub(super) fn messages(entries: &[Entry]) -> Node {
    by_role(entries, Provider::OpenAiResponses)
}
