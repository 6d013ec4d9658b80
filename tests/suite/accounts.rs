//! Every file below a folder is accounted for, whatever it is, and all commands agree on what it is.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fsa_bank::check;
use fsa_bank::config::{ClassOrder, DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Account, Dataset, Reason, SplitImages, images_below};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use fsa_bank::proposal::{self, ProposalRequest};
use proptest::prelude::*;

use crate::fixtures::encoded_photograph;

/// Names of files and folders: of either Unicode form, with spaces, of either case, hidden.
const NAMES: [&str; 14] = [
    "ant",
    "Ant",
    "caf\u{e9}",
    "cafe\u{301}",
    "day 1",
    "a#b",
    "10",
    ".hidden",
    "__MACOSX",
    "Thumbs.db",
    "desktop.ini",
    "'quoted' \"name\"",
    "\u{9ce5}",
    "x",
];
const EXTENSIONS: [&str; 12] =
    ["", ".png", ".JPG", ".jfif", ".jpe", ".txt", ".json", ".heic", ".svg", ".nef", ".mp4", ".tif"];

/// The content of a file.
fn content(kind: usize) -> Vec<u8> {
    let jpeg = || {
        let mut encoded = std::io::Cursor::new(vec![]);
        let image = image::RgbImage::from_pixel(9, 8, image::Rgb([90, 20, 60]));
        image.write_to(&mut encoded, image::ImageFormat::Jpeg).unwrap();
        encoded.into_inner()
    };
    match kind {
        0 | 1 => encoded_photograph(100),
        2 | 3 => jpeg(),
        4 => vec![],
        5 => b"an editor's notes".to_vec(),
        6 => b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".to_vec(),
        7 => b"<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(),
        8 => b"\x1a\x45\xdf\xa3\x93\x42\x82".to_vec(),
        9 => encoded_photograph(100)[..20].to_vec(),
        _ => b"{\"labels\": [1, 2]}".to_vec(),
    }
}

/// One thing put into the tree.
#[derive(Debug, Clone)]
enum Put {
    File {
        name: usize,
        extension: usize,
        content: usize,
    },
    Folder {
        name: usize,
    },
    /// A link to a folder or file that is there, to one above, or to nothing.
    Link {
        name: usize,
        extension: usize,
        to: usize,
    },
}

fn puts() -> impl Strategy<Value = Vec<(usize, Put)>> {
    let (name, extension) = (0..NAMES.len(), 0..EXTENSIONS.len());
    let put = prop_oneof![
        6 => (name.clone(), extension.clone(), 0..11usize)
            .prop_map(|(name, extension, content)| Put::File { name, extension, content }),
        3 => name.clone().prop_map(|name| Put::Folder { name }),
        2 => (name, extension, 0..1000usize)
            .prop_map(|(name, extension, to)| Put::Link { name, extension, to }),
    ];
    proptest::collection::vec((0..1000usize, put), 0..40)
}

/// A set of two classes, with or without splits, and all that is put into it.
fn build(root: &Path, splits: &[&str], puts: &[(usize, Put)]) {
    let folders: Vec<PathBuf> = match splits {
        [] => ["one", "two"].map(PathBuf::from).to_vec(),
        splits => {
            let of = |split: &&str| ["one", "two"].map(|class| Path::new(split).join(class));
            splits.iter().flat_map(of).collect()
        }
    };
    for folder in &folders {
        fs::create_dir_all(root.join(folder)).unwrap();
        for i in 0..3 {
            fs::write(root.join(folder).join(format!("{i}")), encoded_photograph(i)).unwrap();
        }
    }
    // Everywhere but among the classes, where a new folder would be another one.
    let mut places: Vec<PathBuf> = folders.iter().map(|folder| root.join(folder)).collect();
    if !splits.is_empty() {
        places.push(root.join("extra"));
        fs::create_dir(root.join("extra")).unwrap();
    }
    let above: Vec<PathBuf> =
        [root.to_path_buf()].into_iter().chain(splits.iter().map(|s| root.join(s))).collect();
    for (place, put) in puts {
        let file_places = places.len() + above.len();
        match put {
            Put::File { name, extension, content: kind } => {
                let place = (place % file_places).checked_sub(places.len());
                let place = place.map_or_else(|| &places[0], |at| &above[at]);
                let path = place.join(format!("{}{}", NAMES[*name], EXTENSIONS[*extension]));
                if path.symlink_metadata().is_err() {
                    fs::write(path, content(*kind)).unwrap();
                }
            }
            Put::Folder { name } => {
                let folder = places[place % places.len()].join(NAMES[*name]);
                if !folder.exists() && fs::create_dir(&folder).is_ok() {
                    places.push(folder);
                }
            }
            Put::Link { name, extension, to } => {
                let link = format!("{}{}", NAMES[*name], EXTENSIONS[*extension]);
                let link = places[place % places.len()].join(link);
                let target = match to % 8 {
                    0 => root.join("nothing"),
                    1 => above[to / 8 % above.len()].clone(),
                    2 => root.join(&folders[0]).join("0"),
                    3 => link.clone(),
                    _ => places[to / 8 % places.len()].clone(),
                };
                let _ = symlink(target, link);
            }
        }
    }
}

/// Every file that can be reached without going in circles, and every link that would go in one.
fn reachable(folder: &Path, within: &[PathBuf], root: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let real = path.canonicalize().unwrap_or(path.clone());
        if path.is_dir() && !within.contains(&real) {
            reachable(&path, &[within, &[real]].concat(), root, found);
        } else {
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().into());
        }
    }
}

fn is_hidden(path: &str) -> bool {
    let systems = ["__MACOSX", "Thumbs.db", "desktop.ini"];
    path.split('/').any(|part| part.starts_with('.') || systems.contains(&part))
}

fn config(root: &Path) -> DatasetConfig {
    DatasetConfig { kind: DatasetKind::Folder, path: root.into(), ..Default::default() }
}

fn splits_of(dataset: &Dataset) -> Vec<&SplitImages> {
    [Some(&dataset.train), dataset.val.as_ref(), Some(&dataset.test)]
        .into_iter()
        .flatten()
        .collect()
}

/// What stands in the account, each path with its reason.
fn left_out(account: &Account) -> BTreeSet<(String, Reason)> {
    account.left_out.iter().map(|left| (left.path.clone(), left.reason)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn used_and_left_out_are_all_files_and_every_command_agrees(
        layout in 0..4usize,
        puts in puts(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("set").canonicalize().unwrap_or(dir.path().join("set"));
        fs::create_dir(&root).unwrap();
        let root = root.canonicalize().unwrap();
        let splits: [&[&str]; 4] =
            [&[], &["train", "test"], &["Training", "valid"], &["train", "DEV", "Testing"]];
        build(&root, splits[layout], &puts);

        let mut all = BTreeSet::new();
        reachable(&root, std::slice::from_ref(&root), &root, &mut all);
        let dataset = Dataset::open(&config(&root)).unwrap();
        let account = &dataset.account;
        let of_split = |split: &&SplitImages| (0..split.len()).map(|i| split.path(i).to_string()).collect();
        let images: Vec<String> =
            splits_of(&dataset).iter().flat_map(|s| -> Vec<String> { of_split(s) }).collect();
        let left: BTreeSet<String> =
            account.left_out.iter().map(|left| left.path.clone()).collect();

        // Once each, and nothing else.
        prop_assert_eq!(left.len(), account.left_out.len());
        let in_splits: BTreeSet<String> = images.iter().cloned().collect();
        prop_assert_eq!(in_splits.len(), images.len());
        prop_assert_eq!(&in_splits | &left, all.clone());
        prop_assert_eq!(account.used + account.left_out.len(), all.len());
        let doomed: BTreeSet<String> = &in_splits & &left;
        prop_assert_eq!(account.used, images.len() - doomed.len());

        // Whatever can be decoded is used, or beside the classes, or in no split, whatever its name.
        let reasons = left_out(account);
        for path in &all {
            let bytes = fs::read(root.join(path)).unwrap_or_default();
            let is_image = image::load_from_memory(&bytes).is_ok() && !is_hidden(path);
            let used = in_splits.contains(path) && !left.contains(path);
            let beside = [Reason::OutsideClasses, Reason::NoSplit]
                .iter()
                .any(|&reason| reasons.contains(&(path.clone(), reason)));
            if is_image {
                prop_assert!(used || beside, "{} is an image", path);
            } else if used {
                // Cut short: the beginning does not tell.
                prop_assert!(bytes.len() == 20, "{} is no image", path);
            }
            prop_assert_eq!(is_hidden(path), reasons.contains(&(path.clone(), Reason::Hidden)));
        }
        for split in splits_of(&dataset) {
            for i in (0..split.len()).filter(|&i| doomed.contains(split.path(i))) {
                prop_assert!(split.image(i).is_err(), "{}", split.path(i));
            }
        }

        // `init`, `check` and `predict` see the same.
        let (out, go) = (dir.path().join("p.toml"), Interrupt::default());
        let request = ProposalRequest { images: &root, out: Some(&out), overwrite: false };
        let proposed = proposal::run(&request).unwrap().survey;
        prop_assert_eq!(&proposed.account, account);
        prop_assert_eq!(proposed.class_names, dataset.class_names.clone());
        let checked = check::run("set", &config(&root), Watch::new(&Silent, &go)).unwrap();
        let undecodable: BTreeSet<String> =
            checked.faults.iter().map(|fault| fault.place.path.clone()).collect();
        prop_assert!(undecodable.is_superset(&doomed));
        // What cannot be decoded is left out as well, once each.
        let of_check = &checked.account;
        let lost: BTreeSet<String> = of_check.left_out.iter().map(|l| l.path.clone()).collect();
        prop_assert_eq!(lost.len(), of_check.left_out.len());
        prop_assert_eq!(of_check.used + lost.len(), all.len());
        prop_assert_eq!(lost, &left | &undecodable);
        let (predicted, of_predict) = images_below(&root).unwrap();
        let predicted: BTreeSet<String> = predicted
            .iter()
            .map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_string())
            .collect();
        let beside = account.left_out.iter().filter(|left| {
            matches!(left.reason, Reason::OutsideClasses | Reason::NoSplit)
        });
        let beside: BTreeSet<String> = beside.map(|left| left.path.clone()).collect();
        prop_assert_eq!(&in_splits | &beside, predicted);
        prop_assert_eq!(of_predict.used + of_predict.left_out.len(), all.len());
    }
}

#[test]
fn images_in_no_list_are_counted_and_words_of_splits_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let listed =
        ["pics/class2/a.png", "./pics/class10/b.png", "pics/class2/c.png", "pics/class10/d.png"];
    let beside = ["pics/class2/e.jpg", "pics/f.heic", "pics/deep/er/g.png"];
    let elsewhere = ["runs/picture.png", "pics/notes.txt", "pics/.thumbs/h.png", "i.png"];
    for path in listed.iter().chain(&beside).chain(&elsewhere) {
        crate::fixtures::photograph(&root.join(path), 9);
    }
    // Links that lead back to where they are.
    symlink("..", root.join("pics/up")).unwrap();
    let mut list = "path,label,split\n".to_string();
    for (path, split) in listed.iter().zip(["Training", "train", "valid", "TEST"]) {
        let class = path.split('/').rev().nth(1).unwrap();
        list += &format!("{path},{class},{split}\n");
    }
    fs::write(root.join("list.csv"), &list).unwrap();
    let config = |class_order| DatasetConfig {
        kind: DatasetKind::List,
        path: root.join("list.csv"),
        class_order,
        ..Default::default()
    };
    let dataset = Dataset::open(&config(ClassOrder::Name)).unwrap();
    let left: Vec<&str> = dataset.account.left_out.iter().map(|l| l.path.as_str()).collect();
    let expected = ["class2/e.jpg", "deep/er/g.png", "f.heic", "notes.txt", "up"];
    let expected = expected.map(|name| format!("pics/{name}"));
    assert_eq!(
        (left[0], &left[1..]),
        ("pics/.thumbs/h.png", &expected.each_ref().map(String::as_str)[..])
    );
    let counts = dataset.account.counts();
    assert_eq!(
        [Reason::Hidden, Reason::LinkLoop, Reason::NotListed].map(|of| counts[&of]),
        [1, 1, 4]
    );
    assert_eq!(dataset.account.used, 4);
    let notes = dataset.account.notes.join("\n");
    for (word, split) in [("Training", "train"), ("valid", "val"), ("TEST", "test")] {
        assert!(notes.contains(&format!("`{word}` is taken for the {split} split")), "{notes}");
    }
    // Names of labels are in the order that is asked for.
    assert_eq!(dataset.class_names, ["class10", "class2"]);
    let natural = Dataset::open(&config(ClassOrder::Natural)).unwrap();
    assert_eq!(natural.class_names, ["class2", "class10"]);
    assert_eq!((natural.train.labels(), natural.test.labels()), (&[0, 1][..], &[1][..]));

    // Of images directly beside the list, what lies in folders there is nothing of theirs.
    let names = ["i", "j", "k", "l", "m", "n"].map(|name| format!("{name}.png"));
    names.iter().for_each(|name| crate::fixtures::photograph(&root.join(name), 3));
    let line = |(i, name): (usize, &String)| format!("{name},{}\n", ["a", "b"][i % 2]);
    let lines: String = names[..6].iter().enumerate().map(line).collect();
    fs::write(root.join("flat.csv"), format!("path,label\n{lines}")).unwrap();
    crate::fixtures::photograph(&root.join("z.png"), 3);
    let flat = DatasetConfig { path: root.join("flat.csv"), ..config(ClassOrder::Name) };
    let account = Dataset::open(&flat).unwrap().account;
    let left: Vec<&str> = account.left_out.iter().map(|l| l.path.as_str()).collect();
    assert_eq!((account.used, left), (6, vec!["list.csv", "z.png"]));
}
