//! Escaping of text for XML 1.0, so that remembered text can never leave its element.

/// Bytes that are looked at together; a run without a suspicious byte is copied whole.
const CHUNK: usize = 64;

/// Appends `text` as character data.
///
/// `&`, `<` and `>` become entities, a carriage return a character reference (a parser would turn it into a newline),
/// and characters that XML 1.0 forbids become U+FFFD.
pub(crate) fn push_text(out: &mut String, text: &str) {
    escape::<false>(out, text);
}

/// Appends ` name="value"`. `"`, tab and newline become references too, because a parser would turn them into spaces.
pub(crate) fn push_attribute(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("=\"");
    escape::<true>(out, value);
    out.push('"');
}

/// What a byte is written as where it cannot stand for itself; empty where it can.
const fn replacement<const ATTRIBUTE: bool>(byte: u8) -> &'static str {
    match byte {
        b'&' => "&amp;",
        b'<' => "&lt;",
        b'>' => "&gt;",
        b'"' if ATTRIBUTE => "&quot;",
        b'\n' if ATTRIBUTE => "&#10;",
        b'\t' if ATTRIBUTE => "&#9;",
        b'"' | b'\n' | b'\t' => "",
        b'\r' => "&#13;",
        0..0x20 => FORBIDDEN,
        _ => "",
    }
}

const FORBIDDEN: &str = "\u{FFFD}";

/// Whether a chunk holds a byte to replace, or one that may begin U+FFFE or U+FFFF. `following` begins one byte later.
///
/// Neither pass ends early, so that the compiler uses vector instructions.
fn is_suspicious<const ATTRIBUTE: bool>(chunk: &[u8], following: &[u8]) -> bool {
    let replaced = chunk.iter().fold(false, |any, &byte| any | !replacement::<ATTRIBUTE>(byte).is_empty());
    let noncharacter = chunk.iter().zip(following).fold(false, |any, pair| any | matches!(pair, (0xEF, 0xBF)));
    replaced | noncharacter
}

fn escape<const ATTRIBUTE: bool>(out: &mut String, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut start = 0;
    for chunk in bytes.chunks(CHUNK) {
        if is_suspicious::<ATTRIBUTE>(chunk, &bytes[start + 1..]) {
            for (at, &byte) in (start..).zip(chunk) {
                let (replacement, length) = match replacement::<ATTRIBUTE>(byte) {
                    "" if byte == 0xEF && matches!(bytes.get(at + 1..at + 3), Some([0xBF, 0xBE | 0xBF])) => {
                        (FORBIDDEN, 3)
                    }
                    "" => continue,
                    other => (other, 1),
                };
                out.push_str(&text[copied..at]);
                out.push_str(replacement);
                copied = at + length;
            }
        }
        start += chunk.len();
    }
    out.push_str(&text[copied..]);
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;
    use quick_xml::{
        XmlVersion,
        events::{BytesStart, Event},
        reader::Reader,
    };

    use super::*;

    /// An element as a real parser reads it. The text is that of the element itself, without its children's.
    #[derive(Debug, PartialEq)]
    pub(crate) struct Element {
        pub(crate) name: String,
        pub(crate) attributes: Vec<(String, String)>,
        pub(crate) text: String,
        pub(crate) children: Vec<Self>,
    }

    impl Element {
        pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
            self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        }
    }

    fn open(start: &BytesStart<'_>) -> Element {
        let attributes = start.attributes().map(|attribute| {
            let attribute = attribute.unwrap();
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap();
            assert!(value.chars().all(is_allowed), "{value:?}");
            (attribute.key.as_ref().to_owned(), value.into_owned())
        });
        Element {
            name: start.name().as_ref().to_owned(),
            attributes: attributes.collect(),
            text: String::new(),
            children: Vec::new(),
        }
    }

    /// Parses a document of one root element and nothing else.
    pub(crate) fn parse(xml: &str) -> Element {
        let mut reader = Reader::from_str(xml);
        let mut stack =
            vec![Element { name: String::new(), attributes: Vec::new(), text: String::new(), children: Vec::new() }];
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => stack.push(open(&start)),
                Event::Empty(start) => {
                    let element = open(&start);
                    stack.last_mut().unwrap().children.push(element);
                }
                Event::End(_) => {
                    let element = stack.pop().unwrap();
                    stack.last_mut().unwrap().children.push(element);
                }
                Event::Text(text) => stack.last_mut().unwrap().text.push_str(&text.xml10_content()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().unwrap().unwrap_or_else(|| match reference.as_ref() {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        other => panic!("unexpected entity {other}"),
                    });
                    stack.last_mut().unwrap().text.push(character);
                }
                Event::Eof => break,
                other => panic!("unexpected {other:?}"),
            }
        }
        let mut outside = stack.pop().unwrap();
        assert!(stack.is_empty() && outside.text.is_empty() && outside.children.len() == 1, "{outside:?}");
        outside.children.remove(0)
    }

    fn is_allowed(c: char) -> bool {
        matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
    }

    /// The text as a parser must give it back.
    pub(crate) fn as_parsed(text: &str) -> String {
        text.chars().map(|c| if is_allowed(c) { c } else { '\u{FFFD}' }).collect()
    }

    /// Texts that try to leave their element, among arbitrary characters.
    pub(crate) fn hostile_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("</block>".to_owned()),
            Just("</fact></recalled></memory>".to_owned()),
            Just("]]><![CDATA[".to_owned()),
            Just("<!-- -->&#x3c;&lt;".to_owned()),
            Just("\" onload=\"x".to_owned()),
            Just("\r\n\t\u{0}\u{FFFE}\u{FFFF}\u{FFFD}\u{85}\u{2028}Ａ".to_owned()),
            Just("a".repeat(CHUNK - 1)),
            proptest::collection::vec(any::<char>(), 0..8).prop_map(String::from_iter),
        ];
        proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn text_is_escaped_exactly() {
        let mut out = String::new();
        push_text(&mut out, "a < b && c > \"d\"\r\n\t\u{0}\u{1F}\u{FFFE}é\u{FFFF}\u{FFFD}Ａ\u{7F}");
        assert_eq!(out, "a &lt; b &amp;&amp; c &gt; \"d\"&#13;\n\t\u{FFFD}\u{FFFD}\u{FFFD}é\u{FFFD}\u{FFFD}Ａ\u{7F}");
    }

    #[test]
    fn attributes_are_escaped_exactly() {
        let mut out = String::from("<a");
        push_attribute(&mut out, "label", "\"x\" <&>'\r\n\t\u{8}");
        assert_eq!(out, "<a label=\"&quot;x&quot; &lt;&amp;&gt;'&#13;&#10;&#9;\u{FFFD}\"");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_comes_back_from_a_parser(text in hostile_text(), value in hostile_text()) {
            let mut out = String::from("<a");
            push_attribute(&mut out, "b", &value);
            out.push('>');
            push_text(&mut out, &text);
            out.push_str("</a>");
            let element = parse(&out);
            prop_assert_eq!(&element.text, &as_parsed(&text));
            prop_assert_eq!(element.attribute("b").map(str::to_owned), Some(as_parsed(&value)));
            prop_assert!(element.children.is_empty());
        }
    }
}
