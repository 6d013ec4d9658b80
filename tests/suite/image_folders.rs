//! Folders of images as people have them: nested, with strays, under other names of splits, with pictures
//! that are not decoded, in one order or another.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fsa_bank::config::{ClassOrder, DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Dataset, Reason, images_below};

use crate::fixtures::{encoded_photograph, photograph};

fn config(root: &Path) -> DatasetConfig {
    DatasetConfig { kind: DatasetKind::Folder, path: root.into(), ..Default::default() }
}

fn open(root: &Path) -> Dataset {
    Dataset::open(&config(root)).unwrap_or_else(|e| panic!("{e}"))
}

fn refused(root: &Path) -> String {
    Dataset::open(&config(root)).err().expect("refused").to_string()
}

pub fn put(root: &Path, paths: &[&str]) {
    paths.iter().for_each(|path| photograph(&root.join(path), 50));
}

/// `of` images of the classes ant and bee in each folder.
pub fn fill(root: &Path, folders: &[&str], of: usize) {
    for folder in folders {
        for (class, i) in ["ant", "bee"].iter().flat_map(|class| (0..of).map(move |i| (class, i))) {
            photograph(&root.join(folder).join(class).join(format!("{i}.png")), i as u8);
        }
    }
}

fn train_paths(dataset: &Dataset) -> Vec<&str> {
    (0..dataset.train.len()).map(|i| dataset.train.path(i)).collect()
}

#[test]
fn images_at_any_depth_are_of_their_class_in_torchvisions_order() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["test"], 1);
    put(
        root,
        &["train/bee/x.png", "train/ant/day1/b/1.png", "train/ant/day1/2.png", "train/ant/z.png"],
    );
    let dataset = open(root);
    // ImageFolder: folder by folder, each in order of its files' names.
    let expected =
        ["train/ant/z.png", "train/ant/day1/2.png", "train/ant/day1/b/1.png", "train/bee/x.png"];
    assert_eq!(train_paths(&dataset), expected);
    assert_eq!(dataset.train.labels(), [0, 0, 0, 1]);
    assert_eq!((dataset.account.used, dataset.account.left_out.len()), (6, 0));
    let notes = dataset.account.notes.join("\n");
    assert!(notes.contains("2 images lie in folders inside"), "{notes}");
    assert!(notes.contains("such as train/ant/day1,"), "{notes}");

    // Two sets, seen from above: their splits are no part of classes.
    let above = tempfile::tempdir().unwrap();
    fill(above.path(), &["birds/train", "birds/test", "fish/train"], 2);
    let warnings = open(above.path()).account.warnings.join("\n");
    assert_eq!(warnings.lines().count(), 3, "{warnings}");
    assert!(warnings.contains("`birds/test` is named as a split"), "{warnings}");
}

#[test]
fn loops_of_links_end() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["train", "test"], 2);
    symlink("..", root.join("train/ant/up")).unwrap();
    symlink("self", root.join("train/ant/self")).unwrap();
    // From each of these every other one can be reached, in more orders than can be walked.
    let names: Vec<PathBuf> = (0..14).map(|i| root.join(format!("train/bee/l{i}"))).collect();
    for name in &names {
        fs::create_dir(name).unwrap();
        for other in names.iter().filter(|other| *other != name) {
            symlink(other, name.join(other.file_name().unwrap())).unwrap();
        }
    }
    let dataset = open(root);
    assert_eq!((dataset.train.len(), dataset.account.used), (4, 8));
    let counts = dataset.account.counts();
    assert!(counts[&Reason::LinkLoop] > 14 && counts[&Reason::Unreadable] == 1, "{counts:?}");
    assert_eq!(images_below(root).unwrap().0.len(), 8);
}

#[test]
fn splits_have_the_names_that_people_use() {
    for (train, val, test) in [
        ("train", Some("valid"), None),
        ("train", Some("validation"), Some("test")),
        ("Training", Some("dev"), Some("TESTING")),
        ("TRAIN", None, Some("Test")),
        ("train", Some("Val"), None),
        ("training", None, None),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fill(root, &[train], 10);
        fill(root, &[val, test].into_iter().flatten().collect::<Vec<_>>(), 3);
        let dataset = open(root);
        assert_eq!(dataset.class_names, ["ant", "bee"], "{train}");
        assert_eq!(dataset.val.as_ref().map(|val| val.len()), val.map(|_| 6), "{val:?}");
        assert_eq!(dataset.test_held_out, test.is_none());
        let sizes = if test.is_none() { (16, 4) } else { (20, 6) };
        assert_eq!((dataset.train.len(), dataset.test.len()), sizes, "{train} {val:?} {test:?}");
        let notes = dataset.account.notes.join("\n");
        for (name, split) in [(Some(train), "train"), (val, "val"), (test, "test")] {
            if let Some(name) = name.filter(|name| *name != split) {
                let taken = format!("`{name}` is taken for the {split} split");
                assert!(notes.contains(&taken), "{notes}");
            }
        }
        assert_eq!(notes.contains("no test split"), test.is_none(), "{notes}");
        // The remedy that it names works.
        if let (Some(val), None) = (val, test) {
            assert!(notes.contains("name its folder test"), "{notes}");
            fs::rename(root.join(val), root.join("test")).unwrap();
            let dataset = open(root);
            assert_eq!((dataset.train.len(), dataset.test.len()), (20, 6));
            assert!(dataset.val.is_none() && !dataset.test_held_out);
        }
    }
}

#[test]
fn folders_that_are_no_set_of_splits_say_what_they_are() {
    let of = |folders: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), folders, 4);
        dir
    };
    let dir = of(&["train", "Training", "test"]);
    let message = refused(dir.path());
    assert!(message.contains("`Training` and `train` are both the train split"), "{message}");
    fs::rename(dir.path().join("Training"), dir.path().join("more")).unwrap();
    let dataset = open(dir.path());
    let warnings = dataset.account.warnings.join("\n");
    assert!(warnings.contains("the folder `more` is not a split"), "{warnings}");
    assert!(
        warnings.contains("8 in all; if it is one, rename it to train, val or test"),
        "{warnings}"
    );
    assert_eq!(dataset.account.counts()[&Reason::NoSplit], 8);

    let dir = of(&["valid", "test"]);
    let message = refused(dir.path());
    assert!(message.contains("valid/ and test/, and no train/"), "{message}");
    // Its second remedy: they are classes.
    let classes = tempfile::tempdir().unwrap();
    for name in ["valid", "test"] {
        let from = dir.path().join(name).join("ant");
        fs::create_dir_all(classes.path().join("train")).unwrap();
        fs::rename(from, classes.path().join("train").join(name)).unwrap();
    }
    assert_eq!(open(classes.path()).class_names, ["test", "valid"]);

    // Images without classes, as competitions give them.
    let dir = of(&["train"]);
    put(dir.path(), &["test/1.png", "test/2.png"]);
    let message = refused(dir.path());
    assert!(message.contains("all 2 images lie beside folders of classes"), "{message}");
    fs::rename(dir.path().join("test"), dir.path().join("unlabelled")).unwrap();
    assert_eq!(open(dir.path()).account.counts()[&Reason::NoSplit], 2);

    // One class of several is called train.
    let dir = tempfile::tempdir().unwrap();
    let of_both = [1, 2, 3].map(|i| [format!("car/{i}.png"), format!("train/{i}.png")]).concat();
    put(dir.path(), &of_both.iter().map(String::as_str).collect::<Vec<_>>());
    let message = refused(dir.path());
    assert!(message.contains("train: 3 images and no folder of a class"), "{message}");
    let all = dir.path().join("all");
    fs::create_dir(&all).unwrap();
    for class in ["car", "train"] {
        fs::rename(dir.path().join(class), all.join(class)).unwrap();
    }
    fs::rename(&all, dir.path().join("train")).unwrap();
    assert_eq!(open(dir.path()).class_names, ["car", "train"]);
}

#[test]
fn images_beside_the_classes_are_counted_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["train", "test"], 2);
    put(root, &["train/stray", "test/stray.jpg", "stray.png"]);
    fs::write(root.join("README.md"), "# Birds").unwrap();
    fs::write(root.join("train/ant/.DS_Store"), "x").unwrap();
    let dataset = open(root);
    let left: Vec<(&str, Reason)> =
        dataset.account.left_out.iter().map(|l| (l.path.as_str(), l.reason)).collect();
    let expected = [
        ("README.md", Reason::NotAnImage),
        ("stray.png", Reason::OutsideClasses),
        ("test/stray.jpg", Reason::OutsideClasses),
        ("train/ant/.DS_Store", Reason::Hidden),
        ("train/stray", Reason::OutsideClasses),
    ];
    assert_eq!(left, expected);

    // Without splits too.
    let flat = tempfile::tempdir().unwrap();
    fill(flat.path(), &[""], 5);
    put(flat.path(), &["stray.png"]);
    let account = open(flat.path()).account;
    assert_eq!((account.used, account.counts()[&Reason::OutsideClasses]), (10, 1));
}

#[test]
fn classes_are_in_order_of_names_unless_numbers_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<String> = (0..12).map(|i| format!("train/{i}/{i}.png")).collect();
    put(dir.path(), &paths.iter().map(String::as_str).collect::<Vec<_>>());
    put(dir.path(), &["test/11/x.png", "test/2/x.png"]);
    let dataset = open(dir.path());
    assert_eq!(dataset.class_names[..4], ["0", "1", "10", "11"]);
    let warning = dataset.account.warnings.join("\n");
    assert!(warning.contains("0, 1, 10, 11, 2"), "{warning}");
    assert!(warning.contains("dataset.class_order = \"natural\""), "{warning}");

    let natural = DatasetConfig { class_order: ClassOrder::Natural, ..config(dir.path()) };
    let dataset = Dataset::open(&natural).unwrap();
    let names: Vec<String> = (0..12).map(|i| i.to_string()).collect();
    assert_eq!(dataset.class_names, names);
    assert_eq!(dataset.train.labels(), (0..12).collect::<Vec<u32>>());
    assert_eq!(train_paths(&dataset)[10], "train/10/10.png");
    assert_eq!(dataset.test.labels(), [2, 11]);
    assert!(dataset.account.warnings.is_empty());
}

#[test]
fn two_spellings_of_one_name_are_one_class() {
    let dir = tempfile::tempdir().unwrap();
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    put(dir.path(), &["train/ant/1.png", "test/ant/1.png"]);
    for path in [
        format!("train/{composed}/1.png"),
        format!("train/{decomposed}/2.png"),
        format!("test/{decomposed}/3.png"),
    ] {
        put(dir.path(), &[&path]);
    }
    let dataset = open(dir.path());
    assert_eq!(dataset.class_names, ["ant", composed]);
    assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[0, 1, 1][..], &[0, 1][..]));
    let notes = dataset.account.notes.join("\n");
    assert!(notes.contains(&format!("`{composed}` is written in two forms")), "{notes}");
    (0..3).for_each(|i| drop(dataset.train.image(i).unwrap()));
}

/// Beginnings of pictures that are not decoded, with a name, and what they are.
fn others() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let ftyp = |brands: &[u8]| {
        let length = 8 + brands.len() as u8;
        [&[0, 0, 0, length][..], b"ftyp", brands, &[0; 40]].concat()
    };
    // A TIFF of one entry: a tag and its value.
    let tiff = |tag: u16, value: u32| {
        let entry = [&tag.to_le_bytes()[..], &[4, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat();
        [b"II*\0\x08\0\0\0\x01\0", &entry[..], &[0; 8]].concat()
    };
    let mut stream = vec![0; 600];
    [0, 188, 376].into_iter().for_each(|at| stream[at] = 0x47);
    vec![
        ("IMG_1.jpg", ftyp(b"heic\0\0\0\0mif1heic"), "HEIC"),
        ("IMG_2", ftyp(b"mif1\0\0\0\0mif1"), "HEIF"),
        ("a.png", ftyp(b"mif1\0\0\0\0avifmif1"), "AVIF"),
        ("c.CR3", ftyp(b"crx \0\0\0\0crx "), "RAW"),
        ("d.dng", tiff(50706, 1), "RAW"),
        ("renamed.tif", tiff(50706, 1), "RAW"),
        ("mosaic.tif", tiff(262, 32803), "RAW"),
        ("e.NEF", tiff(256, 8), "RAW"),
        ("f.cr2", b"II*\0\x10\0\0\0CR\x02\0".to_vec(), "RAW"),
        ("g.svg", b"\xef\xbb\xbf  <!-- x -->\n<svg/>".to_vec(), "SVG"),
        ("film.mp4", ftyp(b"isom\0\0\0\0isom"), "video"),
        ("film.jpg", b"RIFF\0\0\0\0AVI LIST".to_vec(), "video"),
        ("film.ts", stream, "video"),
        ("film.mov", b"\0\0\0\x08wide\0\0\0\0mdat".to_vec(), "video"),
        ("h", b"8BPS\0\x01".to_vec(), "PSD"),
        ("i.jpg", b"\xff\x0a\xfa\x7f\x01".to_vec(), "JPEG XL"),
        ("j", b"\0\0\0\x0cjP  \r\n\x87\n".to_vec(), "JPEG 2000"),
    ]
}

#[test]
fn pictures_that_are_not_decoded_are_named_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["train", "test"], 2);
    for (name, content, _) in others() {
        fs::write(root.join("train/ant").join(name), content).unwrap();
    }
    let dataset = open(root);
    for (name, _, kind) in others() {
        let path = format!("train/ant/{name}");
        let left = dataset.account.left_out.iter().find(|left| left.path == path);
        let left = left.unwrap_or_else(|| panic!("{name} is not in the account"));
        let told = left.picture.unwrap_or_else(|| panic!("{name} is of no kind")).name;
        assert!(told.contains(kind) && left.reason == Reason::Unreadable, "{name}: {told}");
        let at = train_paths(&dataset).iter().position(|p| *p == path).expect(name);
        let message = dataset.train.image(at).unwrap_err().to_string();
        assert!(message.contains(kind) && message.contains("convert it"), "{name}: {message}");
    }
    assert_eq!(dataset.account.used, 8);
}

#[test]
fn files_that_only_look_like_pictures_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["train", "test"], 2);
    for (name, content) in [
        ("page.html", &b"<!doctype html><p><svg></svg>"[..]),
        ("notes.txt", b"BMW is a class"),
        ("P1 of 3", b"P1 of three pages"),
        ("song.m4a", b"\0\0\0\x14ftypM4A \0\0\0\0M4A "),
        ("sound.ogg", b"OggS\0\x02\0\0\0\0\0\0\0\0"),
        ("sound.wav", b"RIFF\0\0\0\0WAVEfmt "),
        ("empty", b""),
        ("table.parquet", b"PAR1"),
    ] {
        fs::write(root.join("train/ant").join(name), content).unwrap();
    }
    let account = open(root).account;
    assert_eq!((account.used, account.counts()[&Reason::NotAnImage]), (8, 8));
    assert_eq!(account.left_out.len(), 8);
}

#[test]
fn images_are_told_by_their_content_whatever_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["train", "test"], 1);
    for name in ["a.jfif", "b.jpe", "c", "d.txt", "e.heic", "f.tar.gz"] {
        fs::write(root.join("train/ant").join(name), encoded_photograph(7)).unwrap();
    }
    // What is named as an image and is none stays, so that damage is not mistaken for something else.
    fs::write(root.join("train/bee/broken.jpg"), "").unwrap();
    let dataset = open(root);
    assert_eq!((dataset.train.len(), dataset.account.used), (9, 10));
    let left = &dataset.account.left_out[..];
    assert_eq!(
        (left[0].path.as_str(), left[0].reason),
        ("train/bee/broken.jpg", Reason::Unreadable)
    );
    (0..7).for_each(|i| drop(dataset.train.image(i).unwrap()));
}

#[test]
fn images_of_two_classes_are_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["train", "test"], 4);
    assert!(open(root).account.warnings.is_empty());
    symlink("../bee", root.join("train/ant/more")).unwrap();
    let warnings = open(root).account.warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    for part in ["4 images are in two classes", "train/ant/more (`ant`)", "train/bee (`bee`)"] {
        assert!(warnings[0].contains(part), "{warnings:?}");
    }
    // Within one class it is no matter.
    fs::remove_file(root.join("train/ant/more")).unwrap();
    fs::create_dir(root.join("train/ant/deep")).unwrap();
    fs::rename(root.join("train/ant/0.png"), root.join("train/ant/deep/0.png")).unwrap();
    symlink("deep", root.join("train/ant/again")).unwrap();
    assert!(open(root).account.warnings.is_empty());

    let list = "path,label,split\ntrain/bee/0.png,a,train\n./train/bee/0.png,b,train\n\
                train/bee/1.png,b,train\ntrain/bee/1.png,b,test\n";
    fs::write(root.join("list.csv"), list).unwrap();
    let (kind, path) = (DatasetKind::List, root.join("list.csv"));
    let listed = Dataset::open(&DatasetConfig { kind, path, ..Default::default() }).unwrap();
    let warnings = listed.account.warnings.join("\n");
    let expected =
        "1 image is listed with more than one class, such as train/bee/0.png (`a` and `b`)";
    assert!(warnings.contains(expected), "{warnings}");
}

#[test]
fn folders_that_are_the_wrong_way_round_or_look_like_splits_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let of = |class: &str, split: &str| {
        (0..5).for_each(|i| put(dir.path(), &[&format!("{class}/{split}/{i}.png")]));
    };
    for class in ["ant", "bee"] {
        of(class, "train");
        of(class, "test");
    }
    let warnings = open(dir.path()).account.warnings;
    let way = "expected split/class: move them, for example mkdir -p test && mv ant/test test/ant";
    assert!(warnings.len() == 1 && warnings[0].ends_with(way), "{warnings:?}");
    for (class, split) in [("ant", "train"), ("ant", "test"), ("bee", "train"), ("bee", "test")] {
        let command = format!("mkdir -p {split} && mv {class}/{split} {split}/{class}");
        let moved = std::process::Command::new("sh")
            .args(["-c", &command])
            .current_dir(dir.path())
            .status();
        assert!(moved.unwrap().success());
    }
    ["ant", "bee"].iter().for_each(|class| fs::remove_dir(dir.path().join(class)).unwrap());
    let dataset = open(dir.path());
    assert_eq!((dataset.train.len(), dataset.test.len()), (10, 10));
    assert_eq!(dataset.account.warnings, [""; 0]);

    let dir = tempfile::tempdir().unwrap();
    for folder in ["train_images", "test-images", "more"] {
        (0..5).for_each(|i| put(dir.path(), &[&format!("{folder}/{i}.png")]));
    }
    let warnings = open(dir.path()).account.warnings.join("\n");
    let told = "`train_images` and `test-images` are taken for classes, though their names look like splits: if they are, rename them to train and test";
    assert!(warnings.contains(told), "{warnings}");
    let dir = tempfile::tempdir().unwrap();
    for folder in ["train_station", "bus_station"] {
        (0..5).for_each(|i| put(dir.path(), &[&format!("{folder}/{i}.png")]));
    }
    assert_eq!(open(dir.path()).account.warnings, [""; 0]);
}

#[test]
fn where_classes_are_missing_what_can_be_given_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fill(root, &["wrap/data/birds/train", "wrap/data/birds/test", "flat/birds"], 5);
    for (outer, inner) in [("wrap", "wrap/data/birds"), ("flat", "flat/birds")] {
        let message = refused(&root.join(outer));
        let expected = format!("{outer}: 1 class; expected at least 2 classes");
        assert!(message.contains(&expected), "{message}");
        let given = root.join(inner);
        assert!(message.contains(&format!("Give {}, which", given.display())), "{message}");
        open(&given);
    }
    let lists = [
        ("loose", "", "train.csv"),
        ("one", "images/", "labels.csv"),
        ("robo", "train/", "train/metadata.csv"),
        ("beside", "train/", "train.csv"),
    ];
    for (name, folder, list) in lists {
        let paths = (0..10).map(|i| format!("{folder}{i}.png"));
        paths.clone().for_each(|path| put(&root.join(name), &[&path]));
        let message = refused(&root.join(name));
        assert!(message.contains("Put") || message.contains("put"), "{message}");
        let rows = paths.zip(0..).map(|(path, i)| {
            let path = if list.starts_with(folder) { &path[folder.len()..] } else { &path };
            format!("{path},{}\n", i % 2)
        });
        let file = root.join(name).join(list);
        fs::write(root.join(name).join("a.csv"), "no,list\n1,2\n").unwrap();
        fs::write(&file, format!("file,label\n{}", rows.collect::<String>())).unwrap();
        let message = refused(&root.join(name));
        let expected = format!("Give the list {} (dataset.kind = \"list\")", file.display());
        assert!(message.contains(&expected), "{message}");
        let list = DatasetConfig { kind: DatasetKind::List, ..config(&file) };
        assert_eq!(Dataset::open(&list).unwrap_or_else(|e| panic!("{e}")).class_names.len(), 2);
    }
    let message = refused(&root.join("loose"));
    assert!(message.contains("loose: 10 images and no folder of a class"), "{message}");
}
