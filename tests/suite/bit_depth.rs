//! Images of 16 bits whose values have fewer: noticed on opening, and scaled by `dataset.bit_depth`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch};
use fsa_bank::config::{self, ConfigError, DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Dataset, Preprocessing};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb};

use crate::support::program::{PROGRAM, text};

const SIDE: u32 = 32;

/// Values from 0 to `white` from left to right.
fn value(x: u32, white: u16) -> u16 {
    (x * u32::from(white) / (SIDE - 1)) as u16
}

fn grey(white: u16) -> DynamicImage {
    ImageBuffer::from_fn(SIDE, SIDE, |x, _| Luma([value(x, white)])).into()
}

fn rgb(white: u16) -> DynamicImage {
    ImageBuffer::from_fn(SIDE, SIDE, |x, y| Rgb([value(x, white), value(y, white), 0])).into()
}

/// The values of `grey` below an alpha that needs all bits.
fn opaque(white: u16) -> DynamicImage {
    ImageBuffer::from_fn(SIDE, SIDE, |x, _| LumaA([value(x, white), u16::MAX])).into()
}

/// A folder of two classes with images of a kind for training, and one a class for testing.
fn folder(format: ImageFormat, images: &[DynamicImage]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |split: &str, images: &[DynamicImage]| {
        for class in ["a", "b"] {
            let folder = dir.path().join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for (i, image) in images.iter().enumerate() {
                let name = format!("{i}.{}", format.extensions_str()[0]);
                image.save_with_format(folder.join(name), format).unwrap();
            }
        }
    };
    write("train", images);
    write("test", &images[..1]);
    dir
}

fn settings(path: &Path, bit_depth: u32) -> DatasetConfig {
    let (mean, std) = (vec![0.0; 3], vec![1.0; 3]);
    let (kind, image_size) = (DatasetKind::Folder, SIDE as usize);
    DatasetConfig {
        kind,
        path: path.into(),
        image_size,
        bit_depth,
        mean,
        std,
        ..Default::default()
    }
}

/// What is said about the depth of bits.
fn said(path: &Path, bit_depth: u32) -> Vec<String> {
    let mut notes = Dataset::open(&settings(path, bit_depth)).unwrap().account.warnings;
    notes.retain(|note| note.contains("bit_depth"));
    notes
}

#[test]
fn values_of_fewer_bits_are_noticed_in_every_format() {
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        for (white, depth) in [(255, 8), (1023, 10), (3000, 12), (4095, 12), (16383, 14)] {
            for image in [grey(white), rgb(white), opaque(white)] {
                if format == ImageFormat::Tiff && image.color().has_alpha() {
                    continue;
                }
                let dir = folder(format, &[image.clone(), image]);
                let notes = said(dir.path(), 16);
                assert_eq!(notes.len(), 1, "{format:?} {white}: {notes:?}");
                let wanted =
                    format!("; dataset.bit_depth = {depth} makes {} white", (1_u32 << depth) - 1);
                assert!(notes[0].contains(&wanted), "{}", notes[0]);
                assert!(notes[0].contains("4 of 4 examined images"), "{}", notes[0]);
                assert!(said(dir.path(), depth).is_empty(), "the remedy is one");
            }
        }
        let full = folder(format, &[grey(4095), grey(u16::MAX)]);
        let mixed = said(full.path(), 16);
        assert!(mixed[0].contains("2 of 4 examined images of 16 bits"), "{mixed:?}");
        let cut = said(full.path(), 12);
        assert!(cut[0].contains("up to 65535") && cut[0].contains("bit_depth = 16"), "{cut:?}");
        // Of 8 bits, and with nothing in them.
        for images in [[DynamicImage::from(grey(900).into_rgb8())], [grey(0)]] {
            let dir = folder(format, &images);
            assert_eq!((said(dir.path(), 16), said(dir.path(), 12)), (vec![], vec![]));
        }
    }
}

#[test]
fn the_setting_makes_the_largest_value_white_for_training_and_prediction() {
    let dir =
        folder(ImageFormat::Png, &[grey(4095), DynamicImage::from(grey(60_000).into_luma8())]);
    let expected = |bit_depth: u32| -> Vec<u8> {
        (0..SIDE).map(|x| (value(x, 4095) >> (bit_depth - 8)).min(255) as u8).collect()
    };
    let mut fingerprints = vec![];
    for bit_depth in [16, 14, 12, 10] {
        let settings = settings(dir.path(), bit_depth);
        let dataset = Dataset::open(&settings).unwrap();
        let row = |i: usize| -> Vec<u8> {
            dataset.train.image(i).unwrap().chunks(3).take(SIDE as usize).map(|p| p[0]).collect()
        };
        assert_eq!(row(0), expected(bit_depth));
        assert_eq!(row(1).last(), Some(&233), "8 bits are as they are");
        let file = dir.path().join(dataset.train.path(0));
        let input = Preprocessing::new(&settings).input(&file).unwrap();
        let predicted: Vec<u8> =
            input[..SIDE as usize].iter().map(|v| (v * 255.0).round() as u8).collect();
        assert_eq!(predicted, expected(bit_depth));
        fingerprints.push(dataset.fingerprint);
    }
    assert_eq!(expected(12).last(), Some(&255));
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 4, "other pixels, another dataset");
}

#[test]
fn the_depth_is_one_of_a_file_of_16_bits() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.toml");
    fs::write(&file, "[dataset]\npath = \"images\"\nbit_depth = 12\n").unwrap();
    assert_eq!(config::load(&file, &[]).unwrap().pipeline.dataset.bit_depth, 12);
    for bits in ["7", "17", "0"] {
        let error = config::load(&file, &[format!("dataset.bit_depth={bits}")]).unwrap_err();
        assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
        assert!(error.to_string().contains("8 to 16 bits"), "{error}");
    }
}

#[test]
fn images_of_a_table_are_looked_at_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("table.parquet");
    let mut png = std::io::Cursor::new(vec![]);
    rgb(4000).write_to(&mut png, ImageFormat::Png).unwrap();
    let images: ArrayRef = Arc::new(BinaryArray::from_iter_values(vec![png.into_inner(); 8]));
    let labels: ArrayRef = Arc::new(Int32Array::from_iter_values((0..8).map(|i| i % 2)));
    let batch = RecordBatch::try_from_iter([("image", images), ("label", labels)]).unwrap();
    let file = fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let settings = DatasetConfig { kind: DatasetKind::Parquet, ..settings(&path, 16) };
    let notes = Dataset::list(&settings).unwrap().account.warnings;
    assert!(
        notes.iter().any(|note| note.contains("dataset.bit_depth = 12 makes 4095 white")),
        "{notes:?}"
    );
}

#[test]
fn init_says_it_and_writes_the_setting() {
    let dir = folder(ImageFormat::Png, &[grey(4095), rgb(4095), rgb(2000)]);
    let init = |images: &Path| -> (PathBuf, String) {
        let out = images.join("pipeline.toml");
        let args = ["init".as_ref(), images.as_os_str(), "--out".as_ref(), out.as_os_str()];
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        (out, text(&output.stdout) + &text(&output.stderr))
    };
    let (file, screen) = init(dir.path());
    assert!(screen.contains("12 bits in files of 16 (bit_depth)"), "{screen}");
    let loaded = config::load(&file, &[]).unwrap();
    assert_eq!(loaded.pipeline.dataset.bit_depth, 12);
    let dataset = Dataset::open(&loaded.pipeline.dataset).unwrap();
    assert_eq!(dataset.bit_depth_seen, Some(12));
    let brightest = dataset.train.image(0).unwrap().iter().max().copied();
    assert_eq!(brightest, Some(255));

    let full = folder(ImageFormat::Png, &[grey(4095), rgb(u16::MAX)]);
    let (file, screen) = init(full.path());
    assert!(!screen.contains("files of 16"), "{screen}");
    assert!(!fs::read_to_string(&file).unwrap().contains("bit_depth ="));
}
