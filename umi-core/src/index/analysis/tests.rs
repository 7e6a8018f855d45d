use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn finds(question: &str, text: &str) -> bool {
    let pieces = analyse_episode(None, time("2024-03-05T09:00:00Z"), text);
    let lexical = Lexical::decode(&pieces[0].lexical).unwrap();
    analyse_query(question).terms.iter().any(|term| lexical.count(*term).is_some())
}

#[test]
fn name_and_date_are_indexed_with_the_text() {
    let pieces = analyse_episode(Some("Jon"), time("2023-01-20T16:04:30Z"), "I lost my job");
    assert_eq!(pieces.len(), 1);
    assert_eq!(pieces[0].text_to_embed, "Jon (4:04 pm on 20 January, 2023): I lost my job");
    let midnight = analyse_episode(None, time("2023-01-20T00:04:00Z"), "x");
    assert_eq!(midnight[0].text_to_embed, "(12:04 am on 20 January, 2023): x");
    let fact = analyse_fact("Jon", Some("employer"), "Acme", time("2023-12-01T12:00:00Z"));
    assert_eq!(fact.text_to_embed, "Jon employer (12:00 pm on 1 December, 2023): Acme");
}

#[test]
fn long_texts_have_parts_under_the_same_head() {
    let text = "All of these sentences have seven words. ".repeat(30);
    let pieces = analyse_episode(Some("Umi"), time("2024-03-05T09:00:00Z"), &text);
    assert_eq!(pieces.iter().map(|piece| piece.ordinal).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(pieces.iter().all(|piece| piece.text_to_embed.starts_with("Umi (9:00 am on 5 March, 2024): ")));
}

#[test]
fn dates_in_questions_become_words() {
    assert_eq!(query_text("What is due on 2024-03-15?"), "What is due on 15 March, 2024?");
    assert_eq!(query_text("on 2024-13-15"), "on 2024-13-15");
    assert_eq!(query_text("12024-03-15 é2024-03-15 2024-03-155"), "12024-03-15 é2024-03-15 2024-03-155");
    assert_eq!(query_text("(2024-01-01,2024-12-31)"), "(1 January, 2024,31 December, 2024)");
}

#[test]
fn every_language_finds_its_text() {
    for (question, text) in [
        ("東京タワー", "昨日、東京タワーに行きました。"),
        ("กรุงเทพ", "ผมอยู่ที่กรุงเทพมหานคร"),
        ("الكتاب", "قرأت الكتاب أمس"),
        ("парке", "Сегодня мы гуляли в парке"),
        ("Strasse", "Die Straße ist gesperrt"),
        ("cafe", "Nous étions au café"),
        ("서울", "서울에서 만났어요"),
        ("ភ្នំពេញ", "ខ្ញុំរស់នៅភ្នំពេញ"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("running", "She runs daily"),
    ] {
        assert!(finds(question, text), "`{question}` does not find `{text}`");
    }
}

#[test]
fn a_question_is_read_once() {
    let query = analyse_query("When did Ana's sister, Ana, meet 2024-03-15?");
    assert_eq!(query.words[..4], ["when", "did", "ana", "sister"]);
    assert!(query.asks_when);
    let distinct: std::collections::BTreeSet<u64> = query.terms.iter().copied().collect();
    assert_eq!(distinct.len(), query.terms.len());
    assert_eq!(name_key("  Ana-María "), "ana maría");
}

#[test]
fn damaged_blobs_are_refused() {
    let blob = analyse_fact("Jon", None, "likes tea and bread", time("2023-12-01T12:00:00Z")).lexical;
    assert!(Lexical::decode(&blob).is_ok());
    for cut in 0..blob.len() {
        assert_eq!(Lexical::decode(&blob[..cut]).unwrap_err().kind(), crate::error::ErrorKind::CorruptStore);
    }
    let mut other = blob.clone();
    other[0] = 9;
    assert!(Lexical::decode(&other).is_err());
    let mut unsorted = blob;
    unsorted[22..30].fill(0xff);
    assert!(Lexical::decode(&unsorted).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_text_is_analysed(text in "\\PC{0,300}", name in proptest::option::of("\\PC{0,20}")) {
        for piece in analyse_episode(name.as_deref(), Timestamp::UNIX_EPOCH, &text) {
            let lexical = Lexical::decode(&piece.lexical).unwrap();
            let mut terms = Vec::new();
            words::each_term(&piece.text_to_embed, |term| terms.push(words::hash(term)));
            prop_assert_eq!(lexical.length as usize, terms.len());
            prop_assert_eq!(lexical.terms().map(|(_, count)| usize::from(count)).sum::<usize>(), terms.len());
            for term in terms {
                prop_assert!(lexical.count(term).is_some());
            }
            let tokens = tokens::tokens(&piece.text_to_embed);
            prop_assert_eq!(lexical.token_total as usize, tokens.len());
            let distinct: std::collections::BTreeSet<u16> = tokens.into_iter().collect();
            prop_assert_eq!(lexical.tokens().collect::<Vec<_>>(), distinct.into_iter().collect::<Vec<_>>());
        }
        analyse_query(&text);
    }

    #[test]
    fn any_letters_find_themselves(text in "\\p{L}{1,12}") {
        // Single English stop words are the one thing that is left out on purpose.
        let query = analyse_query(&text);
        prop_assert!(query.terms.is_empty() || finds(&text, &text));
        let is_english = text.nfkc().all(|letter| letter.is_ascii());
        prop_assert!(is_english || !query.terms.is_empty());
    }

    #[test]
    fn damaged_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = Lexical::decode(&bytes);
    }
}
