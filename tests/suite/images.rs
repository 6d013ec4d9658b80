//! Images as they are: every kind against what PIL makes of it, hostile ones, ones left out, and how they
//! are transformed at random.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch, StringArray};
use fsa_bank::bank::Bank;
use fsa_bank::config::{DatasetConfig, DatasetKind, Interpolation, RandomCrop, TrainConfig};
use fsa_bank::dataset::{
    Augmentation, Dataset, DatasetError, Loader, Preprocessing, Skipped, Transform,
};
use fsa_bank::domain::{FitOptions, Split};
use fsa_bank::features::{self, FeaturesError, HeadSource};
use fsa_bank::finetune::{self, FinetuneRequest};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::train::{self, TrainError};

use crate::support::files::shards;
use crate::support::progress::Watcher;
use crate::support::run::Run;

/// Sides of the squares in PIL's pictures; `tests/readers/make_image_corpus.py` says where they lie.
const SIDE: usize = 48;
const SMALL: usize = 20;

/// Each image of the corpus, and which of its first twelve changes leave one that is decoded (d) and which
/// are refused (r).
const CHANGED_IMAGES: &str = include_str!("images/changed.txt");

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images")
}

/// Names of the corpus's images.
fn names() -> Vec<String> {
    let entries = fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let mut names: Vec<String> =
        files.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A folder dataset whose class `all` has these files for training.
fn folder_of(files: &[(String, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let one = fs::read(corpus().join("png-rgb.png")).unwrap();
    for place in ["train/all", "train/one", "test/all"] {
        fs::create_dir_all(dir.path().join(place)).unwrap();
        fs::write(dir.path().join(place).join("png-rgb.png"), &one).unwrap();
    }
    for (name, content) in files {
        fs::write(dir.path().join("train/all").join(name), content).unwrap();
    }
    dir
}

fn whole_corpus() -> Vec<(String, Vec<u8>)> {
    let read = |name: String| (name.clone(), fs::read(corpus().join(name)).unwrap());
    names().into_iter().map(read).collect()
}

fn config(root: &Path) -> DatasetConfig {
    DatasetConfig { kind: DatasetKind::Folder, path: root.into(), ..Default::default() }
}

/// A square of PIL's picture.
fn square(picture: &image::RgbImage, left: usize, top: usize, side: usize) -> Vec<u8> {
    let (left, top, side) = (left as u32, top as u32, side as u32);
    image::imageops::crop_imm(picture, left, top, side, side).to_image().into_raw()
}

/// Largest and mean difference of bytes.
fn difference(found: &[u8], expected: &[u8]) -> (u8, f64) {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b));
    let sum: f64 = differences.clone().map(f64::from).sum();
    (differences.max().unwrap(), sum / found.len() as f64)
}

/// How far from PIL the squares of a kind may be: decoded, scaled linearly, scaled cubically.
fn bounds(name: &str) -> [(u8, f64); 3] {
    if name.contains("jpeg") || name == "tiff-cmyk.tif" {
        return [(3, 0.41), (2, 0.43), (2, 0.48)];
    }
    // Black beside white, where a cubic overshoots most.
    let cubic = if name.contains("1-bit") { (8, 1.17) } else { (5, 0.24) };
    [(0, 0.0), (1, 0.2), cubic]
}

#[test]
fn every_kind_of_image_is_what_pil_makes_of_it() {
    let dir = folder_of(&whole_corpus());
    let framings = [
        (SIDE, 1.0, Interpolation::Bilinear, (0, 0)),
        (SMALL, 1.0, Interpolation::Bilinear, (SIDE, 0)),
        (SMALL, 0.875, Interpolation::Bicubic, (SIDE, SMALL)),
    ];
    let mut wrong = vec![];
    for (which, (image_size, crop_fraction, interpolation, (left, top))) in
        framings.into_iter().enumerate()
    {
        let settings =
            DatasetConfig { image_size, crop_fraction, interpolation, ..config(dir.path()) };
        let dataset = Dataset::open(&settings).unwrap();
        let mut seen = 0;
        for i in (0..dataset.train.len()).filter(|&i| dataset.train.labels()[i] == 0) {
            let name = dataset.train.path(i).strip_prefix("train/all/").unwrap();
            let picture = image::open(corpus().join("pil").join(format!("{name}.png"))).unwrap();
            let expected = square(&picture.into_rgb8(), left, top, image_size);
            let (most, mean) = difference(&dataset.train.image(i).unwrap(), &expected);
            let (most_allowed, mean_allowed) = bounds(name)[which];
            if most > most_allowed || mean > mean_allowed {
                wrong.push(format!("{name}, square {which}: at most {most}, mean {mean:.3}"));
            }
            seen += 1;
        }
        assert_eq!(seen, names().len());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The error of a file as an image.
fn refused(name: &str, content: &[u8]) -> DatasetError {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    Preprocessing::new(&config(dir.path())).input(&path).expect_err(name)
}

#[test]
fn the_content_decides_what_a_file_is() {
    let png = fs::read(corpus().join("png-rgb.png")).unwrap();
    let named = [("a.gif", png.clone()), ("b.jpg", png)].map(|(n, c)| (n.to_string(), c));
    let dir = folder_of(&named);
    let dataset = Dataset::open(&config(dir.path())).unwrap();
    assert_eq!(dataset.train.len(), 4);
    for i in 1..3 {
        assert_eq!(dataset.train.image(i).unwrap(), dataset.train.image(0).unwrap());
    }
}

#[test]
fn a_jpeg_that_is_cut_short_is_no_image() {
    for name in ["jpeg-420.jpg", "jpeg-progressive.jpg", "jpeg-cmyk.jpg", "jpeg-orientation-6.jpg"]
    {
        let whole = fs::read(corpus().join(name)).unwrap();
        for bytes in [whole.len() - 2, whole.len() * 3 / 4, 40, 3] {
            let error = refused(name, &whole[..bytes]);
            assert!(matches!(error, DatasetError::Image { .. }), "{name}: {error}");
        }
        assert!(refused(name, &whole[..whole.len() - 2]).to_string().contains("cut short"));
    }
    for name in ["png-rgb.png", "webp-lossy.webp", "gif.gif", "bmp-rgb.bmp", "tiff-rgb.tif"] {
        let whole = fs::read(corpus().join(name)).unwrap();
        let error = refused(name, &whole[..whole.len() / 2]);
        assert!(matches!(error, DatasetError::Image { .. }), "{name}: {error}");
    }
    assert!(matches!(refused("empty.png", &[]), DatasetError::Image { .. }));
}

#[test]
fn kinds_that_are_not_read_say_so() {
    let content = fs::read(corpus().join("refused/tiff-fax-3.tif")).unwrap();
    let error = refused("tiff-fax-3.tif", &content);
    assert!(matches!(error, DatasetError::Image { .. }), "{error}");
    assert!(error.to_string().contains("Tiff") && error.to_string().contains("Fax3"), "{error}");
}

/// A grey TIFF of 4 x 4 zeros.
fn tiff_of(bits: u16, sample_format: u16, photometric: u16) -> Vec<u8> {
    let entries = [
        (256, 4),
        (257, 4),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 256),
        (277, 1),
        (278, 4),
        (279, 2 * bits),
        (339, sample_format),
    ];
    let mut tiff = b"II*\0\x08\0\0\0".to_vec();
    tiff.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        [tag, 3, 1, 0, value, 0].iter().for_each(|v: &u16| tiff.extend(v.to_le_bytes()));
    }
    tiff.resize(256 + 2 * usize::from(bits), 0);
    tiff
}

#[test]
fn kinds_of_tiff_that_are_not_decoded_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tif");
    for (bits, format) in [(8, 1), (16, 1)] {
        fs::write(&path, tiff_of(bits, format, 1)).unwrap();
        assert!(Preprocessing::new(&DatasetConfig::default()).input(&path).is_ok(), "{bits}");
    }
    for (bits, format, photometric, kind) in [
        (32, 1, 1, "TIFF of 32-bit values"),
        (12, 1, 1, "TIFF of 12-bit values"),
        (32, 3, 1, "TIFF of 32-bit floats"),
        (64, 3, 1, "TIFF of 64-bit floats"),
        (16, 2, 1, "TIFF of signed 16-bit values"),
        (8, 2, 1, "TIFF of signed 8-bit values"),
        (4, 1, 3, "TIFF of a 4-bit palette"),
    ] {
        let message = refused("a.tif", &tiff_of(bits, format, photometric)).to_string();
        assert!(message.contains(kind), "{kind}: {message}");
        let command = "-depth 16 OUT.png`";
        assert!(message.contains("convert it") && message.contains(command), "{message}");
    }
}

/// The bytes at a place replaced.
fn with(file: &str, at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut content = fs::read(corpus().join(file)).unwrap();
    content[at..][..bytes.len()].copy_from_slice(bytes);
    content
}

fn find(content: &[u8], wanted: &[u8]) -> usize {
    content.windows(wanted.len()).position(|bytes| bytes == wanted).unwrap()
}

#[test]
fn images_that_claim_to_be_huge_are_refused_by_their_headers() {
    const SIDE: u32 = 100_000;
    let (little, big) = (SIDE.to_le_bytes().repeat(2), SIDE.to_be_bytes().repeat(2));
    let jpeg = fs::read(corpus().join("jpeg-444.jpg")).unwrap();
    let start_of_frame = find(&jpeg, &[0xff, 0xc0]);
    // The checksum follows the 13 bytes of the header.
    let mut png = with("png-rgb.png", 16, &big);
    let mut hasher = flate2::Crc::new();
    hasher.update(&png[12..29]);
    png.splice(29..33, hasher.sum().to_be_bytes());
    let tiff = fs::read(corpus().join("tiff-rgb.tif")).unwrap();
    let tag = |tag: u16| find(&tiff, &[tag.to_le_bytes(), 4u16.to_le_bytes()].concat());
    let mut wide = tiff.clone();
    for tag in [tag(256), tag(257)] {
        wide.splice(tag + 8..tag + 12, little[..4].to_vec());
    }
    let files = [
        ("huge.jpg", with("jpeg-444.jpg", start_of_frame + 5, &[0xff; 4])),
        ("huge.png", png),
        ("huge.gif", with("gif.gif", 6, &[0xff; 4])),
    ];
    for (name, content) in files {
        let error = refused(name, &content);
        assert!(matches!(error, DatasetError::TooLarge { .. }), "{name}: {error}");
        assert!(error.to_string().contains("at most 178956970 pixels"), "{error}");
    }
    // These decoders see for themselves that the file does not hold so much.
    for (name, content) in [("huge.bmp", with("bmp-rgb.bmp", 18, &little)), ("huge.tif", wide)] {
        let error = refused(name, &content);
        let named = matches!(error, DatasetError::Image { .. } | DatasetError::TooLarge { .. });
        assert!(named, "{name}: {error}");
    }
}

/// Changed images go through the decoders or are errors; FSA_BANK_FUZZ_ROUNDS makes the search longer.
#[test]
fn changed_images_are_decoded_or_are_errors() {
    let rounds = std::env::var("FSA_BANK_FUZZ_ROUNDS").map_or(12, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let (preprocessing, path) = (Preprocessing::new(&config), dir.path().join("image"));
    let values = 3 * config.image_size * config.image_size;
    let mut outcomes = String::new();
    for (number, (name, whole)) in whole_corpus().into_iter().enumerate() {
        outcomes += &format!("{name} ");
        for round in 0..rounds {
            let key = (number as u64, round);
            let mut rng = KeyedRng::new(9, Stage::InitialWeights, key);
            let mut content = whole.clone();
            for _ in 0..=rng.below(4) {
                // Headers are hit as often as the rest.
                let reach = if rng.below(2) == 0 { content.len() } else { content.len().min(64) };
                let at = rng.below(reach as u32) as usize;
                content[at] = rng.below(256) as u8;
            }
            if rng.below(8) == 0 {
                content.truncate(rng.below(content.len() as u32) as usize);
            }
            fs::write(&path, content).unwrap();
            match preprocessing.input(&path) {
                Ok(input) => {
                    assert_eq!(input.len(), values, "{name} {round}");
                    assert!(input.iter().all(|value| value.is_finite()), "{name} {round}");
                    outcomes.push('d');
                }
                Err(error) => {
                    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
                    outcomes.push('r');
                }
            }
        }
        outcomes.push('\n');
    }
    // FSA_BANK_FUZZ_ROUNDS asks for more or fewer: the first twelve of an image are always the same.
    for (found, expected) in outcomes.lines().zip(CHANGED_IMAGES.lines()) {
        let rounds = expected.len().min(found.len());
        assert_eq!(found[..rounds], expected[..rounds]);
    }
    assert_eq!(outcomes.lines().count(), CHANGED_IMAGES.lines().count());
}

/// A run whose images 3 (of class 0) and 25 (of class 1) of training and 1 of the test split cannot be
/// decoded, one because it has gone.
fn broken_run(overrides: &[&str], share: f64) -> Run {
    let mut run = Run::new(overrides);
    let images = run.path().join("images");
    for path in ["train/colour-0/003.png", "test/colour-0/001.png"] {
        fs::write(images.join(path), "no image").unwrap();
    }
    fs::remove_file(images.join("train/colour-1/001.png")).unwrap();
    // The list of images is older than that.
    run.dataset.skipped = Skipped::at_most(share);
    run
}

fn skipped_lines(file: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn training_leaves_out_what_cannot_be_decoded_and_lists_it_once() {
    let go = Interrupt::default();
    let run = broken_run(&["train.epochs=3", "train.batch_size=4"], 0.05);
    let trained = run.train(false, &Silent, &go).unwrap();
    assert_eq!(trained.skipped.images, 3);
    let lines = skipped_lines(trained.skipped.file.as_ref().unwrap());
    let found: Vec<_> = lines.iter().map(|l| (&l["split"], &l["path"], &l["class"])).collect();
    assert_eq!(
        found,
        [
            (&"test".into(), &"test/colour-0/001.png".into(), &"colour-0".into()),
            (&"train".into(), &"train/colour-0/003.png".into(), &"colour-0".into()),
            (&"train".into(), &"train/colour-1/001.png".into(), &"colour-1".into()),
        ]
    );
    assert!(lines[1]["reason"].as_str().unwrap().contains("not a readable image"));
    assert!(lines[2]["reason"].as_str().unwrap().contains("cannot be read"));
    // 41 images and 23 test images are counted.
    let whole = |percent: f64, of: f64| (percent * of / 100.0).fract().min(1e-9) < 1e-8;
    let last = trained.epochs.last().unwrap();
    assert!(whole(last.train_top1, 41.0) && whole(last.test_top1.unwrap(), 23.0), "{last:?}");

    let again = run.train(false, &Silent, &go).unwrap();
    assert!(again.already_done && again.skipped == trained.skipped);
    // Interrupted and resumed, the result is the same.
    let other = broken_run(&["train.epochs=3", "train.batch_size=4"], 0.05);
    let stop = Interrupt::default();
    let progress = Watcher::stopping_after(60, &stop);
    assert!(other.train(false, &progress, &stop).is_err());
    let resumed = other.train(true, &Silent, &go).unwrap();
    assert_eq!(resumed.skipped.images, 3);
    assert!(fs::read(&resumed.model).unwrap() == fs::read(&trained.model).unwrap());
}

#[test]
fn more_than_the_share_fails_with_the_image_and_the_remedy() {
    let run = broken_run(&["train.epochs=1"], Skipped::USUAL_SHARE);
    let error = run.train(false, &Silent, &Interrupt::default()).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, TrainError::Dataset(DatasetError::TooManySkipped { .. })), "{message}");
    assert!(message.contains("train/colour-") && message.contains("1 of 43 train"), "{message}");
    assert!(message.contains("--max-skipped 2.4%"), "{message}");
    assert!(!run.path().join(train::MODEL_FILE).exists());
}

#[test]
fn a_bank_has_no_rows_of_what_cannot_be_decoded() {
    let go = Interrupt::default();
    let run = broken_run(&["train.epochs=1"], 0.05);
    run.train(false, &Silent, &go).unwrap();
    let made = run.features(&go).unwrap();
    assert_eq!((made.rows, made.skipped.images), (41 * 3 + 23, 3));
    assert_eq!(made.skipped.file, Some(run.path().join(features::SKIPPED_FILE)));
    let again = run.features(&go).unwrap();
    assert!(again.already_done && again.skipped == made.skipped);

    let bank = Bank::open(&made.bank).unwrap();
    assert_eq!(bank.class_counts.0, [23, 11, 5, 2]);
    let (train, test) = (&bank.manifest.splits["train"], &bank.manifest.splits["test"]);
    assert_eq!((train.images, train.rows, test.images, test.rows), (41, 123, 23, 23));
    let rows = bank.rows(Split::Train).unwrap();
    let mut ids = rows.index.sample_ids.clone();
    ids.dedup();
    let expected: Vec<u32> = (0..43).filter(|id| ![3, 25].contains(id)).collect();
    assert_eq!(ids, expected);
    // Methods that draw, and those that look for neighbours, do without them.
    for method in ["fsa", "tailcalib", "ncm"] {
        let settings = toml::toml! { iterations = 20 tail_per_batch = 2 };
        let flags = toml::Table::from_iter([("method".to_string(), method.into())]);
        let request = FinetuneRequest {
            bank: &made.bank,
            config: fsa_bank::config::resolve_finetune(&settings, &flags).unwrap(),
            seed: 0,
            selection: finetune::Selection::None,
            out: None,
            overwrite: false,
            memory_bytes: 1 << 30,
        };
        let tuned = finetune::run(&request, Watch::new(&Silent, &go)).unwrap();
        assert_eq!(tuned.report.train_images, [23, 11, 5, 2], "{method}");
    }
}

#[test]
fn a_fitted_classifier_counts_the_same_images() {
    let go = Interrupt::default();
    let options = FitOptions { epochs: 5, weight_decay: 1e-4, seed: 0 };
    let fit = || Some(HeadSource::Fitted(options));
    let made = [None, Some("fitting")].map(|stopped_at| {
        let mut run = broken_run(&["train.epochs=1"], 0.05);
        run.train(false, &Silent, &go).unwrap();
        if let Some(label) = stopped_at {
            let stop = Interrupt::default();
            let error = run.features_with(fit(), &Watcher::stopping_at(label, &stop), &stop);
            assert!(matches!(error, Err(FeaturesError::InterruptedFit)));
            // Another process decodes nothing any more.
            run.dataset.skipped = Skipped::at_most(0.05);
        }
        let made = run.features_with(fit(), &Silent, &go).unwrap();
        assert_eq!(made.skipped.images, 3);
        assert_eq!(Bank::open(&made.bank).unwrap().class_counts.0, [23, 11, 5, 2]);
        shards(&made.bank)
    });
    assert!(made[0] == made[1]);
}

#[test]
fn a_row_of_a_table_that_cannot_be_decoded_is_skipped_like_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let png = fs::read(corpus().join("png-rgb.png")).unwrap();
    let images: Vec<&[u8]> = vec![&png, b"no image", &png, &png];
    let text = |values: [&str; 4]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let batch = RecordBatch::try_from_iter([
        ("split", text(["train", "train", "train", "test"])),
        ("label", Arc::new(Int32Array::from(vec![0, 0, 1, 0])) as ArrayRef),
        ("class_name", text(["a", "a", "b", "a"])),
        ("path", text(["1", "2", "3", "4"])),
        ("image", Arc::new(BinaryArray::from_vec(images)) as ArrayRef),
    ])
    .unwrap();
    let path = dir.path().join("images.parquet");
    let file = fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let settings = DatasetConfig { kind: DatasetKind::Parquet, ..config(&path) };
    let mut dataset = Dataset::open(&settings).unwrap();
    let loaded = |dataset: &Dataset| {
        let images: Vec<(usize, Transform)> = (0..3).map(|i| (i, Transform::NONE)).collect();
        let made = Loader::new(dataset, Split::Train, &dataset.train).inputs(&images);
        made.map(|made| (made.kept, made.values.len()))
    };
    assert!(matches!(loaded(&dataset), Err(DatasetError::TooManySkipped { .. })));
    dataset.skipped = Skipped::at_most(0.4);
    assert_eq!(loaded(&dataset).unwrap(), (vec![0, 2], 2 * 3 * 32 * 32));
    assert_eq!(dataset.decodable_class_counts().0, [1, 1]);
}

#[test]
fn a_file_that_has_gone_from_a_list_is_skipped_when_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let png = fs::read(corpus().join("png-rgb.png")).unwrap();
    let names = [0, 1, 2, 3].map(|i| format!("{i}.png"));
    names.iter().for_each(|name| fs::write(dir.path().join(name), &png).unwrap());
    let list = dir.path().join("list.txt");
    let line = |(i, name): (usize, &String)| format!("{name} {}\n", i % 2);
    // Classes of 4 and 2 images, a fifth of which is tested on: one of the first.
    let twice: Vec<String> =
        [names.clone().to_vec(), vec!["0.png".into(), "2.png".into()]].concat();
    let lines: String = twice.iter().enumerate().map(line).collect();
    fs::write(&list, lines).unwrap();
    let settings = DatasetConfig { kind: DatasetKind::List, ..config(&list) };
    let whole = Dataset::open(&settings).unwrap().fingerprint;
    fs::remove_file(dir.path().join("3.png")).unwrap();
    let mut dataset = Dataset::open(&settings).unwrap();
    assert_ne!(dataset.fingerprint, whole);
    dataset.skipped = Skipped::at_most(0.5);
    let images: Vec<(usize, Transform)> =
        (0..dataset.train.len()).map(|i| (i, Transform::NONE)).collect();
    let made = Loader::new(&dataset, Split::Train, &dataset.train).inputs(&images).unwrap();
    assert_eq!(made.kept.len(), images.len() - 1);
    let skipped = dataset.skipped.images();
    assert_eq!((skipped.len(), skipped[0].path.as_str()), (1, "3.png"));
    assert!(skipped[0].reason.contains("3.png: cannot be read"), "{}", skipped[0].reason);
}

const RESIZED: [&str; 3] =
    ["train.crop=resized", "train.crop_scale=[0.3, 1.0]", "train.color_jitter=0.4"];

#[test]
fn resized_crops_and_colours_reach_training_and_views_alike() {
    let go = Interrupt::default();
    let run_with = |overrides: &[&str]| {
        let run = Run::new(&[&["train.epochs=2"], overrides].concat());
        let trained = run.train(false, &Silent, &go).unwrap();
        let made = run.features(&go).unwrap();
        let (loss, bank) = (trained.epochs[0].train_loss, Bank::open(&made.bank).unwrap());
        (loss, shards(&made.bank), bank, run)
    };
    let (usual_loss, _, usual, _usual_run) = run_with(&[]);
    let (loss, rows, bank, _run) = run_with(&RESIZED);
    let (same_loss, same_rows, ..) = run_with(&RESIZED);
    assert!(loss == same_loss && rows == same_rows && loss != usual_loss);
    assert_eq!(bank.manifest.views.crop_scale, Some([0.3, 1.0]));
    assert_eq!(bank.manifest.views.color_jitter, 0.4);
    // Manifests of other banks do not speak of it.
    let text = fs::read_to_string(usual.dir().join("manifest.json")).unwrap();
    assert!(!text.contains("crop_scale") && !text.contains("color_jitter"));
    let (rows, usual) = (bank.rows(Split::Train).unwrap(), usual.rows(Split::Train).unwrap());
    assert_eq!(rows.pooled_of(0), usual.pooled_of(0), "the clean view is clean");
    assert_ne!(rows.pooled_of(1), usual.pooled_of(1));
    assert_ne!(rows.pooled_of(1), rows.pooled_of(2));
}

#[test]
fn a_resized_crop_is_of_the_original_image() {
    // Red but for the middle square, which is all that a clean view has.
    let dir = tempfile::tempdir().unwrap();
    let picture = image::RgbImage::from_fn(90, 30, |x, _| {
        image::Rgb(if (30..60).contains(&x) { [0, 0, 0] } else { [255, 0, 0] })
    });
    for place in ["train/a", "train/b", "test/a"] {
        fs::create_dir_all(dir.path().join(place)).unwrap();
        picture.save(dir.path().join(place).join("wide.png")).unwrap();
    }
    let plain = DatasetConfig { mean: vec![0.0; 3], std: vec![1.0; 3], ..config(dir.path()) };
    let dataset = Dataset::open(&plain).unwrap();
    let settings = TrainConfig {
        crop: RandomCrop::Resized,
        crop_scale: [0.05, 0.1],
        ..TrainConfig::default()
    };
    let mean_red = |how: Transform| {
        let made = Loader::new(&dataset, Split::Train, &dataset.train).inputs(&[(0, how)]).unwrap();
        made.values[..32 * 32].iter().sum::<f32>() / (32.0 * 32.0)
    };
    // Scaled up, the pixels at its edge look at their neighbours.
    assert!(mean_red(Transform::NONE) < 0.01);
    let draw = |i| {
        let mut rng = KeyedRng::new(0, Stage::TrainTransform, (0, i));
        mean_red(Augmentation::new(&settings).draw(&mut rng))
    };
    let reds: Vec<f32> = (0..60).map(draw).collect();
    assert!(reds.contains(&0.0) && reds.contains(&1.0), "{reds:?}");
    let mean = reds.iter().sum::<f32>() / 60.0;
    assert!((0.5..0.85).contains(&mean), "two thirds of the image are red: {mean}");
}

#[test]
fn crops_of_images_held_decoded_are_of_their_squares() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/demo-images.parquet");
    let settings = DatasetConfig { kind: DatasetKind::Parquet, ..config(&path) };
    let dataset = Dataset::open(&settings).unwrap();
    let loader = Loader::new(&dataset, Split::Train, &dataset.train);
    let whole = TrainConfig {
        crop: RandomCrop::Resized,
        crop_scale: [1.0, 1.0],
        flip: false,
        ..TrainConfig::default()
    };
    let part = TrainConfig { crop_scale: [0.2, 0.5], ..whole.clone() };
    let inputs = |settings: &TrainConfig| {
        let mut rng = KeyedRng::new(0, Stage::TrainTransform, (0, 0));
        let how = Augmentation::new(settings).draw(&mut rng);
        loader.inputs(&[(7, how)]).unwrap().values
    };
    let clean = loader.inputs(&[(7, Transform::NONE)]).unwrap().values;
    // Of the whole area only the whole square fits, unless its shape is drawn to be another.
    assert_eq!(inputs(&whole), clean);
    assert_ne!(inputs(&part), clean);
}
