//! Pages made to do harm.

use super::*;

/// Pages of a training shard that every reader reads.
const PAGES: &[Case] = &[
    (
        "a page of 2 GB",
        |v| v.pages(|f| f.column(0, "pooled").pages[0].header.set(2, Thrift::I32(i32::MAX.into()))),
        "column pooled of row group 0, bytes",
    ),
    (
        "a page that becomes 2 GB",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                page.content = bomb(1 << 14);
                page.header.set(2, Thrift::I32(i32::MAX.into()));
                page.header.set(3, Thrift::I32(page.content.len() as i64));
            })
        },
        "2147483647 bytes when it is decompressed; at most ",
    ),
    (
        "a page that becomes 2 GB and does not say so",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "label").pages[0];
                page.content = bomb(1 << 14);
                page.header.set(3, Thrift::I32(page.content.len() as i64));
            })
        },
        "it cannot be decoded",
    ),
    (
        "two billion values in a page",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                page.header.at(5).set(1, Thrift::I32(i32::MAX.into()));
            })
        },
        "its page 0: 2147483647 values of 10 rows; expected 8 each",
    ),
    (
        "fewer than no values in a page",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.at(5).set(1, Thrift::I32(-1))),
        "its page 0: field 1 of its metadata is not a size",
    ),
    (
        "a page longer than its place",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(3, Thrift::I32(i32::MAX.into()))),
        "2147483647 bytes in its header",
    ),
    (
        "a page of another kind",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(1, Thrift::I32(1))),
        "its page 0: kind 1; expected 0",
    ),
    (
        "a page of another encoding",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.at(5).set(2, Thrift::I32(8))),
        "its page 0: encoding 8, which such a column never has",
    ),
    (
        "levels of another encoding",
        |v| v.pages(|f| f.column(0, "pooled").pages[0].header.at(5).set(4, Thrift::I32(4))),
        "which such a column never has",
    ),
    (
        "a header with statistics of 2^60 bytes",
        |v| {
            v.pages(|f| {
                let huge = [vec![0x18], varint(1 << 60)].concat();
                f.column(0, "view").pages[0].header.at(5).set(5, Thrift::Raw(12, huge))
            })
        },
        "its page 0: its metadata ends within",
    ),
    (
        "a header with a field of truth values",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(20, endless(1))),
        "its page 0: a list of 2147483647 elements",
    ),
    (
        "a header with a field that no one knows",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(9, Thrift::I32(1))),
        "its page 0: a field 9 in its header",
    ),
    (
        "differences in blocks of 2^60",
        |v| {
            v.pages(|f| {
                // Values of a block, miniblocks, values, the first value.
                let numbers = [1 << 60, 1, 10, 0].map(varint).concat();
                f.column(0, "view").pages[0].compress(&[&numbers[..], &[0, 64, 0]].concat());
            })
        },
        "it cannot be decoded",
    ),
    (
        "differences in blocks of nothing",
        |v| {
            v.pages(|f| {
                let numbers = [0, 1, 10, 0].map(varint).concat();
                f.column(0, "view").pages[0].compress(&[&numbers[..], &[0; 30]].concat());
            })
        },
        "it cannot be decoded",
    ),
    (
        "levels longer than their page",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                let mut content = page.decompressed();
                content[..4].copy_from_slice(&i32::MAX.to_le_bytes());
                page.compress(&content);
            })
        },
        "it cannot be decoded",
    ),
    (
        "levels of fewer than no bytes",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                let mut content = page.decompressed();
                content[..4].copy_from_slice(&(-1i32).to_le_bytes());
                page.compress(&content);
            })
        },
        "it cannot be decoded",
    ),
    (
        "an empty page",
        |v| v.pages(|f| f.column(0, "pooled").pages[0].compress(&[])),
        "it cannot be decoded",
    ),
];

#[test]
fn hostile_pages_are_named() {
    run(PAGES, &INSPECT);
}

/// Pages that only readers of maps read.
const MAPS: &[Case] = &[
    (
        "a map of 2 GB",
        |v| {
            v.pages(|f| {
                f.column(0, "feature_map").pages[1].header.set(2, Thrift::I32(i32::MAX.into()))
            })
        },
        "its page 1: 2147483647 bytes when it is decompressed; at most ",
    ),
    (
        "two billion values in a page of maps",
        |v| {
            v.pages(|f| {
                f.column(0, "feature_map").pages[0]
                    .header
                    .at(5)
                    .set(1, Thrift::I32(i32::MAX.into()))
            })
        },
        "its page 0: 2147483647 values of 4 rows; expected 48 each",
    ),
    (
        "all values of a page in one row",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "feature_map").pages[0];
                let mut content = page.decompressed();
                // Levels of repetition: their length, then one run of 192 that say `the same list`.
                let length = u32::from_le_bytes(content[..4].try_into().unwrap()) as usize;
                content.splice(..4 + length, [&3u32.to_le_bytes()[..], &[0x80, 0x03, 1]].concat());
                page.compress(&content);
            })
        },
        "train-00000.parquet: ",
    ),
    (
        "a page of maps whose values are cut off",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "feature_map").pages[0];
                let content = page.decompressed();
                page.compress(&content[..content.len() / 2]);
            })
        },
        "it cannot be decoded",
    ),
];

#[test]
fn hostile_maps_are_named() {
    run(MAPS, &FINETUNE);
}
