//! The bank's files against their contract: `schemas/bank-v2.md`.

use std::fs::File;

use fsa_bank::bank::{
    Bank, Column, Layout, ShardEntry, classes_schema, describe_columns, pooled_schema, train_schema,
};
use fsa_bank::domain::Split;
use parquet::basic::{Compression, Encoding};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::fixtures::BankSpec;
use crate::support::files::files;

const CONTRACT: &str = include_str!("../../schemas/bank-v2.md");

#[test]
fn the_contract_lists_the_columns_that_are_written() {
    for (file, schema) in [
        ("train-*.parquet", train_schema()),
        ("test-*.parquet", pooled_schema()),
        ("classes.parquet", classes_schema()),
    ] {
        let section = CONTRACT
            .split("\n## ")
            .find(|s| s.starts_with('`') && s.lines().next().unwrap().contains(file));
        let section = section.unwrap_or_else(|| panic!("no section for {file}"));
        // | `name` | TYPE | meaning |
        let listed: Vec<String> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .map(|line| {
                let mut cells = line.split(" | ");
                format!("{} {}", cells.next().unwrap().trim_end_matches('`'), cells.next().unwrap())
            })
            .collect();
        assert_eq!(listed, describe_columns(&schema), "{file}");
    }
}

#[test]
fn rows_and_maps_are_read_back_as_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout {
        shard_bytes: 6000,
        row_group_bytes: 2000,
        map_page_bytes: 600,
        ..Default::default()
    };
    let spec = BankSpec { layout, ..Default::default() };
    let bank = spec.write(dir.path());
    let rows = bank.rows(Split::Train).unwrap();
    let written = spec.rows();
    assert_eq!(rows.len(), written.len());
    // Every third map, so that pages are skipped.
    let wanted: Vec<usize> = (0..rows.len()).step_by(3).collect();
    let mut seen = vec![];
    let reader = bank.row_reader(Split::Train).unwrap();
    for request in rows.index.plan(&wanted) {
        reader
            .read(&request, &[Column::FeatureMap, Column::Pooled], |row, values| {
                assert_eq!(values.map, written[row].feature_map, "row {row}");
                assert_eq!(values.pooled, written[row].head.pooled, "row {row}");
                assert!(values.cam.is_empty());
                seen.push(row);
            })
            .unwrap();
    }
    assert_eq!(seen, wanted);
    for (i, row) in written.iter().enumerate() {
        assert_eq!(
            (rows.index.sample_ids[i], rows.index.views[i], rows.index.labels[i]),
            (row.head.sample_id, row.head.view, row.head.label)
        );
        assert_eq!(rows.pooled_of(i), row.head.pooled);
        assert_eq!(rows.cam_of(i), row.cam);
        assert_eq!(rows.nonzero_of(i), row.nonzero);
    }
    assert_eq!(bank.rows(Split::Test).unwrap().len(), 40);
    assert_eq!(bank.head, spec.head());
}

#[test]
fn row_groups_pages_and_encodings_are_those_of_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    // A map is 192 bytes: 2 maps a page, 10 a row group, 30 a shard.
    let layout = Layout {
        shard_bytes: 5760,
        row_group_bytes: 1920,
        map_page_bytes: 384,
        ..Default::default()
    };
    let bank = BankSpec { layout, ..Default::default() }.write(dir.path());
    let shards = &bank.manifest.splits["train"].shards;
    assert_eq!(shards.iter().map(|s| s.rows).collect::<Vec<_>>(), [30, 30, 30, 30, 18]);
    for shard in shards {
        let file =
            SerializedFileReader::new(File::open(dir.path().join(&shard.file)).unwrap()).unwrap();
        for (group, entry) in file.metadata().row_groups().iter().zip(&shard.row_groups) {
            assert!(group.num_rows() <= 10);
            for (column, checksums) in group.columns().iter().zip(&entry.columns) {
                let name = column.column_path().parts()[0].as_str();
                assert!(matches!(column.compression(), Compression::ZSTD(_)), "{name}");
                let encodings: Vec<Encoding> = column.encodings().collect();
                let split = ["pooled", "cam", "feature_map"].contains(&name);
                assert_eq!(
                    encodings.contains(&Encoding::BYTE_STREAM_SPLIT),
                    split,
                    "{name} {encodings:?}"
                );
                let pages = if name == "feature_map" { (group.num_rows() + 1) / 2 } else { 1 };
                assert_eq!(checksums.len() as i64, pages, "{name}");
            }
        }
    }
}

#[test]
fn two_banks_of_the_same_rows_are_byte_identical() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    dirs.iter().for_each(|dir| drop(BankSpec::default().write(dir.path())));
    let mut names = 0;
    for entry in std::fs::read_dir(dirs[0].path()).unwrap() {
        let name = entry.unwrap().file_name();
        let [a, b] = [0, 1].map(|i| std::fs::read(dirs[i].path().join(&name)).unwrap());
        assert!(a == b, "{name:?}");
        names += 1;
    }
    assert_eq!(names, 5);
    assert_eq!(Bank::open(dirs[0].path()).unwrap().id, Bank::open(dirs[1].path()).unwrap().id);
}

#[test]
fn the_entry_of_a_shard_follows_from_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout { row_group_bytes: 1920, map_page_bytes: 768, ..Default::default() };
    let bank = BankSpec { layout, ..Default::default() }.write(dir.path());
    assert_eq!(bank.manifest.splits.len(), 2);
    for split in [Split::Train, Split::Test] {
        for written in &bank.manifest.split(split).unwrap().shards {
            let file = File::open(dir.path().join(&written.file)).unwrap();
            let maps = bank.manifest.map_specs();
            assert_eq!(ShardEntry::of(&written.file, &file, split, &maps).unwrap(), *written);
            let other = if split == Split::Train { Split::Test } else { Split::Train };
            let error = ShardEntry::of(&written.file, &file, other, &maps).unwrap_err();
            assert!(error.to_string().contains("its columns: "), "{error}");
        }
    }
}

#[test]
fn threads_and_calls_of_the_writer_do_not_change_a_byte() {
    // 2 maps a page, 10 a row group, 30 a shard.
    let layout = Layout {
        shard_bytes: 5760,
        row_group_bytes: 1920,
        map_page_bytes: 384,
        ..Default::default()
    };
    let write = |threads: usize, append_rows: usize| {
        let dir = tempfile::tempdir().unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            BankSpec { layout, append_rows, ..Default::default() }.write(dir.path());
        });
        files(dir.path())
    };
    let expected = write(1, usize::MAX);
    assert!(expected.len() > 5);
    for (threads, append_rows) in [(1, 1), (2, 7), (4, 3), (4, 64), (2, usize::MAX)] {
        assert!(write(threads, append_rows) == expected, "{threads} threads, {append_rows} rows");
    }
}
