//! Lists whose names, columns or words do not say all by themselves: which of several files is meant, and
//! which column holds what.

use std::fs;
use std::path::{Path, PathBuf};

use fsa_bank::config::{DatasetConfig, DatasetKind};

use crate::fixtures::photograph;
use crate::support::lists::{colours, config_of, error, opened, save};

fn config(path: &Path) -> DatasetConfig {
    config_of(DatasetKind::List, path)
}

fn with_lists(root: &Path) -> DatasetConfig {
    let (train_list, test_list) = ("train.csv".into(), "test.csv".into());
    DatasetConfig { train_list, test_list, ..config(root) }
}

fn says(sentences: &[String], part: &str) {
    assert!(sentences.iter().any(|sentence| sentence.contains(part)), "{part} / {sentences:?}");
}

/// Four images of the same names in each of two folders, of other colours, and a list for each split.
fn same_names_in(folders: [&str; 2]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (folder, first) in folders.iter().zip([10, 60]) {
        (0..4).for_each(|i| {
            photograph(&dir.path().join(format!("{folder}/{i}.png")), first + 10 * i)
        });
    }
    save(dir.path(), "train.csv", "file,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n");
    save(dir.path(), "test.csv", "file,label\n0.png,b\n1.png,a\n2.png,b\n3.png,a\n");
    dir
}

#[test]
fn a_name_in_folders_of_splits_is_the_file_of_its_own_split() {
    let dir = same_names_in(["Training", "test"]);
    let dataset = opened(&with_lists(dir.path()));
    assert_eq!(colours(&dataset.train), [(0, 10), (1, 20), (0, 30), (1, 40)]);
    assert_eq!(colours(&dataset.test), [(1, 60), (0, 70), (1, 80), (0, 90)]);
    says(
        &dataset.account.notes,
        "8 paths are names of several files, of which that in the folder named as the split or as the list is taken: `0.png` as `Training/0.png`",
    );
    assert_eq!(dataset.account.warnings, [""; 0]);
    // An image that is missing is not another split's.
    fs::remove_file(dir.path().join("Training/2.png")).unwrap();
    let dataset = opened(&with_lists(dir.path()));
    assert!(dataset.train.image(2).is_err() && dataset.test.image(2).is_ok());
    assert_eq!(dataset.account.warnings, [""; 0]);
    // A folder named as the list.
    let dir = same_names_in(["x/old", "x/new"]);
    for (from, to) in [("train.csv", "old.csv"), ("test.csv", "new.csv")] {
        fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
    }
    let (train_list, test_list) = ("old.csv".into(), "new.csv".into());
    let dataset = opened(&DatasetConfig { train_list, test_list, ..config(dir.path()) });
    assert_eq!(colours(&dataset.test), [(1, 60), (0, 70), (1, 80), (0, 90)]);
}

#[test]
fn no_remedy_leads_two_lists_to_the_same_files() {
    let dir = same_names_in(["first", "second"]);
    let message = error(&with_lists(dir.path()));
    assert!(message.contains("could be meant: `first/0.png`, `second/0.png`"), "{message}");
    assert!(message.contains("Write the path with its folder in the list, as"), "{message}");
    assert!(!message.contains("path_rewrites"), "{message}");
    for list in ["train.csv", "test.csv"] {
        let rows = fs::read_to_string(dir.path().join(list)).unwrap();
        save(dir.path(), list, rows.replace("\n", "\nold/").trim_end_matches("old/"));
    }
    fs::remove_dir_all(dir.path().join("first")).unwrap();
    let mut settings = with_lists(dir.path());
    let message = error(&settings);
    assert!(message.contains("the first images are missing: no "), "{message}");
    assert!(!message.contains("[[\"old/\", \"second/\"]]"), "{message}");
    // One who writes it all the same is told what it does.
    settings.path_rewrites = vec![["old/".into(), "second/".into()]];
    let warnings = opened(&settings).account.warnings;
    says(&warnings, "4 files are in both the train and the test split, such as second/0.png");
}

/// `header` and a row for each of six images that are there.
fn table(dir: &Path, header: &str, row: impl Fn(usize) -> String) -> PathBuf {
    (0..6).for_each(|i| photograph(&dir.join(format!("{i}.png")), 10 * i as u8));
    save(dir, "table.csv", (0..6).fold(header.to_string(), |text, i| text + "\n" + &row(i)))
}

fn class(i: usize) -> &'static str {
    ["a", "b"][i % 2]
}

fn split(i: usize) -> &'static str {
    ["Train", "testing"][i / 4]
}

#[test]
fn a_column_of_nothing_but_splits_is_the_split() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i| format!("{i}.png,{},{},{i}", class(i), split(i));
    for column in ["set", "phase", "Usage", "fold"] {
        let dataset = opened(&config(&table(dir.path(), &format!("path,label,{column},n"), row)));
        assert_eq!(colours(&dataset.test), [(0, 40), (1, 50)], "{column}");
        assert!(!dataset.test_held_out);
        let note = format!("column `{column}` is taken for the split: all its values name one");
        says(&dataset.account.notes, &note);
        says(&dataset.account.notes, "`testing` is taken for the test split");
    }
    // Another value, no training image, two such columns, or one that says it by its name.
    let other = |row: &dyn Fn(usize) -> String, header: &str| {
        let dataset = opened(&config(&table(dir.path(), header, row)));
        assert!(!dataset.account.notes.iter().any(|note| note.contains("all its values")));
        dataset.test_held_out
    };
    let public = |i: usize| if i == 5 { "PublicTest" } else { split(i) };
    assert!(other(&|i| format!("{i}.png,{},{}", class(i), public(i)), "path,label,Usage"));
    assert!(other(&|i| format!("{i}.png,{},{}", class(i), "test"), "path,label,set"));
    let two = |i| format!("{i}.png,{},{},{}", class(i), split(i), split(5 - i));
    assert!(other(&two, "path,label,set,phase"));
    assert!(!other(&two, "path,label,set,split"));
    // The classes are no splits.
    let classes = |i| format!("{i}.png,{}", split(2 * (i % 3)));
    assert!(other(&classes, "path,label"));
}

#[test]
fn separators_and_columns_are_those_of_other_programs() {
    let dir = tempfile::tempdir().unwrap();
    let row = |i| format!("{i}.png\t{}\t{}", class(i), split(i));
    let said = table(dir.path(), "sep=\t\npath\tlabel\tsplit", row);
    assert_eq!(colours(&opened(&config(&said)).test), [(0, 40), (1, 50)]);
    for (no, yes) in [("no", "Yes"), ("f", "t"), ("N", "y"), ("F", "T")] {
        let row = |i| format!("{i}.png,{},{}", class(i), [no, yes][i / 4]);
        for path in ["fname", "name"] {
            let list = table(dir.path(), &format!("{path},labels,is_test"), row);
            assert_eq!(colours(&opened(&config(&list)).test), [(0, 40), (1, 50)]);
        }
    }
    // Names of classes are no paths.
    let list = table(dir.path(), "name,label", |i| format!("{},{}", class(i), i % 2));
    assert!(error(&config(&list)).contains("no column of image paths among `name`, `label`"));
}

#[test]
fn a_path_in_another_form_of_unicode_is_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let [composed, decomposed] = ["caf\u{e9}", "cafe\u{301}"];
    for (listed, there) in [(composed, decomposed), (decomposed, composed)] {
        let root = dir.path().join(there);
        (0..2).for_each(|i| photograph(&root.join(format!("{there}/{there} {i}.png")), 10 * i));
        (0..4).for_each(|i| photograph(&root.join(format!("x/{i}.png")), 20 + 10 * i));
        // As few as one, and all of them.
        let one = (0..4).map(|i| format!("x/{i}.png,{i}\n").replace(['2', '3'], "1"));
        let rows = (0..2).map(|i| format!("{listed}/{listed} {i}.png,{i}\n"));
        let rows: String = rows.collect();
        let list = save(&root, "all.csv", format!("path,label\n{}", rows.repeat(3)));
        assert_eq!(opened(&config(&list)).train.image(0).unwrap()[0], 0);
        let one: String = one.collect();
        let list = save(&root, "some.csv", format!("path,label\n{one}{rows}"));
        let dataset = opened(&config(&list));
        says(
            &dataset.account.notes,
            "2 paths are written in another form of Unicode than the names of the files",
        );
    }
}

#[test]
fn categories_of_one_name_are_one_class() {
    let dir = tempfile::tempdir().unwrap();
    (0..6).for_each(|i| photograph(&dir.path().join(format!("{i}.png")), 10 * i));
    let image = |i: usize| serde_json::json!({"id": i, "file_name": format!("{i}.png")});
    let of =
        |i: usize, category: usize| serde_json::json!({"image_id": i, "category_id": category});
    let mut annotations: Vec<_> = (0..6).map(|i| of(i, [4, 7, 9][i % 3])).collect();
    annotations.push(of(0, 9));
    let list = serde_json::json!({
        "images": (0..6).map(image).collect::<Vec<_>>(),
        "annotations": annotations,
        "categories": [{"id": 9, "name": "a"}, {"id": 7, "name": "b"}, {"id": 4, "name": "a"}],
    });
    let dataset = opened(&config(&save(dir.path(), "coco.json", list.to_string())));
    assert_eq!(dataset.class_names, ["a", "b"]);
    assert_eq!(dataset.train.len() + dataset.test.len(), 6);
    says(&dataset.account.notes, "several categories are called `a`, and are one class");
}
