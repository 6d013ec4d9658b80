//! Model files made to do harm: each is an error within little memory, and none ends the program by a
//! signal.

use std::path::Path;
use std::process::{Command, Output};

use fsa_bank::backbone::onnx::{OnnxBackbone, OnnxFile, OnnxOptions};
use fsa_bank::domain::LinearHead;
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::{Weights, WeightsError};

use crate::support::program::{PROGRAM, text};

/// Address space that a run may take; the program and onnxruntime need a part of it to start.
const KIB: u64 = 3 << 20;

fn bounded(args: &[&str]) -> Output {
    let limited = format!("ulimit -v {KIB}; exec \"$0\" \"$@\"");
    Command::new("sh").args(["-c", &limited, PROGRAM]).args(args).output().unwrap()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that holds bytes.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(content.len() as u64), content.to_vec()].concat()
}

/// A model with this graph.
fn model(graph: &[u8]) -> Vec<u8> {
    field(7, graph)
}

#[test]
fn model_files_that_promise_more_than_they_hold_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    std::fs::write(path("photo.png"), "no image").unwrap();
    let node = field(1, &field(4, b"Relu"));
    let tensor = |content: &[u8]| model(&[node.clone(), field(5, content)].concat());
    // A tensor of 2^40 values that holds none, and one whose size overflows.
    let huge = [vec![0x08], varint(1 << 40), vec![0x10, 1], field(8, b"w")].concat();
    let overflow = [[vec![0x08], varint(1 << 62)].concat().repeat(3), vec![0x10, 1]].concat();
    let entry = |key: &[u8], value: &[u8]| field(13, &[field(1, key), field(2, value)].concat());
    let outside = [
        vec![0x70, 1],
        entry(b"location", b"photo.png"),
        entry(b"offset", b"18446744073709551615"),
        entry(b"length", b"18446744073709551615"),
    ];
    let shared = [vec![0x70, 1], entry(b"location", b"data")].concat();
    std::fs::write(path("data"), vec![0; 1 << 20]).unwrap();
    let files = [
        ("nodes", model(&field(1, b"").repeat(4 << 20))),
        ("attributes", model(&field(1, &field(5, b"").repeat(4 << 20)))),
        ("huge", tensor(&huge)),
        ("overflow", tensor(&overflow)),
        ("outside", tensor(&outside.concat())),
        // 8,000 tensors of the same megabyte.
        ("shared", model(&[node.clone(), field(5, &shared).repeat(8000)].concat())),
        ("nested", [0x3a, 0xff, 0xff, 0xff, 0x7f].repeat(10_000)),
    ];
    for (name, bytes) in files {
        let onnx = path(&format!("{name}.onnx"));
        std::fs::write(&onnx, bytes).unwrap();
        let output = bounded(&["-q", "predict", &onnx, &path("photo.png")]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{name}: {message}");
        assert!(message.starts_with(&format!("error: {onnx}: ")), "{name}: {message}");
    }
    let header = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let files = [
        ("length", u64::MAX.to_le_bytes().to_vec()),
        ("header", (90u64 << 20).to_le_bytes().to_vec()),
        (
            "values",
            header(
                r#"{"fc.weight":{"dtype":"F32","shape":[99999999999],"data_offsets":[0,399999999996]}}"#,
            ),
        ),
        (
            "overflow",
            header(
                r#"{"fc.weight":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#,
            ),
        ),
        ("deep", header(&"[".repeat(1 << 20))),
    ];
    for (name, bytes) in files {
        let file = path(&format!("{name}.safetensors"));
        std::fs::write(&file, bytes).unwrap();
        let output = bounded(&["-q", "export", &file, "--head", &path("out.npz")]);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{name}: {message}");
        assert!(message.starts_with(&format!("error: {file}: ")), "{name}: {message}");
    }
}

/// Rounds of the tests below; more for a longer search.
fn rounds(usual: u64) -> u64 {
    std::env::var("FSA_BANK_FUZZ_ROUNDS").map_or(usual, |text| text.parse().unwrap())
}

/// Some bytes changed, inserted, taken out, or all after one of them cut off.
fn changed(bytes: &[u8], rng: &mut KeyedRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len().max(1) as u32) as usize;
        match rng.below(8) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 => bytes.insert(at, rng.below(256) as u8),
            2 => bytes.truncate(at.max(1)),
            _ if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            _ => {}
        }
    }
    bytes
}

#[test]
fn changed_onnx_files_go_through_onnxruntime_or_are_errors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/adaptive-dynamo.onnx");
    let bytes = std::fs::read(&path).unwrap();
    let options = OnnxOptions { device: "cpu".into(), threads: Some(1), side: 16 };
    let (mut opened, mut refused) = (0, 0);
    for round in 0..rounds(600) {
        let mut rng = KeyedRng::new(7, Stage::InitialWeights, (round, 0));
        let file = OnnxFile::from_bytes(&changed(&bytes, &mut rng), &path);
        match file.and_then(|file| OnnxBackbone::open(&file, &options, false)) {
            Ok(_) => opened += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 0 && refused > 0, "{opened} {refused}");
}

#[test]
fn changed_safetensors_files_are_read_or_are_errors() {
    let head = LinearHead::new((0..32).map(|i| i as f32).collect(), vec![0.5; 4]).unwrap();
    let bytes = Weights::of_head(&head).to_bytes();
    let path = Path::new("c.safetensors");
    let (mut read, mut damaged) = (0, 0);
    for round in 0..rounds(20_000) {
        let mut rng = KeyedRng::new(8, Stage::InitialWeights, (round, 0));
        match Weights::from_bytes(&changed(&bytes, &mut rng), path) {
            Ok(weights) => {
                read += 1;
                let _ = weights.linear_head(4, 8, path);
            }
            Err(WeightsError::Damaged { .. }) => damaged += 1,
            Err(_) => {}
        }
    }
    assert!(read > 0 && damaged > 0, "{read} {damaged}");
}
