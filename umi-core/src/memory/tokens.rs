//! An estimate of how many tokens a text takes in a language model, for callers who bring no counter of their own.

/// Parts of a token that a character is weighed in.
const PARTS: usize = 12;

/// Estimates the tokens of a text from the script of its characters.
///
/// | characters | a token |
/// | --- | --- |
/// | ASCII letters and white space | 4 |
/// | digits; other letters of Latin, Greek, Cyrillic, Armenian and Georgian | 3 |
/// | punctuation; letters of other alphabets (Hebrew, Arabic, the Indic and South-East Asian ones) | 2 |
/// | Han, kana, Hangul; other symbols | 1 |
/// | characters beyond the Basic Multilingual Plane that are not Han (emoji, historic scripts) | 1/2 |
///
/// Weights add up and are rounded up once, so the estimate of two texts together is that of their parts, or one less.
///
/// # Example
/// ```
/// assert_eq!(umi_core::estimate_tokens("four letters a token"), 5);
/// assert_eq!(umi_core::estimate_tokens("猫が好き"), 4);
/// ```
pub fn estimate_tokens(text: &str) -> usize {
    let parts: usize = text.chars().map(parts_of).sum();
    parts.div_ceil(PARTS)
}

fn parts_of(c: char) -> usize {
    match c {
        'a'..='z' | 'A'..='Z' | ' ' | '\t' | '\n' | '\r' => 3,
        // digits; Latin, Greek, Cyrillic, Armenian; Georgian; more Latin and Greek
        '0'..='9' | '\u{C0}'..='\u{58F}' | '\u{10A0}'..='\u{10FF}' | '\u{1E00}'..='\u{1FFF}' => 4,
        // what is left of ASCII and Latin 1; Hebrew to Myanmar; Ethiopic to Mongolian and the small alphabets behind
        // it; general punctuation
        '\0'..='\u{BF}' | '\u{590}'..='\u{109F}' | '\u{1200}'..='\u{1DFF}' | '\u{2000}'..='\u{206F}' => 6,
        // Hangul letters, symbols, kana, Han and Hangul syllables up to the plane's end; Han of the planes 2 and 3
        '\u{1100}'..='\u{FFFF}' | '\u{20000}'..='\u{3FFFF}' => 12,
        _ => 24,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scripts_are_weighed() {
        for (text, tokens) in [
            ("", 0),
            ("a", 1),
            ("the quick brown fox jumps over the lazy dog", 11),
            ("2026", 2),
            ("Привет", 2),
            ("Straße", 2),
            ("你好世界", 4),
            ("こんにちは", 5),
            ("안녕", 2),
            ("שלום", 2),
            ("🙂", 2),
            ("</fact>", 3),
        ] {
            assert_eq!(estimate_tokens(text), tokens, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_whole_is_the_sum_of_its_parts_within_one(left in any::<String>(), right in any::<String>()) {
            let (both, sum) = (estimate_tokens(&(left.clone() + &right)), estimate_tokens(&left) + estimate_tokens(&right));
            prop_assert!(both == sum || both + 1 == sum);
            prop_assert!(both >= estimate_tokens(&left));
        }
    }
}
