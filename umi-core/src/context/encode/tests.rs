use ::image::{DynamicImage, GenericImageView, GrayImage, ImageFormat, Luma, Rgb, RgbImage};

use super::{fixtures::*, *};
use crate::ErrorKind;

fn encode_with(kind: Kind, encoder: &str, media_type: &str, bytes: &[u8], options: &str) -> Result<Vec<Part>> {
    let registry = EncoderRegistry::default();
    let source = Source { name: "a.file", kind, media_type, content: Content::Bytes(bytes) };
    let options = EncodeOptions::parse(options).unwrap();
    let encoder = registry.find(kind, encoder)?;
    Ok(registry.encode(&source, &*encoder, &options)?.to_vec())
}

fn resize(bytes: &[u8], options: &str) -> Result<(String, DynamicImage)> {
    let parts = encode_with(Kind::Image, "resize", "image/x", bytes, options)?;
    let Some(Part::Media(media)) = parts.last() else { panic!("no image in {parts:?}") };
    let image = ::image::load_from_memory(&media.bytes).unwrap();
    assert_eq!(media.size, Some((image.width(), image.height())));
    Ok((media.media_type.clone(), image))
}

fn texts(parts: &[Part]) -> String {
    let texts = parts.iter().map(|part| match part {
        Part::Text(text) => text.to_string(),
        Part::Media(media) => format!("<{} {:?}>", media.media_type, media.size.unwrap_or_default()),
        Part::Link { url, .. } => url.to_string(),
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn images_of_every_format_keep_their_pixels_or_their_look() {
    let image = colorful(30, 20);
    for format in [ImageFormat::Png, ImageFormat::Gif, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP] {
        let (media_type, seen) = resize(&encoded(image.clone(), format), "{}").unwrap();
        assert_eq!(media_type, "image/png", "{format:?}");
        if format != ImageFormat::Gif {
            assert_eq!(seen.to_rgb8(), image, "{format:?}");
        }
    }
    let (media_type, seen) = resize(&encoded(image, ImageFormat::Jpeg), "{}").unwrap();
    assert_eq!((media_type.as_str(), seen.dimensions()), ("image/jpeg", (30, 20)));
    let (media_type, seen) = resize(&encoded(see_through(30, 20), ImageFormat::WebP), "{}").unwrap();
    assert_eq!((media_type.as_str(), seen.to_rgba8()), ("image/png", see_through(30, 20)));
}

#[test]
fn an_image_is_scaled_into_its_box_and_never_up() {
    assert_eq!(resize(&png(3_000, 20), "{}").unwrap().1.dimensions(), (1_024, 7));
    assert_eq!(resize(&png(30, 400), r#"{"max_width": 100}"#).unwrap().1.dimensions(), (8, 100));
    assert_eq!(resize(&png(3_000, 1), r#"{"max_width": 100}"#).unwrap().1.dimensions(), (100, 1));
    assert_eq!(resize(&png(30, 20), r#"{"max_width": 100}"#).unwrap().1.dimensions(), (30, 20));
    let alpha = resize(&encoded(see_through(200, 200), ImageFormat::Png), r#"{"max_width": 50}"#).unwrap().1.to_rgba8();
    assert_eq!(alpha.get_pixel(10, 10).0, [255, 0, 0, 255]);
    assert_eq!(alpha.get_pixel(40, 40).0[3], 0);
}

#[test]
fn a_photo_is_seen_as_its_camera_was_held() {
    // Where the first quarter of the picture is to be seen: right, down.
    let places = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0), (1, 0), (1, 1), (0, 1)];
    for (orientation, (right, down)) in (1..=8).zip(places) {
        for options in ["{}", r#"{"max_width": 20}"#] {
            let (_, seen) = resize(&photo(orientation), options).unwrap();
            let (width, height) = seen.dimensions();
            assert_eq!(width > height, orientation < 5, "{orientation}");
            let pixel = seen.get_pixel(width / 4 + width / 2 * right, height / 4 + height / 2 * down);
            assert!(pixel.0[0] > 180 && pixel.0[2] < 80, "{orientation} {options}: {pixel:?}");
        }
    }
}

#[test]
fn deep_gray_and_printed_images_are_read() {
    let deep = ::image::ImageBuffer::<Luma<u16>, _>::from_fn(4, 4, |x, _| Luma([x as u16 * 20_000]));
    let (_, seen) = resize(&encoded(deep, ImageFormat::Png), "{}").unwrap();
    assert_eq!(seen.to_luma8().get_pixel(2, 0).0, [156]);
    let deep = ::image::ImageBuffer::<Rgb<u16>, _>::from_pixel(4, 4, Rgb([65_535, 0, 32_768]));
    let (_, seen) = resize(&encoded(deep, ImageFormat::Tiff), "{}").unwrap();
    assert_eq!(seen.to_rgb8().get_pixel(0, 0).0, [255, 0, 128]);
    let gray = GrayImage::from_pixel(4, 4, Luma([77]));
    assert_eq!(resize(&encoded(gray.clone(), ImageFormat::Png), "{}").unwrap().1.to_luma8(), gray);
    let mut printed = Vec::new();
    let cyan: Vec<u8> = [255, 0, 0, 0].repeat(16 * 16);
    let encoder = jpeg_encoder::Encoder::new(&mut printed, 95);
    encoder.encode(&cyan, 16, 16, jpeg_encoder::ColorType::Cmyk).unwrap();
    let (_, seen) = resize(&printed, "{}").unwrap();
    let pixel = seen.to_rgb8().get_pixel(8, 8).0;
    assert!(pixel[0] < 60 && pixel[1] > 180 && pixel[2] > 180, "cyan, not {pixel:?}");
}

#[test]
fn of_an_animated_image_the_first_frame_is_shown_and_said() {
    let mut bytes = Vec::new();
    let mut encoder = ::image::codecs::gif::GifEncoder::new(&mut bytes);
    for color in [[255, 0, 0, 255], [0, 255, 0, 255]] {
        encoder.encode_frame(::image::Frame::new(::image::RgbaImage::from_pixel(8, 8, ::image::Rgba(color)))).unwrap();
    }
    drop(encoder);
    let parts = encode_with(Kind::Image, "resize", "image/gif", &bytes, "{}").unwrap();
    assert_eq!(texts(&parts), "[animated image: its first frame]\n<image/png (8, 8)>");
    assert_eq!(resize(&bytes, "{}").unwrap().1.to_rgb8().get_pixel(4, 4).0, [255, 0, 0]);
}

#[test]
fn a_cut_or_damaged_image_is_an_error() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Tiff, ImageFormat::Bmp] {
        let whole = encoded(colorful(300, 200), format);
        for end in [0, 3, 20, whole.len() / 2, whole.len() - whole.len() / 50] {
            let error = resize(&whole[..end], "{}").expect_err(&format!("{format:?} cut at {end}"));
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{format:?}: {error}");
        }
    }
    let error = resize(b"\0\0\0\x20ftypheic\0\0\0\0", "{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FeatureNotBuilt);
}

#[test]
fn an_image_that_would_take_too_much_memory_is_refused_before() {
    // The head of a PNG of 60,000 × 60,000 pixels, which has no data at all.
    let mut bomb = png(1, 1);
    bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    let crc = {
        let mut crc = flate2::Crc::new();
        crc.update(&bomb[12..29]);
        crc.sum()
    };
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    let error = resize(&bomb, "{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity, "{error}");
    assert_eq!(error.details().limit, Some(100_000_000));
    assert_eq!(error.details().requested, Some(3_600_000_000));
}

#[test]
fn tiles_cover_the_image_pixel_by_pixel() {
    let image = colorful(200, 130);
    let bytes = encoded(image.clone(), ImageFormat::Png);
    let parts = encode_with(Kind::Image, "tile", "image/png", &bytes, r#"{"max_width": 100}"#).unwrap();
    insta::assert_snapshot!(texts(&parts), @r"
    a.file, 200×130 pixels: an overview, then 4 tiles in 2 rows of 2:
    <image/png (100, 65)>
    <image/png (100, 65)>
    <image/png (100, 65)>
    <image/png (100, 65)>
    <image/png (100, 65)>
    ");
    let Part::Media(last) = &parts[5] else { panic!() };
    let last = ::image::load_from_memory(&last.bytes).unwrap().to_rgb8();
    assert_eq!(last, image.view(100, 65, 100, 65).to_image());
    let small = encode_with(Kind::Image, "tile", "image/png", &bytes, "{}").unwrap();
    assert_eq!(texts(&small), "<image/png (200, 130)>");
    let few = encode_with(Kind::Image, "tile", "image/png", &png(2_000, 64), r#"{"max_width": 64, "max_tiles": 4}"#);
    assert_eq!(few.unwrap().len(), 6);
    let thin = encode_with(Kind::Image, "tile", "image/png", &png(1, 20_000), "{}").unwrap();
    assert_eq!(texts(&thin).lines().last(), Some("<image/png (1, 1004)>"));
}

#[test]
fn a_drawing_is_rendered_and_reads_nothing_outside_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret.png");
    std::fs::write(&secret, encoded(RgbImage::from_pixel(9, 9, Rgb([0, 255, 0])), ImageFormat::Png)).unwrap();
    let drawing = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"><rect width="10" height="10" fill="#f00"/>
        <image x="10" width="10" height="10" href="{}"/></svg>"##,
        secret.display()
    );
    let (media_type, seen) = resize(drawing.as_bytes(), r#"{"max_width": 40}"#).unwrap();
    assert_eq!((media_type.as_str(), seen.dimensions()), ("image/png", (40, 20)));
    let seen = seen.to_rgba8();
    assert_eq!(seen.get_pixel(5, 10).0, [255, 0, 0, 255]);
    assert_eq!(seen.get_pixel(30, 10).0[3], 0, "the file outside is not read");
    assert!(resize(b"<svg><<<", "{}").unwrap_err().is_invalid_input());
}

#[test]
fn options_and_encoders_that_are_not_known_are_refused_with_those_that_are() {
    let error = encode_with(Kind::Image, "tyle", "image/png", &png(1, 1), "{}").unwrap_err();
    assert_eq!(error.to_string(), "unknown encoder `tyle` of kind `image` (known ones: resize, tile)");
    let error = resize(&png(1, 1), r#"{"max_with": 3}"#).unwrap_err();
    assert_eq!(error.to_string(), "encoder `resize`: unknown option `max_with` (known ones: max_width, quality)");
    assert!(resize(&png(1, 1), r#"{"quality": 101}"#).unwrap_err().to_string().contains("from 1 to 100"));
    assert!(encode_with(Kind::Other, "x", "a/b", b"", "{}").unwrap_err().to_string().contains("known ones: none"));
}

#[test]
fn text_is_fenced_whatever_is_in_it() {
    let text = |bytes: &[u8], options: &str| -> Result<String> {
        Ok(texts(&encode_with(Kind::Code, "text", "text/plain", bytes, options)?))
    };
    assert_eq!(text(b"fn main() {}\n", "{}").unwrap(), "a.file:\n```file\nfn main() {}\n```");
    assert_eq!(text(b"a ```` b", "{}").unwrap(), "a.file:\n`````file\na ```` b\n`````");
    assert_eq!(text(b"", "{}").unwrap(), "a.file:\n```file\n```");
    let cut = text("éééé".as_bytes(), r#"{"max_bytes": 5}"#).unwrap();
    assert_eq!(cut, "a.file:\n```file\néé\n```\n[cut: the first 4 of 8 bytes]");
    assert_eq!(text(b"\xef\xbb\xbfx", "{}").unwrap(), "a.file:\n```file\nx\n```");
    assert_eq!(text(b"\xff\xfex\0\xe9\0", "{}").unwrap(), "a.file:\n```file\nxé\n```");
    assert!(text(b"\xff\xfe\xfd", "{}").is_err());
    assert!(text(b"a\xffb", "{}").unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn pages_are_shown_and_told() {
    let file = pdf(&[&words(&["Hello World", "second line"]), &words(&["Page two"])], &[]);
    let parts = encode_with(Kind::Document, "rasterize", "application/pdf", &file, r#"{"max_width": 64}"#).unwrap();
    insta::assert_snapshot!(texts(&parts), @r"
    a.file, page 1 of 2:
    Hello World
    second line
    <image/jpeg (64, 32)>
    a.file, page 2 of 2:
    Page two
    <image/jpeg (64, 32)>
    ");
    let parts = encode_with(
        Kind::Document,
        "rasterize",
        "application/pdf",
        &file,
        r#"{"max_width": 64, "max_pages": 1, "text": false}"#,
    );
    insta::assert_snapshot!(texts(&parts.unwrap()), @r"
    a.file, page 1 of 2:
    <image/jpeg (64, 32)>
    a.file, page 2 of 2:
    Page two

    [a.file: pages 2 to 2 of 2 without their images]
    ");
    let parts = encode_with(Kind::Document, "native", "application/pdf", &file, "{}").unwrap();
    let [Part::Media(media)] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((media.pages, &*media.bytes), (Some(2), &file[..]));
}

#[test]
fn a_scanned_page_is_an_image_where_the_others_are_words() {
    let (page, image) = scanned();
    let file = pdf(&[&words(&["Words"]), page], &[&image]);
    let parts = encode_with(Kind::Document, "page-text", "application/pdf", &file, r#"{"max_width": 64}"#).unwrap();
    insta::assert_snapshot!(texts(&parts), @r"
    a.file, page 1 of 2:
    Words

    a.file, page 2 of 2:
    <image/jpeg (64, 32)>
    ");
    let Some(Part::Media(media)) = parts.last() else { panic!() };
    let seen = ::image::load_from_memory(&media.bytes).unwrap().to_rgb8();
    assert!(seen.get_pixel(8, 16).0[0] > 200 && seen.get_pixel(56, 16).0[2] > 200, "red, then blue");
}

#[test]
fn broken_and_locked_pdfs_are_refused() {
    let refused = |file: &[u8]| encode_with(Kind::Document, "rasterize", "application/pdf", file, "{}").unwrap_err();
    assert!(refused(b"%PDF-1.7\nnothing").is_invalid_input());
    assert!(refused(b"%PDF-1.7").is_invalid_input());
    let whole = String::from_utf8(pdf(&[&words(&["secret"])], &[])).unwrap();
    let zeros = "00".repeat(32);
    let handler = format!("/Encrypt << /Filter /Standard /V 1 /R 2 /O <{zeros}> /U <{zeros}> /P -4 >> /ID [<61> <61>]");
    let locked = whole.replace("/Root 1 0 R", &format!("/Root 1 0 R {handler}"));
    assert!(refused(locked.as_bytes()).to_string().contains("protected by a password"));
}

#[test]
fn the_text_of_office_documents_keeps_its_form() {
    let text = |bytes: &[u8]| texts(&encode_with(Kind::Document, "rasterize", "application/x", bytes, "{}").unwrap());
    let p = |text: &str| format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>");
    let cell = |text: &str| format!("<w:tc>{}</w:tc>", p(text));
    let body = format!(
        r#"<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>A &amp; B</w:t></w:r></w:p>{}
        <w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>one</w:t></w:r></w:p><w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>two</w:t></w:r></w:p>
        <w:tbl><w:tr>{}{}</w:tr><w:tr>{}{}</w:tr></w:tbl><w:p><w:r><w:delText>gone</w:delText></w:r></w:p>"#,
        p("Text&#x21;"),
        cell("h1"),
        cell("h|2"),
        cell("c1"),
        cell("c2")
    );
    insta::assert_snapshot!(text(&docx(&body)), @r"
    a.file:

    # A & B

    Text!

    - one
    - two

    | h1 | h\|2 |
    | --- | --- |
    | c1 | c2 |
    ");
    let relation = |id: &str, target: &str| format!(r#"<Relationship Id="{id}" Target="{target}"/>"#);
    let slide = |text: &str| format!("<p:sld><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:sld>");
    let pptx = zipped(&[
        ("ppt/presentation.xml", r#"<p:presentation><p:sldId r:id="r2"/><p:sldId r:id="r1"/></p:presentation>"#),
        (
            "ppt/_rels/presentation.xml.rels",
            &format!("<R>{}{}</R>", relation("r1", "slides/slide1.xml"), relation("r2", "slides/slide2.xml")),
        ),
        ("ppt/slides/slide1.xml", &slide("last")),
        ("ppt/slides/slide2.xml", &slide("first")),
        ("ppt/slides/_rels/slide2.xml.rels", &format!("<R>{}</R>", relation("n", "../notesSlides/notesSlide1.xml"))),
        ("ppt/notesSlides/notesSlide1.xml", &slide("say hello")),
    ]);
    insta::assert_snapshot!(text(&pptx), @r"
    a.file:

    ## Slide 1

    first

    Notes: say hello

    ## Slide 2

    last
    ");
    let xlsx = zipped(&[
        ("xl/workbook.xml", r#"<workbook><sheets><sheet name="Sales" r:id="r1"/></sheets></workbook>"#),
        ("xl/_rels/workbook.xml.rels", &format!("<R>{}</R>", relation("r1", "/xl/worksheets/sheet1.xml"))),
        ("xl/sharedStrings.xml", "<sst><si><t>name</t></si><si><r><t>a</t></r><r><t>b</t></r></si></sst>"),
        (
            "xl/worksheets/sheet1.xml",
            r#"<worksheet><row><c r="A1" t="s"><v>0</v></c><c r="C1"><v>3.5</v></c></row><row><c r="A2" t="s"><v>1</v></c>
            <c r="B2" t="b"><v>1</v></c><c r="C2" t="inlineStr"><is><t>x</t></is></c></row></worksheet>"#,
        ),
    ]);
    insta::assert_snapshot!(text(&xlsx), @r"
    a.file:

    ## Sales

    | name |  | 3.5 |
    | --- | --- | --- |
    | ab | TRUE | x |
    ");
    let odt = zipped(&[(
        "content.xml",
        r#"<o><text:h text:outline-level="2">Title</text:h><text:p>a<text:s/><text:span>b</text:span></text:p></o>"#,
    )]);
    assert_eq!(text(&odt), "a.file:\n\n## Title\n\na b");
}

#[test]
fn damaged_office_documents_are_refused() {
    let refused = |bytes: &[u8]| encode_with(Kind::Document, "page-text", "application/x", bytes, "{}").unwrap_err();
    for bytes in
        [&b"PK\x03\x04"[..], b"", b"\xd0\xcf\x11\xe0", b"{\\rtf1", &zipped(&[("a", "b")]), &docx("<w:p>")[..50]]
    {
        assert!(refused(bytes).is_invalid_input());
    }
    assert!(refused(&docx("<w:p></w:q>")).is_invalid_input());
}

#[test]
fn sound_is_sent_as_it_is() {
    let parts = encode_with(Kind::Audio, "native", "audio/wav", &wav(), "{}").unwrap();
    let [Part::Media(media)] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((media.media_type.as_str(), media.duration, &*media.bytes), ("audio/wav", Some(1.0), &wav()[..]));
    assert!(encode_with(Kind::Audio, "native", "audio/wav", b"RIFFxxxxWAVE", "{}").is_err());
    let error = encode_with(Kind::Audio, "native", "audio/wav", &wav(), r#"{"max_bytes": 100}"#).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity);
}

#[test]
fn what_was_encoded_is_kept_until_an_encoder_takes_its_place() {
    #[derive(Debug)]
    struct Loud;
    impl Encoder for Loud {
        fn name(&self) -> &'static str {
            "text"
        }
        fn kind(&self) -> Kind {
            Kind::Text
        }
        fn options(&self) -> Option<&[&str]> {
            None
        }
        fn encode(&self, source: &Source<'_>, _: &EncodeOptions) -> Result<Vec<Part>> {
            Ok(vec![Part::text(source.name.to_uppercase())])
        }
    }
    let registry = EncoderRegistry::default();
    let source = Source { name: "a", kind: Kind::Text, media_type: "text/plain", content: Content::Bytes(b"x") };
    let options = EncodeOptions::default();
    let encode = || {
        let encoder = registry.find(Kind::Text, "text").unwrap();
        registry.encode(&source, &*encoder, &options).unwrap()
    };
    let first = encode();
    assert!(Arc::ptr_eq(&first, &encode()));
    assert!(registry.cache_bytes().0 > 0);
    registry.register(Arc::new(Loud));
    assert_eq!(texts(&encode()), "A");
    assert_eq!(registry.list(Some(Kind::Text)), [(Kind::Text, "text".to_owned())]);
    registry.set_cache_bytes(0);
    assert_eq!(registry.cache_bytes(), (0, 0));
}
