//! Parquet tables made to do harm: each is a named error within little memory and time.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::fixtures::BankSpec;
use crate::parquet_file::{ParquetFile, Thrift, varint};
use crate::support::program::{PROGRAM, text};

const KIB: u64 = 1_500_000;
const SECS: u64 = 20;

/// The message that the program leaves of a list of images.
fn message(list: &Path) -> String {
    let pipeline = list.with_file_name("p.toml");
    let name = list.file_name().unwrap().to_str().unwrap();
    fs::write(&pipeline, format!("[dataset]\nkind = \"list\"\npath = \"{name}\"\n")).unwrap();
    let limited = format!("ulimit -v {KIB}; ulimit -t {SECS}; exec \"$0\" \"$@\"");
    let pipeline = pipeline.to_str().unwrap();
    let output = Command::new("sh")
        .args(["-c", &limited, PROGRAM, "-q", "dataset", "stats", pipeline])
        .output()
        .unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

fn endless(kind: u8) -> Thrift {
    Thrift::Raw(9, [vec![0xf0 | kind], varint(i32::MAX as u64)].concat())
}

/// A change of a table's first chunk of labels, its pages, and its footer.
type Harm = fn(&mut ParquetFile, &mut Vec<fn(&mut Thrift)>);

fn label(footer: &mut Thrift) -> &mut Thrift {
    &mut footer.at(4).list()[0].at(1).list()[3]
}

#[test]
fn hostile_tables_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let bank = dir.path().join("bank");
    BankSpec::default().write(&bank);
    // A bank's shard has paths and labels too.
    let whole = ParquetFile::of(&fs::read(bank.join("train-00000.parquet")).unwrap());
    let list = dir.path().join("list.parquet");
    let cases: [(&str, Harm, &str); 11] = [
        ("nothing", |_, _| {}, "the first images are missing"),
        (
            "a schema of two billion children",
            |_, edits| edits.push(|f| f.at(2).list()[0].set(5, Thrift::I32(i32::MAX.into()))),
            "its columns have an invalid nesting",
        ),
        (
            "8,000 groups in each other",
            |_, edits| {
                edits.push(|f| {
                    let mut group = Thrift::structure();
                    group.set(3, Thrift::I32(0));
                    group.set(4, Thrift::text("a"));
                    group.set(5, Thrift::I32(1));
                    f.set(2, Thrift::List(12, vec![group; 8000]));
                });
            },
            "its columns have an invalid nesting",
        ),
        (
            "two billion row groups",
            |_, edits| edits.push(|f| f.set(4, endless(12))),
            "a list of 2147483647 elements",
        ),
        (
            "truth values that take time and no bytes",
            |_, edits| edits.push(|f| f.set(30, endless(1))),
            "a list of 2147483647 elements",
        ),
        (
            "2^60 rows",
            |_, edits| edits.push(|f| f.at(4).list()[0].set(3, Thrift::I64(1 << 60))),
            "1152921504606846976 rows in",
        ),
        (
            "a chunk outside the file",
            |_, edits| edits.push(|f| label(f).at(3).set(9, Thrift::I64(1 << 50))),
            "a column chunk outside the file",
        ),
        (
            "a chunk before the file",
            |_, edits| edits.push(|f| label(f).at(3).set(9, Thrift::I64(-9))),
            "field 9 of its metadata is not a size",
        ),
        (
            "chunks over each other",
            |_, edits| {
                edits.push(|f| {
                    let chunks = f.at(4).list()[0].at(1).list();
                    chunks[3] = chunks[1].clone();
                });
            },
            "column chunks over each other",
        ),
        (
            "a page of 2 GB",
            |file, _| {
                let page = &mut file.column(0, "label").pages[0];
                page.header.set(2, Thrift::I32(i32::MAX.into()));
            },
            "that should decompress to 2147483647",
        ),
        (
            "differences in blocks of 2^60",
            |file, _| {
                let numbers = [1 << 60, 1, 138, 0].map(varint).concat();
                let content = [&numbers[..], &[0, 64, 0]].concat();
                file.column(0, "label").pages[0].compress(&content);
            },
            "list.parquet: ",
        ),
    ];
    for (name, harm, expected) in cases {
        let (mut file, mut edits) = (whole.clone(), vec![]);
        harm(&mut file, &mut edits);
        let bytes = file.assemble(|footer| edits.iter().for_each(|edit| edit(footer))).bytes;
        fs::write(&list, bytes).unwrap();
        let message = message(&list);
        assert!(message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn one_name_for_millions_of_rows_is_no_list() {
    let dir = tempfile::tempdir().unwrap();
    let bank = dir.path().join("bank");
    BankSpec::default().write(&bank);
    let mut file = ParquetFile::of(&fs::read(bank.join("train-00000.parquet")).unwrap());
    // 100 million rows of the same label and path, as runs of a dictionary's first entry; the footer
    // still says 138.
    let rows: i64 = 100_000_000;
    let run = [&[8u8][..], &varint((rows as u64) << 1), &[0]].concat();
    let numbers = [128, 4, rows as u64, 0].map(varint).concat();
    let label = [&numbers[..], &vec![0; 5 * (rows as usize / 128 + 1)]].concat();
    let columns = [("path", 1, run.clone()), ("class_name", 1, run), ("label", 0, label)];
    for (column, page, content) in columns {
        let page = &mut file.column(0, column).pages[page];
        page.compress(&content);
        page.header.at(5).set(1, Thrift::I32(rows));
    }
    let list = dir.path().join("list.parquet");
    fs::write(&list, file.assemble(|_| {}).bytes).unwrap();
    let message = message(&list);
    assert!(message.contains("rows of more bytes than the file can hold"), "{message}");
}

/// A data set may be of links, pipes and files that take no space on disk.
#[test]
fn images_that_are_no_regular_files_are_left_out_or_named() {
    let dir = tempfile::tempdir().unwrap();
    crate::fixtures::image_folder(&dir.path().join("images"), &[5, 5, 5]);
    let of = |name: &str| dir.path().join("images/train/colour-1").join(name);
    let pipeline = dir.path().join("p.toml");
    fs::write(&pipeline, "[dataset]\nkind = \"folder\"\npath = \"images\"\n").unwrap();
    type Put = (&'static str, fn(&Path));
    let put: [Put; 3] = [
        ("pipe.png", |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success())),
        ("device.png", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap()),
        ("sparse.png", |path| fs::File::create(path).unwrap().set_len(100 << 30).unwrap()),
    ];
    for (name, put) in put {
        put(&of(name));
        let limited = format!("ulimit -v {KIB}; ulimit -t {SECS}; exec \"$0\" \"$@\"");
        let pipeline = pipeline.to_str().unwrap();
        let output = Command::new("sh")
            .args(["-c", &limited, PROGRAM, "-q", "dataset", "check", pipeline])
            .output()
            .unwrap();
        let message = [text(&output.stdout), text(&output.stderr)].concat();
        assert!(matches!(output.status.code(), Some(0 | 3)), "{name}: {message}");
        assert!(message.contains(name), "{name}: {message}");
        fs::remove_file(of(name)).unwrap();
    }
}
