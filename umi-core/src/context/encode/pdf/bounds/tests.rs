use std::io::Write;

use super::{super::PdfFile, *};
use crate::{
    ErrorKind,
    context::encode::fixtures::{pdf, words},
};

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn part(description: &str, data: &[u8]) -> Vec<u8> {
    let head = format!("<< {description} /Length {} >>\nstream\n", data.len());
    [head.as_bytes(), data, b"\nendstream"].concat()
}

fn image(description: &str, data: &[u8]) -> Vec<u8> {
    part(&format!("/Type /XObject /Subtype /Image /ColorSpace /DeviceGray /BitsPerComponent 8 {description}"), data)
}

/// The limit that a PDF with this image on its page is refused by.
fn refused(image: &[u8]) -> Option<u64> {
    let file = pdf(&["q 200 0 0 100 0 0 cm /Im1 Do Q"], &[image]);
    let error = PdfFile::open(file).and_then(|file| file.render(0, 64)).err()?;
    assert_eq!(error.kind(), ErrorKind::Capacity, "{error}");
    error.details().limit
}

#[test]
fn a_swollen_part_is_found_without_being_kept() {
    let swollen = part("/Filter /FlateDecode", &packed(&vec![0; 300_000]));
    let file = pdf(&["/Im1 Do", "stream\nno packed one"], &[&swollen]);
    assert!(check_bytes(&file, 300_000).is_ok());
    let error = check_bytes(&file, 299_999).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Capacity, "{error}");
    for end in (0..file.len()).step_by(101) {
        drop(check_bytes(&file[..end], 299_999));
    }
    let opened = Pdf::new(file).unwrap();
    assert!(check_objects(&opened, 300_000).is_ok());
    assert!(check_objects(&opened, 299_999).is_err());
}

#[test]
fn a_part_that_is_packed_twice_is_refused_however_it_is_written() {
    let twice = packed(&packed(&vec![0; 1_000_000]));
    let hex = packed(&vec![0; 300_000]).iter().map(|byte| format!("{byte:02x} ")).collect::<Vec<_>>().concat();
    for (filters, data) in [
        ("/Filter [/FlateDecode /FlateDecode]", twice.as_slice()),
        ("/F#69lter [ /Fl#61teDecode %]\n/FlateDecode]", &twice),
        ("/Filter [/ASCIIHexDecode /FlateDecode]", hex.as_bytes()),
    ] {
        let file = pdf(&["/Im1 Do"], &[&part(filters, data)]);
        assert!(check_bytes(&file, 299_999).is_err(), "{filters}");
        assert!(check_objects(&Pdf::new(file).unwrap(), 299_999).is_err(), "{filters}");
    }
    let file = pdf(&["/Im1 Do"], &[&part("/Filter [/ASCIIHexDecode /FlateDecode]", hex.as_bytes())]);
    assert!(check_bytes(&file, 300_000).is_ok());
    // Where the filters are named elsewhere, the bytes alone do not tell.
    let elsewhere = pdf(&["/Im1 Do"], &[&part("/Filter 11 0 R", &twice), b"[/FlateDecode /FlateDecode]"]);
    assert_eq!(check_objects(&Pdf::new(elsewhere).unwrap(), STREAM_BYTES).unwrap_err().details().limit, Some(1));
}

#[test]
fn what_is_packed_in_older_ways_is_measured() {
    assert_eq!(run_length_size(&[4, 10, 11, 12, 13, 14, 253, 3, 128, 7]), 9);
    // The example of the specification.
    assert_eq!(lzw_size(&[0x80, 0x0b, 0x60, 0x50, 0x22, 0x0c, 0x0c, 0x85, 0x01]), 10);
    assert_eq!(from_hex(b"6 16>62"), b"aa"[..1].iter().copied().chain([0x60]).collect::<Vec<_>>());
    assert_eq!(from_ascii_85(b"87cURD]i,\"Ebo80~>"), b"Hello World!");
    let runs = [129, 0].repeat(10_000);
    let file = pdf(&["/Im1 Do"], &[&part("/Filter /RunLengthDecode", &runs)]);
    let opened = Pdf::new(file).unwrap();
    assert!(check_objects(&opened, 1_280_000).is_ok());
    assert!(check_objects(&opened, 1_279_999).is_err());
}

#[test]
fn images_of_too_many_pixels_are_refused_before_they_are_decoded() {
    let fax = "/Filter /CCITTFaxDecode /DecodeParms << /K -1 /Columns 40000 /Rows 40000 >>";
    assert_eq!(refused(&image(&format!("/Width 40000 /Height 40000 {fax}"), &[0; 64])), Some(IMAGE_PIXELS as u64));
    assert_eq!(refused(&image(&format!("/Width 4 /Height 40000 {fax}"), &[0; 64])), Some(IMAGE_PIXELS as u64));
    let fax = image("/Width 1 /Height 90000000 /Filter /CCITTFaxDecode", &[0; 64]);
    assert_eq!(refused(&fax), Some(IMAGE_PIXELS as u64));
    let jpeg = b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00";
    assert_eq!(refused(&image("/Width 4 /Height 4 /Filter /DCTDecode", jpeg)), Some(IMAGE_PIXELS as u64));
    let filters = "/Filter [/FlateDecode /DCTDecode]";
    assert_eq!(refused(&image(&format!("/Width 4 /Height 4 {filters}"), &packed(jpeg))), Some(IMAGE_PIXELS as u64));
    let mut stream = b"\xff\x4f\xff\x51\x00\x29\x00\x00".to_vec();
    stream.extend([0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(refused(&image("/Width 4 /Height 4 /Filter /JPXDecode", &stream)), Some(IMAGE_PIXELS as u64));
    let page = [&b"\0\0\0\0\x30\0\x01\0\0\0\x13"[..], &[0, 1, 0, 0, 0, 1, 0, 0], &[0; 11]].concat();
    assert_eq!(refused(&image("/Width 4 /Height 4 /Filter /JBIG2Decode", &page)), Some(IMAGE_PIXELS as u64));
    assert_eq!(refused(&image("/Width 2 /Height 1", &[0, 255])), None);
    let inline = pdf(&["q BI /W 40000 /H 40000 /BPC 1 /CS /G /F /CCF ID 0000 EI Q"], &[]);
    let error = PdfFile::open(inline).unwrap().render(0, 64).unwrap_err();
    assert_eq!(error.details().limit, Some(IMAGE_PIXELS as u64), "{error}");
}

#[test]
fn forms_that_draw_forms_without_end_are_given_up() {
    let objects: Vec<Vec<u8>> = (10..19)
        .map(|number| {
            let inner = format!("/Resources << /XObject << /A {} 0 R >> >>", number + 1);
            part(&format!("/Subtype /Form /BBox [0 0 9 9] {inner}"), "/A Do ".repeat(10).as_bytes())
        })
        .chain([part("/Subtype /Form /BBox [0 0 9 9]", b"0 0 1 1 re f")])
        .collect();
    let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
    let file = PdfFile::open(pdf(&["/Im1 Do"], &objects)).unwrap();
    let page = file.page(0).unwrap();
    let counted = super::super::guarded("a page", || {
        file.count(page, 2_000);
        Ok(())
    });
    let error = counted.unwrap_err();
    assert_eq!((error.kind(), error.details().limit), (ErrorKind::Capacity, Some(2_000)), "{error}");
}

#[test]
fn the_cells_of_a_pattern_are_counted_as_often_as_they_are_drawn() {
    let pattern =
        "/PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 900 900] /XStep 0.5 /YStep 0.5 /Resources << >>";
    let tiles = part(pattern, b"0 0 1 1 re f");
    let form = part(
        "/Subtype /Form /BBox [0 0 200 100] /Resources << /Pattern << /P 11 0 R >> >>",
        b"/Pattern cs /P scn 0 0 100 100 re f",
    );
    let error = PdfFile::open(pdf(&["/Im1 Do"], &[&form, &tiles])).unwrap().render(0, 64).unwrap_err();
    assert_eq!(error.details().limit, Some(OPERATIONS as u64), "{error}");
    let page = words(&["as many letters as a page has"]);
    assert!(PdfFile::open(pdf(&[&page], &[])).unwrap().render(0, 64).is_ok());
}
