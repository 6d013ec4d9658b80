//! Damaged and foreign banks: each gets its named error, and no value from damaged bytes comes out.

use std::fs;
use std::path::{Path, PathBuf};

use fsa_bank::bank::{Bank, BankError, Column, Layout};
use fsa_bank::domain::Split;
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::Weights;

use crate::fixtures::BankSpec;

/// Everything that Phase-II reads, as one string.
fn read_all(dir: &Path) -> Result<String, BankError> {
    let bank = Bank::open(dir)?;
    let rows = bank.rows(Split::Train)?;
    let test = bank.rows(Split::Test)?;
    let wanted: Vec<usize> = (0..rows.len()).collect();
    let reader = bank.row_reader(Split::Train)?;
    let mut maps = vec![];
    for request in rows.index.plan(&wanted) {
        reader.read(&request, &[Column::FeatureMap], |_, row| maps.extend_from_slice(row.map))?;
    }
    Ok(format!(
        "{:?} {:?} {:?} {:?} {rows:?} {test:?} {maps:?}",
        bank.class_names, bank.class_counts, bank.head, bank.manifest
    ))
}

fn bank() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout { row_group_bytes: 4000, map_page_bytes: 800, ..Default::default() };
    BankSpec { layout, ..Default::default() }.write(dir.path());
    let path = dir.path().to_path_buf();
    (dir, path)
}

fn message(dir: &Path) -> String {
    read_all(dir).expect_err("an error").to_string()
}

/// Writes the manifest with a change and a checksum that fits it.
fn edit_manifest(dir: &Path, change: impl FnOnce(&mut fsa_bank::bank::Manifest)) {
    let (mut manifest, _) = fsa_bank::bank::Manifest::load(dir).unwrap();
    change(&mut manifest);
    manifest.save(dir).unwrap();
}

#[test]
fn a_flipped_byte_is_an_error_or_was_not_read() {
    let (_keep, dir) = bank();
    let intact = read_all(&dir).unwrap();
    let files: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    let mut rng = KeyedRng::new(2, Stage::BatchRows, (0, 0));
    let (mut flips, mut found) = (0, 0);
    for path in files {
        let whole = fs::read(&path).unwrap();
        for _ in 0..150 {
            let mut damaged = whole.clone();
            let at = rng.below(whole.len() as u32) as usize;
            damaged[at] ^= 1 << rng.below(8);
            fs::write(&path, &damaged).unwrap();
            flips += 1;
            match read_all(&dir) {
                Err(_) => found += 1,
                // Texts that Phase-II does not read, Parquet's magic, blanks of the manifest.
                Ok(read) => assert!(read == intact, "{}: byte {at} went unnoticed", path.display()),
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(read_all(&dir).unwrap(), intact);
    assert!(found * 10 > flips * 8, "only {found} of {flips}");
}

#[test]
fn damage_is_named_by_file_and_place_and_only_where_it_is_read() {
    let (_keep, dir) = bank();
    let shard = dir.join("train-00000.parquet");
    let mut bytes = fs::read(&shard).unwrap();
    // The last data page of feature_map ends where the page indexes begin.
    let (manifest, _) = fsa_bank::bank::Manifest::load(&dir).unwrap();
    let at = manifest.splits["train"].shards[0].footer_offset as usize - 1;
    bytes[at] ^= 0xff;
    fs::write(&shard, &bytes).unwrap();
    let text = message(&dir);
    assert!(text.contains("train-00000.parquet: column feature_map of row group"), "{text}");
    assert!(text.contains("checksum") && text.contains("--repair PIPELINE"), "{text}");

    // Rows whose maps are elsewhere are still readable.
    let bank = Bank::open(&dir).unwrap();
    let rows = bank.rows(Split::Train).unwrap();
    let reader = bank.row_reader(Split::Train).unwrap();
    let first = rows.index.plan(&[0]);
    assert!(reader.read(&first[0], &[Column::FeatureMap], |_, _| {}).is_ok());
    let last = rows.index.plan(&[rows.len() - 1]);
    assert!(matches!(
        reader.read(&last[0], &[Column::FeatureMap], |_, _| {}),
        Err(BankError::Damaged { .. })
    ));
}

#[test]
fn a_cut_missing_or_foreign_file_is_named() {
    let (_keep, dir) = bank();
    let shard = dir.join("train-00000.parquet");
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[..whole.len() / 2]).unwrap();
    let text = message(&dir);
    assert!(text.contains("the manifest says") && text.contains("cut off"), "{text}");
    fs::remove_file(&shard).unwrap();
    assert!(message(&dir).contains("train-00000.parquet: cannot be read"));
    fs::write(&shard, whole).unwrap();

    let classifier = dir.join("classifier.safetensors");
    let mut other = BankSpec::default().head();
    other.bias[0] += 1.0;
    Weights::of_head(&other).save(&classifier).unwrap();
    let text = message(&dir);
    assert!(text.contains("not the classifier that this bank was made with"), "{text}");
}

#[test]
fn a_manifest_is_checked_before_anything_else() {
    let (_keep, dir) = bank();
    let path = dir.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();

    let newer = text.replace("\"version\": 2", "\"version\": 3");
    fs::write(&path, newer.replace("\"needs\": \"0.2.0\"", "\"needs\": \"9.9.9\"")).unwrap();
    assert!(matches!(read_all(&dir), Err(BankError::NewerFormat { found: 3, known: 2, .. })));
    assert!(message(&dir).contains("Install fsa-bank 9.9.9 or newer."));
    fs::write(&path, "{}").unwrap();
    assert!(message(&dir).contains("not a bank's manifest"));
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(message(&dir).contains("manifest"));
    fs::write(&path, text.replace("\"seed\": 0", "\"seed\": 1")).unwrap();
    assert!(matches!(read_all(&dir), Err(BankError::Damaged { .. })));

    fs::write(&path, &text).unwrap();
    edit_manifest(&dir, |m| {
        m.splits.get_mut("test").unwrap().shards[0].file = "../test.parquet".into()
    });
    assert!(message(&dir).contains("is not a plain file name"));
    fs::write(&path, &text).unwrap();
    edit_manifest(&dir, |m| m.feature_shape.channels = 1 << 40);
    assert!(message(&dir).contains("absurdly large"));
    fs::write(&path, &text).unwrap();
    edit_manifest(&dir, |m| m.feature_shape.channels = 4);
    assert!(matches!(read_all(&dir), Err(BankError::Weights(_))));
    fs::remove_file(&path).unwrap();
    assert!(matches!(read_all(&dir), Err(BankError::NoManifest { .. })));
}

#[test]
fn values_that_break_the_contract_are_refused_though_their_bytes_are_whole() {
    type Edit = fn(&mut fsa_bank::bank::TrainRow);
    let cases: [(Edit, &str); 4] = [
        (|row| row.feature_map[3] = f32::NAN, "a map that is not finite in row group 0"),
        (|row| row.head.pooled[0] = f32::INFINITY, "a pooled value"),
        (|row| row.cam[1] = 1.5, "a CAM value"),
        (|row| row.cam.truncate(2), "column cam"),
    ];
    for (edit, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        BankSpec { edit, ..Default::default() }.write(dir.path());
        let text = message(dir.path());
        assert!(text.contains(expected), "{text}");
    }
}
