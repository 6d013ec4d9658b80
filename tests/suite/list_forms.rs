//! Lists as other programs and other systems write them: separators, roots, ids, columns of 0 and 1,
//! comments, encodings; and the lines that errors name.

use std::fs;
use std::path::Path;
use std::process::Command;

use fsa_bank::config::{self, DatasetConfig, DatasetKind};
use fsa_bank::dataset::{Dataset, Reason, SplitImages, read_lists};

use crate::fixtures::photograph;
use crate::support::lists::{colours, config_of, error, noted, opened, save};
use crate::support::program::{PROGRAM, text};

fn config(path: &Path) -> DatasetConfig {
    config_of(DatasetKind::List, path)
}

/// Six images of two classes, two for testing: path, class, split and colour.
const IMAGES: [(&str, &str, &str, u8); 6] = [
    ("img/ant, small/1.png", "ant", "train", 10),
    ("img/ant, small/2.png", "ant", "train", 20),
    ("img/bee/1.png", "bee", "train", 30),
    ("img/bee/2.png", "bee", "train", 40),
    ("img/test/ant.png", "ant", "test", 50),
    ("img/test/bee.png", "bee", "test", 60),
];

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, _, _, colour) in IMAGES {
        photograph(&dir.path().join(path), colour);
    }
    dir
}

/// A list of the images, each path as `path` writes it.
fn csv(path: impl Fn(&str) -> String) -> String {
    let row = |(of, class, split, _): (&str, &str, &str, u8)| {
        format!("\"{}\",{class},{split}\n", path(of))
    };
    "path,label,split\n".to_string() + &IMAGES.map(row).concat()
}

/// The dataset of a list that has every image under its class.
#[track_caller]
fn whole(config: &DatasetConfig) -> Dataset {
    let dataset = opened(config);
    assert_eq!(dataset.class_names, ["ant", "bee"]);
    assert_eq!(colours(&dataset.train), [(0, 10), (0, 20), (1, 30), (1, 40)]);
    assert_eq!(colours(&dataset.test), [(0, 50), (1, 60)]);
    dataset
}

#[test]
fn backslashes_and_roots_lead_to_the_same_images() {
    let dir = folder();
    let plain = whole(&config(&save(dir.path(), "plain.csv", csv(str::to_string))));
    assert_eq!(plain.account.notes, [""; 0]);
    let list = save(dir.path(), "windows.csv", csv(|path| path.replace('/', "\\")));
    let windows = whole(&config(&list));
    noted(&windows, "6 paths with backslashes are read with slashes: `img\\ant, small\\1.png` as");
    let absolute = |path: &str| dir.path().join(path).display().to_string();
    let rooted = whole(&config(&save(dir.path(), "rooted.csv", csv(absolute))));
    noted(&rooted, "6 paths from the root of the disk lead below the folder of the images");
    assert_eq!([&windows.fingerprint, &rooted.fingerprint], [&plain.fingerprint; 2]);
    // Of text lists the same holds.
    let lines = IMAGES.map(|(path, class, ..)| format!("{}\t{class}\n", path.replace('/', "\\")));
    let lines = opened(&config(&save(dir.path(), "windows.txt", lines.concat())));
    assert_eq!(lines.train.len() + lines.test.len(), 6);
    // A file may be called so.
    photograph(&dir.path().join("a\\1.png"), 70);
    let list = save(
        dir.path(),
        "names.csv",
        "path,label,split\na\\1.png,x,train\nimg\\bee\\1.png,y,train\nimg/bee/2.png,y,test\n",
    );
    assert_eq!(colours(&opened(&config(&list)).train), [(0, 70), (1, 30)]);
}

/// What a message says to set, as a pipeline's section.
fn remedied(list: &Path, message: &str) -> DatasetConfig {
    let said = message.lines().last().unwrap().trim();
    let said = said[said.find("dataset.").unwrap()..].trim_end_matches('.');
    let set = said.replace(", dataset.", "\ndataset.").replace(" and dataset.", "\ndataset.");
    let path = format!("dataset.path = {:?}\n", list.display().to_string());
    let path = if set.contains("dataset.path =") { "" } else { &path };
    let kind = if set.contains("dataset.kind =") { "" } else { "dataset.kind = \"list\"\n" };
    let text = format!("{kind}dataset.image_size = 8\n{path}{set}\n");
    let file = list.with_file_name("remedied.toml");
    fs::write(&file, &text).unwrap();
    config::load(&file, &[]).unwrap_or_else(|e| panic!("{e}\n{text}")).pipeline.dataset
}

#[test]
fn paths_that_leave_the_folder_come_with_a_remedy_that_works() {
    let dir = folder();
    // Moved here from elsewhere, under Windows or not.
    for prefix in ["C:\\Users\\me\\data\\", "/mnt/old disk/", "\\\\server\\share\\"] {
        let path = |path: &str| match prefix.contains('\\') {
            true => format!("{prefix}{}", path.replace('/', "\\")),
            false => format!("{prefix}{path}"),
        };
        let list = save(dir.path(), "moved.csv", csv(path));
        let message = error(&config(&list));
        assert!(message.contains("moved.csv, line 2: `"), "{message}");
        assert!(message.contains("leads out of the folder of the images, "), "{message}");
        whole(&remedied(&list, &message));
    }
    // Relative to another folder.
    let list = save(dir.path(), "other.csv", csv(|path| format!("data/{path}")));
    whole(&remedied(&list, &error(&config(&list))));
    let inner = csv(|path| path.strip_prefix("img/").unwrap().into());
    let list = save(dir.path(), "inner.csv", inner);
    whole(&remedied(&list, &error(&config(&list))));
    // The list is elsewhere, and the images are where it says.
    let lists = dir.path().join("lists");
    fs::create_dir(&lists).unwrap();
    let there = |path: &str| dir.path().join(path).display().to_string();
    for (name, text) in [("there.csv", csv(there)), ("up.csv", csv(|path| format!("../{path}")))] {
        let list = save(&lists, name, text);
        whole(&remedied(&list, &error(&config(&list))));
    }
}

#[test]
fn names_without_an_extension_or_a_folder_are_found_where_one_file_fits() {
    let dir = tempfile::tempdir().unwrap();
    for (i, place) in ["a", "a", "b", "b/deep"].iter().enumerate() {
        photograph(&dir.path().join(format!("input/{place}/ISIC_{i}.jpg")), 10 * i as u8);
    }
    save(dir.path(), "input/a/ISIC_0.txt", "no image");
    let rows = |row: &dyn Fn(usize) -> String| (0..4).map(row).collect::<String>();
    let class = |i: usize| ["nevus", "melanoma"][i % 2];
    let stems = rows(&|i| format!("ISIC_{i},{}\n", class(i)));
    let names = rows(&|i| format!("ISIC_{i}.jpg,{}\n", class(i)));
    let with_split = |text: &str| {
        let rows = text.lines().enumerate();
        rows.map(|(i, row)| format!("{row},{}\n", ["train", "test"][i / 2])).collect::<String>()
    };
    for (header, rows) in [("image", &stems), ("id", &names), ("image_id", &stems)] {
        let text = format!("{header},label,split\n{}", with_split(rows));
        let dataset = opened(&config(&save(dir.path(), "list.csv", text)));
        assert_eq!(colours(&dataset.train), [(1, 0), (0, 10)], "{header}");
        assert_eq!(colours(&dataset.test), [(1, 20), (0, 30)], "{header}");
        assert_eq!(dataset.train.path(0), "input/a/ISIC_0.jpg");
        noted(
            &dataset,
            "4 paths are names of files, and were found below the folder of the images",
        );
    }
    // From the folder itself, where the list's path has none.
    let pipeline = "[dataset]\nkind = \"list\"\npath = \"list.csv\"\n";
    save(dir.path(), "p.toml", pipeline);
    let arguments = ["dataset", "stats", "p.toml", "--json"];
    let here = Command::new(PROGRAM).args(arguments).current_dir(dir.path()).output().unwrap();
    assert!(here.status.success(), "{}", text(&here.stderr));
    // In the folder that the list says, or below it.
    let list = save(
        dir.path(),
        "list.csv",
        "image,label,split\ninput/b/ISIC_3,x,train\ninput/a/ISIC_1,y,train\ninput/b/ISIC_2,x,test\n",
    );
    assert_eq!(colours(&opened(&config(&list)).train), [(0, 30), (1, 10)]);
    // Two that fit are named.
    photograph(&dir.path().join("thumbnails/ISIC_2.png"), 0);
    let list = save(dir.path(), "list.csv", format!("image,label\n{stems}"));
    let message = error(&config(&list));
    let both = "`ISIC_2` is missing, and several files could be meant: `input/b/ISIC_2.jpg`, `thumbnails/ISIC_2.png`";
    assert!(message.contains("list.csv: ") && message.contains(both), "{message}");
    // None is an error, of the image where others are there.
    fs::remove_file(dir.path().join("thumbnails/ISIC_2.png")).unwrap();
    let text = format!("image,label,split\n{}ISIC_9,nevus,test\n", with_split(&stems));
    let dataset = opened(&config(&save(dir.path(), "list.csv", text)));
    assert!(dataset.test.image(2).unwrap_err().to_string().contains("ISIC_9: cannot be read"));
    let list = save(dir.path(), "list.csv", "image,label\nISIC_7,x\nISIC_8,y\n");
    assert!(error(&config(&list)).contains("the first images are missing"));
}

#[test]
fn a_column_for_each_class_is_the_classes() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..6 {
        photograph(&dir.path().join(format!("ISIC_{i}.jpg")), 10 * i);
    }
    let header = ",image,MEL,NV,BCC,UNK,age,split";
    let split = |i: usize| ["train", "train", "train", "train", "train", "test"][i];
    let row = |i: usize, fields: &str| format!("{i},ISIC_{i},{fields},5{i},{}\n", split(i));
    let nevus = "0.0,1.0,0.0,0.0";
    let good = ["1.0,0.0,0.0,0.0", nevus, "0.0,0.0,1.0,0.0", "1.0,0.0,0.0,0.0", nevus, nevus];
    let text = |rows: &[&str]| {
        let rows = rows.iter().enumerate().map(|(i, fields)| row(i, fields));
        format!("{header}\n{}", rows.collect::<String>())
    };
    let list = save(dir.path(), "isic.csv", text(&good));
    let dataset = opened(&config(&list));
    // In the order of the columns; a class without images is none.
    assert_eq!(dataset.class_names, ["MEL", "NV", "BCC"]);
    let mut labels: Vec<(u32, u8)> = colours(&dataset.train);
    labels.extend(colours(&dataset.test));
    labels.sort_unstable();
    assert_eq!(labels, [(0, 0), (0, 30), (1, 10), (1, 40), (1, 50), (2, 20)]);
    noted(&dataset, "the 4 columns `MEL`, `NV`, `BCC`, `UNK` are taken for the classes");
    noted(&dataset, "1 of 4 classes have no training image and are left out: `UNK`");
    // One of the columns is no set of two classes.
    for column in ["MEL", "NV", "BCC"] {
        let settings = DatasetConfig { label_column: column.into(), ..config(&list) };
        let message = error(&settings);
        assert!(
            message.contains(&format!("line 1: column `{column}` holds 0 and 1, as do")),
            "{message}"
        );
    }
    let age = DatasetConfig { label_column: "age".into(), ..config(&list) };
    assert!(error(&age).contains("line 7: label `55` is beyond the classes"));
    // A row of none or two.
    for (bad, ones) in [("0,0,0,0", "0 of the columns"), ("1,1,0,0", "2 of the columns")] {
        let rows = [good[0], nevus, good[2], bad, nevus];
        let list = save(dir.path(), "bad.csv", text(&rows));
        let message = error(&config(&list));
        let expected =
            format!("bad.csv, line 5: {ones} `MEL`, `NV`, `BCC`, `UNK` are 1; expected one");
        assert!(message.contains(&expected), "{message}");
        assert!(!message.contains("label_column"), "{message}");
        let settings = DatasetConfig { label_column: "BCC".into(), ..config(&list) };
        assert!(error(&settings).contains("column `BCC` holds 0 and 1"));
    }
}

#[test]
fn an_attribute_of_its_own_is_a_label() {
    let dir = folder();
    let rows = ["1,1,1", "1,0,1", "0,1,0", "0,0,1", "1,1,0", "0,1,1"];
    let rows = IMAGES.iter().zip(rows);
    let rows = rows.map(|((path, _, split, _), row)| format!("\"{path}\",{row},{split}\n"));
    let text = format!("path,smiling,young,happy,split\n{}", rows.collect::<String>());
    let settings = config(&save(dir.path(), "faces.csv", text));
    let message = error(&settings);
    assert!(
        message.contains("line 2: 3 of the columns `smiling`, `young`, `happy` are 1"),
        "{message}"
    );
    let smiling = opened(&DatasetConfig { label_column: "smiling".into(), ..settings });
    let labels =
        |split: &SplitImages| colours(split).iter().map(|image| image.0).collect::<Vec<_>>();
    assert_eq!((labels(&smiling.train), labels(&smiling.test)), (vec![1, 1, 0, 0], vec![1, 0]));
}

#[test]
fn a_column_of_true_and_false_says_the_split() {
    let dir = tempfile::tempdir().unwrap();
    (0..8).for_each(|i| photograph(&dir.path().join(format!("{i}.png")), 10 * i));
    for (yes, no, column) in
        [("True", "False", "is_valid"), ("1", "0", "is_valid"), ("TRUE", "FALSE", "Is_Test")]
    {
        let row = |i: usize| {
            format!("{i}.png,{},{}\n", ["ant", "bee"][i % 2], if i < 2 { yes } else { no })
        };
        let text = format!("path,label,{column}\n{}", (0..8).map(row).collect::<String>());
        let dataset = opened(&config(&save(dir.path(), "fastai.csv", text)));
        noted(&dataset, &format!("column `{column}` is taken for the split"));
        let (held, train, test_held_out) = match column {
            "is_valid" => (dataset.val.as_ref().unwrap(), 4, true),
            _ => (&dataset.test, 6, false),
        };
        assert_eq!(colours(held), [(0, 0), (1, 10)]);
        assert_eq!((dataset.train.len(), dataset.test_held_out), (train, test_held_out));
    }
    let two = "path,label,is_valid,is_test\na.png,ant,0,0\n";
    let message = error(&config(&save(dir.path(), "two.csv", two)));
    assert!(message.contains("`is_valid` and `is_test` both say a split"), "{message}");
}

#[test]
fn what_spreadsheets_and_editors_add_is_no_row() {
    let dir = folder();
    let rows = csv(str::to_string);
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let utf16 = |text: &str, mark: char| {
        let units = format!("{mark}{text}");
        units.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()
    };
    let semicolons = rows.replace("\",", "\";").replace("ant,t", "ant;t").replace("bee,t", "bee;t");
    let semicolons = semicolons.replace("path,label,", "path;label;");
    let comments =
        format!("# made by hand, \"so\n\n{rows}# end\n").replace("\"img/bee", "#x,y\n\"img/bee");
    let forms: [(&str, Vec<u8>); 9] = [
        ("crlf.csv", crlf(&rows).into()),
        ("mac.csv", rows.replace('\n', "\r").into()),
        ("sep.csv", format!("sep=;\r\n{}", crlf(&semicolons)).into()),
        ("quoted-sep.csv", format!("\u{feff}\"sep=,\"\n{rows}").into()),
        ("excel.csv", format!("\u{feff}{}", crlf(&semicolons)).into()),
        ("tabs.csv", semicolons.replace(';', "\t").into()),
        ("empty-rows.csv", format!("{rows},,\n\n,,\n").into()),
        ("utf16.csv", utf16(&rows, '\u{feff}')),
        ("comments.csv", comments.into()),
    ];
    let plain = whole(&config(&save(dir.path(), "plain.csv", &rows)));
    for (name, bytes) in forms {
        let dataset = whole(&config(&save(dir.path(), name, bytes)));
        assert_eq!(dataset.fingerprint, plain.fingerprint, "{name}");
        match name {
            "comments.csv" => noted(&dataset, "4 lines that begin with # are taken for comments"),
            _ => assert_eq!(dataset.account.notes, [""; 0], "{name}"),
        }
    }
    let message = error(&config(&save(dir.path(), "bare.csv", &utf16(&rows, 'p')[2..])));
    assert!(message.contains("bare.csv, line 1: not UTF-8 text"), "{message}");

    // Text lists; and a file that is called so is an image.
    photograph(&dir.path().join("#1.png"), 70);
    let lines = "# path class\r\nimg/bee/1.png bee\r\n#img/bee/2.png bee\r\n#1.png ant\r\nimg/bee/2.png bee\r\n";
    let listed = read_lists(&config(&save(dir.path(), "lines.txt", lines))).unwrap();
    assert_eq!(listed.notes, ["2 lines that begin with # are taken for comments"]);
    assert_eq!(listed.train.paths, ["img/bee/1.png", "#1.png", "img/bee/2.png"]);
    let lines = "path,label\n#1.png,ant\nimg/bee/1.png,bee\nimg/bee/2.png,bee\n";
    let listed = read_lists(&config(&save(dir.path(), "lines.csv", lines))).unwrap();
    assert_eq!(listed.train.paths, ["#1.png", "img/bee/1.png", "img/bee/2.png"]);
}

#[test]
fn errors_name_the_true_line() {
    let dir = folder();
    let good = "img/bee/1.png,bee,\n";
    let several = "img/bee/1.png,bee,\"a note\nof two\n\n# lines\"\n";
    let forms = [
        ("four.csv", format!("path,label,note\n{good}{good}BAD"), 4),
        ("blank.csv", format!("\n\npath,label,note\n\n{good}\n\nBAD"), 8),
        ("note.csv", format!("path,label,note\n{several}{several}BAD"), 10),
        ("comment.csv", format!("# \"\npath,label,note\n# a\n#b\n{good}#c\nBAD"), 7),
        ("sep.csv", format!("sep=,\npath,label,note\n{good}\nBAD"), 5),
    ];
    let bad = [
        ("/abs/x.png,bee,\n", "`/abs/x.png` leads out of"),
        ("img/bee/2.png,,\n", "the label is empty"),
        ("img/bee/2.png\n", "has 1 fields; expected 3"),
        ("img/bee/2.png,bee,\"x\nimg/bee/1.png,bee,\n", "a quoted field goes over"),
        ("img/bee/2.png,\"a\nb\",\n", "a quoted field goes over"),
    ];
    for (name, text, line) in &forms {
        for (row, message) in bad {
            for end in ["\n", "\r\n", "\r"] {
                let text = text.replace("BAD", row).replace('\n', end);
                let found = error(&config(&save(dir.path(), name, text)));
                let expected = format!("{name}, line {line}: {message}");
                assert!(found.contains(&expected), "{end:?} {row:?}: {found} / {expected}");
            }
        }
    }
}

fn json(images: &[(&str, &[i64])], categories: &[(i64, &str)]) -> String {
    let image =
        |(i, (name, _)): (usize, &(&str, &[i64]))| serde_json::json!({"id": i, "file_name": name});
    let annotations = images.iter().enumerate().flat_map(|(i, (_, of))| {
        of.iter().map(move |category| {
            serde_json::json!({"image_id": i, "category_id": category, "bbox": [0, 0, 5, 5]})
        })
    });
    let category = |(id, name): &(i64, &str)| serde_json::json!({"id": id, "name": name});
    serde_json::json!({
        "images": images.iter().enumerate().map(image).collect::<Vec<_>>(),
        "annotations": annotations.collect::<Vec<_>>(),
        "categories": categories.iter().map(category).collect::<Vec<_>>(),
    })
    .to_string()
}

#[test]
fn boxes_are_one_label_and_unused_categories_none() {
    let dir = folder();
    let [ant, bee, other] = [IMAGES[0].0, IMAGES[2].0, IMAGES[3].0];
    let categories = [(1, "ant"), (2, "wasp"), (5, "bee"), (9, "moth")];
    let of = |images: &[(&str, &[i64])]| {
        let list = save(dir.path(), "train.json", json(images, &categories));
        save(
            dir.path(),
            "test.json",
            json(&[(IMAGES[4].0, &[1]), (IMAGES[5].0, &[5, 5])], &categories),
        );
        DatasetConfig { train_list: list, test_list: "test.json".into(), ..config(dir.path()) }
    };
    let dataset = opened(&of(&[(ant, &[1, 1, 1]), (bee, &[5]), (other, &[5, 5])]));
    assert_eq!(dataset.class_names, ["ant", "bee"]);
    assert_eq!(colours(&dataset.train), [(0, 10), (1, 30), (1, 40)]);
    assert_eq!(colours(&dataset.test), [(0, 50), (1, 60)]);
    noted(&dataset, "2 of 4 classes have no training image and are left out: `wasp`, `moth`");
    noted(&dataset, "2 images have several annotations of one class, which count once");
    let message = error(&of(&[(ant, &[1]), (bee, &[5, 9]), (other, &[5])]));
    let expected =
        "train.json: image 1 (`img/bee/1.png`) has annotations of the classes `bee` and `moth`";
    assert!(message.contains(expected), "{message}");
    // One class is too few, and the list is named.
    let settings = of(&[(ant, &[1])]);
    save(dir.path(), "test.json", json(&[(ant, &[1])], &categories));
    let message = error(&settings);
    assert!(message.contains("train.json: 1 class; expected at least 2"), "{message}");
    let marked = format!("\u{feff}{}", json(&[(ant, &[1]), (bee, &[5])], &categories));
    let settings = of(&[]);
    fs::write(dir.path().join("train.json"), marked).unwrap();
    assert_eq!(opened(&settings).train.len(), 2);
}

#[test]
fn two_spellings_of_a_name_are_one_class() {
    let dir = folder();
    let [composed, decomposed] = ["caf\u{e9}", "cafe\u{301}"];
    let labels = [composed, decomposed, "bee", "bee", decomposed, "bee"];
    let rows = IMAGES.iter().zip(labels);
    let rows = rows.map(|((path, _, split, _), label)| format!("\"{path}\",{label},{split}\n"));
    let text = format!("path,label,split\n{}", rows.collect::<String>());
    let dataset = opened(&config(&save(dir.path(), "names.csv", &text)));
    assert_eq!(dataset.class_names.len(), 2);
    assert_eq!(dataset.class_counts().0, [2, 2]);
    noted(&dataset, "`caf\u{e9}` is written in two forms of Unicode, which are one class");
    assert_eq!(dataset.account.notes.len(), 1, "{:?}", dataset.account.notes);
    // In lists of their own.
    let lists = [("train.txt", composed), ("test.txt", decomposed)];
    for (name, label) in lists {
        save(dir.path(), name, format!("img/bee/1.png,{label}\nimg/bee/2.png,bee\n"));
    }
    let [train_list, test_list] = ["train.txt".into(), "test.txt".into()];
    let dataset = opened(&DatasetConfig { train_list, test_list, ..config(dir.path()) });
    assert_eq!(dataset.test.labels(), dataset.train.labels());
    noted(&dataset, "is written in two forms of Unicode");
}

#[test]
fn files_that_no_list_names_are_accounted_for() {
    let dir = folder();
    let rows = csv(str::to_string)
        .lines()
        .filter(|row| !row.contains("ant, small/2"))
        .map(|row| format!("{row}\n"))
        .collect::<String>();
    photograph(&dir.path().join("other/1.png"), 0);
    for file in ["img/bee/.DS_Store", "img/bee/Thumbs.db", "img/bee/notes.txt"] {
        save(dir.path(), file, "");
    }
    let dataset = opened(&config(&save(dir.path(), "list.csv", rows)));
    let account = &dataset.account;
    assert_eq!(account.used, 5);
    let left: Vec<(&str, Reason)> =
        account.left_out.iter().map(|file| (file.path.as_str(), file.reason)).collect();
    // Of folders with listed images; a list is none.
    let lines = (1..3).map(|i| format!("ant, small/{i}.png 0\nbee/{i}.png 1\n"));
    let train_list = save(dir.path(), "img/bee/lines.txt", lines.collect::<String>());
    let test_list = dir.path().join("img/../img/bee/lines.txt");
    let root = dir.path().join("img/../img");
    let inner = opened(&DatasetConfig { train_list, test_list, ..config(&root) });
    assert_eq!(inner.account.left_out.len(), 3);
    let expected = [
        ("img/ant, small/2.png", Reason::NotListed),
        ("img/bee/.DS_Store", Reason::Hidden),
        ("img/bee/Thumbs.db", Reason::Hidden),
        ("img/bee/notes.txt", Reason::NotListed),
    ];
    assert_eq!(left, expected);
}
