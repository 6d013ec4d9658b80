//! The classes of a network and of images in different orders: matched by name where names are known, told from
//! the predictions where they are not.

use std::path::{Path, PathBuf};

use fsa_bank::backbone::onnx::{OnnxFile, with_head};
use fsa_bank::domain::LinearHead;
use fsa_bank::export::plain_head;

use crate::fixtures::image_folder;
use crate::support::program::{call, text};

/// A network that finds the classes of images by their colour, and the images.
pub struct Case {
    dir: tempfile::TempDir,
    /// Of the classes in the order of `image_folder`.
    head: LinearHead,
    file: OnnxFile,
}

impl Case {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        image_folder(&dir.path().join("photos"), &[24, 12, 8]);
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/mean-dynamo.onnx");
        let file = OnnxFile::load(&corpus).unwrap();
        let (photos, out) = (dir.path().join("photos"), dir.path().join("fitted"));
        let args = ["-q", "features", "--head", "fit", "--onnx", corpus.to_str().unwrap()];
        let place = ["--images", photos.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let output = call(&[&args[..], &place[..]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (head, _) = plain_head(&out.join("shards/classifier.safetensors")).unwrap();
        Self { dir, head, file }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().into()
    }

    /// The network with the classes in this order, and names of them under a key of its metadata.
    pub fn network(&self, order: &[usize], metadata: Option<(&str, &str)>) -> String {
        let found = self.file.find().unwrap();
        let metadata: Vec<(String, String)> =
            metadata.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let bytes = with_head(&self.file, &found, &self.head.rows(order), &metadata);
        let path = self.path("network.onnx");
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Exit code, top-1 on the training images and what was said.
    pub fn features(&self, network: &str, extra: &[&str]) -> (Option<i32>, f64, String) {
        let (photos, out) = (self.path("photos"), self.path("run"));
        let args = ["--json", "features", "--overwrite", "--onnx", network, "--images", &photos];
        let output = call(&[&args[..], &["--out", &out], extra].concat());
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), made["top1"]["train"].as_f64().unwrap_or(-1.0), text(&output.stderr))
    }

    /// Folder of the training images of a class, to rename.
    pub fn rename(&self, from: &str, to: &str) {
        for split in ["train", "test"] {
            let folder: PathBuf = self.dir.path().join("photos").join(split);
            std::fs::rename(folder.join(from), folder.join(to)).unwrap();
        }
    }
}

/// The order of outputs that the networks here have: output 0 is colour-2, and so on.
pub const ORDER: [usize; 3] = [2, 0, 1];

#[test]
fn names_in_a_networks_metadata_put_its_classes_into_the_order_of_the_images() {
    let case = Case::new();
    let (code, right, message) = case.features(&case.network(&[0, 1, 2], None), &[]);
    assert!(code == Some(0) && right > 90.0 && !message.contains("another order"), "{message}");
    for (key, value) in [
        ("names", "{0: 'colour-2', 1: 'colour-0', 2: 'colour-1'}"),
        ("class_names", r#"["colour-2", "colour-0", "colour-1"]"#),
        ("classes", "colour-2,colour-0,colour-1"),
        ("labels", "Colour 2\nColour 0\nColour 1"),
        ("config", r#"{"id2label": {"0": "colour-2", "1": "colour-0", "2": "colour-1"}}"#),
    ] {
        let network = case.network(&ORDER, Some((key, value)));
        let (code, top1, message) = case.features(&network, &[]);
        assert_eq!((code, top1), (Some(0), right), "{key}: {message}");
        assert!(message.contains(&format!("metadata `{key}`: the network has the classes")));
        assert!(message.contains("1 `colour-0`, 2 `colour-1`, 0 `colour-2`"), "{message}");
        // Its own order and its names elsewhere.
        let output =
            call(&["-q", "--json", "predict", &network, &case.path("photos/test/colour-2")]);
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let top = &found[0]["top"][0];
        assert_eq!(top["class"], 0, "{top}");
        let names = ["colour-2", "Colour 2"];
        assert!(names.contains(&top["name"].as_str().unwrap()), "{top}");
    }
    // In an exported file they are in both places.
    let network = case.network(&ORDER, Some(("names", "{0: 'a', 1: 'b', 2: 'c'}")));
    let labels = case.write("labels.txt", "colour-2\ncolour-0\ncolour-1\n");
    let exported = case.path("exported.onnx");
    let output = call(&["export", &network, "--labels", &labels, "--onnx", &exported]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = OnnxFile::load(Path::new(&exported)).unwrap();
    let names = "{0: 'colour-2', 1: 'colour-0', 2: 'colour-1'}";
    assert_eq!(file.metadata("names"), Some(names));
    let (code, top1, message) = case.features(&exported, &[]);
    assert_eq!((code, top1), (Some(0), right), "{message}");
}

#[test]
fn names_in_a_file_go_with_every_command() {
    let case = Case::new();
    let network = case.network(&ORDER, None);
    let photos = case.path("photos");
    let pipeline = case.write(
        "p.toml",
        &format!("[dataset]\nkind = \"folder\"\npath = {photos:?}\nimage_size = 16\ncrop_fraction = 0.875\n\
                  mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n"),
    );
    let top1 = |extra: &[&str]| {
        let args = ["-q", "--json", "eval", &network, &pipeline];
        let output = call(&[&args[..], extra].concat());
        let score: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        score["accuracy"]["top1"].as_f64().unwrap()
    };
    assert!(top1(&[]) < 30.0);
    let lines = case.write("labels.txt", "colour-2\r\ncolour-0\r\ncolour-1\r\n");
    let list = case.write("labels.json", r#"["colour-2", "colour-0", "colour-1"]"#);
    let config =
        r#"{"model_type": "resnet", "label2id": {"colour-0": 1, "colour-1": 2, "colour-2": 0}}"#;
    let config = case.write("config.json", config);
    for labels in [&lines, &list, &config] {
        assert!(top1(&["--labels", labels]) > 90.0, "{labels}");
        let (code, top1, message) = case.features(&network, &["--labels", labels]);
        assert!(code == Some(0) && top1 > 90.0, "{message}");
    }
    // timm's config.json has both.
    let timm = r#"{"pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
                   "crop_pct": 0.875, "label_names": ["colour-2", "colour-0", "colour-1"]}}"#;
    let timm = case.write("timm.json", timm);
    let (code, top1, message) = case.features(&network, &["--preprocessing", &timm]);
    assert!(code == Some(0) && top1 > 90.0, "{message}");
    let planned = call(&["plan", "--onnx", &network, "--images", &photos, "--labels", &lines]);
    assert!(planned.status.success() && text(&planned.stderr).contains("another order"));
    let test = case.path("photos/test/colour-1");
    let predicted = call(&["predict", &network, &test, "--labels", &lines]);
    assert!(text(&predicted.stdout).contains("colour-1 "), "{}", text(&predicted.stdout));

    let few = case.write("few.txt", "colour-2\ncolour-0\n");
    let other = case.write("other.txt", "colour-2\ncolour-0\ncolour-7\n");
    let none = case.write("none.json", r#"{"mean": [0.5]}"#);
    for (labels, code, part) in [
        (&few, 2, "few.txt: 2 names; the classifier has 3 classes"),
        (&other, 2, "other.txt: `colour-1`, class 1 of the images, is not among the network's 3"),
        (&none, 3, "none.json: not a list of class names"),
        (&case.path("missing.txt"), 3, "missing.txt: cannot be read"),
    ] {
        let (found, _, message) = case.features(&network, &["--labels", labels]);
        assert!(found == Some(code) && message.contains(part), "{message}");
    }
    // A classifier of a file has names of its own.
    let head = case.path("head.safetensors");
    let output = call(&["export", &network, "--labels", &lines, "--head", &head]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (code, top1, message) = case.features(&network, &["--head", &head]);
    assert!(code == Some(0) && top1 > 90.0 && message.contains("another order"), "{message}");
}

#[test]
fn of_a_network_with_more_classes_than_the_images_their_rows_are_taken() {
    let case = Case::new();
    let labels = case.write("labels.txt", "fox\ncolour-2\ncolour-0\nelk\ncolour-1\n");
    let network = case.network(&[0, 2, 0, 1, 1], None);
    let (code, _, message) = case.features(&network, &[]);
    assert!(code == Some(2) && message.contains("has 5 classes; the images have 3"), "{message}");
    assert!(message.contains("--labels FILE"), "{message}");
    let (code, top1, message) = case.features(&network, &["--labels", &labels]);
    assert!(code == Some(0) && top1 > 90.0, "{message}");
    assert!(message.contains("warning: ") && message.contains("5 classes, the images 3"));
    assert!(message.contains("left out: `fox`, `elk`"), "{message}");
}

#[test]
fn predictions_that_are_right_in_another_order_are_reported() {
    let case = Case::new();
    // Two classes have changed places: far better than chance.
    let network = case.network(&[0, 2, 1], None);
    let (code, top1, message) = case.features(&network, &[]);
    assert!(code == Some(0) && top1 > 40.0, "{top1}");
    assert!(message.contains("warning: the classifier finds the classes of"), "{message}");
    assert!(message.contains("output 2 is `colour-1`, output 1 is `colour-2`"), "{message}");
    assert!(message.contains("--labels FILE"), "{message}");
    // Names of another kind are no help, which is said too.
    let network = case.network(&[0, 2, 1], Some(("names", "['red', 'green', 'blue']")));
    let (_, _, message) = case.features(&network, &[]);
    assert!(message.contains("metadata `names`: none of the 3 names (`red`, `green`"), "{message}");
    assert!(message.contains("output 2 is `colour-1`"), "{message}");
    // In partitions it is `commit` that sees all images.
    let network = case.network(&[0, 2, 1], None);
    for part in ["1/2", "2/2"] {
        let (code, _, message) = case.features(&network, &["--partition", part]);
        assert!(code == Some(0) && !message.contains("output 2 is"), "{message}");
    }
    let output = call(&["commit", &case.path("run/shards"), "--overwrite"]);
    assert!(text(&output.stderr).contains("output 2 is `colour-1`"), "{}", text(&output.stderr));
    // A network whose order is right is believed, whatever its mistakes.
    let (_, _, message) = case.features(&case.network(&[0, 1, 2], None), &[]);
    assert!(!message.contains("warning: the classifier"), "{message}");
    // Folders of numbers sort otherwise than numbers.
    for (from, to) in [("colour-0", "1"), ("colour-1", "2"), ("colour-2", "10")] {
        case.rename(from, to);
    }
    let (_, _, message) = case.features(&case.network(&[0, 1, 2], None), &[]);
    assert!(message.contains("--set dataset.class_order=natural"), "{message}");
    assert!(message.contains("output 2 is `10`, output 1 is `2`"), "{message}");
}
