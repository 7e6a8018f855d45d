//! Files that tests are made of.

use std::io::{Cursor, Write};

use image::{DynamicImage, ImageFormat, RgbImage, RgbaImage};

/// An image whose pixels are all different.
pub(in crate::context) fn colorful(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([(x * 7 % 256) as u8, (y * 11 % 256) as u8, ((x ^ y) % 256) as u8])
    })
}

/// An image in a format.
pub(in crate::context) fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(in crate::context) fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(colorful(width, height), ImageFormat::Png)
}

/// An image whose left upper quarter is opaque and red, the rest of which can be seen through.
pub(in crate::context) fn see_through(width: u32, height: u32) -> RgbaImage {
    RgbaImage::from_fn(width, height, |x, y| {
        if x < width / 2 && y < height / 2 { image::Rgba([255, 0, 0, 255]) } else { image::Rgba([0, 0, 255, 0]) }
    })
}

/// A JPEG of a camera that was held so that its picture has to be turned, 40 × 20, its first quarter red.
pub(in crate::context) fn photo(orientation: u8) -> Vec<u8> {
    let image =
        RgbImage::from_fn(
            40,
            20,
            |x, y| if x < 20 && y < 10 { image::Rgb([250, 0, 0]) } else { image::Rgb([0, 0, 250]) },
        );
    // A directory of one entry in the order of bytes of Intel: tag 0x0112, type 3, one value.
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, 95);
    encoder.add_exif_metadata(&exif).unwrap();
    encoder.encode(image.as_raw(), 40, 20, jpeg_encoder::ColorType::Rgb).unwrap();
    bytes
}

/// A PDF of pages with these contents, 200 × 100 points each. Objects from 10 on are `others`.
pub(in crate::context) fn pdf(contents: &[&str], others: &[&[u8]]) -> Vec<u8> {
    let kids: Vec<String> = (0..contents.len()).map(|index| format!("{} 0 R", 100 + index * 2)).collect();
    let mut objects: Vec<(usize, Vec<u8>)> = vec![
        (1, b"<< /Type /Catalog /Pages 2 0 R >>".to_vec()),
        (2, format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), kids.len()).into_bytes()),
        (3, b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec()),
    ];
    objects.extend(others.iter().enumerate().map(|(index, other)| (10 + index, other.to_vec())));
    for (index, content) in contents.iter().enumerate() {
        let resources = "/Font << /F1 3 0 R >> /XObject << /Im1 10 0 R >>";
        let page = format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Resources << {resources} >> /Contents {} 0 R >>",
            101 + index * 2
        );
        objects.push((100 + index * 2, page.into_bytes()));
        let stream = format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len());
        objects.push((101 + index * 2, stream.into_bytes()));
    }
    let mut bytes = b"%PDF-1.7\n".to_vec();
    let mut places = Vec::new();
    for (number, object) in &objects {
        places.push((*number, bytes.len()));
        writeln!(bytes, "{number} 0 obj").unwrap();
        bytes.extend(object);
        bytes.extend(b"\nendobj\n");
    }
    let start = bytes.len();
    bytes.extend(b"xref\n0 1\n0000000000 65535 f \n");
    for (number, place) in places {
        write!(bytes, "{number} 1\n{place:010} 00000 n \n").unwrap();
    }
    write!(bytes, "trailer\n<< /Size 1000 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").unwrap();
    bytes
}

/// A page of words.
pub(in crate::context) fn words(lines: &[&str]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("({line}) Tj T*")).collect();
    format!("BT /F1 12 Tf 14 TL 10 80 Td {} ET", lines.join(" "))
}

/// A page that is an image alone, and the image: what a scanner makes.
pub(in crate::context) fn scanned() -> (&'static str, Vec<u8>) {
    let head = "<< /Type /XObject /Subtype /Image /Width 2 /Height 1 /ColorSpace /DeviceRGB /BitsPerComponent 8";
    let mut image = format!("{head} /Length 6 >>\nstream\n").into_bytes();
    image.extend([255, 0, 0, 0, 0, 255]);
    image.extend(b"\nendstream");
    ("q 200 0 0 100 0 0 cm /Im1 Do Q", image)
}

/// A zip of files.
pub(in crate::context) fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A docx of a body.
pub(in crate::context) fn docx(body: &str) -> Vec<u8> {
    zipped(&[("word/document.xml", &format!("<w:document xmlns:w=\"w\"><w:body>{body}</w:body></w:document>"))])
}

/// A second of silence, 8,000 samples of 16 bits.
pub(in crate::context) fn wav() -> Vec<u8> {
    let mut bytes = b"RIFF".to_vec();
    bytes.extend(16_036_u32.to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(8_000_u32.to_le_bytes());
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(vec![0; 16_000]);
    bytes
}
