//! Parquet tables of encoded images: Hugging Face's layout as one file and as shards, and what is wrong
//! with bad ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float32Array, Float64Array,
    Int8Array, Int32Array, Int64Array, LargeBinaryArray, RecordBatch, StringArray, StructArray,
    UInt8Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int8Type};
use fsa_bank::config::{self, DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Dataset, SplitImages, kind_at};
use fsa_bank::proposal::{self, ProposalRequest};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};

use crate::fixtures::encoded_photograph;
use crate::parquet_file::{ParquetFile, Thrift};
use crate::support::lists::{config_of, content, error, noted, opened};

const NAMES: [&str; 3] = ["heron", "gull", "coot"];

fn config(path: &Path) -> DatasetConfig {
    config_of(DatasetKind::Parquet, path)
}

/// `image` as `datasets` writes it: bytes, and a path or none.
fn images(colours: &[u8], paths: &[Option<&str>]) -> ArrayRef {
    let encoded: Vec<Vec<u8>> = colours.iter().map(|&colour| encoded_photograph(colour)).collect();
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let bytes = BinaryArray::from_iter_values(encoded);
    let paths = StringArray::from(paths.to_vec());
    Arc::new(StructArray::new(fields, vec![Arc::new(bytes), Arc::new(paths)], None))
}

fn labels(labels: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(labels.to_vec()))
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn features(names: &[&str]) -> String {
    serde_json::json!({"info": {"features": {
        "image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}}})
    .to_string()
}

fn save(path: &Path, features: Option<String>, columns: &[(&str, ArrayRef)]) {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.iter().map(|(name, column)| (*name, column.clone(), true)),
    )
    .unwrap();
    let metadata = features.map(|text| vec![KeyValue::new("huggingface".into(), text)]);
    // pyarrow's and `datasets`' compression.
    let properties = WriterProperties::builder()
        .set_key_value_metadata(metadata)
        .set_compression(Compression::SNAPPY)
        .build();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn shard(path: &Path, colours: &[u8], labels_of: &[i64]) {
    let none = vec![None; colours.len()];
    let columns = [("image", images(colours, &none)), ("label", labels(labels_of))];
    save(path, Some(features(&NAMES)), &columns);
}

#[test]
fn shards_of_hugging_face_are_read_by_the_split_in_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::write(dir.path().join("README.md"), "").unwrap();
    shard(&data.join("train-00000-of-00002-0a1b.parquet"), &[10, 20], &[2, 0]);
    shard(&data.join("train-00001-of-00002-0a1b.parquet"), &[30, 40], &[1, 0]);
    shard(&data.join("test-00000-of-00001.parquet"), &[50], &[1]);
    shard(&data.join("validation.parquet"), &[60], &[2]);
    let dataset = opened(&config(dir.path()));
    assert_eq!(dataset.class_names, NAMES);
    assert_eq!(dataset.class_counts().0, [2, 1, 1]);
    let named = |file: &str, row: usize| format!("{file}.parquet#{row}");
    let [first, second] = ["train-00000-of-00002-0a1b", "train-00001-of-00002-0a1b"];
    assert_eq!(
        content(&dataset.train),
        [
            (named(first, 0), 2, 10),
            (named(first, 1), 0, 20),
            (named(second, 0), 1, 30),
            (named(second, 1), 0, 40)
        ]
    );
    assert_eq!(content(&dataset.test), [(named("test-00000-of-00001", 0), 1, 50)]);
    assert_eq!(content(dataset.val.as_ref().unwrap()), [(named("validation", 0), 2, 60)]);
    assert!(!dataset.test_held_out);
    assert_eq!([dir.path(), &data].map(kind_at), [DatasetKind::Parquet; 2]);
    // The folder itself, and one folder a split.
    assert_eq!(opened(&config(&data)).fingerprint, dataset.fingerprint);
    let converted = tempfile::tempdir().unwrap();
    for (split, from) in [("train", first), ("train", second), ("test", "test-00000-of-00001")] {
        let to = converted.path().join(split);
        fs::create_dir_all(&to).unwrap();
        fs::copy(data.join(named(from, 0).replace("#0", "")), to.join(format!("{from}.parquet")))
            .unwrap();
    }
    let same = opened(&config(converted.path()));
    assert_eq!(content(&same.train), content(&dataset.train));
    assert_eq!((same.test.len(), same.val.is_none()), (1, true));
}

#[test]
fn one_file_has_a_split_column_or_is_divided() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.parquet");
    let paths = [Some("a.jpg"), Some(""), None, Some("d.jpg")];
    let pixels = images(&[10, 20, 30, 40], &paths);
    let species = text(&["gull", "coot", "gull", "coot"]);
    let columns = [
        ("img", pixels.clone()),
        ("species", species.clone()),
        ("split", text(&["train", "train", "validation", "test"])),
    ];
    save(&path, None, &columns);
    let dataset = opened(&config(&path));
    assert_eq!(dataset.class_names, ["coot", "gull"]);
    let train = [("a.jpg".to_string(), 1, 10), ("all.parquet#1".to_string(), 0, 20)];
    assert_eq!(content(&dataset.train), train);
    assert_eq!(content(&dataset.test), [("d.jpg".into(), 0, 40)]);
    assert_eq!(content(dataset.val.as_ref().unwrap()), [("all.parquet#2".into(), 1, 30)]);

    // Plain bytes of either width, dense numbers without names, no split.
    let encoded: Vec<Vec<u8>> = (0..10).map(|i| encoded_photograph(10 * i)).collect();
    let wide: ArrayRef = Arc::new(LargeBinaryArray::from_iter_values(&encoded));
    let narrow: ArrayRef = Arc::new(BinaryArray::from_iter_values(&encoded));
    for (name, pixels) in [("wide.parquet", wide), ("narrow.parquet", narrow)] {
        let path = dir.path().join(name);
        let target: ArrayRef = Arc::new(Int32Array::from_iter_values((0..10).map(|i| i % 2)));
        save(&path, None, &[("jpg", pixels), ("y", target)]);
        let dataset = opened(&config(&path));
        assert!(dataset.test_held_out, "{name}");
        assert_eq!(dataset.class_names, ["0", "1"]);
        assert_eq!((dataset.train.len(), dataset.test.len()), (8, 2));
        for (path, label, colour) in content(&dataset.train).iter().chain(&content(&dataset.test)) {
            assert_eq!(*path, format!("{name}#{}", colour / 10));
            assert_eq!(*label, u32::from(colour / 10 % 2));
        }
    }
}

#[test]
fn images_are_decoded_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.parquet");
    let good = encoded_photograph(7);
    let pixels = BinaryArray::from_iter_values([&good[..], b"no image", &good, &good]);
    let columns = [
        ("image", Arc::new(pixels) as ArrayRef),
        ("label", labels(&[0, 1, 0, 1])),
        ("split", text(&["train", "train", "train", "test"])),
        ("path", text(&["a", "b", "c", "d"])),
    ];
    save(&path, None, &columns);
    let dataset = opened(&config(&path));
    assert_eq!(dataset.train.image(0).unwrap()[0], 7);
    let text = dataset.train.image(1).unwrap_err().to_string();
    assert!(text.contains("all.parquet/b: not a readable"), "{text}");
    // The content is part of what the dataset is.
    let mut columns = columns;
    let pixels = BinaryArray::from_iter_values([&good[..], b"n0 image", &good, &good]);
    columns[0].1 = Arc::new(pixels);
    save(&path, None, &columns);
    assert_ne!(opened(&config(&path)).fingerprint, dataset.fingerprint);
}

#[test]
fn bad_tables_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let pixels = || images(&[10, 20], &[None, None]);
    let refused = |features: Option<String>, columns: &[(&str, ArrayRef)], message: &str| {
        save(&path, features, columns);
        let text = error(&config(&path));
        assert!(text.contains(message), "{text} / {message}");
        // What columns there are helps where they are others, not where a row is wrong.
        let hint = text.contains("A table of images has a column label");
        assert!(!hint || !message.starts_with("row "), "{text}");
    };
    refused(
        None,
        &[("image", pixels()), ("x", labels(&[0, 1]))],
        "no column of labels among `image`, `x`",
    );
    refused(None, &[("x", text(&["a", "b"])), ("label", labels(&[0, 1]))], "no column `image`");
    let pathless = [("image", text(&["a", "b"])), ("label", labels(&[0, 1]))];
    refused(None, &pathless, "the first images are missing: no ");
    let two = [("a", pixels()), ("b", pixels()), ("label", labels(&[0, 1]))];
    refused(None, &two, "several columns of bytes, none of them called `image`");
    let floats: ArrayRef = Arc::new(Float32Array::from(vec![0.5, 1.0]));
    refused(
        None,
        &[("image", pixels()), ("label", floats)],
        "row 1: 0.5 in column `label`, not text or an integer",
    );
    let null: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    refused(None, &[("image", pixels()), ("label", null)], "row 2: a null in column `label`");
    refused(
        None,
        &[("image", pixels()), ("label", labels(&[0, 2]))],
        "row 2: label 2, but no training image has label 1",
    );
    let unlabelled = [("image", pixels()), ("label", labels(&[0, -1]))];
    refused(None, &unlabelled, "row 2: label -1; expected 0 or more");
    refused(Some(features(&NAMES)), &unlabelled, "row 2: label `-1` is beyond the classes");
    let beyond = [("image", pixels()), ("label", labels(&[3, 0]))];
    refused(
        Some(features(&NAMES)),
        &beyond,
        "row 1: label `3` is beyond the classes: none of the 3",
    );
    let group = pixels().as_any().downcast_ref::<StructArray>().unwrap().clone();
    let (fields, arrays, _) = group.into_parts();
    let absent = StructArray::new(fields, arrays, Some(NullBuffer::from(vec![true, false])));
    let absent = [("image", Arc::new(absent) as ArrayRef), ("label", labels(&[0, 1]))];
    refused(None, &absent, "row 2: no bytes in column `image`");
    let split =
        [("image", pixels()), ("label", labels(&[0, 1])), ("split", text(&["test", "test"]))];
    refused(None, &split, "no image of the split train");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert!(error(&config(&path)).contains("x.parquet: "));
}

#[test]
fn missing_and_stray_shards_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |message: &str| {
        let text = error(&config(dir.path()));
        assert!(text.contains(message), "{text} / {message}");
    };
    assert_eq!(kind_at(dir.path()), DatasetKind::Folder);
    refused("expected a Parquet file of images, or a folder of train-*.parquet");
    let shard = |name: &str| shard(&dir.path().join(name), &[10, 20, 30], &[0, 1, 2]);
    shard("train-00001-of-00003.parquet");
    refused("shard 0 of 3 is missing; the next one is train-00001-of-00003.parquet");
    shard("train-00000-of-00003.parquet");
    refused("train-00001-of-00003.parquet is the last shard; expected 3");
    shard("train-00002-of-00003.parquet");
    assert_eq!(opened(&config(dir.path())).train.len(), 6);
    shard("train-00000-of-00001.parquet");
    refused("is a shard of another export");
    fs::remove_file(dir.path().join("train-00000-of-00001.parquet")).unwrap();
    shard("unsupervised-00000-of-00001.parquet");
    refused("its name begins with `unsupervised`, which is not a split");
}

#[test]
fn a_gap_in_numbers_without_a_total_is_a_missing_shard() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let shard = |name: &str| shard(&path(name), &[10, 20, 30], &[0, 1, 2]);
    fs::create_dir_all(path("default/train")).unwrap();
    shard("default/train/0000.parquet");
    shard("default/train/0002.parquet");
    let expected = "default/train: shard 0001 is missing; the next one is 0002.parquet";
    let message = error(&config(dir.path()));
    assert!(message.contains(expected) && message.lines().count() == 1, "{message}");
    shard("default/train/0001.parquet");
    assert_eq!(opened(&config(dir.path())).account.used, 9);
    fs::remove_file(path("default/train/0000.parquet")).unwrap();
    assert!(error(&config(dir.path())).contains("shard 0000 is missing"));
    fs::remove_dir_all(path("default")).unwrap();
    shard("train-0001.parquet");
    shard("train-0003.parquet");
    assert!(error(&config(dir.path())).contains("shard 0002 is missing"));
    shard("train-0002.parquet");
    assert_eq!(opened(&config(dir.path())).account.used, 9);
}

/// Six images in a codec, as pages of the first or second version.
fn compressed(path: &Path, codec: Compression, version: WriterVersion) {
    let pixels = images(&[10, 20, 30, 40, 50, 60], &[None; 6]);
    let columns = [("image", pixels, true), ("label", labels(&[0, 1, 0, 1, 0, 1]), true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let properties =
        WriterProperties::builder().set_compression(codec).set_writer_version(version).build();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn pages_of_every_codec_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let codecs = [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::BROTLI(Default::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(Default::default()),
    ];
    for codec in codecs {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            compressed(&path, codec, version);
            let dataset = opened(&config(&path));
            let mut found = content(&dataset.train);
            found.extend(content(&dataset.test));
            found.sort_unstable_by_key(|image| image.2);
            let found: Vec<(u32, u8)> = found.into_iter().map(|(_, l, c)| (l, c)).collect();
            let expected = [(0, 10), (1, 20), (0, 30), (1, 40), (0, 50), (1, 60)];
            assert_eq!(found, expected, "{codec}");
        }
    }
    // Brotli goes on for as long as its stream says, whatever the page has room for.
    compressed(&path, codecs[3], WriterVersion::PARQUET_1_0);
    let mut file = ParquetFile::of(&fs::read(&path).unwrap());
    file.column(0, "label").pages[0].header.set(2, Thrift::I32(3));
    fs::write(&path, file.assemble(|_| {}).bytes).unwrap();
    let message = error(&config(&path));
    assert!(message.contains("bytes that decompress to more than 3"), "{message}");
    let lzo = file.assemble(|f| f.at(4).list()[0].at(1).list()[0].at(3).set(4, Thrift::I32(3)));
    fs::write(&path, lzo.bytes).unwrap();
    let message = error(&config(&path));
    assert!(message.contains("its pages are in LZO, which is not read: write"), "{message}");
}

#[test]
fn a_configuration_is_found_below_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let converted = |configuration: &str| {
        let of = |file: &str| dir.path().join(configuration).join(file);
        shard(&of("train/0000.parquet"), &[10, 20], &[2, 0]);
        shard(&of("train/0001.parquet"), &[30], &[1]);
        shard(&of("test/0000.parquet"), &[50], &[1]);
    };
    converted("default");
    fs::write(dir.path().join("README.md"), "").unwrap();
    let dataset = opened(&config(dir.path()));
    assert_eq!((dataset.train.len(), dataset.test.len()), (3, 1));
    assert_eq!(kind_at(dir.path()), DatasetKind::Parquet);
    converted("large");
    let message = error(&config(dir.path()));
    assert!(message.contains("has a table for each of default, large; expected one"), "{message}");
    assert_eq!(kind_at(dir.path()), DatasetKind::Parquet);
    assert_eq!(opened(&config(&dir.path().join("large"))).fingerprint, dataset.fingerprint);
    let pipeline = dir.path().join("p.toml");
    let (images, out) = (&dir.path().join("large"), Some(pipeline.as_path()));
    proposal::run(&ProposalRequest { images, out, overwrite: false }).unwrap();
    let proposed = config::load(&pipeline, &[]).unwrap().pipeline.dataset;
    assert_eq!(proposed.kind, DatasetKind::Parquet);
    assert_eq!(opened(&proposed).train.len(), 3);
    // What is no split is said.
    shard(&dir.path().join("large/extra/0000.parquet"), &[60], &[0]);
    let message = error(&config(&dir.path().join("large")));
    assert!(
        message.contains("extra: a folder of Parquet files whose name is not a split"),
        "{message}"
    );
    // A table among folders of images does not make them one.
    let photos = dir.path().join("photos");
    for class in ["a", "b"] {
        crate::fixtures::photograph(&photos.join(class).join("1.png"), 0);
    }
    shard(&photos.join("embeddings.parquet"), &[10], &[0]);
    assert_eq!(kind_at(&photos), DatasetKind::Folder);
}

#[test]
fn tables_of_paths_are_read_as_files() {
    let dir = tempfile::tempdir().unwrap();
    let files = [("a.png", 10), ("b.png", 20), ("sub/c.png", 30), ("sub/d.png", 40)];
    for (file, colour) in files {
        crate::fixtures::photograph(&dir.path().join(file), colour);
    }
    let paths = || files.map(|(file, _)| Some(file));
    let bytes = BinaryArray::from_iter([None::<&[u8]>; 4]);
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let of = StringArray::from(paths().to_vec());
    let group = StructArray::new(fields, vec![Arc::new(bytes), Arc::new(of)], None);
    let table = dir.path().join("train-00000-of-00001.parquet");
    let rows = [(2, 10), (0, 20), (1, 30), (1, 40)];
    let split = || ("split", text(&["train", "train", "train", "test"]));
    let colours = |split: &SplitImages| -> Vec<(u32, u8)> {
        content(split).into_iter().map(|(_, label, colour)| (label, colour)).collect()
    };
    let all = |dataset: &Dataset| [colours(&dataset.train), colours(&dataset.test)].concat();
    let test = dir.path().join("test-00000-of-00001.parquet");
    let forms: [ArrayRef; 2] = [Arc::new(group), text(&paths().map(Option::unwrap))];
    for image in forms {
        let columns = [("image", image), ("label", labels(&[2, 0, 1, 1])), split()];
        save(&table, Some(features(&NAMES)), &columns);
        // A file is a list, a folder has shards; `parquet` reads either.
        assert_eq!(kind_at(&table), DatasetKind::List);
        for kind in [DatasetKind::Parquet, DatasetKind::List] {
            let one = opened(&DatasetConfig { kind, ..config(&table) });
            assert_eq!(one.class_names, NAMES);
            assert_eq!(all(&one), rows);
        }
        fs::copy(&table, &test).unwrap();
        let dataset = opened(&config(dir.path()));
        assert_eq!(kind_at(dir.path()), DatasetKind::Parquet);
        assert_eq!((colours(&dataset.train), colours(&dataset.test)), (rows.into(), rows.into()));
        noted(&dataset, "the table has paths and no images, which are read as files below");
        fs::remove_file(&test).unwrap();
    }
    // Moved, with the remedy that the message has.
    let moved = text(&["x/a.png", "x/b.png", "x/sub/c.png", "x/sub/d.png"]);
    save(&table, None, &[("image", moved), ("label", labels(&[2, 0, 1, 1])), split()]);
    let message = error(&config(&table));
    assert!(message.contains("Set dataset.path_rewrites = [[\"x/\", \"\"]]"), "{message}");
    let path_rewrites = vec![["x/".into(), String::new()]];
    let settings = DatasetConfig { path_rewrites, ..config(&table) };
    assert_eq!(all(&opened(&settings)), rows);
    // Not so where the images are in the table.
    let settings = DatasetConfig { path: dir.path().join("y.parquet"), ..settings };
    shard(&settings.path, &[10, 20, 30], &[0, 1, 2]);
    assert!(error(&settings).contains("dataset.path_rewrites is set, but the images are in"));
    let listed = DatasetConfig { kind: DatasetKind::List, path_rewrites: vec![], ..settings };
    let message = error(&listed);
    assert!(
        message.contains("has bytes, not paths") && message.contains("dataset.kind = \"parquet\""),
        "{message}"
    );
}

#[test]
fn labels_of_every_type_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let numbers = [0i64, 1, 0, 1];
    let words: DictionaryArray<Int8Type> = ["gull", "heron", "gull", "heron"].into_iter().collect();
    let columns: [(ArrayRef, [&str; 2]); 7] = [
        (Arc::new(Int8Array::from_iter_values(numbers.map(|n| n as i8))), ["0", "1"]),
        (Arc::new(UInt8Array::from_iter_values(numbers.map(|n| n as u8))), ["0", "1"]),
        (Arc::new(Float32Array::from_iter_values(numbers.map(|n| n as f32))), ["0", "1"]),
        (Arc::new(Float64Array::from_iter_values(numbers.map(|n| n as f64))), ["0", "1"]),
        (Arc::new(BooleanArray::from(numbers.map(|n| n == 1).to_vec())), ["false", "true"]),
        (text(&["gull", "heron", "gull", "heron"]), ["gull", "heron"]),
        (Arc::new(words), ["gull", "heron"]),
    ];
    for (label, names) in columns {
        let kind = label.data_type().to_string();
        let split = text(&["train", "train", "train", "test"]);
        let pixels = images(&[10, 20, 30, 40], &[None; 4]);
        save(&path, None, &[("image", pixels), ("label", label), ("split", split)]);
        let dataset = opened(&config(&path));
        assert_eq!(dataset.class_names, names, "{kind}");
        for (_, label, colour) in content(&dataset.train) {
            assert_eq!(label, u32::from(colour / 10 % 2 == 0), "{kind}");
        }
    }
    // A column for each class, and one that says the split.
    let ones = |ones: [f64; 4]| Arc::new(Float64Array::from(ones.to_vec())) as ArrayRef;
    let columns = [
        ("image", images(&[10, 20, 30, 40], &[None; 4])),
        ("NV", ones([1.0, 0.0, 0.0, 0.0])),
        ("MEL", ones([0.0, 1.0, 1.0, 1.0])),
        ("BCC", ones([0.0; 4])),
        ("is_test", Arc::new(BooleanArray::from(vec![false, false, false, true])) as ArrayRef),
        ("age", ones([0.0, 45.5, 1.0, 1.0])),
    ];
    save(&path, None, &columns);
    let dataset = opened(&config(&path));
    assert_eq!(dataset.class_names, ["NV", "MEL"]);
    assert_eq!(content(&dataset.test)[0].2, 40);
    noted(&dataset, "1 of 3 classes have no training image and are left out: `BCC`");
    let message = error(&DatasetConfig { label_column: "MEL".into(), ..config(&path) });
    assert!(message.contains("column `MEL` holds 0 and 1, as do `NV`"), "{message}");
}
