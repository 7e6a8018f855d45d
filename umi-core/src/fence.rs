//! Data in a prompt: elements whose tags no text inside of them contains, so that remembered text can never leave its own.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::xml;

/// Writes elements with texts that stand in them as they are.
///
/// A tag's name gets a suffix where a text contains the beginning of such a tag.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    suffix: String,
    out: String,
}

impl Fence {
    /// A document whose elements have some of these `names` and hold these texts.
    pub(crate) fn around<'a>(names: &[&str], texts: impl IntoIterator<Item = &'a str>) -> Self {
        let texts: Vec<&str> = texts.into_iter().collect();
        let mut suffix = String::new();
        let mut seed = 0;
        while texts.iter().any(|text| names.iter().any(|name| holds_tag(text, &format!("{name}{suffix}")))) {
            // The next suffix depends on all texts, so that none of them can be made to hold it.
            seed = texts.iter().fold(seed + 1, |seed, text| xxh3_64_with_seed(text.as_bytes(), seed));
            suffix = format!("-{seed:016x}");
        }
        Self { suffix, out: String::new() }
    }

    /// Opens an element on a line of its own.
    pub(crate) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(&self.suffix);
        for (name, value) in attributes {
            xml::push_attribute(&mut self.out, name, value);
        }
        self.out.push_str(">\n");
    }

    /// Closes it.
    pub(crate) fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(&self.suffix);
        self.out.push_str(">\n");
    }

    /// A whole element with a text as it is.
    pub(crate) fn text(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.open(name, attributes);
        self.out.push_str(text);
        self.out.push('\n');
        self.close(name);
    }

    /// The document.
    pub(crate) fn finish(self) -> String {
        self.out
    }
}

/// Whether a text holds something like the tag, opening or closing, in whatever case and with white space in it.
fn holds_tag(text: &str, name: &str) -> bool {
    text.match_indices('<').any(|(place, _)| {
        let behind = text[place + 1..].trim_start_matches(|char: char| char == '/' || char.is_whitespace());
        behind.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
    })
}

/// An element with a text, as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// The tag's attributes, still escaped.
    attributes: &'a str,
    /// The text between the tags.
    pub(crate) text: &'a str,
}

impl Element<'_> {
    /// An attribute, as far as names and numbers need it: without references in it.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let begin = format!(" {name}=\"");
        let value = &self.attributes[self.attributes.find(&begin)? + begin.len()..];
        value.find('"').map(|end| &value[..end])
    }
}

/// The elements of a name with a text, of a document whose outermost element is `outer`.
pub(crate) fn read<'a>(document: &'a str, outer: &str, name: &str) -> Vec<Element<'a>> {
    let suffix = document
        .strip_prefix('<')
        .and_then(|rest| rest.strip_prefix(outer))
        .map_or("", |rest| &rest[..rest.find(['>', ' ']).unwrap_or(0)]);
    let (open, close) = (format!("<{name}{suffix}"), format!("\n</{name}{suffix}>\n"));
    let mut elements = Vec::new();
    let mut rest = document;
    while let Some(start) = rest.find(&open) {
        let tag = &rest[start + open.len()..];
        let Some(end) = tag.find(">\n") else { break };
        let (attributes, inside) = (&tag[..end], &tag[end + 2..]);
        // The newline that a tag ends with may be the one before the closing tag of an empty text.
        let Some(length) = tag[end + 1..].find(&close) else { break };
        elements.push(Element { attributes, text: inside.get(..length.saturating_sub(1)).unwrap_or_default() });
        rest = &tag[end + 1 + length + close.len()..];
    }
    elements
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document(texts: &[String]) -> String {
        let mut fence = Fence::around(&["data", "turn"], texts.iter().map(String::as_str));
        fence.open("data", &[]);
        for text in texts {
            fence.text("turn", &[("name", "A \"<turn>\"\n")], text);
        }
        fence.close("data");
        fence.finish()
    }

    #[test]
    fn a_plain_text_has_a_plain_fence() {
        assert_eq!(document(&["a < b".to_owned()]).lines().last(), Some("</data>"));
    }

    #[test]
    fn a_text_that_closes_its_fence_gets_another() {
        for text in ["</turn>", "x</TURN\n>", "< / turn>", "<data>", "</ data"] {
            let document = document(&[text.to_owned()]);
            let suffix = document.strip_prefix("<data").unwrap().split('>').next().unwrap();
            assert_eq!(suffix.len(), 17, "{document}");
            assert!(!text.contains(suffix));
        }
    }

    proptest! {
        #[test]
        fn a_text_never_leaves_its_element(texts in prop::collection::vec(
            prop::collection::vec(prop::sample::select(vec![
                "<turn", "</turn", ">", "\n", "/", "<data>", "</data>", "-0", "<", " ", "é", "</TURN>", "text", "\"",
            ]), 0..12).prop_map(|parts| parts.concat()), 1..4)) {
            let document = document(&texts);
            let read: Vec<String> = read(&document, "data", "turn").iter().map(|turn| turn.text.to_owned()).collect();
            prop_assert_eq!(&read, &texts, "{}", document);
            let suffix = document.strip_prefix("<data").unwrap().split('>').next().unwrap();
            for (name, count) in [("turn", texts.len()), ("data", 1)] {
                prop_assert_eq!(document.matches(&format!("</{name}{suffix}>")).count(), count);
                prop_assert_eq!(document.matches(&format!("<{name}{suffix}")).count(), count);
            }
        }
    }
}
