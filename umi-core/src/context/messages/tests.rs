use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    ErrorKind, Metadata,
    context::{
        Channels, Context, EncodeOptions, Encoder, Kind, NewItem, Object, Pixels, Source, Url,
        encode::fixtures::{pdf, png, wav, words},
    },
};

/// Pixels that a binding would keep alive.
#[derive(Debug)]
struct Picture(u32, u32);

impl Object for Picture {
    fn kind(&self) -> Kind {
        Kind::Image
    }

    fn description(&self) -> String {
        format!("Picture({}×{})", self.0, self.1)
    }

    fn bytes(&self) -> Option<u64> {
        None
    }

    fn pixels(&self, _: u64) -> Result<Pixels> {
        Pixels::new(self.0, self.1, Channels::Gray, vec![7; (self.0 * self.1) as usize])
    }
}

fn everything() -> Context {
    let context = Context::sim(7);
    let system = |text: &str, role| NewItem::text(text.to_owned()).with_role(role).unwrap();
    context.add(system("Be terse.", Role::System)).unwrap();
    context.add(system("Answer in French.", Role::Developer)).unwrap();
    let note = Metadata::parse(r#"{"tags": ["a", "b"], "note": "hero shot"}"#).unwrap();
    context.add(NewItem::text("What is this?")).unwrap();
    context.add(NewItem::bytes(png(2, 1), "image/png").unwrap().with_metadata(note)).unwrap();
    context.add(NewItem::object(Picture(3, 2))).unwrap();
    context.add(NewItem::bytes(b"a,b\n1,2\n".to_vec(), "text/csv").unwrap()).unwrap();
    context.add(NewItem::url(Url::new("https://example.com/a.jpg", None).unwrap())).unwrap();
    context.add(NewItem::text("")).unwrap();
    context
}

/// JSON with the data of media cut short and refs by their order.
fn shown(context: &Context, node: &Node) -> String {
    let mut json = node.to_json();
    shorten(&mut json);
    let mut text = serde_json::to_string_pretty(&json).unwrap();
    for (index, item) in context.snapshot().iter().enumerate() {
        text = text.replace(&item.ref_id().to_string(), &format!("{}_{index}", item.kind().prefix()));
    }
    text
}

fn shorten(json: &mut Value) {
    match json {
        Value::String(text) if text.len() > 60 => *text = format!("{}…", &text[..40]),
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

#[test]
fn every_provider_gets_its_own_form() {
    let context = everything();
    let (registry, options) = (EncoderRegistry::default(), MessageOptions::default());
    for provider in Provider::ALL {
        let messages = context.snapshot().to_messages(provider, &registry, &options).unwrap();
        insta::assert_snapshot!(format!("{provider}_messages"), shown(&context, &messages));
        let request = context.snapshot().to_request(provider, &registry, &options).unwrap();
        insta::assert_snapshot!(format!("{provider}_request"), shown(&context, &request));
    }
}

#[test]
fn nothing_gives_no_message() {
    let (context, registry, options) = (Context::new(), EncoderRegistry::default(), MessageOptions::default());
    let messages = |provider| context.snapshot().to_messages(provider, &registry, &options).unwrap().to_json();
    assert_eq!(messages(Provider::OpenAi), json!([]));
    assert_eq!(messages(Provider::OpenAiResponses), json!([]));
    assert_eq!(messages(Provider::Anthropic), json!([]));
    assert_eq!(messages(Provider::Gemini), json!([{"role": "user", "parts": []}]));
}

#[test]
fn documents_and_sound_go_where_they_are_taken() {
    let context = Context::new();
    context.add(NewItem::bytes(pdf(&[&words(&["Hi"])], &[]), "application/pdf").unwrap()).unwrap();
    let (registry, native) =
        (EncoderRegistry::default(), MessageOptions::default().with_encoder(Kind::Document, "native"));
    let last = |provider| {
        let json = context.snapshot().to_messages(provider, &registry, &native).unwrap().to_json();
        let content = json[0].get("content").or(json[0].get("parts")).unwrap();
        content[1].clone()
    };
    assert_eq!(last(Provider::OpenAi)["type"], "file");
    assert_eq!(last(Provider::OpenAiResponses)["type"], "input_file");
    assert_eq!(last(Provider::Anthropic)["type"], "document");
    assert_eq!(last(Provider::Gemini)["inline_data"]["mime_type"], "application/pdf");

    let context = Context::new();
    let sound = context.add(NewItem::bytes(wav(), "audio/wav").unwrap()).unwrap();
    let options = MessageOptions::default();
    let messages = |provider, options: &MessageOptions| context.snapshot().to_messages(provider, &registry, options);
    let json = messages(Provider::OpenAi, &options).unwrap().to_json();
    assert_eq!(json[0]["content"][1]["input_audio"]["format"], "wav");
    assert!(messages(Provider::Gemini, &options).is_ok());
    let error = messages(Provider::Anthropic, &options).unwrap_err();
    assert!(
        error.message().starts_with(&format!("`{sound}`: the format `anthropic` does not take audio/wav")),
        "{error}"
    );
    let placeholder = options.with_on_error(OnError::Placeholder);
    let json = messages(Provider::Anthropic, &placeholder).unwrap().to_json();
    assert_eq!(json[0]["content"][1]["text"], "[not sent: the format `anthropic` does not take audio/wav]");
}

#[test]
fn a_bad_file_names_its_ref_or_leaves_word() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.jpg");
    std::fs::write(&path, "no photo").unwrap();
    let context = Context::new();
    let bad = context.add(NewItem::file(&path).unwrap()).unwrap();
    context.add(NewItem::text("after it")).unwrap();
    let (registry, options) = (EncoderRegistry::default(), MessageOptions::default());
    let error = context.snapshot().to_messages(Provider::OpenAi, &registry, &options).unwrap_err();
    assert!(error.message().starts_with(&format!("`{bad}` (`photo.jpg`): cannot be read as an image")), "{error}");
    std::fs::remove_file(&path).unwrap();
    let error = context.snapshot().to_messages(Provider::OpenAi, &registry, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::File);
    let options = options.with_on_error(OnError::Placeholder);
    let json = context.snapshot().to_messages(Provider::OpenAi, &registry, &options).unwrap().to_json();
    let texts: Vec<&str> = (0..4).map(|index| json[0]["content"][index]["text"].as_str().unwrap()).collect();
    assert!(texts[1].starts_with("[not sent: cannot read"), "{texts:?}");
    assert_eq!(texts[3], "after it");
    let unknown = MessageOptions::default().with_encoder(Kind::Image, "tyle").with_on_error(OnError::Placeholder);
    assert!(context.snapshot().to_messages(Provider::OpenAi, &registry, &unknown).is_err(), "a mistake of the caller");
}

#[test]
fn media_types_are_taken_by_any_of_their_names() {
    let registry = EncoderRegistry::default();
    for name in ["audio/x-wav", "audio/wave", "Audio/Vnd.Wave"] {
        let context = Context::new();
        context.add(NewItem::bytes(wav(), name).unwrap()).unwrap();
        let messages = |provider| context.snapshot().to_messages(provider, &registry, &MessageOptions::default());
        let json = messages(Provider::OpenAi).unwrap().to_json();
        assert_eq!(json[0]["content"][1]["input_audio"]["format"], "wav", "{name}");
        let json = messages(Provider::Gemini).unwrap().to_json();
        assert_eq!(json[0]["parts"][1]["inline_data"]["mime_type"], "audio/wav", "{name}");
    }
    let url = Url::new("https://example.com/a", Some("image/jpg")).unwrap();
    assert_eq!(url.media_type(), Some("image/jpeg"));
    assert_eq!(Media::new("image/jpg", *b"x").media_type, "image/jpeg");
}

/// An encoder of a user's: it gives media of which nothing is said but their type.
#[derive(Debug)]
struct Plain(&'static str, Vec<u8>);

impl Encoder for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn kind(&self) -> Kind {
        Kind::Image
    }

    fn options(&self) -> Option<&[&str]> {
        None
    }

    fn is_pure(&self) -> bool {
        false
    }

    fn encode(&self, _: &Source<'_>, _: &EncodeOptions) -> Result<Vec<Part>> {
        Ok(vec![Part::media(Media::new(self.0, self.1.clone()))])
    }
}

fn plain(media_type: &'static str, bytes: Vec<u8>) -> (Context, EncoderRegistry, MessageOptions) {
    let (context, registry) = (Context::new(), EncoderRegistry::default());
    context.add(NewItem::object(Picture(1, 1))).unwrap();
    registry.register(Arc::new(Plain(media_type, bytes)));
    (context, registry, MessageOptions::default().with_encoder(Kind::Image, "plain"))
}

#[test]
fn images_of_an_encoder_of_ones_own_count_and_are_scaled_like_others() {
    let (context, registry, options) = plain("image/png", png(1_600, 1_200));
    let own = context.snapshot().count_tokens(Provider::OpenAi, &registry, &options).unwrap();
    assert!(own > 765, "{own}");
    let options = options.with_budget_tokens(500);
    let json = context.snapshot().to_messages(Provider::OpenAi, &registry, &options).unwrap().to_json().to_string();
    assert!(json.contains("[scaled to 512×384 pixels to fit the budget of 500 tokens]"));
    let (context, registry, options) = plain("image/heic", vec![0; 3_000]);
    let options = options.with_on_error(OnError::Placeholder);
    assert!(context.snapshot().count_tokens(Provider::Gemini, &registry, &options).unwrap() > 256);
}

#[test]
fn an_image_that_cannot_be_scaled_names_its_ref_or_leaves_word() {
    let whole = png(1_600, 1_200);
    let (context, registry, options) = plain("image/png", whole[..whole.len() / 2].to_vec());
    let options = options.with_budget_tokens(300);
    let messages = |options: &MessageOptions| context.snapshot().to_messages(Provider::OpenAi, &registry, options);
    let error = messages(&options).unwrap_err();
    assert!(
        error
            .message()
            .starts_with(&format!("`{}`: cannot be read as", context.snapshot().iter().next().unwrap().ref_id())),
        "{error}"
    );
    let json = messages(&options.with_on_error(OnError::Placeholder)).unwrap().to_json();
    assert!(json[0]["content"][1]["text"].as_str().unwrap().starts_with("[not sent: cannot be read as"), "{json}");
}

#[test]
fn a_long_note_is_cut_when_nothing_else_is_left() {
    let (context, registry) = (Context::new(), EncoderRegistry::default());
    let note = Metadata::parse(&json!({"note": "word ".repeat(4_000)}).to_string()).unwrap();
    context.add(NewItem::text("short").with_metadata(note)).unwrap();
    let options = MessageOptions::default().with_budget_tokens(1_000);
    let json = context.snapshot().to_messages(Provider::OpenAi, &registry, &options).unwrap().to_json();
    let lead = json[0]["content"][0]["text"].as_str().unwrap();
    assert!(lead.starts_with("[ref=txt_") && lead.contains("[cut: the first "), "{lead}");
    assert!(lead.len() > 2_000 && json[0]["content"][1]["text"] == "short", "{json}");
}

/// An encoder of pages, each with its number before it.
#[derive(Debug)]
struct Scans(Vec<Vec<u8>>);

impl Encoder for Scans {
    fn name(&self) -> &'static str {
        "scans"
    }

    fn kind(&self) -> Kind {
        Kind::Image
    }

    fn options(&self) -> Option<&[&str]> {
        None
    }

    fn is_pure(&self) -> bool {
        false
    }

    fn encode(&self, _: &Source<'_>, _: &EncodeOptions) -> Result<Vec<Part>> {
        let page = |(number, image): (usize, &Vec<u8>)| {
            [Part::text(format!("page {}", number + 1)), Part::media(Media::new("image/png", image.clone()))]
        };
        Ok(self.0.iter().enumerate().flat_map(page).collect())
    }
}

#[test]
fn a_budget_leaves_out_the_last_pages_before_none_can_be_read() {
    let (context, registry) = (Context::new(), EncoderRegistry::default());
    context.add(NewItem::object(Picture(1, 1))).unwrap();
    registry.register(Arc::new(Scans(vec![png(640, 520); 4])));
    let options = MessageOptions::default().with_encoder(Kind::Image, "scans").with_budget_tokens(800);
    for provider in [Provider::OpenAi, Provider::Anthropic] {
        let messages = context.snapshot().to_messages(provider, &registry, &options).unwrap().to_json().to_string();
        assert!(context.snapshot().count_tokens(provider, &registry, &options).unwrap() <= 800);
        let images = messages.matches("iVBOR").count() + messages.matches("/9j/").count();
        assert!((1..4).contains(&images), "{provider:?}: {images}");
        let told = format!("[the last {} of 4 images left out to fit the budget of 800 tokens]", 4 - images);
        assert!(messages.contains(&told), "{provider:?}: {images}");
        assert_eq!(messages.matches("[scaled to 512×").count(), images, "{provider:?}");
        assert!(messages.contains("page 4") && !messages.contains("[scaled to 256×"), "{provider:?}");
    }
}

fn long_context() -> Context {
    let context = Context::sim(3);
    context.add(NewItem::text("Never cut this. ".repeat(20)).with_role(Role::System).unwrap()).unwrap();
    context.add(NewItem::object(Picture(1_000, 1_000))).unwrap();
    context.add(NewItem::text("old words ".repeat(400))).unwrap();
    context.add(NewItem::object(Picture(900, 900))).unwrap();
    context.add(NewItem::text("new words ".repeat(400))).unwrap();
    context
}

#[test]
fn a_budget_cuts_the_least_recent_first_and_says_so() {
    let context = long_context();
    let registry = EncoderRegistry::default();
    let fit = |tokens| {
        let options = MessageOptions::default().with_budget_tokens(tokens);
        let used = context.snapshot().count_tokens(Provider::OpenAi, &registry, &options)?;
        let messages = context.snapshot().to_messages(Provider::OpenAi, &registry, &options)?;
        assert!(used <= tokens, "{used} of {tokens}");
        Ok::<String, Error>(messages.to_json().to_string())
    };
    let all = context.snapshot().count_tokens(Provider::OpenAi, &registry, &MessageOptions::default()).unwrap();
    assert!(!fit(all).unwrap().contains("to fit the budget"));
    let told = fit(all - 400).unwrap();
    assert_eq!(told.matches("[scaled to 512×512 pixels to fit the budget of").count(), 1, "only the older image");
    assert!(!told.contains("[cut:"));
    let told = fit(all - 1_500).unwrap();
    assert!(told.contains("[cut: the first ") && told.contains(&"new words ".repeat(400)), "only the older text");
    let (mut refused, mut least) = (0, all);
    while least - refused > 8 {
        let middle = usize::midpoint(refused, least);
        if fit(middle).is_ok() { least = middle } else { refused = middle }
    }
    let told = fit(least).unwrap();
    assert!(told.contains(&"Never cut this. ".repeat(20)) && told.contains("items left out to fit"), "{least}: {told}");
    let told = fit(least + 70).unwrap();
    assert!(told.contains("[left out to fit") && !told.contains("items left out"), "{least}: {told}");
    let error = fit(least / 2).unwrap_err();
    assert_eq!((error.kind(), error.details().limit), (ErrorKind::Capacity, Some(least as u64 / 2)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_fits_is_not_more_than_the_budget(tokens in 150_usize..4_000, provider in 0_usize..4) {
        let (registry, provider) = (EncoderRegistry::default(), Provider::ALL[provider]);
        let texts = Context::sim(3);
        for index in 0..12 {
            texts.add(NewItem::text(format!("{index} ünïcödé 猫 ").repeat(30 * (index % 4 + 1)))).unwrap();
        }
        let options = MessageOptions::default().with_budget_tokens(tokens);
        match texts.snapshot().count_tokens(provider, &registry, &options) {
            Ok(used) => prop_assert!(used <= tokens),
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Capacity),
        }
    }
}

#[test]
fn a_rendering_is_ready_once_its_files_were_encoded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo.png");
    std::fs::write(&path, png(4, 4)).unwrap();
    let context = Context::sim(1);
    context.add(NewItem::text("A text.")).unwrap();
    context.add(NewItem::file(&path).unwrap()).unwrap();
    let (registry, options) = (EncoderRegistry::default(), MessageOptions::default());
    let rendering = || context.snapshot().rendering(Provider::Gemini, &registry, options.clone()).unwrap();
    assert!(!rendering().is_ready());
    let first = rendering().messages().unwrap();
    assert!(rendering().is_ready());
    assert_eq!(rendering().messages().unwrap(), first);
    let tight = options.clone().with_budget_tokens(10_000);
    assert!(!context.snapshot().rendering(Provider::Gemini, &registry, tight).unwrap().is_ready(), "it may be scaled");
    let long = Context::sim(2);
    long.add(NewItem::text("word ".repeat(400_000))).unwrap();
    let of_long = long.snapshot().rendering(Provider::Gemini, &registry, options.clone()).unwrap();
    assert!(!of_long.is_ready(), "somebody may want to interrupt it");
    std::fs::write(&path, png(5, 5)).unwrap();
    assert!(!rendering().is_ready());
    assert_ne!(rendering().messages().unwrap(), first);
}

#[test]
fn one_notice_stands_for_many_short_items() {
    let context = Context::sim(1);
    context.add(NewItem::text("Be terse.").with_role(Role::System).unwrap()).unwrap();
    let refs: Vec<_> = (0..200).map(|_| context.add(NewItem::text("ok")).unwrap()).collect();
    let (registry, options) = (EncoderRegistry::default(), MessageOptions::default());
    let snapshot = context.snapshot();
    let all = snapshot.count_tokens(Provider::OpenAi, &registry, &options).unwrap();
    for budget in [all - 1, all / 2, 120] {
        let options = options.clone().with_budget_tokens(budget);
        assert!(snapshot.count_tokens(Provider::OpenAi, &registry, &options).unwrap() <= budget);
        let told = snapshot.to_messages(Provider::OpenAi, &registry, &options).unwrap().to_json().to_string();
        assert!(
            told.contains(&format!("items left out to fit the budget of {budget} tokens: {} to ", refs[0])),
            "{told}"
        );
        assert!(told.contains("Be terse.") && told.contains(&refs[199].to_string()), "{told}");
        assert_eq!(told.matches(" items left out").count(), 1, "{told}");
    }
    let error = snapshot.count_tokens(Provider::OpenAi, &registry, &options.with_budget_tokens(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity);
}

#[test]
fn an_encoder_that_gives_nothing_is_an_error_and_one_of_another_kind_its_default() {
    #[derive(Debug)]
    struct Of(&'static str, Kind, bool);
    impl Encoder for Of {
        fn name(&self) -> &str {
            self.0
        }

        fn kind(&self) -> Kind {
            self.1
        }

        fn options(&self) -> Option<&[&str]> {
            Some(&[])
        }

        fn encode(&self, _: &Source<'_>, _: &EncodeOptions) -> Result<Vec<Part>> {
            Ok(if self.2 { vec![Part::text("seen")] } else { Vec::new() })
        }
    }
    let registry = EncoderRegistry::default();
    registry.register(Arc::new(Of("hex", Kind::Other, true)));
    registry.register(Arc::new(Of("nothing", Kind::Other, false)));
    let context = Context::sim(1);
    context.add(NewItem::bytes(vec![0, 1], "application/zip").unwrap()).unwrap();
    let render = |options| context.snapshot().to_messages(Provider::OpenAi, &registry, &options);
    assert!(render(MessageOptions::default()).unwrap().to_json().to_string().contains("seen"));
    let nothing = MessageOptions::default().with_encoder(Kind::Other, "nothing");
    assert!(render(nothing).unwrap_err().to_string().contains("gave nothing"));
}
