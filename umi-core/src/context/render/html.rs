//! HTML for notebooks.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    super::{collection::Snapshot, items::Item},
    metadata,
    tree::source,
};

/// Up to so many items are shown.
const SHOWN_ITEMS: usize = 200;
/// Of these so many with a picture.
const SHOWN_THUMBNAILS: usize = 50;

/// A small picture of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thumbnail {
    /// The media type of the bytes, such as `image/png`.
    pub media_type: &'static str,
    /// The bytes of the picture.
    pub data: Vec<u8>,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
}

/// A table of the items; `thumbnail` gives the picture of one, where there is any. Nothing in it leads out of the page.
pub(crate) fn html(items: &Snapshot, thumbnail: impl Fn(&Item) -> Option<Thumbnail>) -> String {
    let mut out = String::from("<div>\n<p><b>Context</b> session ");
    push_escaped(&mut out, items.session_id());
    let _ = writeln!(out, ", {} {}</p>", items.len(), if items.len() == 1 { "item" } else { "items" });
    if !items.is_empty() {
        out.push_str("<table>\n<thead><tr>");
        for name in ["", "ref", "role", "kind", "source", "metadata"] {
            let _ = write!(out, "<th style=\"text-align:left\">{name}</th>");
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        let mut pictures = 0;
        for (place, item) in items.iter().take(SHOWN_ITEMS).enumerate() {
            let picture = (pictures < SHOWN_THUMBNAILS).then(|| thumbnail(item)).flatten();
            pictures += usize::from(picture.is_some());
            push_row(&mut out, place + 1, item, picture.as_ref());
        }
        out.push_str("</tbody>\n</table>\n");
    }
    if items.len() > SHOWN_ITEMS {
        let _ = writeln!(out, "<p>and {} more</p>", items.len() - SHOWN_ITEMS);
    }
    out.push_str("</div>");
    out
}

fn push_row(out: &mut String, number: usize, item: &Item, picture: Option<&Thumbnail>) {
    let (ref_id, role, kind) = (item.ref_id(), item.role(), item.kind());
    let _ = write!(out, "<tr><td>{number}</td><td><code>{ref_id}</code></td><td>{role}</td><td>{kind}</td>");
    out.push_str("<td style=\"text-align:left\">");
    if let Some(picture) = picture {
        let data = STANDARD.encode(&picture.data);
        let (media_type, width, height) = (picture.media_type, picture.width, picture.height);
        let _ = write!(
            out,
            "<img src=\"data:{media_type};base64,{data}\" width=\"{width}\" height=\"{height}\" alt=\"{ref_id}\"><br>"
        );
    }
    push_escaped(out, &source(item));
    out.push_str("</td><td style=\"text-align:left\">");
    for (place, line) in metadata::lines(item).iter().enumerate() {
        if place > 0 {
            out.push_str("<br>");
        }
        push_escaped(out, line);
    }
    out.push_str("</td></tr>\n");
}

fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        context::{Context, NewItem},
        metadata::Metadata,
    };

    #[test]
    fn everything_of_the_users_is_escaped() {
        let context = Context::with_session("<s&>").unwrap();
        let hostile = r#"<script>alert("1")</script>'"#;
        let metadata = Metadata::parse(&format!("{{\"note\":{}}}", serde_json::Value::from(hostile))).unwrap();
        context.add(NewItem::text(hostile).with_metadata(metadata)).unwrap();
        let shown = html(&context.snapshot(), |_| None);
        assert!(!shown.contains("<script") && !shown.contains("<s&>"), "{shown}");
        assert!(shown.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;"), "{shown}");
    }

    #[test]
    fn pictures_are_within_the_page_and_long_lists_are_cut() {
        let context = Context::sim(1);
        for _ in 0..=SHOWN_ITEMS {
            context.add(NewItem::bytes(vec![0], "image/png").unwrap()).unwrap();
        }
        let picture = Thumbnail { media_type: "image/png", data: vec![1, 2, 3], width: 4, height: 3 };
        let shown = html(&context.snapshot(), |_| Some(picture.clone()));
        assert_eq!(shown.matches("<img src=\"data:image/png;base64,AQID\" width=\"4\" height=\"3\"").count(), 50);
        assert_eq!(shown.matches("<tr>").count(), SHOWN_ITEMS + 1);
        assert!(shown.ends_with("<p>and 1 more</p>\n</div>"));
    }
}
