//! Banks of older formats, as their versions wrote them (`tests/data/banks`).

use std::path::Path;

use fsa_bank::bank::{Bank, Column, Layout, MapsKept};
use fsa_bank::domain::Split;

use crate::fixtures::BankSpec;

#[test]
fn a_bank_of_format_1_is_read_as_it_was_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/banks/v1");
    let bank = Bank::open(&dir).unwrap();
    assert_eq!(bank.manifest.version, 1);
    assert_eq!(bank.manifest.maps, MapsKept::All);
    // The rows of this specification were written with fsa-bank 0.1.0.
    let layout = Layout {
        shard_bytes: 4000,
        row_group_bytes: 2000,
        map_page_bytes: 600,
        ..Default::default()
    };
    let spec = BankSpec { counts: vec![9, 4, 2], val: true, layout, ..Default::default() };
    assert_eq!(bank.head, spec.head());
    assert_eq!(bank.class_counts.0, spec.counts);
    let (rows, written) = (bank.rows(Split::Train).unwrap(), spec.rows());
    assert_eq!(rows.len(), written.len());
    let all: Vec<usize> = (0..rows.len()).collect();
    let reader = bank.row_reader(Split::Train).unwrap();
    let mut seen = 0;
    for request in rows.index.plan(&all) {
        reader
            .read(&request, &[Column::FeatureMap, Column::Cam, Column::Pooled], |row, values| {
                let wanted = &written[row];
                assert_eq!(values.map, wanted.feature_map);
                assert_eq!(values.cam, wanted.cam);
                assert_eq!(values.pooled, wanted.head.pooled);
                seen += 1;
            })
            .unwrap();
    }
    assert_eq!(seen, 30);
    assert_eq!(bank.rows(Split::Val).unwrap().len(), 12);
    assert_eq!(bank.rows(Split::Test).unwrap().len(), 30);
}
