//! CIFAR's Python version: the same set as the binary version, from pickles that Python wrote, and
//! archives that were made to do harm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fsa_bank::config::{DatasetConfig, DatasetKind, Imbalance, Selection};
use fsa_bank::dataset::Dataset;

use crate::fixtures::python;

/// The archives that Python 2.7 wrote: tests/tools/make_cifar_pickles.py has the set.
fn archive(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn planes(image: usize) -> impl Iterator<Item = u8> {
    let value = move |channel: usize, place: usize| {
        ((image * 37 + channel * 91 + place * 5 + place / 32 * 7) % 256) as u8
    };
    (0..3).flat_map(move |channel| (0..1024).map(move |place| value(channel, place)))
}

/// The set of the archives in the binary layout of CIFAR-10.
fn binary10(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let record = |i: usize| std::iter::once(((i * 7 + 3) % 10) as u8).chain(planes(i));
    for number in 0..5 {
        let batch: Vec<u8> = (8 * number..8 * number + 8).flat_map(record).collect();
        fs::write(folder.join(format!("data_batch_{}.bin", number + 1)), batch).unwrap();
    }
    fs::write(folder.join("test_batch.bin"), (40..50).flat_map(record).collect::<Vec<u8>>())
        .unwrap();
    let names: String = (0..10).map(|c| format!("name{c}\n")).collect();
    fs::write(folder.join("batches.meta.txt"), names).unwrap();
}

/// The set of the archives in the binary layout of CIFAR-100.
fn binary100(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let record = |i: usize| {
        let fine = ((i * 37 + 11) % 100) as u8;
        [fine / 5, fine].into_iter().chain(planes(i))
    };
    for (name, images) in [("train.bin", 0..200), ("test.bin", 200..300)] {
        fs::write(folder.join(name), images.flat_map(record).collect::<Vec<u8>>()).unwrap();
    }
    let names: String = (0..100).map(|c| format!("fine{c}\n")).collect();
    fs::write(folder.join("fine_label_names.txt"), names).unwrap();
}

fn config(kind: DatasetKind, path: &Path) -> DatasetConfig {
    DatasetConfig { kind, path: path.into(), ..Default::default() }
}

fn open(config: &DatasetConfig) -> Dataset {
    Dataset::open(config).unwrap_or_else(|e| panic!("{e}"))
}

fn error(kind: DatasetKind, path: &Path) -> String {
    Dataset::open(&config(kind, path)).err().expect("an error").to_string()
}

const WHOLE: (f64, Imbalance, Selection) = (1.0, Imbalance::Exponential, Selection::Ldam);
const CUTS: [(f64, Imbalance, Selection); 4] = [
    WHOLE,
    (2.0, Imbalance::Exponential, Selection::Ldam),
    (2.0, Imbalance::Step, Selection::First),
    (2.0, Imbalance::Exponential, Selection::Random),
];

fn assert_same(
    kind: DatasetKind,
    binary: &Path,
    python: &Path,
    cuts: &[(f64, Imbalance, Selection)],
) {
    for &(imbalance_ratio, imbalance, selection) in cuts {
        let of = |path| {
            let whole = config(kind, path);
            open(&DatasetConfig { imbalance_ratio, imbalance, selection, ..whole })
        };
        let (binary, python) = (of(binary), of(python));
        assert_eq!(python.class_names, binary.class_names);
        for (ours, theirs) in [(&python.train, &binary.train), (&python.test, &binary.test)] {
            assert_eq!(ours.labels(), theirs.labels());
            for i in 0..theirs.len() {
                assert_eq!(ours.path(i), theirs.path(i));
                assert!(ours.image(i).unwrap() == theirs.image(i).unwrap(), "image {i}");
            }
        }
        assert_eq!(python.fingerprint, binary.fingerprint);
        assert_eq!(python.train_fingerprint().unwrap(), binary.train_fingerprint().unwrap());
    }
}

/// A .tar.gz of members, whatever their names and the sizes that they claim.
fn tar_gz(path: &Path, members: &[(&str, &[u8], Option<u64>)]) {
    let gz = flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), Default::default());
    let mut tar = tar::Builder::new(gz);
    for (name, content, claimed) in members {
        let mut header = tar::Header::new_gnu();
        // Not set_path, which refuses what these tests are about.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(claimed.unwrap_or(content.len() as u64));
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();
}

/// The files of the set as the archives have them.
fn unpacked(dir: &Path) -> PathBuf {
    for name in ["cifar-10-python.tar.gz", "cifar-100-python.tar.gz"] {
        let file = fs::File::open(archive(name)).unwrap();
        tar::Archive::new(flate2::read::GzDecoder::new(file)).unpack(dir).unwrap();
    }
    dir.join("cifar-10-batches-py")
}

#[test]
fn the_python_version_is_the_same_set_as_the_binary_one() {
    let dir = tempfile::tempdir().unwrap();
    let folders = [dir.path().join("cifar-10-batches-bin"), dir.path().join("cifar-100-binary")];
    binary10(&folders[0]);
    binary100(&folders[1]);
    assert_same(DatasetKind::Cifar10, &folders[0], &archive("cifar-10-python.tar.gz"), &CUTS);
    assert_same(DatasetKind::Cifar100, &folders[1], &archive("cifar-100-python.tar.gz"), &CUTS);
    // As Python 3 writes it, in each of its protocols.
    for protocol in ["0", "1", "2", "3", "4", "5"] {
        let written = dir.path().join(protocol);
        let script =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/make_cifar_pickles.py");
        let output =
            Command::new(python()).arg(script).arg(&written).args([protocol; 2]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_same(
            DatasetKind::Cifar10,
            &folders[0],
            &written.join("cifar-10-batches-py"),
            &[WHOLE],
        );
        assert_same(DatasetKind::Cifar100, &folders[1], &written, &[WHOLE]);
    }
    // Packed by Python, which adds headers of its own to members.
    let packed = dir.path().join("packed.tar.gz");
    let script =
        "import sys, tarfile\nwith tarfile.open(sys.argv[1], 'w:gz') as tar: tar.add(sys.argv[2])";
    let output = Command::new(python())
        .args(["-c", script])
        .args([&packed, &dir.path().join("2/cifar-10-batches-py")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_same(DatasetKind::Cifar10, &folders[0], &packed, &[WHOLE]);
}

#[test]
fn either_version_is_found_in_the_folder_that_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let text = error(DatasetKind::Cifar10, dir.path());
    for name in ["cifar-10-binary.tar.gz", "cifar-10-python.tar.gz", "cifar-10-batches-py"] {
        assert!(text.contains(name), "{text}");
    }
    for name in ["cifar-10-python.tar.gz", "cifar-100-python.tar.gz"] {
        fs::copy(archive(name), dir.path().join(name)).unwrap();
    }
    assert_eq!(open(&config(DatasetKind::Cifar10, dir.path())).train.len(), 40);
    assert_eq!(open(&config(DatasetKind::Cifar100, dir.path())).train.len(), 200);
    let folder = unpacked(dir.path());
    let renamed = dir.path().join("renamed");
    fs::rename(folder, &renamed).unwrap();
    assert_eq!(open(&config(DatasetKind::Cifar10, &renamed)).train.path(9), "data_batch_2.bin#1");
    // The archive of another set is not taken for this one.
    let text = error(DatasetKind::Cifar10, &archive("cifar-100-python.tar.gz"));
    assert!(
        text.contains("expected CIFAR-10 (binary version) or CIFAR-10 (Python version)"),
        "{text}"
    );
}

#[test]
fn members_that_lead_out_of_an_archive_are_not_used_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let files = unpacked(&dir.path().join("source"));
    let content = |name: &str| fs::read(files.join(name)).unwrap();
    let inside = dir.path().join("inside");
    fs::create_dir(&inside).unwrap();
    let path = inside.join("set.tar.gz");
    let with_third = |third: &str| {
        let names = [
            "data_batch_1",
            "data_batch_2",
            third,
            "data_batch_4",
            "data_batch_5",
            "test_batch",
            "batches.meta",
        ];
        let plain = |name: &str| name.rsplit('/').next().unwrap().to_string();
        let contents: Vec<Vec<u8>> = names.iter().map(|name| content(&plain(name))).collect();
        let members: Vec<_> =
            names.iter().zip(&contents).map(|(name, bytes)| (*name, &bytes[..], None)).collect();
        tar_gz(&path, &members);
    };
    with_third("./any/data_batch_3");
    assert_eq!(open(&config(DatasetKind::Cifar10, &path)).train.len(), 40);
    for name in ["../data_batch_3", "a/../../data_batch_3", "/data_batch_3", "/tmp/data_batch_3"] {
        with_third(name);
        let text = error(DatasetKind::Cifar10, &path);
        let wanted = "set.tar.gz/data_batch_3: no such file or directory; expected a file of CIFAR-10 (Python version)";
        assert!(text.contains(wanted), "{text}");
    }
    let names =
        |dir: &Path| fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names(&inside), ["set.tar.gz"]);
    assert_eq!(names(dir.path()).len(), 2);
}

#[test]
fn members_that_claim_more_than_they_hold_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("set.tar.gz");
    // A terabyte, more than any file of the set; and a gigabyte that the archive does not have.
    tar_gz(&path, &[("data_batch_1", b"x", Some(1 << 40))]);
    let text = error(DatasetKind::Cifar10, &path);
    assert!(
        text.contains("set.tar.gz/data_batch_1: 1099511627776 bytes; expected a file of CIFAR-10"),
        "{text}"
    );
    tar_gz(&path, &[("data_batch_1", b"x", Some((1 << 30) - 1))]);
    let text = error(DatasetKind::Cifar10, &path);
    assert!(text.contains("set.tar.gz: cannot be read"), "{text}");
    // A file on disk of more than is ever read, though it takes no space.
    let file = fs::File::create(dir.path().join("data_batch_1.bin")).unwrap();
    file.set_len(1 << 40).unwrap();
    let text = error(DatasetKind::Cifar10, dir.path());
    assert!(text.contains("data_batch_1.bin: 1099511627776 bytes; expected a file of"), "{text}");
}

#[test]
fn a_pickle_that_asks_for_code_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let folder = unpacked(dir.path());
    let marker = dir.path().join("ran");
    let call = format!("cos\nsystem\n(S'touch {}'\ntR.", marker.display());
    let whole = fs::read(folder.join("data_batch_2")).unwrap();
    // Alone, and after a whole batch.
    let after = [&whole[..whole.len() - 1], b"0", call.as_bytes()].concat();
    for content in [call.as_bytes(), &after] {
        fs::write(folder.join("data_batch_2"), content).unwrap();
        let text = error(DatasetKind::Cifar10, &folder);
        let wanted = "data_batch_2: the file asks for `os.system` to be called; refused\n";
        assert!(text.contains(wanted), "{text}");
        assert!(!marker.exists());
    }
}

#[test]
fn batches_of_another_content_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let folder = unpacked(dir.path());
    let kind = DatasetKind::Cifar10;
    let batch = |labels: &str, data: &str| {
        let text = format!("(dS'labels'\n{labels}sS'data'\n{data}s.");
        fs::write(folder.join("data_batch_1"), text).unwrap();
        error(kind, &folder)
    };
    let array = |rows: usize, columns: usize, element: &str, bytes: usize| {
        let bytes = "x".repeat(bytes);
        format!(
            "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I{rows}\nI{columns}\nt\
             cnumpy\ndtype\n(S'{element}'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'{bytes}'\ntb"
        )
    };
    let good = array(2, 3072, "u1", 6144);
    for (text, wanted) in [
        (batch("(lI1\naI10\na", &good), "data_batch_1: record 1 has label 10; expected 0 to 9"),
        (batch("(lI-1\naI1\na", &good), "data_batch_1: record 0 has label -1; expected 0 to 9"),
        (
            batch("(lI1\na", &good),
            "`labels` of 2 images is a list of 1; expected a dictionary with",
        ),
        (batch("(lI1\naNa", &good), "`labels` of 2 images is a list of 2"),
        (batch("N", &good), "`labels` of 2 images is nothing"),
        (
            batch("(l", &array(3072, 2, "u1", 6144)),
            "data_batch_1: `data` is an array of shape [3072, 2] and type u1; expected a dictionary \
             with `data`, unsigned bytes of images x 3072, and `labels`, a number each",
        ),
        (batch("(l", &array(1, 3072, "i1", 3072)), "of shape [1, 3072] and type i1"),
        (batch("(l", &array(0, 3072, "u1", 0)), "of shape [0, 3072] and type u1"),
        (batch("(l", "(l"), "`data` is a list of 0"),
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    fs::write(folder.join("data_batch_1"), "(dS'data'\nNs.").unwrap();
    assert!(error(kind, &folder).contains("data_batch_1: a dictionary of 1 without `labels`"));
    fs::write(folder.join("data_batch_1"), "(l.").unwrap();
    assert!(error(kind, &folder).contains("data_batch_1: a list of 0 without `data`"));
    let whole = fs::read(folder.join("data_batch_2")).unwrap();
    fs::write(folder.join("data_batch_1"), &whole[..9000]).unwrap();
    let text = error(kind, &folder);
    assert!(text.contains("data_batch_1: byte") && text.contains("cut short or damaged"), "{text}");
    fs::write(folder.join("data_batch_1"), whole).unwrap();

    fs::write(folder.join("batches.meta"), "(dS'label_names'\n(lS'one'\nas.").unwrap();
    assert!(error(kind, &folder).contains("batches.meta: 1 class names; expected 10"));
    fs::write(folder.join("batches.meta"), "(dS'label_names'\n(lI1\nas.").unwrap();
    let text = error(kind, &folder);
    assert!(text.contains("expected a dictionary with `label_names`, a list of names"), "{text}");
    fs::remove_file(folder.join("batches.meta")).unwrap();
    assert!(error(kind, &folder).contains("batches.meta: no such file"));
}
