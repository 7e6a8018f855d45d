//! HTML for notebooks.

use std::{fmt::Write as _, sync::Arc};

use super::{
    super::{collection::Snapshot, items::Item, part::Media},
    metadata,
    tree::source,
};
use crate::error::Result;

/// Up to so many items are shown.
pub(crate) const SHOWN_ITEMS: usize = 200;
/// Of these so many with a picture.
pub(crate) const SHOWN_PICTURES: usize = 50;
/// The sides of the box that a picture fits, in pixels.
pub(crate) const SHOWN_SIDES: u32 = 128;

/// Notebooks would set the words of a table to the right, and other pages put no space between its columns.
const CELL: &str = "text-align:left;vertical-align:top;padding:2px 8px";

/// A table of the items; `picture` gives a small one of an item, where there is any, or why it cannot be made. Nothing in
/// it leads out of the page.
pub(crate) fn html<'a>(items: &Snapshot, picture: impl Fn(&Item) -> Option<&'a Result<Arc<Media>>>) -> String {
    let mut out = String::from("<div>\n<p><b>Context</b> session ");
    push_escaped(&mut out, items.session_id());
    let _ = writeln!(out, ", {} {}</p>", items.len(), if items.len() == 1 { "item" } else { "items" });
    if !items.is_empty() {
        out.push_str("<table>\n<thead><tr>");
        for name in ["", "ref", "role", "kind", "source", "metadata"] {
            let _ = write!(out, "<th style=\"{CELL}\">{name}</th>");
        }
        out.push_str("</tr></thead>\n<tbody>\n");
        for (place, item) in items.iter().take(SHOWN_ITEMS).enumerate() {
            push_row(&mut out, place + 1, item, picture(item));
        }
        out.push_str("</tbody>\n</table>\n");
    }
    if items.len() > SHOWN_ITEMS {
        let _ = writeln!(out, "<p>and {} more</p>", items.len() - SHOWN_ITEMS);
    }
    out.push_str("</div>");
    out
}

fn push_row(out: &mut String, number: usize, item: &Item, picture: Option<&Result<Arc<Media>>>) {
    let (ref_id, role, kind) = (item.ref_id(), item.role(), item.kind());
    out.push_str("<tr>");
    let _ = write!(out, "<td style=\"{CELL}\">{number}</td><td style=\"{CELL}\"><code>{ref_id}</code></td>");
    let _ = write!(out, "<td style=\"{CELL}\">{role}</td><td style=\"{CELL}\">{kind}</td><td style=\"{CELL}\">");
    match picture {
        Some(Ok(picture)) => {
            out.push_str("<img src=\"");
            push_escaped(out, &picture.data_url());
            let (width, height) = picture.size.unwrap_or((SHOWN_SIDES, SHOWN_SIDES));
            let _ = write!(out, "\" width=\"{width}\" height=\"{height}\" alt=\"{ref_id}\"><br>");
        }
        Some(Err(error)) => {
            out.push_str("<i>");
            push_escaped(out, error.message());
            out.push_str("</i><br>");
        }
        None => {}
    }
    push_escaped(out, &source(item));
    let _ = write!(out, "</td><td style=\"{CELL}\">");
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
        let picture = Ok(Arc::new(Media::new("image/png\"", *b"\x01\x02\x03").with_size(4, 3)));
        let shown = html(&context.snapshot(), |_| Some(&picture));
        let image = "<img src=\"data:image/png&quot;;base64,AQID\" width=\"4\" height=\"3\"";
        assert_eq!(shown.matches(image).count(), SHOWN_ITEMS);
        assert_eq!(shown.matches("<tr>").count(), SHOWN_ITEMS + 1);
        assert!(shown.ends_with("<p>and 1 more</p>\n</div>"));
    }
}
