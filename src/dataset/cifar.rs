//! CIFAR-10 and CIFAR-100 in their binary layout, as distributed: a directory or the .tar.gz.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{DatasetError, Parts, Split};

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// One of the two archives.
pub(super) struct Layout {
    kind: &'static str,
    archive: &'static str,
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
    classes: usize,
    /// Label bytes of a record; the last one is the class.
    label_bytes: usize,
}

pub(super) const CIFAR10: Layout = Layout {
    kind: "CIFAR-10 (binary version)",
    archive: "cifar-10-binary.tar.gz",
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: "test_batch.bin",
    names: "batches.meta.txt",
    classes: 10,
    label_bytes: 1,
};

pub(super) const CIFAR100: Layout = Layout {
    kind: "CIFAR-100 (binary version)",
    archive: "cifar-100-binary.tar.gz",
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: "test.bin",
    names: "fine_label_names.txt",
    classes: 100,
    label_bytes: 2,
};

impl Layout {
    fn files(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.train.iter().copied().chain([self.test, self.names])
    }

    fn record_bytes(&self) -> usize {
        self.label_bytes + 3 * PLANE
    }
}

/// Reads both splits; images stay in file order.
pub(super) fn open(path: &Path, layout: &Layout) -> Result<Parts, DatasetError> {
    let files = load(path, layout)?;
    let names = String::from_utf8_lossy(files.get(layout.names)?);
    let class_names: Vec<String> =
        names.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect();
    if class_names.len() != layout.classes {
        return Err(DatasetError::ClassNames {
            path: files.place(layout.names),
            found: class_names.len(),
            expected: layout.classes,
        });
    }
    let train = read_split(&files, layout.train, layout)?;
    let test = read_split(&files, &[layout.test], layout)?;
    Ok(Parts { class_names, train, val: None, test: Some(test) })
}

/// The archive's files, whole.
struct Files {
    /// The directory or archive.
    origin: PathBuf,
    content: HashMap<&'static str, Vec<u8>>,
    kind: &'static str,
}

impl Files {
    fn place(&self, name: &str) -> PathBuf {
        self.origin.join(name)
    }

    fn get(&self, name: &str) -> Result<&[u8], DatasetError> {
        self.content.get(name).map(Vec::as_slice).ok_or_else(|| DatasetError::Missing {
            path: self.place(name),
            expected: format!("a file of {}", self.kind),
        })
    }
}

fn load(path: &Path, layout: &Layout) -> Result<Files, DatasetError> {
    if path.is_file() {
        return load_archive(path, layout);
    }
    let candidates = [path.to_path_buf(), path.join(layout.folder)];
    if let Some(folder) = candidates.iter().find(|f| f.join(layout.train[0]).is_file()) {
        return load_folder(folder, layout);
    }
    let archive = path.join(layout.archive);
    if archive.is_file() {
        return load_archive(&archive, layout);
    }
    Err(DatasetError::Missing {
        path: path.into(),
        expected: format!("{}: {} or the folder {}", layout.kind, layout.archive, layout.folder),
    })
}

fn load_folder(folder: &Path, layout: &Layout) -> Result<Files, DatasetError> {
    let mut content = HashMap::new();
    for name in layout.files() {
        let path = folder.join(name);
        if path.is_file() {
            content.insert(name, super::read_file(&path)?);
        }
    }
    Ok(Files { origin: folder.into(), content, kind: layout.kind })
}

fn load_archive(path: &Path, layout: &Layout) -> Result<Files, DatasetError> {
    let read = |source| DatasetError::Read { path: path.into(), source };
    // The largest file of either archive has 50,000 records of CIFAR-100.
    const MAX_FILE_BYTES: u64 = 50_000 * (2 + 3 * PLANE as u64);
    let file = File::open(path).map_err(read)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut content = HashMap::new();
    for entry in archive.entries().map_err(read)? {
        let mut entry = entry.map_err(read)?;
        let entry_path = entry.path().map_err(read)?.into_owned();
        let Some(name) = layout.files().find(|n| entry_path.file_name() == Some(n.as_ref())) else {
            continue;
        };
        let mut bytes = Vec::new();
        entry.by_ref().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(read)?;
        content.insert(name, bytes);
    }
    Ok(Files { origin: path.into(), content, kind: layout.kind })
}

fn read_split(files: &Files, names: &[&str], layout: &Layout) -> Result<Split, DatasetError> {
    let (mut labels, mut paths, mut pixels) = (vec![], vec![], vec![]);
    for name in names {
        let bytes = files.get(name)?;
        let record_bytes = layout.record_bytes();
        if bytes.is_empty() || !bytes.len().is_multiple_of(record_bytes) {
            return Err(DatasetError::Truncated {
                path: files.place(name),
                bytes: bytes.len(),
                record_bytes,
                kind: layout.kind,
            });
        }
        for (record, content) in bytes.chunks_exact(record_bytes).enumerate() {
            let label = content[layout.label_bytes - 1];
            if usize::from(label) >= layout.classes {
                return Err(DatasetError::Label {
                    path: files.place(name),
                    record,
                    label: label.into(),
                    classes: layout.classes,
                });
            }
            labels.push(label.into());
            paths.push(format!("{name}#{record}"));
            let planes = &content[layout.label_bytes..];
            pixels.extend((0..PLANE).flat_map(|at| [0, 1, 2].map(|c| planes[c * PLANE + at])));
        }
    }
    Ok(Split::decoded(SIDE, labels, paths, pixels))
}
