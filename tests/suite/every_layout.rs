//! A small dataset in each layout that is read, from images through Phase-I and the bank to Phase-II: of
//! real photographs where FSA_BANK_TEST_DATA has some, else of images of one colour a class.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Int64Array, StructArray};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use fsa_bank::bank::Bank;
use fsa_bank::config::load;
use fsa_bank::dataset::Dataset;
use fsa_bank::finetune::{self, FinetuneRequest, Selection};
use fsa_bank::progress::{Interrupt, Silent, Watch};
use parquet::arrow::ArrowWriter;

use crate::fixtures::image_folder;
use crate::support::run::Run;

/// Training images of each class; one validates and two test.
const TRAIN: [usize; 3] = [6, 4, 2];
const IMAGES: usize = 9;

/// Encoded images of three classes, and the end of their names.
fn photographs() -> (Vec<Vec<Vec<u8>>>, &'static str) {
    let data = std::env::var_os("FSA_BANK_TEST_DATA").map(PathBuf::from);
    let archive = data.and_then(|data| fs::File::open(data.join("caltech101-subset.tar")).ok());
    let Some(archive) = archive else {
        eprintln!(
            "FSA_BANK_TEST_DATA has no caltech101-subset.tar: colours in place of photographs"
        );
        let dir = tempfile::tempdir().unwrap();
        image_folder(dir.path(), &[IMAGES; 3]);
        let image = |class: usize, i: usize| {
            fs::read(dir.path().join(format!("train/colour-{class}/{i:03}.png"))).unwrap()
        };
        let of_class = |class| (0..IMAGES).map(|i| image(class, i)).collect();
        return ((0..3).map(of_class).collect(), "png");
    };
    let mut classes: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.extension().is_none_or(|e| e != "jpg") {
            continue;
        }
        let images = classes.entry(path.parent().unwrap().into()).or_default();
        if images.len() < IMAGES {
            let mut bytes = vec![];
            std::io::copy(&mut entry, &mut bytes).unwrap();
            images.push(bytes);
        }
    }
    (classes.into_values().take(3).collect(), "jpg")
}

/// What to do with each image: its class, its number, its split and its bytes.
fn each(mut with: impl FnMut(usize, usize, &str, &[u8])) -> &'static str {
    let (classes, extension) = photographs();
    for (class, images) in classes.iter().enumerate() {
        let ends = [TRAIN[class], TRAIN[class] + 1, TRAIN[class] + 3];
        for (i, bytes) in images.iter().enumerate().take(ends[2]) {
            let split = ["train", "val", "test"][ends.iter().position(|end| i < *end).unwrap()];
            with(class, i, split, bytes);
        }
    }
    extension
}

fn write(path: PathBuf, bytes: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Goes through all stages and checks what came out; `dataset` is the `[dataset]` section.
fn goes_through(dir: tempfile::TempDir, dataset: &str, names: [&str; 3]) {
    let pipeline = dir.path().join("small.toml");
    let text = format!(
        "[dataset]\n{dataset}\nimage_size = 32\n[network]\nwidth = 2\n[train]\nepochs = 2\nbatch_size = 5\n\
         [features]\nviews = 2\n[finetune]\niterations = 20\nhead_ratio = 0.5\n"
    );
    fs::write(&pipeline, text).unwrap();
    let loaded = load(&pipeline, &[]).unwrap_or_else(|e| panic!("{e}"));
    let dataset =
        Dataset::open(&loaded.pipeline.dataset).unwrap_or_else(|e| panic!("{dataset}: {e}"));
    assert_eq!(dataset.class_names, names);
    assert_eq!(dataset.class_counts().0, TRAIN.map(|n| n as u64));
    let run = Run { dir, loaded, dataset };
    let go = Interrupt::default();
    run.train(false, &Silent, &go).unwrap_or_else(|e| panic!("{e}"));
    let made = run.features(&go).unwrap_or_else(|e| panic!("{e}"));
    let bank = Bank::open(&made.bank).unwrap();
    assert_eq!(bank.class_counts.0, TRAIN.map(|n| n as u64));
    assert_eq!(bank.manifest.splits["test"].images, 6);
    let config = run.loaded.pipeline.finetune.clone();
    let request = FinetuneRequest {
        bank: &made.bank,
        config,
        seed: 0,
        selection: Selection::None,
        out: None,
        overwrite: false,
        memory_bytes: 1 << 30,
    };
    let tuned = finetune::run(&request, Watch::new(&Silent, &go)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(tuned.report.class_names, names);
    assert!(tuned.folder.join("classifier.safetensors").is_file());
}

#[test]
fn folders_of_classes_go_through() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["heron", "kite", "owl"];
    let extension = photographs().1;
    each(|class, i, split, bytes| {
        write(dir.path().join(format!("photos/{split}/{}/{i}.{extension}", names[class])), bytes);
    });
    goes_through(dir, "kind = 'folder'\npath = 'photos'", names);
}

/// The three lists of an `-LT` set, of lines PATH LABEL.
fn save_lists(root: &Path, name: &str, path: impl Fn(usize, usize, &str) -> String) -> String {
    let mut lists: BTreeMap<String, String> = BTreeMap::new();
    each(|class, i, split, _| {
        let list = lists.entry(format!("{name}_{split}.txt")).or_default();
        *list += &format!("{} {class}\n", path(class, i, split));
    });
    lists.iter().for_each(|(file, text)| write(root.join(file), text));
    format!(
        "kind = 'list'\npath = 'images'\ntrain_list = '{name}_train.txt'\nval_list = '{name}_val.txt'\n\
         test_list = '{name}_test.txt'"
    )
}

#[test]
fn imagenet_lt_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["n01440764", "n01443537", "n01484850"];
    let path = |class: usize, i: usize, split: &str| match split {
        "test" => format!("val/{0}/ILSVRC2012_val_{i:08}.JPEG", names[class]),
        _ => format!("train/{0}/{0}_{i}.JPEG", names[class]),
    };
    let root = dir.path().join("images");
    each(|class, i, split, bytes| write(root.join(path(class, i, split)), bytes));
    let dataset = save_lists(&root, "ImageNet_LT", path);
    goes_through(dir, &dataset, names);
}

/// Lists of one layout of Places365, images of the other.
#[test]
fn places_lt_goes_through_from_either_layout_to_the_other() {
    let names = ["airfield", "apartment_building-outdoor", "zen_garden"];
    let easy = |class: usize, i: usize, split: &str| match split {
        "test" => format!("val/{}/Places365_val_{class:04}{i:04}.jpg", names[class]),
        _ => format!("train/{}/{i:08}.jpg", names[class]),
    };
    let challenge = |class: usize, i: usize, split: &str| match split {
        "test" => format!("val_256/Places365_val_{class:04}{i:04}.jpg"),
        _ => {
            let name = names[class].replace('-', "/");
            format!("data_256/{}/{name}/{i:08}.jpg", &name[..1])
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("images");
    each(|class, i, split, bytes| write(root.join(challenge(class, i, split)), bytes));
    let dataset = save_lists(&root, "Places_LT", easy);
    goes_through(dir, &dataset, names);

    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("images");
    each(|class, i, split, bytes| write(root.join(easy(class, i, split)), bytes));
    let dataset = save_lists(&root, "Places_LT", challenge);
    let names = ["airfield", "apartment_building/outdoor", "zen_garden"];
    goes_through(dir, &dataset, names);
}

#[test]
fn inaturalist_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("inat2018");
    let names = ["Ardea cinerea", "Milvus milvus", "Strix aluco"];
    let mut parts: BTreeMap<&str, [Vec<serde_json::Value>; 2]> = BTreeMap::new();
    each(|class, i, split, bytes| {
        let file = format!("train_val2018/Aves/{class}/{i:032x}.jpg");
        write(root.join(&file), bytes);
        let id = 1000 * class + i;
        let list = if split == "train" { "train2018.json" } else { "val2018.json" };
        let [images, annotations] = parts.entry(list).or_default();
        if split != "val" {
            images.push(serde_json::json!({"id": id, "file_name": file, "width": 8, "height": 8}));
            let note =
                serde_json::json!({"id": id + 7, "image_id": id, "category_id": 5 + 2 * class});
            // In another order than the images.
            annotations.insert(annotations.len() / 2, note);
        }
    });
    let category = |(class, name)| serde_json::json!({"id": 5 + 2 * class, "name": name});
    let categories: Vec<_> = names.iter().enumerate().map(category).collect();
    for (list, [images, annotations]) in parts {
        let (images, notes) = (serde_json::json!(images), serde_json::json!(annotations));
        let json =
            serde_json::json!({"images": images, "annotations": notes, "categories": categories});
        write(root.join(list), json.to_string());
    }
    let dataset = "kind = 'list'\npath = 'inat2018'\ntrain_list = 'train2018.json'\ntest_list = 'val2018.json'";
    goes_through(dir, dataset, names);
}

#[test]
fn a_csv_file_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["heron", "kite", "owl"];
    let mut rows = "split,file_name,species\n".to_string();
    each(|class, i, split, bytes| {
        let path = format!("camera {class}/{i}.jpg");
        write(dir.path().join(&path), bytes);
        rows += &format!("{split},\"{path}\",{}\n", names[class]);
    });
    write(dir.path().join("birds.csv"), rows);
    goes_through(dir, "kind = 'list'\npath = 'birds.csv'", names);
}

#[test]
fn tables_of_hugging_face_go_through() {
    let dir = tempfile::tempdir().unwrap();
    let mut rows: BTreeMap<String, Vec<(Vec<u8>, i64)>> = BTreeMap::new();
    each(|class, _, split, bytes| {
        rows.entry(split.replace("val", "validation"))
            .or_default()
            .push((bytes.into(), class as i64));
    });
    for (split, rows) in rows {
        let bytes: ArrayRef =
            Arc::new(BinaryArray::from_iter_values(rows.iter().map(|(bytes, _)| bytes)));
        let field = Arc::new(Field::new("bytes", DataType::Binary, false));
        let image: ArrayRef = Arc::new(StructArray::from(vec![(field, bytes)]));
        let label: ArrayRef =
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, label)| *label)));
        let batch = RecordBatch::try_from_iter([("image", image), ("label", label)]).unwrap();
        let path = dir.path().join(format!("data/{split}-00000-of-00001.parquet"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }
    goes_through(dir, "kind = 'parquet'\npath = 'data'", ["0", "1", "2"]);
}
