//! Lists of images in every format: the published ones whole, small data sets with the right pixels, and
//! what is wrong with bad ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray};
use fsa_bank::config::{self, DatasetConfig, DatasetKind, ShotRule};
use fsa_bank::dataset::{Listed, read_lists};
use fsa_bank::eval::{Accuracy, Groups};
use parquet::arrow::ArrowWriter;

use crate::fixtures::photograph;
use crate::support::lists::{colours, config_of, content, error, opened, save};

fn config(path: &Path) -> DatasetConfig {
    config_of(DatasetKind::List, path)
}

fn with_lists(root: &Path, train: &str, test: &str) -> DatasetConfig {
    DatasetConfig { train_list: train.into(), test_list: test.into(), ..config(root) }
}

fn parquet(path: &Path, columns: &[(&str, ArrayRef)]) {
    let batch = RecordBatch::try_from_iter(columns.iter().cloned()).unwrap();
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Six images of two classes: path, label, split and colour.
const IMAGES: [(&str, usize, &str, u8); 6] = [
    ("photos/heron/a 1.jpg", 1, "train", 10),
    ("photos/gull/b,2.png", 0, "train", 20),
    ("photos/heron/c.jpg", 1, "train", 30),
    ("photos/gull/d.jpg", 0, "test", 40),
    ("photos/heron/e.jpg", 1, "validation", 50),
    ("photos/heron/f.jpg", 1, "test", 60),
];
const NAMES: [&str; 2] = ["gull", "heron"];

fn photographs(root: &Path) {
    for (path, _, _, colour) in IMAGES {
        photograph(&root.join(path), colour);
    }
}

fn lines(split: &str) -> String {
    let of_split = IMAGES.iter().filter(|(_, _, of, _)| *of == split);
    of_split.map(|(path, label, ..)| format!("{path} {label}\n")).collect()
}

#[test]
fn the_same_images_come_from_every_format() {
    let dir = tempfile::tempdir().unwrap();
    photographs(dir.path());
    let rows = |separator: &str, quote: &str| -> String {
        let row = |&(path, label, split, _): &(&str, usize, &str, u8)| {
            let fields = [split, &format!("{quote}{path}{quote}"), NAMES[label], "x"];
            fields.join(separator) + "\r\n"
        };
        ["split", "file_name", "label", "note"].join(separator)
            + "\n"
            + &IMAGES.iter().map(row).collect::<String>()
    };
    save(dir.path(), "all.csv", format!("\u{feff}{}", rows(",", "\"")));
    save(dir.path(), "semicolons.csv", rows(";", ""));
    save(dir.path(), "all.tsv", rows("\t", ""));
    let texts = |of: fn(&(&str, usize, &str, u8)) -> String| -> Vec<String> {
        IMAGES.iter().map(of).collect()
    };
    let paths = Arc::new(LargeStringArray::from(texts(|image| image.0.into())));
    let splits = Arc::new(StringArray::from(texts(|image| image.2.into())));
    let labels: Vec<i64> = IMAGES.iter().map(|image| 100 + 7 * image.1 as i64).collect();
    parquet(
        &dir.path().join("all.parquet"),
        &[
            ("Split", splits),
            ("label", Arc::new(Int64Array::from(labels))),
            ("path", paths),
            ("class_name", Arc::new(StringArray::from(texts(|image| NAMES[image.1].into())))),
        ],
    );
    for (split, file) in [("train", "train.txt"), ("test", "test"), ("validation", "val.txt")] {
        save(dir.path(), file, lines(split));
    }

    let mut settings = with_lists(dir.path(), "train.txt", "test");
    settings.val_list = "val.txt".into();
    let first = opened(&settings);
    assert_eq!(first.class_names, NAMES);
    assert_eq!(first.class_counts().0, [1, 2]);
    let train = [(1, 10), (0, 20), (1, 30)];
    assert_eq!(colours(&first.train), train);
    assert_eq!(colours(&first.test), [(0, 40), (1, 60)]);
    assert_eq!(content(first.val.as_ref().unwrap()), [(IMAGES[4].0.to_string(), 1, 50)]);
    for name in ["all.csv", "semicolons.csv", "all.tsv", "all.parquet"] {
        let dataset = opened(&config(&dir.path().join(name)));
        assert_eq!(dataset.fingerprint, first.fingerprint, "{name}");
        assert_eq!(colours(&dataset.train), train, "{name}");
        // One list for all splits may also be named for each.
        let named = opened(&with_lists(dir.path(), name, name));
        assert_eq!(named.fingerprint, first.fingerprint, "{name}");
    }
}

#[test]
fn a_list_without_splits_gives_a_fifth_for_testing() {
    let dir = tempfile::tempdir().unwrap();
    let mut list = String::from("image,species\n");
    for i in 0..10 {
        photograph(&dir.path().join(format!("{i}.png")), i);
        list += &format!("{i}.png,{}\n", ["swan", "coot"][usize::from(i) / 5]);
    }
    let dataset = opened(&config(&save(dir.path(), "list.csv", &list)));
    assert!(dataset.test_held_out);
    assert_eq!((dataset.train.len(), dataset.test.len()), (8, 2));
    assert_eq!(dataset.class_names, ["coot", "swan"]);
    assert!(content(&dataset.test).iter().all(|(path, label, colour)| {
        *path == format!("{colour}.png") && *label == u32::from(*colour < 5)
    }));
}

#[test]
fn columns_and_moved_folders_are_named_in_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    photographs(dir.path());
    let list = "path,where,label,genus,part\nx,old/heron/a 1.jpg,1,Ardea,train\n\
                x,\"old/gull/b,2.png\",2,Larus,train\nx,old/heron/c.jpg,3,Ardea,test\n";
    let mut settings = config(&save(dir.path(), "list.csv", list));
    settings.path_column = "where".into();
    settings.label_column = "genus".into();
    settings.split_column = "part".into();
    settings.path_rewrites = [["other/", "x/"], ["old/", "photos/"], ["old/heron/", "y/"]]
        .map(|p| p.map(Into::into))
        .into();
    let dataset = opened(&settings);
    assert_eq!(dataset.class_names, ["Ardea", "Larus"]);
    assert_eq!(colours(&dataset.train), [(0, 10), (1, 20)]);
    assert_eq!(content(&dataset.test), [("photos/heron/c.jpg".into(), 0, 30)]);
    settings.path_rewrites = vec![["old/".into(), "../".into()]];
    let text = error(&settings);
    assert!(
        text.contains("list.csv, line 2: `../heron/a 1.jpg` leads out of the folder"),
        "{text}"
    );
    settings.path_rewrites = vec![];
    let text = error(&settings);
    assert!(text.contains("the first images are missing: no "), "{text}");
    assert!(text.contains("old/heron/a 1.jpg") && text.contains("path_rewrites"), "{text}");
}

#[test]
fn lists_are_beside_the_pipeline_or_among_the_images() {
    let dir = tempfile::tempdir().unwrap();
    let (data, pipelines) = (dir.path().join("data"), dir.path().join("pipelines"));
    fs::create_dir(&pipelines).unwrap();
    photographs(&data);
    save(&data, "train.txt", lines("train"));
    save(&pipelines, "test.txt", lines("test"));
    let text = "[dataset]\nkind = \"list\"\npath = \"elsewhere\"\nimage_size = 8\n\
                train_list = \"train.txt\"\ntest_list = \"test.txt\"\n";
    let mut loaded = config::load(&save(&pipelines, "birds.toml", text), &[]).unwrap().pipeline;
    // As --data does.
    loaded.dataset.path = data.clone();
    let dataset = opened(&loaded.dataset);
    assert_eq!((dataset.train.len(), dataset.test.len()), (3, 2));
    fs::remove_file(data.join("train.txt")).unwrap();
    let text = error(&loaded.dataset);
    assert!(
        text.contains("train.txt: no such file") && text.contains("beside the pipeline"),
        "{text}"
    );
}

#[test]
fn keys_that_would_be_unused_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |kind: &str, keys: &str, message: &str| {
        let text = format!("[dataset]\nkind = \"{kind}\"\npath = \"x\"\n{keys}\n");
        let error = config::load(&save(dir.path(), "bad.toml", &text), &[]).unwrap_err();
        assert!(error.to_string().contains(message), "{error} / {message}");
    };
    refused("folder", "train_list = \"t\"", "`dataset.train_list` is t; expected left out, or");
    refused("list", "test_list = \"t\"", "`dataset.test_list` is t; expected given with");
    refused(
        "cifar10",
        "label_column = \"y\"",
        "`dataset.label_column` is y; expected left out, or",
    );
    refused("folder", "path_rewrites = [[\"a\", \"b\"]]", "`dataset.path_rewrites` is [[");
}

/// The two layouts of Places365: where an image is, and how the lists call it.
fn places(layout: &str, class: &str, file: &str) -> String {
    match (layout, file.starts_with("Places365")) {
        ("by class", false) => format!("train/{}/{file}", class.replace('/', "-")),
        ("by class", true) => format!("val/{}/{file}", class.replace('/', "-")),
        (_, false) => format!("data_256/{}/{class}/{file}", &class[..1]),
        (_, true) => format!("val_256/{file}"),
    }
}

#[test]
fn lists_of_either_places_layout_find_images_of_either() {
    const CLASSES: [&str; 4] =
        ["airfield", "apartment_building/outdoor", "field/wild", "zoo/outdoor"];
    let train =
        |layout| (0..8).map(move |i| places(layout, CLASSES[i / 2], &format!("{i:08}.jpg")));
    let test = |layout| {
        (0..4).map(move |i| places(layout, CLASSES[i], &format!("Places365_val_{i:08}.jpg")))
    };
    let list = |paths: Vec<String>, each: usize| -> String {
        paths.iter().enumerate().map(|(i, path)| format!("{path} {}\n", i / each)).collect()
    };
    for stored in ["by class", "by letter"] {
        for listed in ["by class", "by letter"] {
            let dir = tempfile::tempdir().unwrap();
            for (path, colour) in train(stored).chain(test(stored)).zip(0..) {
                photograph(&dir.path().join(path), 10 * colour);
            }
            save(dir.path(), "train.txt", list(train(listed).collect(), 2));
            save(dir.path(), "test.txt", list(test(listed).collect(), 1));
            let dataset = opened(&with_lists(dir.path(), "train.txt", "test.txt"));
            let expected = |paths: Vec<String>, each: usize, first: u8| {
                let image = |(i, path)| (path, (i / each) as u32, first + 10 * i as u8);
                paths.into_iter().enumerate().map(image).collect::<Vec<_>>()
            };
            let what = format!("{listed} in {stored}");
            assert_eq!(content(&dataset.train), expected(train(stored).collect(), 2, 0), "{what}");
            assert_eq!(content(&dataset.test), expected(test(stored).collect(), 1, 80), "{what}");
            let names = CLASSES.map(|class| match listed {
                "by class" => class.replace('/', "-"),
                _ => class.into(),
            });
            assert_eq!(dataset.class_names, names, "{what}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "train.txt", list(train("by class").collect(), 2));
    let text = error(&with_lists(dir.path(), "train.txt", ""));
    assert!(text.contains("train/airfield/00000000.jpg, no "), "{text}");
    assert!(text.contains("data_256/a/airfield/00000000.jpg"), "{text}");
}

/// iNaturalist's JSON of these images: (file name, category), with ids of their own and annotations from
/// last to first.
fn inaturalist(images: &[(&str, i64)], categories: &[(i64, &str)]) -> serde_json::Value {
    let id = |i: usize| 1000 - 7 * i as i64;
    let image = |(i, (name, _)): (usize, &(&str, i64))| {
        serde_json::json!({"id": id(i), "file_name": name, "license": 3, "rights_holder": "A. \"B\"",
            "width": 800, "height": 600})
    };
    let annotation = |(i, (_, category)): (usize, &(&str, i64))| serde_json::json!({"id": i, "image_id": id(i), "category_id": category});
    let category = |(id, name): &(i64, &str)| serde_json::json!({"id": id, "name": name, "supercategory": "Aves"});
    serde_json::json!({
        "info": {"year": 2018, "contributor": {"nested": [1, 2.5, null]}},
        "annotations": images.iter().enumerate().rev().map(annotation).collect::<Vec<_>>(),
        "images": images.iter().enumerate().map(image).collect::<Vec<_>>(),
        "categories": categories.iter().map(category).collect::<Vec<_>>(),
        "licenses": [],
    })
}

const CATEGORIES: [(i64, &str); 2] = [(900, "Ardea cinerea"), (12, "Larus canus")];

fn inaturalist_split(split: &str) -> serde_json::Value {
    let of_split = IMAGES.iter().filter(|image| image.2 == split);
    let images: Vec<(&str, i64)> =
        of_split.map(|image| (image.0, if image.1 == 0 { 12 } else { 900 })).collect();
    inaturalist(&images, &CATEGORIES)
}

#[test]
fn annotations_of_inaturalist_are_joined_by_image_id() {
    let dir = tempfile::tempdir().unwrap();
    photographs(dir.path());
    save(dir.path(), "train2018.json", inaturalist_split("train").to_string());
    save(dir.path(), "val2018.json", inaturalist_split("test").to_string());
    let dataset = opened(&with_lists(dir.path(), "train2018.json", "val2018.json"));
    assert_eq!(dataset.class_names, ["Larus canus", "Ardea cinerea"]);
    assert_eq!(colours(&dataset.train), [(1, 10), (0, 20), (1, 30)]);
    assert_eq!(colours(&dataset.test), [(0, 40), (1, 60)]);
}

#[test]
fn what_is_wrong_with_annotations_is_named_by_id() {
    let dir = tempfile::tempdir().unwrap();
    photographs(dir.path());
    let refused = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut json = inaturalist_split("train");
        edit(&mut json);
        let text = error(&config(&save(dir.path(), "train.json", json.to_string())));
        assert!(text.contains("train.json: "), "{text}");
        text
    };
    type Edit<'a> = &'a dyn Fn(&mut serde_json::Value);
    let cases: [(Edit, &str); 10] = [
        (&|j| j["annotations"][1]["image_id"] = 5.into(), "annotation 1 has image_id 5; no image"),
        (&|j| j["annotations"][0]["category_id"] = 4.into(), "annotation 2 has category_id 4; no"),
        (
            &|j| drop(j["annotations"].as_array_mut().unwrap().remove(1)),
            "image 993 (`photos/gull/b,2.png`) has no annotation",
        ),
        (
            &|j| j["annotations"][0]["image_id"] = 993.into(),
            "image 993 (`photos/gull/b,2.png`) has annotations of the classes `Ardea cinerea` and `Larus canus`",
        ),
        (&|j| j["images"][0]["id"] = 993.into(), "two elements of images have the id 993"),
        (&|j| j["categories"][0]["id"] = 12.into(), "two elements of categories have the id 12"),
        (
            &|j| drop(j.as_object_mut().unwrap().remove("annotations")),
            "missing field `annotations`",
        ),
        (&|j| drop(j["images"][2].as_object_mut().unwrap().remove("file_name")), "`file_name`"),
        (&|j| j["images"][2]["id"] = 1.5.into(), "an id, an integer or text"),
        (&|j| j["images"] = serde_json::json!([]), "has image_id 986; no image has that id"),
    ];
    for (edit, message) in cases {
        let text = refused(edit);
        assert!(text.contains(message), "{text} / {message}");
    }
    let whole = inaturalist_split("train").to_string();
    let text = error(&config(&save(dir.path(), "cut.json", &whole[..whole.len() / 2])));
    assert!(
        text.contains("cut.json: not a list of images: ") && text.contains("line 1 column"),
        "{text}"
    );
    let nested = "[".repeat(100_000);
    assert!(
        error(&config(&save(dir.path(), "deep.json", &nested))).contains("deep.json: not a list")
    );

    // Splits must mean the same by a category.
    save(dir.path(), "train.json", &whole);
    let renamed = inaturalist(&[("photos/heron/e.jpg", 900)], &[(900, "Ardea alba")]);
    save(dir.path(), "val.json", renamed.to_string());
    let text = error(&with_lists(dir.path(), "train.json", "val.json"));
    assert!(
        text.contains("val.json, images[0]: label 900 is `Ardea alba`; in the training split it is `Ardea cinerea`"),
        "{text}"
    );
    let stranger = inaturalist(&[("photos/heron/e.jpg", 13)], &[(13, "Larus fuscus")]);
    save(dir.path(), "val.json", stranger.to_string());
    let text = error(&with_lists(dir.path(), "train.json", "val.json"));
    assert!(text.contains("val.json, images[0]: label `13` is beyond the classes"), "{text}");
}

#[test]
fn bad_lists_are_named_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, &[u8], &str); 28] = [
        ("a.txt", b"path,label\na/1.jpg,0\n", "a.txt, line 1: is a header row"),
        ("a.csv", b"path,x\na.jpg,2\n", "a.csv, line 1: no column of labels among `path`, `x`"),
        ("a.txt", b"", "a.txt: has no image"),
        ("a.txt", b"\n \n", "a.txt: has no image"),
        ("a.txt", b"a/1.jpg 0\n\na/2.jpg\n", "a.txt, line 3: has no class"),
        (
            "a.txt",
            b"a/1.jpg 0\na/2.jpg 1 train\n",
            "a.txt, line 2: has more than a path and a class",
        ),
        ("a.txt", b"a/1.jpg 0\n/etc/2.jpg 1\n", "a.txt, line 2: `/etc/2.jpg` leads out of"),
        ("a.txt", b"a/1.jpg 0\nx/../../2.jpg 1\n", "a.txt, line 2: `x/../../2.jpg` leads out of"),
        ("a.txt", b"a/1.jpg 0\nb/\xff.jpg 1\n", "a.txt, line 2: not UTF-8 text"),
        (
            "a.txt",
            b"a/1.jpg 0\nb/2.jpg 2\n",
            "a.txt, line 2: label 2, but no training image has label 1",
        ),
        (
            "a.txt",
            b"a/1.jpg 1\nb/2.jpg 2\n",
            "a.txt, line 1: label 1, but no training image has label 0",
        ),
        ("a.txt", b"a/1.jpg 0\nb/2.jpg -1\n", "a.txt, line 2: label -1; expected 0 or more"),
        ("a.csv", b"", "a.csv: has no image"),
        ("a.csv", b"path,label\n", "a.csv: has no image"),
        ("a.csv", b"path,label\na.jpg,x\nb.jpg\n", "a.csv, line 3: has 1 fields; expected 2"),
        ("a.csv", b"path,label\na.jpg,x,y\n", "a.csv, line 2: has 3 fields; expected 2"),
        (
            "a.csv",
            b"a.jpg,0\nb.jpg,1\n",
            "a.csv, line 1: no header row: `a.jpg` is the name of an image",
        ),
        ("a.csv", b"x,label\n1,x\n", "a.csv, line 1: no column of image paths among `x`, `label`"),
        ("a.csv", b"path,label,Label\na,b,c\n", "a.csv, line 1: two columns are called `label`"),
        ("a.csv", b"path,label\na.jpg,\n", "a.csv, line 2: the label is empty"),
        ("a.csv", b"path,label\n\"\",x\n", "a.csv, line 2: the path is empty"),
        (
            "a.csv",
            b"path,label,split\na.jpg,x,extra\n",
            "a.csv, line 2: split `extra`; expected train",
        ),
        ("a.csv", b"path,label,split\na.jpg,x,test\n", "a.csv: has no image of the split train"),
        (
            "a.csv",
            b"path,label\n\"a.jpg,x\nb.jpg,y\nc.jpg\",x\n",
            "a.csv, line 2: a quoted field goes",
        ),
        (
            "a.csv",
            b"path,label,note\na.jpg,x,ok\nb.jpg,y,\"no\nc.jpg,x,ok\n",
            "a.csv, line 3: a quoted field",
        ),
        ("a.csv", b"path,label\na.jpg,x\nb.jpg,\xe9\n", "a.csv, line 3: not UTF-8 text"),
        (
            "a.csv",
            b"path,label,class_name\na.jpg,1,x\nb.jpg,1,y\n",
            "a.csv, line 3: label 1 is both `x` and `y`",
        ),
        ("a.xlsx", b"PK", "a.xlsx: unknown list format: extension `xlsx`"),
    ];
    for (name, bytes, message) in cases {
        fs::write(dir.path().join(name), bytes).unwrap();
        let text = error(&config(&dir.path().join(name)));
        assert!(text.contains(message), "{text} / {message}");
    }
    let text = error(&config(&dir.path().join("none.txt")));
    assert!(text.contains("none.txt: no such file"), "{text}");
    assert!(error(&config(dir.path())).contains("is a folder; expected a list"));
    save(dir.path(), "a.txt", "a/1.jpg 0\nb/2.jpg 1\n");
    let text = error(&with_lists(&dir.path().join("a.txt"), "a.txt", ""));
    assert!(text.contains("is a file, but dataset.train_list is set"), "{text}");
    save(dir.path(), "test.txt", "a/1.jpg 0\nb/2.jpg 7\n");
    let text = error(&with_lists(dir.path(), "a.txt", "test.txt"));
    assert!(
        text.contains("test.txt, line 2: label `7` is beyond the classes: none of the 2"),
        "{text}"
    );
    save(dir.path(), "test.csv", "path,label,split\na.jpg,0,val\n");
    let text = error(&with_lists(dir.path(), "a.txt", "test.csv"));
    assert!(text.contains("test.csv: has no image of the split test"), "{text}");
}

#[test]
fn bad_parquet_lists_are_named_with_their_row() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let text = |values: &[Option<&str>]| Arc::new(StringArray::from(values.to_vec())) as ArrayRef;
    let two = || text(&[Some("a.jpg"), Some("b.jpg")]);
    let bytes = || Arc::new(BinaryArray::from_iter_values([b"x", b"y"])) as ArrayRef;
    let cases: [(&[(&str, ArrayRef)], &str); 5] = [
        (
            &[("x", two()), ("label", two())],
            "a.parquet: no column of image paths among `x`, `label`",
        ),
        (&[("path", two()), ("x", two())], "a.parquet: no column of labels among `path`, `x`"),
        (&[("path", text(&[Some("a"), None])), ("label", two())], "row 2: a null in column `path`"),
        (&[("image", bytes()), ("label", two())], "column `image` is Binary, not text or integers"),
        (
            &[("path", text(&[Some("a.jpg"), Some("../b.jpg")])), ("label", two())],
            "a.parquet, row 2: `../b.jpg` leads out of",
        ),
    ];
    for (columns, message) in cases {
        parquet(&path, columns);
        let text = error(&config(&path));
        assert!(text.contains(message), "{text} / {message}");
    }
    fs::write(&path, "no").unwrap();
    assert!(error(&config(&path)).contains("a.parquet: "));
}

#[test]
fn an_image_that_is_missing_or_damaged_is_named() {
    let dir = tempfile::tempdir().unwrap();
    photographs(dir.path());
    save(dir.path(), "train.txt", lines("train"));
    let list = save(dir.path(), "test.txt", lines("test"));
    fs::write(dir.path().join("photos/gull/d.jpg"), "not a JPEG").unwrap();
    let dataset = opened(&with_lists(dir.path(), "train.txt", "test.txt"));
    let text = dataset.test.image(0).unwrap_err().to_string();
    assert!(text.contains("photos/gull/d.jpg: not a readable"), "{text}");
    fs::write(list, lines("test") + "photos/gone.jpg 0\n").unwrap();
    let test = opened(&with_lists(dir.path(), "train.txt", "test.txt")).test;
    let text = test.image(test.len() - 1).unwrap_err().to_string();
    assert!(text.contains("photos/gone.jpg: cannot be read"), "{text}");
}

/// A published list, where the folder beside the repository has it.
fn published(train: &str, val: &str, test: &str) -> Option<Listed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/lists");
    if !root.is_dir() {
        eprintln!("skipped: {} is not there", root.display());
        return None;
    }
    let settings = DatasetConfig { val_list: val.into(), ..with_lists(&root, train, test) };
    Some(read_lists(&settings).unwrap_or_else(|e| panic!("{e}")))
}

fn len(split: &Option<fsa_bank::dataset::ListedSplit>) -> usize {
    split.as_ref().map_or(0, |split| split.paths.len())
}

#[test]
fn the_published_lists_of_places_lt_give_the_protocols_figures() {
    for folder in ["", "data_256_layout/"] {
        let name = |split| format!("{folder}Places_LT_{split}.txt");
        let Some(listed) = published(&name("train"), &name("val"), &name("test")) else {
            return;
        };
        assert_eq!(
            (listed.train.paths.len(), len(&listed.val), len(&listed.test)),
            (62_500, 7_300, 36_500)
        );
        assert_eq!(listed.class_names.len(), 365);
        let counts = listed.class_counts();
        let labels = &listed.train.labels;
        let accuracy = Accuracy::of(labels, labels, 365);
        let groups = Groups::of(&accuracy, &counts, &counts.split(0.9), ShotRule::Standard);
        let sizes = [groups.many, groups.medium, groups.few].map(|group| group.classes);
        assert_eq!(sizes, [131, 163, 71]);
        let (first, last) = (&listed.class_names[0], &listed.class_names[364]);
        assert_eq!((first.as_str(), last.as_str()), ("airfield", "zen_garden"));
        let hockey = if folder.is_empty() { "arena-hockey" } else { "arena/hockey" };
        assert!(listed.class_names.iter().any(|name| name == hockey));
    }
}

#[test]
fn the_published_lists_of_imagenet_lt_and_inaturalist_give_the_protocols_figures() {
    let Some(listed) = published("ImageNet_LT_val.txt", "", "ImageNet_LT_test.txt") else {
        return;
    };
    assert_eq!((listed.train.paths.len(), len(&listed.test)), (20_000, 50_000));
    assert_eq!(listed.class_counts().0, [20; 1000]);
    assert_eq!(listed.class_names[0], "n01440764");
    let listed = published("iNaturalist18_val.txt", "", "").unwrap();
    assert_eq!(listed.train.paths.len(), 24_426);
    assert_eq!(listed.class_counts().0, [3; 8142]);
    assert_eq!(listed.class_names[7291], "7291");
}

/// Seconds that this thread was at work, which other programs do not change.
fn processor_secs() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e9
}

#[test]
fn a_large_list_takes_time_in_proportion_to_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let (images, classes) = (40_000, 8_142);
    let path = crate::inaturalist::write(dir.path(), images, classes);
    let before = processor_secs();
    let listed = read_lists(&config(&path)).unwrap();
    let secs = processor_secs() - before;
    assert_eq!(listed.train.paths.len(), images);
    // Every path tells its category; those without images are no classes.
    let mut categories = std::collections::HashSet::new();
    for (path, &label) in listed.train.paths.iter().zip(&listed.train.labels) {
        let category = path.split('/').nth(2).unwrap();
        assert_eq!(listed.class_names[label as usize], format!("Species {category}"));
        categories.insert(category);
    }
    assert_eq!(listed.class_names.len(), categories.len());
    // Unoptimised; by comparing every pair it would be minutes.
    assert!(secs < 30.0, "{secs}");
}
