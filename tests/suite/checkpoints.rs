//! Weights as other programs leave them: files that PyTorch wrote, in both of its forms, against
//! safetensors of the same, and files that were made to do harm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fsa_bank::backbone::{self, FileClassifier, Pretrained, Taken, adapt};
use fsa_bank::config::{Arch, NetworkConfig, Stem};
use fsa_bank::domain::FitOptions;
use fsa_bank::features::HeadSource;
use fsa_bank::progress::Interrupt;
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::{Checkpoint, Weights, WeightsError};

use crate::support::program::{PROGRAM, text};
use crate::support::progress::Watcher;
use crate::support::run::Run;

/// The corpus that tests/tools/make_checkpoints.py wrote.
fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/checkpoints").join(name)
}

fn expected(name: &str) -> Weights {
    Weights::load(&corpus(&format!("{name}.safetensors"))).unwrap()
}

/// The network that the corpus is of.
fn network(classes: usize) -> backbone::Network {
    let config =
        NetworkConfig { arch: Arch::Resnet10, width: 1, stem: Stem::Cifar, ..Default::default() };
    backbone::network(&config, classes, 32).unwrap().0
}

fn adapted(name: &str, classes: usize) -> Result<Pretrained, WeightsError> {
    adapt(&network(classes), &Checkpoint::load(&corpus(name))?, 5)
}

#[test]
fn every_view_of_a_tensor_has_the_values_that_pytorch_shows() {
    let wanted = expected("views");
    assert_eq!(wanted.tensors.len(), 17);
    for name in ["views.pth", "views-legacy.pth", "views-protocol-4.pth"] {
        let file = Checkpoint::load(&corpus(name)).unwrap();
        let dict = &file.state_dicts[0];
        assert_eq!((file.state_dicts.len(), dict.tensors.len()), (1, 17 + 6), "{name}");
        for (key, tensor) in &wanted.tensors {
            assert_eq!(file.tensor(key, &dict.tensors[key]).unwrap(), *tensor, "{name}: {key}");
        }
        // Integers are not taken for weights.
        let message = file.tensor("char", &dict.tensors["char"]).unwrap_err().to_string();
        assert!(
            message.ends_with("tensor `char` is I8; expected F32, F16, BF16 or F64"),
            "{message}"
        );
    }
}

/// Which part of each checkpoint is taken, and what is said.
#[test]
fn a_checkpoint_finds_its_state_dict() {
    let cases = [
        ("network.pth", "network", "", "", 0),
        ("network-legacy.pth", "network", "", "", 0),
        ("data-parallel.pth", "network", "", "module.", 0),
        ("data-parallel-legacy.pth", "network", "", "module.", 0),
        ("compiled.pth", "network", "", "_orig_mod.module.", 0),
        ("training.pth", "training", "model", "", 0),
        ("training-legacy.pth", "training", "model", "", 0),
        ("lightning.pth", "lightning", "state_dict", "model.", 1),
        ("lightning-legacy.pth", "lightning", "state_dict", "model.", 1),
        ("timm.pth", "training", "state_dict", "", 0),
        ("moco.pth", "moco", "state_dict", "module.encoder_q.", 70),
        ("dino.pth", "moco", "teacher", "backbone.", 1),
        ("mmpretrain.pth", "moco", "state_dict", "backbone.", 2),
    ];
    for (name, same, place, beginning, left_out) in cases {
        let found = adapted(name, 3).unwrap_or_else(|e| panic!("{e}"));
        let wanted = expected(same);
        let body = |weights: &Weights| {
            let mut tensors = weights.tensors.clone();
            tensors.retain(|name, _| !name.starts_with("fc."));
            tensors
        };
        assert_eq!(body(&found.weights), body(&wanted), "{name}");
        assert_eq!(
            found.taken,
            Taken { place: place.into(), beginning: beginning.into() },
            "{name}"
        );
        assert_eq!(found.left_out.len(), left_out, "{name}: {:?}", found.left_out);
        let of_file = wanted.tensors.get("fc.weight").map(|weight| weight.shape[0]);
        let classifier = match of_file {
            Some(3) => FileClassifier::Taken,
            Some(other) => FileClassifier::Replaced(other),
            None => FileClassifier::Missing,
        };
        assert_eq!(found.classifier, classifier, "{name}");
        if classifier == FileClassifier::Taken {
            assert_eq!(found.weights, wanted, "{name}");
        } else {
            assert_eq!(
                found.weights.tensors["fc.weight"],
                network(3).initial_weights(5).tensors["fc.weight"]
            );
        }
        let told = found.told(&network(3), "starts at random").join("\n");
        assert!(told.contains(beginning) && told.contains(place), "{name}: {told}");
    }
    // A classifier is found as in a safetensors file.
    let head = |name| fsa_bank::classifier_file::read(&corpus(name)).unwrap();
    assert_eq!(head("network-legacy.pth"), head("network.safetensors"));
    let others =
        |name| adapted(name, 3).unwrap().others.iter().map(Taken::to_string).collect::<Vec<_>>();
    assert_eq!(others("timm.pth"), ["`state_dict_ema`"]);
    assert_eq!(others("moco.pth"), ["`state_dict`, names without `module.encoder_k.`"]);
    assert_eq!(others("dino.pth"), ["`student`, names without `module.backbone.`"]);
}

#[test]
fn train_and_features_take_a_checkpoint_and_say_what_of_it() {
    let weights = format!("network.weights={}", corpus("moco.pth").display());
    let settings = [
        &weights,
        "network.arch=resnet10",
        "network.width=1",
        "network.stem=cifar",
        "train.epochs=1",
    ];
    let (lines, go) = (Watcher::default(), Interrupt::default());
    let options = FitOptions { epochs: 5, weight_decay: 1e-4, seed: 0 };
    let run = Run::new(&settings);
    run.features_with(Some(HeadSource::Fitted(options)), &lines, &go).unwrap();
    let (run, trained) = (Run::new(&settings), Watcher::default());
    run.train(false, &trained, &go).unwrap();
    for (lines, follows) in [(lines, "is the bank's"), (trained, "starts at random")] {
        let lines = lines.lines();
        for told in [
            &format!(
                "moco.pth: weights taken from `state_dict`, names without `module.encoder_q.`, without a classifier \
                 `fc`; the new one, of 4 classes, {follows}"
            ),
            "moco.pth: 70 other tensors are left out: module.encoder_k.bn1.bias, ",
            "moco.pth: this network is also in: `state_dict`, names without `module.encoder_k.`; not taken",
        ] {
            assert!(lines.iter().any(|line| line.contains(told)), "{told}: {lines:?}");
        }
    }
}

#[test]
fn what_is_no_state_dict_is_refused_by_its_name() {
    let refused = |path: &Path| Checkpoint::load(path).unwrap_err().to_string();
    for (name, wanted) in [
        ("whole-network", "asks for `torch.nn.modules.container.Sequential` to be called; refused"),
        ("quantised", "asks for `torch._utils._rebuild_qtensor` to be called; refused"),
        ("sparse", "asks for `torch._utils._rebuild_sparse_tensor` to be called; refused"),
        ("complex", "asks for `torch.ComplexFloatStorage` to be called; refused"),
        ("script", "a TorchScript program; expected a state dict"),
        ("no-tensors", "a dictionary of 2; expected a dictionary with tensors"),
    ] {
        let (path, message) =
            (corpus(&format!("{name}.pth")), refused(&corpus(&format!("{name}.pth"))));
        assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
        assert!(message.contains(wanted), "{message}");
        let command =
            format!("'{}' '{}'", path.display(), corpus(&format!("{name}.tensors.pth")).display());
        assert_eq!(message.contains(&command), name != "no-tensors", "{message}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("w.pth");
    for content in ["", "<html>", "\x1f\u{8b}", &"x".repeat(1000)] {
        fs::write(&path, content).unwrap();
        assert!(refused(&path).contains("neither a safetensors file nor one of torch.save"));
    }
}

// Files made to do harm

/// A member of an archive that is not compressed.
fn archive(members: &[(&str, &[u8])], method: zip::CompressionMethod) -> Vec<u8> {
    use std::io::Write;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(vec![]));
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, content) in members {
        writer.start_file(*name, options).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn stored(pickle: &[u8]) -> Vec<u8> {
    let members: [(&str, &[u8]); 3] =
        [("a/data.pkl", pickle), ("a/byteorder", b"little"), ("a/data/0", &[0; 16])];
    archive(&members, zip::CompressionMethod::Stored)
}

/// A pickle of one tensor: numbers are as the oldest protocol writes them.
fn tensor(key: &str, values: &str, offset: &str, shape: &str, strides: &str) -> Vec<u8> {
    let numbers = |list: &str| -> String {
        list.split_whitespace().map(|number| format!("L{number}L\n")).collect()
    };
    let text = |word: &str| format!("X{}\0\0\0{word}", word.len() as u8 as char);
    let storage = format!(
        "({}ctorch\nFloatStorage\n{}{}L{values}L\ntQ",
        text("storage"),
        text(key),
        text("cpu")
    );
    let call = format!(
        "ctorch._utils\n_rebuild_tensor_v2\n({storage}L{offset}L\n({}t({}tI00\n}}tR",
        numbers(shape),
        numbers(strides)
    );
    format!("}}{}{call}s.", text("w")).into_bytes()
}

/// The same after the older form's beginning, with these bytes of values.
fn legacy(pickle: &[u8], keys: &[u8], values: &[u8]) -> Vec<u8> {
    let head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.}.";
    [head, pickle, keys, values].concat()
}

/// What the program says of a file, within little memory and time.
fn harmless(name: &str, content: &[u8]) -> String {
    const KIB: u64 = 600_000;
    const SECS: u64 = 30;
    let dir = tempfile::tempdir().unwrap();
    let (file, marker) = (dir.path().join("w.pth"), dir.path().join("ran"));
    fs::write(&file, content).unwrap();
    let limited = format!("ulimit -v {KIB}; ulimit -t {SECS}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &limited, PROGRAM, "-q", "export"])
        .args([&file, Path::new("--head"), &dir.path().join("out.npz")])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{name}: {message}");
    assert!(message.starts_with(&format!("error: {}: ", file.display())), "{name}: {message}");
    assert!(!message.contains("panicked") && !marker.exists(), "{name}: {message}");
    // Nothing but the file is there.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{name}");
    message
}

#[test]
fn the_files_of_the_tests_are_read_where_nothing_is_wrong_with_them() {
    let good = tensor("0", "4", "0", "2 2", "2 1");
    let keys = b"]X\x01\0\0\x000a.";
    let values = [&4u64.to_le_bytes()[..], &[0; 16]].concat();
    // mmengine's log names its own functions; nothing of it is kept.
    let log = b"cbuiltins\ngetattr\n(cmmengine.logging.history_buffer\nHistoryBuffer\nS'min'\ntR0";
    let logged = [&log[..], &good].concat();
    for content in [stored(&good), legacy(&good, keys, &values), stored(&logged)] {
        let file = Checkpoint::from_bytes(content, Path::new("w.pth")).unwrap();
        assert_eq!(file.weights().unwrap().tensors["w"].shape, [2, 2]);
    }
}

#[test]
fn no_code_of_a_checkpoint_runs() {
    let good = tensor("0", "4", "0", "2 2", "2 1");
    let after = |call: &[u8]| [&good[..good.len() - 1], b"0", call].concat();
    for (call, called) in [
        (&b"cos\nsystem\n(S'touch ran'\ntR."[..], "os.system"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x09touch ran\x85R.", "posix.system"),
        (b"(S'touch ran'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'touch ran'\no.", "os.system"),
        (b"\x80\x02csubprocess\nPopen\n(S'touch'\nS'ran'\ntt\x81.", "subprocess.Popen"),
        (b"c__builtin__\neval\n(S'open(\"ran\", \"w\")'\ntR.", "__builtin__.eval"),
        (b"cbuiltins\ngetattr\n(ctorch\nTensor\nS'save'\ntR.", "builtins.getattr"),
        (b"cbuiltins\ngetattr\n(S'x'\nS'__class__'\ntR.", "builtins.getattr"),
        (b"ctorch.hub\nload\n(S'x'\ntR.", "torch.hub.load"),
        (b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.", "torch.storage._load_from_bytes"),
        // Known names in a use that is not theirs.
        (b"ctorch\nTensor\n(I4\ntR.", "torch.Tensor"),
        (b"ctorch\nFloatStorage\n)\x81.", "torch.FloatStorage"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(ccollections\nOrderedDict\nctorch\nTensor\n)}tR.", "collections.OrderedDict"),
    ] {
        let wanted = format!("the file asks for `{called}` to be called; refused");
        let keys = b"]X\x01\0\0\x000a.";
        for content in [
            stored(call),
            stored(&after(call)),
            legacy(call, keys, &[0; 24]),
            [b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", call].concat(),
        ] {
            let message = harmless(called, &content);
            assert!(message.contains(&wanted), "{message}");
            assert!(message.contains("torch.save({k: v.to_dense().dequantize() for k, v in d.items()"), "{message}");
        }
    }
}

#[test]
fn promises_that_a_checkpoint_does_not_keep_are_errors_within_little_memory() {
    let of = |pickle: &[u8]| harmless("pickle", &stored(pickle));
    let large = "1152921504606846976";
    for (pickle, wanted) in [
        (
            tensor("0", large, "0", "2", "1"),
            "`0` should be 1152921504606846976 values of 4 bytes; found 16 bytes",
        ),
        (tensor("0", "5", "0", "2", "1"), "`0` should be 5 values of 4 bytes; found 16 bytes"),
        (tensor("1", "4", "0", "2", "1"), "no values `1`; the file is cut short or damaged"),
        (tensor("../x", "4", "0", "2", "1"), "no values `../x`"),
        (tensor("0", "-4", "0", "2", "1"), "a tensor of less than no values"),
        (tensor("0", "4", "0", "5", "1"), "reaches beyond its storage of 4 values"),
        (tensor("0", "4", "3", "2", "1"), "of shape [2] with steps [1] from 3 that reaches beyond"),
        (tensor("0", "4", "0", "2 2", "3 1"), "reaches beyond its storage"),
        (tensor("0", "4", "0", &format!("{large} {large}"), "0 0"), "reaches beyond its storage"),
        (tensor("0", "4", "0", "2", &format!("{large}0")), "not an integer of 64 bits"),
        (tensor("0", "4", "0", "2", "9223372036854775807"), "reaches beyond its storage"),
        (
            tensor("0", "4", "9223372036854775807", "2", "9223372036854775807"),
            "reaches beyond its storage",
        ),
        (tensor("0", "4", "-1", "2", "1"), "sizes or steps are not numbers from 0"),
        (tensor("0", "4", "0", "-2", "1"), "sizes or steps are not numbers from 0"),
        (tensor("0", "4", "0", "2", "-1"), "sizes or steps are not numbers from 0"),
        (tensor("0", "4", "0", "2 2", "1"), "reaches beyond its storage"),
        (tensor("0", "4", "0", "1 1 1 1 1 1 1 1 1", "1 1 1 1 1 1 1 1 1"), "sizes or steps are not"),
        // A value that is shown 2^40 times.
        (tensor("0", "4", "0", "1099511627776", "0"), "has more values than the file has bytes"),
        (b"N.".to_vec(), "nothing; expected a dictionary with tensors"),
        (b"]q\0h\0a.".to_vec(), "a list of 1; expected a dictionary with tensors"),
        (
            [&b"]".repeat(1_000_000)[..], &b"a".repeat(999_999), b"."].concat(),
            "a list of 1; expected",
        ),
        (
            [&b"}X\x01\0\0\0a".repeat(300_000)[..], b"N", &b"s".repeat(300_000), b"."].concat(),
            "a dictionary of 1; expected",
        ),
        (b"]".repeat((1 << 20) + 1), "more than 1048576 values"),
        (b"(".repeat(101), "more than 100 lists in each other"),
        (
            [&b"]q\0"[..], &b"(h\0h\0h\0h\0lq\0".repeat(100_000), b"."].concat(),
            "a list of 4; expected",
        ),
        (b"T\xff\xff\xff\xffabc.".to_vec(), "4294967295 bytes should follow"),
    ] {
        let message = of(&pickle);
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
    // Many tensors of the same values.
    let good = tensor("0", "4", "0", "2 2", "2 1");
    let again = [&good[..good.len() - 2], b"q\0s"].concat();
    let many: Vec<u8> = (0..100_000u32)
        .flat_map(|i| [&b"X\x06\0\0\0"[..], format!("{i:06}").as_bytes(), b"h\0s"].concat())
        .collect();
    let message = of(&[again, many, b".".to_vec()].concat());
    assert!(message.contains("no `fsa-bank` entry"), "{message}");
}

#[test]
fn archives_that_torch_does_not_write_are_errors() {
    let good = tensor("0", "4", "0", "2 2", "2 1");
    let method = zip::CompressionMethod::Stored;
    let with = |members: &[(&str, &[u8])]| archive(members, method);
    let values = [0; 16];
    let usual: [(&str, &[u8]); 2] = [("a/data.pkl", &good), ("a/data/0", &values)];
    let cut = |content: Vec<u8>, share: usize| content[..content.len() * share / 100].to_vec();
    let bomb = vec![0; 100 << 20];
    for (content, wanted) in [
        (
            with(&[usual[0], ("a/../../b", b"x"), usual[1]]),
            "its member `a/../../b` leads out of the archive",
        ),
        (
            with(&[usual[0], ("/etc/x", b"x"), usual[1]]),
            "its member `/etc/x` leads out of the archive",
        ),
        (with(&[("a/x", b"")]), "a zip archive without `data.pkl`"),
        (with(&[usual[0], usual[1], ("a/constants.pkl", b"")]), "a TorchScript program"),
        (
            with(&[usual[0], usual[1], ("a/byteorder", b"big")]),
            "big-endian; expected little-endian",
        ),
        (
            archive(&[("a/data.pkl", &bomb)], zip::CompressionMethod::Deflated),
            "its member `a/data.pkl` is compressed or encrypted",
        ),
        (cut(with(&usual), 50), "not a whole zip archive"),
        (b"PK\x03\x04".to_vec(), "not a whole zip archive"),
    ] {
        let message = harmless(wanted, &content);
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
    let keys = b"]X\x01\0\0\x000a.";
    let of = |length: u64, bytes: usize| [&length.to_le_bytes()[..], &vec![0; bytes]].concat();
    for (content, wanted) in [
        (
            legacy(&good, keys, &of(1 << 60, 16)),
            "`0` should be 1152921504606846976 values of 4 bytes",
        ),
        (legacy(&good, keys, &of(4, 15)), "`0` should be 4 values of 4 bytes; found 15 bytes"),
        (legacy(&good, keys, b""), "the length of the values `0` is missing"),
        (legacy(&good, b"].", b""), "no values `0`; the file is cut short"),
        (legacy(&good, b"]X\x01\0\0\x001a.", &of(4, 16)), "values `1` of no tensor"),
        (legacy(&good, b"N.", &of(4, 16)), "no list of the values"),
        (legacy(&good, b"", b""), "1 bytes should follow, 0 do"),
    ] {
        let message = harmless(wanted, &content);
        assert!(message.contains(wanted), "{wanted}: {message}");
    }
}

/// Each file of the corpus with some bytes changed, put in or taken out, or cut short: read, or a named
/// error.
#[test]
fn damaged_checkpoints_are_read_or_are_errors() {
    let rounds = std::env::var("FSA_BANK_FUZZ_ROUNDS").map_or(300, |n| n.parse().unwrap());
    let network = network(3);
    let (mut read, mut refused) = (0, 0);
    for name in ["views", "views-legacy", "views-protocol-4", "moco", "training-legacy", "timm"] {
        let whole = fs::read(corpus(&format!("{name}.pth"))).unwrap();
        for round in 0..rounds {
            let mut rng = KeyedRng::new(15, Stage::InitialWeights, (round, whole.len() as u64));
            let mut bytes = whole.clone();
            for _ in 0..=rng.below(3) {
                // The pickle and the list of members are where most can go wrong.
                let near = if rng.below(2) == 0 { 4000 } else { bytes.len() as u32 };
                let at = rng.below(near.min(bytes.len() as u32)) as usize;
                let at = if rng.below(4) == 0 { bytes.len() - 1 - at } else { at };
                match rng.below(12) {
                    0 => drop(bytes.remove(at)),
                    1 => bytes.insert(at, rng.below(256) as u8),
                    2 if rng.below(4) == 0 => bytes.truncate(at.max(1)),
                    _ => bytes[at] = rng.below(256) as u8,
                }
            }
            match Checkpoint::from_bytes(bytes, Path::new("w.pth")) {
                Ok(file) => {
                    read += 1;
                    let _ = (file.weights(), adapt(&network, &file, 0));
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(read > 0 && refused > 0, "{read} {refused}");
}
