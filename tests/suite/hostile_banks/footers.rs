//! Footers made to do harm.

use super::*;

/// Footers of a training shard.
const FOOTERS: &[Case] = &[
    (
        "a footer of 4 GB",
        |v| {
            let file = ParquetFile::of(&fs::read(v.path(TRAIN)).unwrap());
            let mut file = file.assemble(|_| {});
            let at = file.bytes.len() - 8;
            file.bytes[at..at + 4].fill(0xff);
            v.replace("train", &file);
        },
        "its footer is cut short",
    ),
    (
        "an encrypted footer",
        |v| {
            let file = ParquetFile::of(&fs::read(v.path(TRAIN)).unwrap());
            let mut file = file.assemble(|_| {});
            *file.bytes.last_mut().unwrap() = b'E';
            v.replace("train", &file);
        },
        "does not end as a Parquet file does",
    ),
    (
        "two billion row groups",
        |v| v.footer(|f| f.set(4, endless(12))),
        "a list of 2147483647 elements",
    ),
    (
        "two billion columns",
        |v| v.footer(|f| f.set(2, endless(12))),
        "a list of 2147483647 elements",
    ),
    (
        "a schema of two billion children",
        |v| v.footer(|f| f.at(2).list()[0].set(5, Thrift::I32(i32::MAX.into()))),
        "expected `the root` of 11 parts, found `the root` of 2147483647 parts",
    ),
    (
        "a schema of 8,000 groups in each other",
        |v| {
            v.footer(|f| {
                let mut group = Thrift::structure();
                group.set(3, Thrift::I32(0));
                group.set(4, Thrift::text("a"));
                group.set(5, Thrift::I32(1));
                f.set(2, Thrift::List(12, vec![group; 8000]));
            })
        },
        "its columns: ",
    ),
    (
        "a footer of structs in each other",
        |v| v.footer(|f| f.set(2, Thrift::Raw(12, vec![0x1c; 30_000]))),
        "nested too deep",
    ),
    (
        "truth values that take time and no bytes",
        |v| {
            v.footer(|f| {
                let list = endless(1).encode();
                f.set(30, Thrift::Raw(9, [vec![0xf9], varint(5000), list.repeat(5000)].concat()))
            })
        },
        "a list of 2147483647 elements",
    ),
    (
        "a column of another type",
        |v| v.footer(|f| f.at(2).list()[1].set(1, Thrift::I32(2))),
        "its columns: expected `sample_id` of type 1, found `sample_id` of type 2",
    ),
    (
        "a column of another type in its chunk",
        |v| v.chunk("label", |c| c.at(3).set(1, Thrift::I32(5))),
        "column label: type 5; expected 1",
    ),
    (
        "a column with nulls",
        |v| v.footer(|f| f.at(2).list()[4].set(3, Thrift::I32(1))),
        "expected `label` of type 1, found optional `label` of type 1",
    ),
    (
        "a column of another name",
        |v| v.footer(|f| f.at(2).list()[4].set(4, Thrift::text("x\x1b[2J"))),
        "expected `label` of type 1, found `x\\u{1b}[2J` of type 1",
    ),
    (
        "a column too many",
        |v| {
            v.footer(|f| {
                let column = f.at(2).list()[1].clone();
                f.at(2).list().push(column);
            })
        },
        "its columns: `sample_id` of type 1 beyond the last one",
    ),
    (
        "a column chunk too many",
        |v| {
            v.footer(|f| {
                let chunks = f.at(4).list()[0].at(1).list();
                chunks.push(chunks[0].clone());
            })
        },
        "a row group of 12 columns",
    ),
    (
        "fields twice",
        |v| {
            v.footer(|f| {
                // Behind a row group's rows, other columns.
                let rows = f.at(4).list()[0].clone().encode();
                let again = [&rows[..rows.len() - 1], &[0x09, 2, 0x0c]].concat();
                f.at(4).list()[0] = Thrift::Raw(12, again);
            })
        },
        "misplaced field",
    ),
    (
        "no compression",
        |v| v.chunk("pooled", |c| c.at(3).set(4, Thrift::I32(0))),
        "column pooled: compression 0; expected zstd",
    ),
    (
        "2^60 values",
        |v| v.chunk("pooled", |c| c.at(3).set(5, Thrift::I64(1 << 60))),
        "column pooled: 1152921504606846976 values of 10 rows",
    ),
    (
        "no values",
        |v| v.chunk("label", |c| c.at(3).set(5, Thrift::I64(0))),
        "column label: 0 values of 10 rows",
    ),
    (
        "fewer than no values",
        |v| v.chunk("label", |c| c.at(3).set(5, Thrift::I64(-1))),
        "column label: field 5 of its metadata is not a size",
    ),
    (
        "2^62 rows",
        |v| {
            v.footer(|f| {
                f.at(4).list()[0].set(3, Thrift::I64(1 << 62));
                f.set(3, Thrift::I64((1 << 62) + 20));
            })
        },
        "a row group of 4611686018427387904 rows",
    ),
    (
        "fewer than no rows",
        |v| v.footer(|f| f.at(4).list()[0].set(3, Thrift::I64(-10))),
        "field 3 of its metadata is not a size",
    ),
    (
        "pages outside the file",
        |v| v.chunk("label", |c| c.at(3).set(9, Thrift::I64(1 << 50))),
        "column label: ",
    ),
    (
        "pages before the file",
        |v| v.chunk("label", |c| c.at(3).set(9, Thrift::I64(-4))),
        "column label: field 9 of its metadata is not a size",
    ),
    (
        "a chunk whose end overflows",
        |v| {
            v.chunk("label", |c| {
                c.at(3).set(7, Thrift::I64(i64::MAX));
                c.at(3).set(9, Thrift::I64(i64::MAX));
            })
        },
        "column label: 9223372036854775807 bytes at byte 9223372036854775807",
    ),
    (
        "all row groups over the same bytes",
        |v| {
            v.footer(|f| {
                let groups = f.at(4).list();
                let first = groups[0].at(1).clone();
                groups[1].set(1, first);
            })
        },
        "bytes at byte 4; expected some of the bytes",
    ),
    (
        "a dictionary of numbers",
        |v| {
            v.chunk("view", |c| {
                let at = c.at(3).number(9).unwrap();
                c.at(3).set(11, Thrift::I64(at));
                c.at(3).set(9, Thrift::I64(at + 4));
            })
        },
        "column view: a dictionary, which only texts have",
    ),
    (
        "pages in another file",
        |v| v.chunk("label", |c| c.set(1, Thrift::text("/etc/passwd"))),
        "column label: it is in another file",
    ),
    (
        "an index outside the footer",
        |v| v.chunk("label", |c| c.set(4, Thrift::I64(5))),
        "column label: an offset index outside the footer",
    ),
    (
        "an index before the file",
        |v| v.chunk("label", |c| c.set(4, Thrift::I64(i64::MIN))),
        "column label: field 4 of its metadata is not a size",
    ),
    (
        "an index of 2 GB",
        |v| v.chunk("label", |c| c.set(5, Thrift::I32(i32::MAX.into()))),
        "column label: an offset index outside the footer",
    ),
    (
        "two billion pages",
        |v| v.pages(|file| file.column(0, "label").index.set(1, endless(12))),
        "column label: a list of 2147483647 elements",
    ),
    (
        "pages of more rows than there are",
        |v| {
            v.pages(|file| {
                file.column(0, "feature_map").index.at(1).list()[1].set(3, Thrift::I64(1 << 40))
            })
        },
        "column feature_map: its page 1 does not follow the one before",
    ),
    (
        "a million pages, all of them one",
        |v| {
            v.pages(|file| {
                let places = file.column(0, "label").index.at(1).list();
                *places = vec![places[0].clone(); 3000];
            })
        },
        "column label: its page 0 does not follow the one before",
    ),
];

#[test]
fn hostile_footers_are_named() {
    run(FOOTERS, &INSPECT);
}
