//! Names of classes in the metadata of ONNX files: read in the forms that exporters have, told where they cannot be
//! read, and renewed in exported files.

use std::path::Path;

use fsa_bank::backbone::onnx::{OnnxFile, with_head};

use crate::class_order::{Case, ORDER};
use crate::support::program::{call, text};

/// As exporters write them, for outputs in `ORDER`; and the same of the classes a, b and c.
const FORMS: [(&str, &str, &str); 12] = [
    ("Labels", r#"["colour-2", "colour-0", "colour-1"]"#, r#"["a","b","c"]"#),
    ("label2id", r#"{"colour-2": 0, "colour-0": 1, "colour-1": 2}"#, r#"{"a":0,"b":1,"c":2}"#),
    ("class_to_idx", "{'colour-0': 1, 'colour-1': 2, 'colour-2': 0}", "{'a': 0, 'b': 1, 'c': 2}"),
    (
        "idx_to_class",
        r#"{"0": "colour-2", "1": "colour-0", "2": "colour-1"}"#,
        r#"{"0":"a","1":"b","2":"c"}"#,
    ),
    (
        "id2label",
        "{'0': 'colour-2', '1': 'colour-0', '2': 'colour-1'}",
        "{'0': 'a', '1': 'b', '2': 'c'}",
    ),
    ("names", "{0: 'colour-2', 1: 'colour-0', 2: 'colour-1'}", "{0: 'a', 1: 'b', 2: 'c'}"),
    ("vocab", "['colour-2', 'colour-0', 'colour-1']", "['a', 'b', 'c']"),
    ("classes", "colour-2;colour-0;colour-1", "a;b;c"),
    ("class_names", "colour-2,colour-0,colour-1", "a,b,c"),
    ("labels", "colour-2\ncolour-0\ncolour-1", "a\nb\nc"),
    (
        "names",
        r#"[{"id": 0, "name": "colour-2"}, {"id": 1, "name": "colour-0"}, {"id": 2, "name": "colour-1"}]"#,
        r#"[{"id":0,"name":"a"},{"id":1,"name":"b"},{"id":2,"name":"c"}]"#,
    ),
    (
        "model_config",
        r#"{"id2label": {"0": "colour-2", "1": "colour-0", "2": "colour-1"}, "label2id": {"colour-2": 0, "colour-0": 1, "colour-1": 2}, "num_channels": 3}"#,
        r#"{"id2label":{"0":"a","1":"b","2":"c"},"label2id":{"a":0,"b":1,"c":2},"num_channels":3}"#,
    ),
];

fn exported(case: &Case, network: &str, labels: &[&str]) -> OnnxFile {
    let path = case.path("exported.onnx");
    let output = call(&[&["export", network, "--onnx", &path], labels].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    OnnxFile::load(Path::new(&path)).unwrap()
}

#[test]
fn every_form_is_read_and_renewed_in_its_own() {
    let case = Case::new();
    let other = case.write("other.txt", "a\nb\nc\n");
    let images = case.path("photos/test/colour-2");
    for (key, old, new) in FORMS {
        let network = case.network(&ORDER, Some((key, old)));
        let output = call(&["-q", "--json", "predict", &network, &images]);
        assert_eq!(
            text(&output.stderr).matches("metadata `").count(),
            0,
            "{}",
            text(&output.stderr)
        );
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found[0]["top"][0]["name"], "colour-2", "{key}");
        let file = exported(&case, &network, &["--labels", &other]);
        assert_eq!(file.metadata(key), Some(new));
        // The same names stay as they were written.
        assert_eq!(exported(&case, &network, &[]).metadata(key), Some(old));
    }
}

#[test]
fn what_is_not_read_or_a_contradiction_is_told() {
    let case = Case::new();
    let (images, photos) = (case.path("photos/test"), case.path("photos"));
    let labels = case.write("labels.txt", "colour-2\ncolour-0\ncolour-1\n");
    for (key, value, part) in [
        (
            "names",
            "{1: 'colour-2', 2: 'colour-0', 3: 'colour-1'}",
            "`names` is not a known list of class names",
        ),
        ("Names", "{0: 'colour", "`Names` is not a known list of class names"),
        ("names", r#"["colour-2", "colour-0"]"#, "`names`: 2 names for 3 outputs are not used"),
    ] {
        let network = case.network(&ORDER, Some((key, value)));
        let (_, _, message) = case.features(&network, &[]);
        assert!(message.contains(&format!("warning: {network}: metadata {part}")), "{message}");
        let pipeline =
            case.write("p.toml", &format!("[dataset]\nkind = \"folder\"\npath = {photos:?}\n"));
        for args in [["predict", &network, &images], ["eval", &network, &pipeline]] {
            let message = text(&call(&args).stderr);
            assert!(message.contains(part) && message.contains("--labels FILE"), "{message}");
            let message = text(&call(&[&args[..], &["--labels", &labels]].concat()).stderr);
            assert!(!message.contains("metadata `"), "{message}");
        }
        // What is known afterwards is not beside what was not understood.
        assert!(exported(&case, &network, &["--labels", &labels]).metadata(key) != Some(value));
        assert_eq!(exported(&case, &network, &[]).metadata(key), Some(value));
    }
    let network = case.network(&ORDER, Some(("names", r#"["colour-2", "colour-0", "colour-1"]"#)));
    let file = OnnxFile::load(Path::new(&network)).unwrap();
    let found = file.find().unwrap();
    let classes = r#"["colour-0", "colour-1", "colour-2"]"#;
    for (key, value, is_told) in [
        ("classes", classes, true),
        ("classes", "3", false),
        ("labels", "LABEL_0,LABEL_1,LABEL_2", false),
    ] {
        let metadata = [(key.to_string(), value.to_string())];
        let both = case.path("both.onnx");
        std::fs::write(&both, with_head(&file, &found, found.head().unwrap(), &metadata)).unwrap();
        let message = text(&call(&["predict", &both, &images]).stderr);
        let part = "metadata `names` and `classes` have other names or another order";
        assert_eq!(message.contains(part), is_told, "{message}");
        assert_eq!(message.contains("those of `names` are taken"), is_told, "{message}");
        assert!(!message.contains("list of class names"), "{message}");
    }
}

#[test]
fn an_evaluation_tells_outputs_in_another_order() {
    let case = Case::new();
    let photos = case.path("photos");
    let pipeline = format!(
        "[dataset]\nkind = \"folder\"\npath = {photos:?}\nimage_size = 16\ncrop_fraction = 0.875\n\
         mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]\n"
    );
    let pipeline = case.write("p.toml", &pipeline);
    let message = text(&call(&["eval", &case.network(&ORDER, None), &pipeline]).stderr);
    assert!(message.contains("warning: the classifier finds the classes of"), "{message}");
    assert!(
        message.contains("% of the test images") && message.contains("output 0 is `colour-2`"),
        "{message}"
    );
    assert!(message.contains("with --labels FILE.") && !message.contains("bank"), "{message}");
    let message = text(&call(&["eval", &case.network(&[0, 1, 2], None), &pipeline]).stderr);
    assert!(!message.contains("warning: the classifier"), "{message}");
}

#[test]
fn where_names_decide_the_order_of_numbers_does_not_matter() {
    let case = Case::new();
    for (from, to) in [("colour-0", "1"), ("colour-1", "2"), ("colour-2", "10")] {
        case.rename(from, to);
    }
    let photos = case.path("photos");
    let pipeline =
        case.write("p.toml", &format!("[dataset]\nkind = \"folder\"\npath = {photos:?}\n"));
    // In the order of names: 1, 10, 2.
    for (metadata, is_told) in [(None, true), (Some(("names", "['2', '1', '10']")), false)] {
        let network = case.network(&[1, 0, 2], metadata);
        let (_, _, message) = case.features(&network, &[]);
        let evaluated = text(&call(&["eval", &network, &pipeline]).stderr);
        for message in [message, evaluated] {
            let part = "needs dataset.class_order = \"natural\"";
            assert_eq!(message.contains(part), is_told, "{message}");
        }
    }
}
