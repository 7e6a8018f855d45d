use super::*;
use crate::{
    ErrorKind,
    context::encode::fixtures::{docx, zipped},
};

#[test]
fn cells_stand_in_their_columns() {
    let cell = |text: &str, more: &str| format!("<table:table-cell {more}><text:p>{text}</text:p></table:table-cell>");
    let none = |times: u32| format!("<table:table-cell table:number-columns-repeated=\"{times}\"/>");
    let rows = [
        format!("{}{}{}{}", cell("A", ""), none(2), cell("D", ""), none(16_380)),
        format!("{}{}", cell("x", "table:number-columns-repeated=\"3\""), cell("y", "")),
        format!("{}<table:covered-table-cell/>{}", cell("wide", ""), cell("c", "")),
    ];
    let rows = rows.map(|row| format!("<table:table-row>{row}</table:table-row>")).concat();
    let ods = zipped(&[("content.xml", &format!("<o><table:table>{rows}</table:table></o>"))]);
    let expected = "| A |  |  | D |\n| --- | --- | --- | --- |\n| x | x | x | y |\n| wide |  | c |";
    assert_eq!(text_within(&ods, UNPACKED_BYTES).unwrap(), expected);
    let cells = r#"<c r="A1"><v>1</v></c><c r="C1"><v>3</v></c><c r="ZZ1"><v>9</v></c><c r="B1"><v>2</v></c>"#;
    assert_eq!(xlsx(cells, ""), "| 1 | 2 | 3 | [left out further right: 1] |");
}

fn xlsx(cells: &str, styles: &str) -> String {
    let file = zipped(&[
        ("xl/workbook.xml", r#"<workbook><sheet name="a" r:id="r"/></workbook>"#),
        ("xl/_rels/workbook.xml.rels", r#"<R><Relationship Id="r" Target="a.xml"/></R>"#),
        ("xl/styles.xml", &format!("<styleSheet>{styles}</styleSheet>")),
        ("xl/a.xml", &format!("<worksheet><row>{cells}</row></worksheet>")),
    ]);
    text_within(&file, UNPACKED_BYTES).unwrap().lines().nth(2).unwrap_or_default().to_owned()
}

#[test]
fn dates_are_shown_as_dates() {
    let styles = r#"<numFmts><numFmt numFmtId="164" formatCode="&quot;day&quot; dd/mm"/><numFmt numFmtId="165"
        formatCode="[Red]0.0&quot;m&quot;"/></numFmts><cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>
        <cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="164"/><xf numFmtId="165"/></cellXfs>"#;
    let cells = [(46_023.0, 0), (46_023.0, 1), (46_023.5, 2), (46_023.0, 3), (46_023.0, 4), (0.25, 2), (1.0, 1)]
        .map(|(value, style)| format!(r#"<c s="{style}"><v>{value}</v></c>"#))
        .concat();
    let expected = "| 46023 | 2026-01-01 | 2026-01-01 12:00:00 | 2026-01-01 | 46023 | 06:00:00 | 1900-01-01 |";
    assert_eq!(xlsx(&cells, styles), expected);
}

#[test]
fn a_document_is_unpacked_within_its_limit() {
    let file = docx(&" ".repeat(10_000));
    assert!(text_within(&file, 20_000).is_ok());
    let error = text_within(&file, 9_000).unwrap_err();
    assert_eq!((error.kind(), error.details().limit), (ErrorKind::Capacity, Some(9_000)));
    // A size in the directory that is too small does not help: what comes out is counted.
    let mut lying = file;
    let place = lying.windows(4).rposition(|mark| mark == b"PK\x01\x02").unwrap();
    lying[place + 24..place + 28].copy_from_slice(&10_u32.to_le_bytes());
    assert!(text_within(&lying, 9_000).is_err());
    let many: Vec<String> = (0..=FILES).map(|index| index.to_string()).collect();
    let files: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(text_within(&zipped(&files), 9_000).unwrap_err().kind(), ErrorKind::Capacity);
    let string = "x".repeat(1024 * 1024);
    let cells = r#"<c t="s"><v>0</v></c>"#.repeat(64);
    let cell = format!("<w:tc><w:p><w:t>{string}</w:t></w:p></w:tc>");
    let bombs = [
        zipped(&[
            ("xl/workbook.xml", r#"<workbook><sheet name="a" r:id="r"/></workbook>"#),
            ("xl/_rels/workbook.xml.rels", r#"<R><Relationship Id="r" Target="a.xml"/></R>"#),
            ("xl/sharedStrings.xml", &format!("<sst><si><t>{string}</t></si></sst>")),
            // The row never ends.
            ("xl/a.xml", &format!("<worksheet><row>{cells}</worksheet>")),
        ]),
        docx(&format!("<w:tbl><w:tr>{}</w:p>", cell.repeat(9))),
    ];
    for bomb in bombs {
        let error = text_within(&bomb, UNPACKED_BYTES).unwrap_err();
        assert_eq!(error.details().limit, Some(TEXT_BYTES as u64), "{error}");
    }
    let long = docx(&format!("<w:p><w:t>{}</w:t></w:p>", "x".repeat(TEXT_BYTES + 1)));
    assert_eq!(text_within(&long, UNPACKED_BYTES).unwrap_err().kind(), ErrorKind::Capacity);
}
