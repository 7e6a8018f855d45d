//! The WordPiece tokenizer of BERT's uncased vocabulary: the same ids as the `tokenizers` crate gives, at a fraction of
//! its build time and size. The tests compare it with that package's ids.

use unicode_categories::UnicodeCategories;
use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Words of more characters than this are unknown as a whole.
const WORD_CHARACTERS_MAX: usize = 100;
const UNKNOWN: &[u8] = b"[UNK]";
const CONTINUATION: &[u8] = b"##";
/// A power of two, more than twice the vocabulary, so that a probe soon meets an empty slot.
const SLOTS: usize = 1 << 16;
const EMPTY: u16 = u16::MAX;

/// A vocabulary and the rule that cuts text into its pieces.
#[derive(Debug)]
pub(crate) struct WordPiece {
    pieces: Vec<Piece>,
    /// Open addressing: a piece's id stands at its hash or at the next free place after it.
    slots: Vec<u16>,
    unknown: u16,
    piece_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Without the mark of continuation.
    bytes: &'static [u8],
    /// Whether it goes on with a word instead of starting one.
    continues: bool,
}

impl Piece {
    fn slot(self) -> usize {
        xxh3_64_with_seed(self.bytes, u64::from(self.continues)) as usize % SLOTS
    }
}

impl WordPiece {
    /// Reads a vocabulary: per piece, in the order of the ids, its length in one byte and its UTF-8. None when the
    /// bytes are no such list, when it is too long for 16-bit ids, or when it lacks the piece for the unknown.
    pub(crate) fn parse(mut vocabulary: &'static [u8]) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut slots = vec![EMPTY; SLOTS];
        let mut unknown = None;
        while let Some((&length, rest)) = vocabulary.split_first() {
            let (bytes, rest) = rest.split_at_checked(usize::from(length))?;
            vocabulary = rest;
            let id = u16::try_from(pieces.len()).ok().filter(|&id| usize::from(id) < SLOTS / 2)?;
            let piece = match bytes.strip_prefix(CONTINUATION) {
                Some(bytes) if !bytes.is_empty() => Piece { bytes, continues: true },
                _ => Piece { bytes, continues: false },
            };
            let mut slot = piece.slot();
            while slots[slot] != EMPTY {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = id;
            if bytes == UNKNOWN {
                unknown = Some(id);
            }
            pieces.push(piece);
        }
        let piece_bytes_max = pieces.iter().map(|piece| piece.bytes.len()).max()?;
        Some(Self { pieces, slots, unknown: unknown?, piece_bytes_max })
    }

    /// The id of the piece that stands for what is unknown.
    pub(crate) fn unknown(&self) -> u16 {
        self.unknown
    }

    /// The characters of a piece, and whether it says something by itself: it is neither the unknown one nor a lone
    /// letter, which is what words in scripts that the vocabulary does not know are cut into.
    pub(crate) fn telling(&self, id: u16) -> (usize, bool) {
        let bytes = self.pieces.get(usize::from(id)).map_or(&b""[..], |piece| piece.bytes);
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let count = text.chars().count();
        (count, id != self.unknown && !(count == 1 && text.chars().all(char::is_alphabetic)))
    }

    /// The number of pieces; every id is below it.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The ids of a text's pieces, without special tokens: what looks like one in the text is text.
    pub(crate) fn tokens(&self, text: &str) -> Vec<u16> {
        let mut words = Words { word_piece: self, word: String::new(), tokens: Vec::with_capacity(text.len() / 4 + 1) };
        // white space is a starter, so composition and the order of marks never reach across it
        for segment in text.split(|c: char| c.is_whitespace() && !is_dropped(c)) {
            if segment.is_ascii() {
                segment.bytes().filter(|byte| !byte.is_ascii_control()).for_each(|byte| {
                    words.take(char::from(byte.to_ascii_lowercase()));
                });
            } else {
                segment
                    .chars()
                    .filter(|&c| !is_dropped(c))
                    .flat_map(spaced)
                    .nfd()
                    .filter(|c| !c.is_mark_nonspacing())
                    .flat_map(char::to_lowercase)
                    .for_each(|c| words.take(c));
            }
            words.end();
        }
        words.tokens
    }

    /// Cuts a word from the left into the longest pieces; unknown as a whole when a rest fits none.
    fn cut(&self, word: &str, tokens: &mut Vec<u16>) {
        let before = tokens.len();
        let mut start = 0;
        while start < word.len() {
            let mut end = word.floor_char_boundary(start + self.piece_bytes_max);
            let id = loop {
                if end <= start {
                    break None;
                }
                if let Some(id) = self.id(&word.as_bytes()[start..end], start > 0) {
                    break Some(id);
                }
                end = word.floor_char_boundary(end - 1);
            };
            let Some(id) = id else {
                tokens.truncate(before);
                tokens.push(self.unknown);
                return;
            };
            tokens.push(id);
            start = end;
        }
    }

    fn id(&self, bytes: &[u8], continues: bool) -> Option<u16> {
        let mut slot = xxh3_64_with_seed(bytes, u64::from(continues)) as usize % SLOTS;
        loop {
            let id = self.slots[slot];
            let piece = self.pieces.get(usize::from(id))?; // an empty slot's id is beyond every piece
            if piece.bytes == bytes && piece.continues == continues {
                return Some(id);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

/// Gathers characters into words: white space ends one, a punctuation mark is one.
struct Words<'a> {
    word_piece: &'a WordPiece,
    word: String,
    tokens: Vec<u16>,
}

impl Words<'_> {
    fn take(&mut self, c: char) {
        if c.is_whitespace() {
            self.end();
        } else if c.is_ascii_punctuation() || (!c.is_ascii() && c.is_punctuation()) {
            self.end();
            self.word.push(c);
            self.end();
        } else {
            self.word.push(c);
        }
    }

    fn end(&mut self) {
        if self.word.is_empty() {
            return;
        }
        if self.word.len() > WORD_CHARACTERS_MAX && self.word.chars().count() > WORD_CHARACTERS_MAX {
            self.tokens.push(self.word_piece.unknown);
        } else {
            self.word_piece.cut(&self.word, &mut self.tokens);
        }
        self.word.clear();
    }
}

/// Whether a character is left out: control characters but for the white space among them, and the replacement mark.
fn is_dropped(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        '\0' | '\u{fffd}' => true,
        _ if c.is_ascii() => c.is_ascii_control(),
        _ => c.is_other(),
    }
}

/// An ideograph with a space on either side, every other character alone.
fn spaced(c: char) -> impl Iterator<Item = char> {
    let space = is_ideograph(c).then_some(' ');
    space.into_iter().chain(Some(c)).chain(space)
}

fn is_ideograph(c: char) -> bool {
    matches!(u32::from(c),
        0x4E00..=0x9FFF | 0x3400..=0x4DBF | 0x20000..=0x2A6DF | 0x2A700..=0x2B73F | 0x2B740..=0x2B81F
        | 0x2B920..=0x2CEAF | 0xF900..=0xFAFF | 0x2F800..=0x2FA1F)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> WordPiece {
        WordPiece::parse(b"\x05[UNK]\x02un\x06##able\x04##do\x01#\x03cat\x03##s").unwrap()
    }

    #[test]
    fn words_are_cut_into_the_longest_pieces() {
        assert_eq!(small().tokens("Undoable UN cats"), [1, 3, 2, 1, 5, 6]);
    }

    #[test]
    fn a_rest_that_fits_no_piece_makes_the_word_unknown() {
        assert_eq!(small().tokens("undog cat do"), [0, 5, 0]);
    }

    #[test]
    fn a_mark_of_continuation_in_the_text_is_punctuation() {
        assert_eq!(small().tokens("##s"), [4, 4, 0]);
    }

    #[test]
    fn a_damaged_vocabulary_is_refused() {
        assert!(WordPiece::parse(b"\x05[UN").is_none(), "cut off");
        assert!(WordPiece::parse(b"\x03cat").is_none(), "no unknown piece");
        assert!(WordPiece::parse(b"").is_none());
    }
}
