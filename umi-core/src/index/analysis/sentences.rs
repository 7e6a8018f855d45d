//! Cutting a text into sentences, and a long one into pieces of about 80 words.

use super::words::is_unspaced;

/// How long a piece becomes, in units; about 80 words were measured to help on long messages.
const PIECE_UNITS: usize = 80;
/// The longest text that stays in one piece, in units.
const WHOLE_UNITS: usize = 120;

/// The sentences of a text, trimmed, without empty ones: cut at line ends, and behind closing marks where white space
/// follows (or always behind those of scripts that use none).
pub(super) fn sentences(text: &str) -> Vec<&str> {
    let mut spans: Vec<&str> = Vec::new();
    let mut start = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\n' {
            spans.push(&text[start..at]);
            start = at + 1;
        } else if matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '؟' | '।') {
            while characters.next_if(|&(_, next)| is_closing(next)).is_some() {}
            let end = characters.peek().map_or(text.len(), |&(at, _)| at);
            let follows_space = characters.peek().is_none_or(|&(_, next)| next.is_whitespace());
            if follows_space || matches!(c, '。' | '！' | '？') {
                spans.push(&text[start..end]);
                start = end;
            }
        }
    }
    spans.push(&text[start..]);
    spans.into_iter().map(str::trim).filter(|span| !span.is_empty()).collect()
}

fn is_closing(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '。' | '！' | '？' | '؟' | '।' | '"' | '\'' | '”' | '’' | ')' | '»' | ']')
}

/// The length of a text: words at white space, and two characters of an unspaced script for one.
fn units(text: &str) -> usize {
    let unspaced = if text.is_ascii() { 0 } else { text.chars().filter(|&c| is_unspaced(c)).count() };
    text.split_whitespace().count() + unspaced / 2
}

/// The parts of a long text, packed from whole sentences; none for a text that stays in one piece.
pub(super) fn pack(text: &str) -> Vec<String> {
    if units(text) <= WHOLE_UNITS {
        return Vec::new();
    }
    let mut parts = Vec::new();
    let (mut current, mut length) = (String::new(), 0);
    let mut add = |part: &str| {
        let more = units(part);
        if !current.is_empty() && length + more > PIECE_UNITS {
            parts.push(std::mem::take(&mut current));
            length = 0;
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(part);
        length += more;
    };
    for sentence in sentences(text) {
        let words: Vec<&str> = sentence.split_whitespace().collect();
        if words.len() > PIECE_UNITS && units(sentence) > 2 * PIECE_UNITS {
            words.chunks(PIECE_UNITS).for_each(|chunk| add(&chunk.join(" ")));
        } else {
            add(sentence);
        }
    }
    if !current.is_empty() {
        parts.push(current);
    }
    // One part would say the same as the whole.
    if parts.len() < 2 { Vec::new() } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_marks_and_lines() {
        assert_eq!(
            sentences("He said \"no.\" Then left!\nVersion 2.5 is out... 行った。高い？ (Yes.)"),
            ["He said \"no.\"", "Then left!", "Version 2.5 is out...", "行った。", "高い？", "(Yes.)"]
        );
        assert!(sentences(" \n ").is_empty());
    }

    #[test]
    fn long_texts_are_packed_from_sentences() {
        assert!(pack("short text").is_empty());
        let text = "one two three four five six seven eight nine ten. ".repeat(20);
        let parts = pack(&text);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts[0].split_whitespace().count(), 80);
        let endless = "word ".repeat(500);
        assert_eq!(pack(&endless).len(), 7);
        assert!(pack(&"東京に行きました。".repeat(60)).len() > 2);
    }
}
