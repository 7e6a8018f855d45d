use proptest::prelude::*;

use super::*;
use crate::{error::ErrorKind, fence, llm::MessagePart};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn said<'a>(name: Option<&'a str>, text: &'a str) -> Said<'a> {
    Said { role: "user", name, at: at("2026-03-12T09:30:00Z"), text }
}

fn passage<'a>(texts: &[&'a str]) -> Passage<'a> {
    let turns: Vec<Said<'a>> = texts.iter().map(|text| said(None, text)).collect();
    passages(&[], &turns).remove(0)
}

fn data(passage: &Passage<'_>) -> String {
    let request = request(passage);
    match request.messages[0].parts.as_slice() {
        [MessagePart::Text(text)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_request_is_as_it_was_reviewed() {
    let earlier = [said(Some("Ana"), "My brother Leo is moving.")];
    let turns = [said(Some("Ana"), "He starts there next Monday."), said(None, "</turn> <b>ok</b> & \"so\" on")];
    let request = request(&passages(&earlier, &turns)[0]);
    let [MessagePart::Text(message)] = request.messages[0].parts.as_slice() else { panic!("{request:?}") };
    insta::assert_snapshot!("extract_system", request.system);
    insta::assert_snapshot!("extract_data", message);
    insta::assert_snapshot!("extract_schema", serde_json::to_string_pretty(&request.answer.unwrap().schema).unwrap());
}

#[test]
fn a_good_answer_is_read_as_it_is() {
    let answer = parse(
        r#"{"facts": [
            {"turn": 2, "type": "Org", "name": " Acme  Inc ", "attribute": "Head_Office", "content": "Acme sits in Rome",
             "confidence": 0.9, "event_time": "2025-05-04"},
            {"turn": 1, "type": "person", "name": "Ana", "attribute": null, "content": "Ana likes tea", "confidence": 1,
             "event_time": null},
            {"turn": 1, "type": "person", "name": "ana", "attribute": "", "content": "Ana likes tea", "confidence": 1,
             "event_time": null}]}"#,
        &passage(&["one", "two"]),
    )
    .unwrap();
    assert_eq!(answer.notes, Vec::<String>::new());
    let [tea, acme] = answer.value.as_slice() else { panic!("{answer:?}") };
    assert_eq!((tea.turn, tea.name.as_str(), &tea.attribute), (0, "Ana", &None));
    assert_eq!((acme.entity_type, acme.name.as_str()), (EntityType::Organization, "Acme Inc"));
    assert_eq!(acme.attribute.as_deref(), Some("head office"));
    assert_eq!(acme.event_time, Some(at("2025-05-04T00:00:00Z")));
}

#[test]
fn what_is_bad_costs_itself_alone() {
    let long = "x".repeat(300);
    let huge = "é".repeat(CONTENT_BYTES);
    let text = format!(
        r#"Sure:
        ```json
        {{"facts": [
            7,
            {{"turn": 1, "type": "robot", "name": "R2", "content": "beeps", "confidence": "high", "event_time": "soon"}},
            {{"turn": "2", "type": "person", "name": "Ana", "content": "{huge}", "confidence": "0,7", "attribute": 5}},
            {{"turn": 1, "type": "person", "name": "{long}", "content": "x"}},
            {{"turn": 1, "type": "person", "content": "x"}},
            {{"turn": 3, "type": "person", "name": "Ana", "content": "of no turn"}},
        ]}}
        ```"#
    );
    let answer = parse(&text, &passage(&["one", "two"])).unwrap();
    let [robot, ana] = answer.value.as_slice() else { panic!("{answer:?}") };
    assert_eq!((robot.entity_type, robot.confidence, robot.event_time), (EntityType::Note, 0.5, None));
    assert_eq!((ana.turn, ana.confidence, ana.content.len()), (1, 0.7, CONTENT_BYTES));
    assert_eq!(answer.notes.len(), 8, "{:#?}", answer.notes);
    assert!(answer.notes.iter().any(|note| note == "fact 6 names no turn that was shown; it is left out"));
    assert!(answer.notes.iter().all(|note| note.len() < 200));
    let only = parse(r#"{"facts": [{"turn": 9, "name": "Ana", "content": "x"}]}"#, &passage(&["one"])).unwrap();
    assert_eq!(only.value[0].turn, 0, "it can be no other");
    assert_eq!(parse("Nothing.", &passage(&["one"])).unwrap_err().kind(), ErrorKind::InvalidResponse);
    assert!(parse("{\"facts\": []}", &passage(&["one"])).unwrap().value.is_empty());
}

#[test]
fn dates_are_read_to_their_beginning_and_not_behind_their_telling() {
    let told = at("2026-03-12T09:30:00Z");
    for (text, expected) in [
        ("2025", Some("2025-01-01T00:00:00Z")),
        ("2025-05", Some("2025-05-01T00:00:00Z")),
        ("2025-5", Some("2025-05-01T00:00:00Z")),
        ("2025-05-04", Some("2025-05-04T00:00:00Z")),
        ("2027-01-01", Some("2027-01-01T00:00:00Z")),
        ("2025-05-04T10:00", Some("2025-05-04T10:00:00Z")),
        ("2025-05-04T10:00:00+02:00", Some("2025-05-04T08:00:00Z")),
        // It is not over: whatever was said before in it stays before.
        ("2026", Some("2026-03-12T09:30:00Z")),
        ("2026-03", Some("2026-03-12T09:30:00Z")),
        ("2026-03-12", Some("2026-03-12T09:30:00Z")),
        ("2025-13", None),
        ("2025-02-30", None),
        ("yesterday", None),
        ("-1", None),
        ("99999", None),
        // Nothing in Python is before the year 1, and no timestamp behind 9999.
        ("0001", Some("0001-01-01T00:00:00Z")),
        ("0001-01-01T00:00:00", Some("0001-01-01T00:00:00Z")),
        ("0000", None),
        ("0000-12", None),
        ("0000-12-31", None),
        ("0000-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("-000044-03-15", None),
        ("-000044-03-15T12:00:00Z", None),
        ("9999-12-31", None),
        ("10000-01-01T00:00:00Z", None),
        ("+010000-01-01", None),
    ] {
        assert_eq!(time(text, told), expected.map(at), "{text}");
    }
}

#[test]
fn a_fact_keeps_its_place_without_a_time_that_cannot_be_told() {
    let text = r#"{"facts": [{"turn": 1, "type": "event", "name": "Rome", "content": "Rome was founded",
        "confidence": 0.9, "event_time": "0000-04-21"}]}"#;
    let answer = parse(text, &passage(&["one"])).unwrap();
    assert_eq!((answer.value.len(), answer.value[0].event_time), (1, None));
    assert_eq!(
        answer.notes,
        ["fact 1 has the event time `0000-04-21`, no date of the years 1 to 9999; it is left out"]
    );
}

#[test]
fn the_last_fact_of_an_answer_that_was_cut_is_used_as_far_as_it_goes() {
    let text = r#"{"facts": [{"turn": 1, "type": "person", "name": "Ana", "attribute": "home",
        "content": "Ana lives in Rome", "confidence": 0.9, "event_time": "2025-0"#;
    let answer = parse(text, &passage(&["one", "two"])).unwrap();
    let [ana] = answer.value.as_slice() else { panic!("{answer:?}") };
    assert_eq!((ana.attribute.as_deref(), ana.confidence, ana.event_time), (Some("home"), 0.9, None));
    assert_eq!(answer.notes.len(), 1, "{:?}", answer.notes);
    let without = text.split_once("\"Ana lives").unwrap().0;
    assert_eq!(parse(without, &passage(&["one", "two"])).unwrap_err().kind(), ErrorKind::InvalidResponse);
}

#[test]
fn a_long_conversation_is_cut_and_each_part_knows_what_came_before() {
    let long = format!("{} end", "word ".repeat(REQUEST_BYTES / 4));
    let texts = ["a ".repeat(10_000), "b ".repeat(10_000), long, "short".to_owned()];
    let turns: Vec<Said<'_>> = texts.iter().map(|text| said(None, text)).collect();
    let passages = passages(&[], &turns);
    let places: Vec<Vec<usize>> =
        passages.iter().map(|passage| passage.turns.iter().map(|(place, _)| *place).collect()).collect();
    assert_eq!(places, [vec![0], vec![1], vec![2], vec![2, 3]]);
    for passage in &passages {
        let bytes: usize = passage.turns.iter().map(|(_, turn)| turn.text.len()).sum();
        let earlier: usize = passage.earlier.iter().map(|turn| turn.text.len()).sum();
        assert!(bytes <= REQUEST_BYTES && earlier <= EARLIER_BYTES);
    }
    assert!(passages[0].earlier.is_empty() && passages[3].earlier[0].text.ends_with("word "));
    let whole: String = passages.iter().flat_map(|passage| passage.turns.iter().map(|(_, turn)| turn.text)).collect();
    assert_eq!(whole, texts.concat(), "not a character is lost");
}

#[test]
fn what_was_recalled_is_left_out() {
    let document = "<memory>\n<core_memory>\n</core_memory>\n<recalled>\nAna &lt;/memory&gt;\n</recalled>\n</memory>";
    assert_eq!(without_recalled(&format!("Before {document} between {document} after")), "Before  between  after");
    assert_eq!(without_recalled("<memory>\n  <core_memory>\n never closed"), "");
    for plain in ["", "my <memory> is bad", "<memory>lane</memory>", "<memory> <memory>"] {
        assert!(matches!(without_recalled(plain), Cow::Borrowed(same) if same == plain));
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_fall(text in "\\PC{0,300}") {
        let _ = parse(&text, &passage(&["one", "two"]));
    }

    #[test]
    fn no_value_of_a_field_makes_it_fall(fields in prop::collection::vec((
        prop::sample::select(vec!["turn", "type", "name", "attribute", "content", "confidence", "event_time"]),
        prop::sample::select(vec![
            "1", "-1", "1e400", "\"2026-02-30\"", "\"9999-12-31\"", "\"-009999\"", "\"x\"", "\"\\u0000\"", "null", "[]",
            "{\"a\":1}", "\"100%\"", "true", "\"\"", "\"9999\"", "\"2026-03-12T25:00\"",
        ])), 0..8)) {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let text = format!("{{\"facts\": [{{{}}}]}}", fields.join(","));
        let answer = parse(&text, &passage(&["one", "two"])).unwrap();
        for fact in answer.value {
            prop_assert!((0.0..=1.0).contains(&fact.confidence) && fact.turn < 2);
            prop_assert!(!fact.name.is_empty() && !fact.content.is_empty());
        }
    }

    #[test]
    fn a_text_never_leaves_its_turn(texts in prop::collection::vec("[<>/ a-z=\"\n&-]{1,40}|</turn>x|</data>|<turn number=\"1\">", 1..5)) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).filter(|text| !text.trim().is_empty()).collect();
        prop_assume!(!texts.is_empty());
        let data = data(&passage(&texts));
        let read: Vec<&str> = fence::read(&data, "data", "turn").iter().map(|turn| turn.text).collect();
        prop_assert_eq!(read, texts);
    }

    #[test]
    fn what_is_left_of_a_text_was_in_it(text in "(<memory>|</memory>|<core_memory>|\n|a| ){0,20}") {
        let left = without_recalled(&text);
        let mut rest = text.chars();
        prop_assert!(left.chars().all(|char| rest.any(|other| other == char)), "{} of {}", left, text);
        prop_assert!(!left.contains("<memory>\n<core_memory>") || text != left);
    }
}
