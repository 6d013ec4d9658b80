//! Readers of images: real files in the layouts as distributed, and what is wrong with bad ones.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use fsa_bank::config::{self, DatasetConfig, DatasetKind, Imbalance, Selection};
use fsa_bank::dataset::{Cut, Dataset, DatasetError};

use crate::fixtures::image_folder;

const RECORD: usize = 3073;

/// Two records a class and file: class c, pixel value c in red, 2c in green, 3c in blue.
pub fn cifar10(dir: &Path) {
    let record = |class: u8| {
        let planes = [1u8, 2, 3].iter().flat_map(move |k| std::iter::repeat_n(class * k, 1024));
        std::iter::once(class).chain(planes)
    };
    let file: Vec<u8> = (0..10).chain(0..10).flat_map(record).collect();
    for name in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
        "test_batch",
    ] {
        fs::write(dir.join(format!("{name}.bin")), &file).unwrap();
    }
    let names: String = (0..10).map(|c| format!("name{c}\n")).collect();
    fs::write(dir.join("batches.meta.txt"), names + "\n").unwrap();
}

fn config(kind: DatasetKind, path: &Path) -> DatasetConfig {
    DatasetConfig { kind, path: path.into(), selection: Selection::First, ..Default::default() }
}

fn error(config: &DatasetConfig) -> String {
    Dataset::open(config).err().expect("an error").to_string()
}

#[test]
fn cifar_is_read_from_a_folder_and_from_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("cifar-10-batches-bin");
    fs::create_dir(&folder).unwrap();
    cifar10(&folder);
    let archive = dir.path().join("cifar-10-binary.tar.gz");
    let gz = flate2::write::GzEncoder::new(
        fs::File::create(&archive).unwrap(),
        flate2::Compression::fast(),
    );
    let mut tar = tar::Builder::new(gz);
    tar.append_dir_all("cifar-10-batches-bin", &folder).unwrap();
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();

    let from = |path: &Path| Dataset::open(&config(DatasetKind::Cifar10, path)).unwrap();
    let dataset = from(&folder);
    assert_eq!((dataset.train.len(), dataset.test.len()), (100, 20));
    assert_eq!(dataset.class_counts().0, [10; 10]);
    assert_eq!(dataset.class_names[7], "name7");
    assert_eq!(dataset.train.path(25), "data_batch_2.bin#5");
    assert_eq!(dataset.train.image(25).unwrap()[..6], [5, 10, 15, 5, 10, 15]);
    for path in [dir.path(), &archive] {
        assert_eq!(from(path).fingerprint, dataset.fingerprint);
    }
}

#[test]
fn cifar100_takes_the_fine_label() {
    let dir = tempfile::tempdir().unwrap();
    let file: Vec<u8> = (0..100u8)
        .flat_map(|fine| [fine / 5, fine].into_iter().chain(std::iter::repeat_n(fine, 3072)))
        .collect();
    fs::write(dir.path().join("train.bin"), &file).unwrap();
    fs::write(dir.path().join("test.bin"), &file).unwrap();
    let names: String = (0..100).map(|c| format!("fine{c}\n")).collect();
    fs::write(dir.path().join("fine_label_names.txt"), names).unwrap();
    let dataset = Dataset::open(&config(DatasetKind::Cifar100, dir.path())).unwrap();
    assert_eq!(dataset.class_counts().0, [1; 100]);
    assert_eq!(dataset.train.labels()[42], 42);
}

#[test]
fn bad_cifar_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let settings = config(DatasetKind::Cifar10, dir.path());
    let text = error(&settings);
    assert!(text.contains("cifar-10-binary.tar.gz") && text.contains("--data"), "{text}");
    cifar10(dir.path());
    let batch = dir.path().join("data_batch_3.bin");
    let whole = fs::read(&batch).unwrap();

    fs::write(&batch, &whole[..RECORD * 3 - 1]).unwrap();
    let text = error(&settings);
    assert!(
        text.contains("data_batch_3.bin: 9218 bytes is not a whole number of 3073-byte records"),
        "{text}"
    );
    fs::write(&batch, []).unwrap();
    assert!(error(&settings).contains("data_batch_3.bin: 0 bytes"));
    let mut mislabelled = whole.clone();
    mislabelled[RECORD * 4] = 77;
    fs::write(&batch, mislabelled).unwrap();
    let text = error(&settings);
    assert!(text.contains("data_batch_3.bin: record 4 has label 77; expected 0 to 9"), "{text}");
    fs::remove_file(&batch).unwrap();
    assert!(error(&settings).contains("data_batch_3.bin: no such file"));
    fs::write(&batch, whole).unwrap();
    fs::write(dir.path().join("batches.meta.txt"), "one\ntwo\n").unwrap();
    assert!(error(&settings).contains("2 class names; expected 10"));

    let archive = dir.path().join("cut.tar.gz");
    fs::write(&archive, [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]).unwrap();
    assert!(error(&config(DatasetKind::Cifar10, &archive)).contains("cut.tar.gz: cannot be read"));
}

#[test]
fn a_class_without_samples_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[3, 2]);
    fs::create_dir(dir.path().join("train/zebra")).unwrap();
    let text = error(&config(DatasetKind::Folder, dir.path()));
    assert!(text.contains("class `zebra` has no training image"), "{text}");
}

#[test]
fn a_folder_is_read_in_order_and_scaled_to_the_size() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[4, 2, 1]);
    fs::write(dir.path().join("train/colour-0/notes.txt"), "not an image").unwrap();
    fs::write(dir.path().join("train/.hidden"), "").unwrap();
    // Left half black, right half white, 40 x 20: the middle square keeps both halves.
    let wide =
        image::RgbImage::from_fn(40, 20, |x, _| image::Rgb([if x < 20 { 0 } else { 255 }; 3]));
    wide.save(dir.path().join("train/colour-2/wide.jpg")).unwrap();
    let mut settings = config(DatasetKind::Folder, dir.path());
    settings.image_size = 10;
    let dataset = Dataset::open(&settings).unwrap();
    assert_eq!(dataset.class_counts().0, [4, 2, 2]);
    assert_eq!(dataset.class_names, ["colour-0", "colour-1", "colour-2"]);
    assert_eq!(dataset.train.path(0), "train/colour-0/000.png");
    assert_eq!(dataset.test.len(), 18);
    let image = dataset.train.image(7).unwrap();
    assert_eq!(image.len(), 10 * 10 * 3);
    let row: Vec<u8> = image[..30].iter().step_by(3).copied().collect();
    assert!(row[..4].iter().all(|&v| v < 30) && row[6..].iter().all(|&v| v > 225), "{row:?}");
}

#[test]
fn bad_folders_and_images_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let settings = config(DatasetKind::Folder, dir.path());
    assert!(error(&settings).contains(": no folder of a class; expected at least 2 classes"));
    image_folder(dir.path(), &[3, 2]);
    fs::create_dir(dir.path().join("test/stranger")).unwrap();
    assert!(error(&settings).contains("class `stranger` is not in the training split"));
    fs::remove_dir(dir.path().join("test/stranger")).unwrap();

    let bad = dir.path().join("train/colour-1/000.png");
    fs::write(&bad, "not a PNG").unwrap();
    let dataset = Dataset::open(&settings).unwrap();
    let error = dataset.train.image(3).unwrap_err();
    assert!(matches!(&error, DatasetError::Image { path, .. } if *path == bad), "{error}");
}

#[test]
fn any_kind_of_images_is_cut_to_a_long_tail() {
    let dir = tempfile::tempdir().unwrap();
    image_folder(dir.path(), &[4, 9, 6]);
    let mut settings = config(DatasetKind::Folder, dir.path());
    settings.imbalance_ratio = 4.0;
    // 9 · 4^(-rank/2): 9, 4.5 and 2.25, the largest class first.
    let dataset = Dataset::open(&settings).unwrap();
    assert_eq!(dataset.class_counts().0, [2, 9, 4]);
    assert_eq!(dataset.train.path(1), "train/colour-0/001.png");
    assert_eq!(dataset.cut, Some(Cut { wanted_ratio: 4.0, ratio: 4.5, smaller_classes: 0 }));
    assert_eq!(dataset.test.len(), 18);
    settings.imbalance = Imbalance::Step;
    assert_eq!(Dataset::open(&settings).unwrap().class_counts().0, [2, 9, 2]);

    // The demo's 500 ... 10 images; its own tail is steeper than this.
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/demo-images.parquet");
    let mut settings = config(DatasetKind::Parquet, &demo);
    settings.imbalance_ratio = 10.0;
    settings.selection = Selection::Random;
    let dataset = Dataset::open(&settings).unwrap();
    assert_eq!(dataset.class_counts().0, [500, 323, 209, 135, 87, 56, 36, 23, 15, 10]);
    assert_eq!(dataset.cut, Some(Cut { wanted_ratio: 10.0, ratio: 50.0, smaller_classes: 9 }));
    settings.imbalance_ratio = 200.0;
    let dataset = Dataset::open(&settings).unwrap();
    assert_eq!(dataset.class_counts().0, [500, 277, 154, 85, 47, 26, 14, 8, 4, 2]);
    let fingerprint = dataset.train_fingerprint().unwrap();
    settings.selection_seed = 1;
    let other = Dataset::open(&settings).unwrap();
    assert_eq!(other.class_counts(), dataset.class_counts());
    assert_ne!(other.train_fingerprint().unwrap(), fingerprint);
    settings.imbalance_ratio = 1.0;
    assert_eq!(Dataset::open(&settings).unwrap().cut, None);
}

#[test]
fn settings_of_a_cut_that_mean_nothing_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.toml");
    let load = |lines: &str, overrides: &[&str]| {
        fs::write(&file, format!("[dataset]\npath = \"x\"\n{lines}")).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        config::load(&file, &overrides).map(|loaded| loaded.pipeline.dataset)
    };
    let all =
        "imbalance_ratio = 100\nimbalance = \"step\"\nselection = \"random\"\nselection_seed = 3\n";
    let settings = load(all, &[]).unwrap();
    let found = (settings.imbalance, settings.selection, settings.selection_seed);
    assert_eq!(found, (Imbalance::Step, Selection::Random, 3));
    for (lines, overrides, wanted) in [
        ("imbalance = \"linear\"\n", "", "line 3"),
        ("imbalance = \"linear\"\n", "", "exponential"),
        ("imbalanc = \"step\"\n", "", "did you mean `imbalance`?"),
        ("selection_sed = 1\n", "", "did you mean `selection_seed`?"),
        ("selection = \"last\"\n", "", "random"),
        (
            "",
            "dataset.imbalance_ratio=0.5",
            "`dataset.imbalance_ratio` is 0.5; expected a number of",
        ),
        ("", "dataset.selection_seed=-1", "-1"),
        (
            "",
            "dataset.selection_seed=3",
            "`dataset.selection_seed` is 3; expected 0, unless dataset.selection is \"random\"",
        ),
    ] {
        let overrides: Vec<&str> = overrides.split_terminator(' ').collect();
        let message = load(lines, &overrides).unwrap_err().to_string();
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
}

#[test]
fn the_demo_set_is_the_long_tail_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/demo-images.parquet");
    assert!(fs::metadata(&path).unwrap().len() <= 8_000_000);
    let dataset = Dataset::open(&config(DatasetKind::Parquet, &path)).unwrap();
    assert_eq!(dataset.class_counts().0, [500, 323, 209, 135, 87, 56, 36, 23, 15, 10]);
    assert_eq!(dataset.test.len(), 2000);
    assert_eq!(dataset.class_names[9], "truck");
}

#[test]
fn a_table_of_another_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("x.parquet");
    fs::write(&text, "no").unwrap();
    assert!(error(&config(DatasetKind::Parquet, &text)).contains("x.parquet"));
    crate::fixtures::BankSpec::default().write(dir.path());
    let text = error(&config(DatasetKind::Parquet, &dir.path().join("test-00000.parquet")));
    assert!(text.contains("parquet: the first images are missing: no "), "{text}");
}

/// The real archive, where FSA_BANK_TEST_DATA has it.
#[test]
fn the_real_cifar_archive_gives_the_protocols_subsets() {
    let Some(data) = std::env::var_os("FSA_BANK_TEST_DATA").map(PathBuf::from) else {
        eprintln!(
            "skipped: FSA_BANK_TEST_DATA is not set to a folder with cifar-10-lt10-binary.tar.gz"
        );
        return;
    };
    let archive = data.join("cifar-10-lt10-binary.tar.gz");
    if !archive.is_file() {
        eprintln!("skipped: {} is not there", archive.display());
        return;
    }
    let mut settings = config(DatasetKind::Cifar10, &archive);
    settings.imbalance_ratio = 100.0;
    let dataset = Dataset::open(&settings).unwrap();
    assert_eq!(dataset.class_counts().0, [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]);
    assert_eq!(dataset.test.len(), 10_000);
    settings.selection = Selection::Ldam;
    assert!(error(&settings).contains("use selection = \"first\""));
}
