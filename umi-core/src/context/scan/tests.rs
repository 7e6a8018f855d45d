use std::{ffi::OsStr, os::unix::fs::symlink};

use arrow_schema::DataType;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn scan(folder: &TempDir) -> Scan {
    Scan::open(folder.path(), &ScanOptions::new()).unwrap()
}

fn paths(scan: &Scan) -> Vec<String> {
    scan.entries().iter().map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn asked(scan: &Scan, query: &str, parameters: Vec<SqlValue>) -> Result<Table> {
    let parameters = if parameters.is_empty() { SqlParameters::None } else { SqlParameters::InOrder(parameters) };
    scan.sql(query, &parameters, || false)
}

#[test]
fn ignored_and_hidden_files_are_left_out_and_the_order_is_that_of_bytes() {
    let all = folder(&[
        (".gitignore", b"*.log\nbuild/\n!keep.log\n"),
        ("a.txt", b""),
        ("a/b.txt", b""),
        ("a/x.log", b""),
        ("a/keep.log", b""),
        ("build/out.txt", b""),
        (".hidden/x.txt", b""),
        ("Z.txt", b""),
    ]);
    assert_eq!(paths(&scan(&all)), ["Z.txt", "a.txt", "a/b.txt", "a/keep.log"]);
    let options = ScanOptions::new().with_no_ignore(true);
    let unignored = Scan::open(all.path(), &options).unwrap();
    assert_eq!(paths(&unignored), ["Z.txt", "a.txt", "a/b.txt", "a/keep.log", "a/x.log", "build/out.txt"]);
}

#[test]
fn rules_above_the_root_count_within_a_repository_alone() {
    let all = folder(&[
        (".gitignore", b"*\n"),
        ("project/.gitignore", b"*.log\n"),
        ("project/src/a.rs", b""),
        ("project/src/b.log", b""),
    ]);
    let source = all.path().join("project/src");
    let found = || paths(&Scan::open(&source, &ScanOptions::new()).unwrap());
    assert_eq!(found(), ["a.rs", "b.log"], "no repository");
    fs::create_dir(all.path().join("project/.git")).unwrap();
    assert_eq!(found(), ["a.rs"], "up to the root of the repository and no further");
}

#[test]
fn links_are_counted_and_not_followed() {
    let all = folder(&[("a/b.txt", b"")]);
    symlink(all.path(), all.path().join("a/loop")).unwrap();
    symlink("b.txt", all.path().join("a/link.txt")).unwrap();
    symlink("nowhere", all.path().join("broken")).unwrap();
    let found = scan(&all);
    assert_eq!((paths(&found), found.links(), found.errors().len()), (vec!["a/b.txt".to_owned()], 3, 0));
}

#[test]
fn a_root_is_a_folder_or_a_file_that_is_there() {
    let all = folder(&[("a/b.txt", b"one")]);
    let file = Scan::open(all.path().join("a/b.txt"), &ScanOptions::new()).unwrap();
    assert_eq!((paths(&file), file.text("b.txt".as_ref()).unwrap()), (vec!["b.txt".to_owned()], "one".to_owned()));
    let missing = Scan::open(all.path().join("c"), &ScanOptions::new()).unwrap_err();
    assert_eq!((missing.kind(), missing.details().errno), (ErrorKind::File, Some(2)));
    assert!(Scan::open("", &ScanOptions::new()).unwrap_err().is_invalid_input());
    assert!(Scan::open("/dev/null", &ScanOptions::new()).unwrap_err().is_invalid_input());
}

#[test]
fn names_that_are_not_unicode_are_found() {
    let all = folder(&[]);
    let name = OsStr::from_bytes(b"caf\xe9.txt");
    fs::write(all.path().join(name), "one").unwrap();
    let found = scan(&all);
    assert_eq!(found.text(name.as_ref()).unwrap(), "one");
    assert_eq!(found.text("caf\u{fffd}.txt".as_ref()).unwrap(), "one");
    fs::write(all.path().join(OsStr::from_bytes(b"caf\xea.txt")), "two").unwrap();
    let found = scan(&all);
    assert!(found.text("caf\u{fffd}.txt".as_ref()).is_err(), "two are shown so");
    assert_eq!(asked(&found, "SELECT path FROM files", vec![]).unwrap().num_rows(), 2);
}

#[test]
fn refs_follow_from_session_and_path() {
    let all = folder(&[("a.txt", b""), ("b.png", &png(2, 3))]);
    let options = ScanOptions::new().with_session("s").unwrap();
    let refs = |options: &ScanOptions| {
        let scan = Scan::open(all.path(), options).unwrap();
        scan.entries().iter().map(|entry| entry.ref_id()).collect::<Vec<_>>()
    };
    let first = refs(&options);
    assert_eq!(refs(&options), first);
    assert_ne!(refs(&ScanOptions::new()), first);
    let found = Scan::open(all.path(), &options).unwrap();
    assert_eq!(found.get(&format!("s/{}", first[1])).unwrap().dimensions(), Some((2, 3)));
    assert_eq!(found.get("txt_zzzzzz").unwrap_err().kind(), ErrorKind::RefNotFound);
    assert!(found.get(&format!("t/{}", first[1])).unwrap_err().is_invalid_input());
    let context = found.to_context().unwrap();
    assert_eq!((context.len(), context.session_id()), (2, "s"));
    assert_eq!(context.get(&first[0].to_string()).unwrap().kind(), Kind::Text);
}

#[test]
fn refs_that_meet_are_told_apart() {
    let all = folder(&[]);
    for number in 0..6_000 {
        fs::write(all.path().join(format!("{number}.txt")), "").unwrap();
    }
    let found = scan(&all);
    let distinct: std::collections::BTreeSet<RefId> = found.entries().iter().map(|entry| entry.ref_id()).collect();
    assert_eq!(distinct.len(), 6_000);
}

#[test]
fn texts_are_read_whole_from_the_beginning_and_from_the_end() {
    let lines = (0..50_000).map(|number| format!("line {number}\n")).collect::<Vec<_>>().concat();
    let all = folder(&[("a.txt", lines.as_bytes()), ("b.txt", b"one\ntwo"), ("c.bin", b"x\0y"), ("empty", b"")]);
    let found = scan(&all);
    let path = |name: &'static str| Path::new(name);
    assert_eq!(found.text(path("a.txt")).unwrap(), lines);
    assert_eq!(found.head(path("a.txt"), 2).unwrap(), "line 0\nline 1\n");
    assert_eq!(found.tail(path("a.txt"), 2).unwrap(), "line 49998\nline 49999\n");
    assert_eq!(found.tail(path("a.txt"), 40_000).unwrap().lines().count(), 40_000);
    assert_eq!(found.tail(path("a.txt"), 60_000).unwrap(), lines);
    assert_eq!(found.tail(path("b.txt"), 1).unwrap(), "two");
    assert_eq!(
        (found.head(path("b.txt"), 0).unwrap(), found.tail(path("b.txt"), 0).unwrap()),
        (String::new(), String::new())
    );
    assert_eq!(found.tail(path("empty"), 3).unwrap(), "");
    assert!(found.text(path("c.bin")).unwrap_err().is_invalid_input());
    for outside in ["../a.txt", "/etc/passwd", "x.txt"] {
        let error = found.text(path(outside)).unwrap_err();
        assert_eq!((error.kind(), error.details().errno), (ErrorKind::File, Some(2)), "{outside}");
    }
    let absolute = fs::canonicalize(all.path()).unwrap().join("./b.txt");
    assert_eq!(found.text(&absolute).unwrap(), "one\ntwo");
    fs::remove_file(all.path().join("b.txt")).unwrap();
    assert_eq!(found.text(path("b.txt")).unwrap_err().details().errno, Some(2));
}

#[test]
fn a_search_leaves_out_what_is_binary_and_says_what_it_could_not_read() {
    let mut long = vec![b'x'; 3 * 1024 * 1024];
    long.extend(b"needle\nneedle\r\n");
    let all = folder(&[
        ("a.txt", b"one needle\nnone\nNeedle\n"),
        ("b.bin", b"\0needle\n"),
        ("c.txt", b"needle \xff"),
        ("gone.txt", b"needle"),
        ("long.txt", &long),
    ]);
    let found = scan(&all);
    fs::remove_file(all.path().join("gone.txt")).unwrap();
    let results = found.grep("needle", GrepOptions::new()).unwrap();
    let lines: Vec<_> = results
        .matches
        .iter()
        .map(|found| (found.entry.path().to_str().unwrap(), found.line_number, &*found.line))
        .collect();
    assert_eq!(lines, [("a.txt", 1, "one needle"), ("c.txt", 1, "needle \u{fffd}"), ("long.txt", 2, "needle")]);
    let names: Vec<_> = results.errors.iter().map(|error| error.details().filename.clone().unwrap()).collect();
    assert!(names.len() == 2 && names[0].ends_with("gone.txt") && names[1].ends_with("long.txt"), "{names:?}");
    let limited = found.grep("needle", GrepOptions::new().with_ignore_case(true).with_limit(2)).unwrap();
    assert_eq!(limited.matches.iter().map(|found| found.line_number).collect::<Vec<_>>(), [1, 3]);
    assert!(found.grep("(", GrepOptions::new()).unwrap_err().is_invalid_input());
    assert!(found.grep("((a{900}){900}){900}", GrepOptions::new()).unwrap_err().is_invalid_input());
}

#[test]
fn a_table_has_the_same_types_after_a_filter_and_when_it_is_empty() {
    let all = folder(&[("a/b.PNG", &png(640, 480)), ("c.json", b"{}"), ("d.db", b"")]);
    let found = scan(&all);
    let table = found.to_arrow(true).unwrap();
    let names: Vec<&str> = table.column_names().collect();
    assert_eq!(names, [&COLUMNS[..], &REF_COLUMNS].concat());
    let rows: Vec<Vec<Cell<'_>>> = table.rows().collect();
    assert_eq!(
        rows[0][..5],
        [Cell::Text("a/b.PNG"), Cell::Text("b.PNG"), Cell::Text("b"), Cell::Text(".png"), Cell::Integer(33)]
    );
    assert_eq!(
        rows[0][7..14],
        [
            Cell::Text("image/png"),
            Cell::Text("image"),
            Cell::Truth(true),
            Cell::Integer(1),
            Cell::Text("a"),
            Cell::Integer(640),
            Cell::Integer(480)
        ]
    );
    assert_eq!((rows[1][9], rows[1][12], rows[2][9]), (Cell::Truth(false), Cell::Null, Cell::Truth(true)));
    let none = found.filter(&FileFilter::new().with_min_size(u64::MAX));
    assert_eq!(none.to_arrow(true).unwrap().schema(), table.schema());
    assert_eq!(asked(&none, "SELECT * FROM files", vec![]).unwrap().schema().field(4).data_type(), &DataType::UInt64);
}

#[test]
fn a_query_reads_and_does_nothing_else() {
    let all = folder(&[("a.txt", b"one"), ("b.rs", b"fn main() {}")]);
    let found = scan(&all);
    let target = all.path().join("written.db");
    let attach = format!("ATTACH '{}' AS x", target.display());
    let vacuum = format!("VACUUM INTO '{}'", target.display());
    for query in [
        "DELETE FROM files",
        "UPDATE files SET size = 0",
        "INSERT INTO files (path) VALUES ('x')",
        "DROP TABLE files",
        "CREATE TABLE t (x)",
        "CREATE TEMP TABLE t (x)",
        "PRAGMA temp_store = FILE",
        "SELECT * FROM pragma_database_list",
        "BEGIN",
        "SAVEPOINT x",
        "SELECT load_extension('x')",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE files",
        "SELECT * FROM nowhere",
        "SELECT hex(zeroblob(100000000))",
        "",
        "-- nothing",
        "SELECT\0",
        &attach,
        &vacuum,
    ] {
        assert!(asked(&found, query, vec![]).unwrap_err().is_invalid_input(), "{query}");
    }
    assert!(!target.exists());
    assert_eq!(asked(&found, "SELECT count(*) FROM files;  -- all", vec![]).unwrap().num_rows(), 1);
    assert!(found.sql("SELECT 1", &SqlParameters::None, || true).is_ok(), "over before it is asked");
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n";
    assert!(found.sql(endless, &SqlParameters::None, || true).unwrap_err().is_invalid_input());
    let large = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT zeroblob(1000000) FROM n";
    assert_eq!(asked(&found, large, vec![]).unwrap_err().kind(), ErrorKind::Capacity);
}

#[test]
fn a_column_of_a_result_has_the_type_of_its_values() {
    let found = scan(&folder(&[("a.txt", b"one")]));
    let query = "SELECT size, modified, is_binary, count(*), 1.5, 'x', x'00', NULL, max(modified) FROM files";
    let table = asked(&found, query, vec![]).unwrap();
    let types: Vec<&DataType> = table.schema().fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(
        types,
        [
            &DataType::UInt64,
            &table::TIME,
            &DataType::Boolean,
            &DataType::Int64,
            &DataType::Float64,
            &DataType::Utf8,
            &DataType::Binary,
            &DataType::Null,
            &DataType::Int64,
        ]
    );
    let mixed = asked(&found, "SELECT 1 AS x UNION ALL SELECT 'a' UNION ALL SELECT NULL", vec![]).unwrap();
    assert_eq!(mixed.rows().collect::<Vec<_>>(), [[Cell::Text("1")], [Cell::Text("a")], [Cell::Null]]);
    let named = SqlParameters::Named(vec![("kind".into(), SqlValue::Text("text".into()))]);
    assert_eq!(found.sql("SELECT 1 FROM files WHERE kind = :kind", &named, || false).unwrap().num_rows(), 1);
    assert!(found.sql("SELECT ?", &named, || false).is_err());
    assert!(asked(&found, "SELECT ?", vec![]).is_err());
    assert!(asked(&found, "SELECT 1", vec![SqlValue::Null]).is_err());
}

#[test]
fn more_rows_than_a_batch_holds_are_several() {
    let found = scan(&folder(&[("a.txt", b"one")]));
    let query = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 70000) SELECT x FROM n";
    let table = asked(&found, query, vec![]).unwrap();
    assert_eq!(
        table.batches().iter().map(arrow_array::RecordBatch::num_rows).collect::<Vec<_>>(),
        [BATCH_ROWS, 70_000 - BATCH_ROWS]
    );
    assert_eq!(table.rows().last().unwrap(), [Cell::Integer(70_000)]);
}

#[test]
fn what_is_shown_is_one_line_a_file() {
    let found = scan(&folder(&[("a\nb.txt", b"one"), ("c|d.rs", b""), ("e.txt", b"")]));
    let shown = found.show(2, Some(&["path", "size"]), true).unwrap();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 5, "{shown}");
    assert!(
        lines[2].starts_with("| a b.txt |") && lines[3].starts_with("| c\\|d.rs ") && lines[4] == "and 1 more",
        "{shown}"
    );
    assert!(found.show(2, Some(&["path; DROP"]), false).unwrap_err().is_invalid_input());
    assert!(found.info().contains("files:   3 (3 B)"), "{}", found.info());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_header_of_an_image_never_ends_a_scan(start in 0..7_usize, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let starts: [(&str, &[u8]); 7] = [
            ("a.png", b"\x89PNG\r\n\x1a\n"), ("a.jpg", b"\xff\xd8\xff\xe0"), ("a.gif", b"GIF89a"), ("a.webp", b"RIFF\xff\xff\xff\xffWEBPVP8X"),
            ("a.tiff", b"II*\0"), ("a.heic", b"\0\0\0\x18ftypheic"), ("a.jxl", b"\xff\x0a"),
        ];
        let (name, magic) = starts[start];
        let bytes = [magic, &rest].concat();
        prop_assert_eq!(scan(&folder(&[(name, &bytes)])).len(), 1);
    }
}
