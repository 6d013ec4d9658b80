//! CIFAR-10 and CIFAR-100 in their binary and in their Python version, as distributed: a directory or
//! the .tar.gz, of which nothing is unpacked.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::cifar_python;
use super::error::DatasetError;
use super::parts::Parts;
use super::split_images::SplitImages;

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;

/// Bytes of an archive's files that are read: CIFAR-100's Python version takes 190 MB, four times as
/// many where a protocol of text was used.
const MOST_BYTES: u64 = 1 << 30;

/// One of the archives.
pub(super) struct Layout {
    kind: &'static str,
    archive: &'static str,
    folder: &'static str,
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
    classes: usize,
    encoding: Encoding,
}

/// How its files hold images and the names of classes.
enum Encoding {
    /// Records: label bytes, of which the last one is the class, then the image; names are lines.
    Binary { label_bytes: usize },
    /// Pickles, with the keys of the labels and of the names.
    Python { labels: &'static str, names: &'static str },
}

/// The versions of CIFAR-10. Both have the same images in the same order.
pub(super) const CIFAR10: [Layout; 2] = [
    Layout {
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
        encoding: Encoding::Binary { label_bytes: 1 },
    },
    Layout {
        kind: "CIFAR-10 (Python version)",
        archive: "cifar-10-python.tar.gz",
        folder: "cifar-10-batches-py",
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
        names: "batches.meta",
        classes: 10,
        encoding: Encoding::Python { labels: "labels", names: "label_names" },
    },
];

/// The versions of CIFAR-100.
pub(super) const CIFAR100: [Layout; 2] = [
    Layout {
        kind: "CIFAR-100 (binary version)",
        archive: "cifar-100-binary.tar.gz",
        folder: "cifar-100-binary",
        train: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
        classes: 100,
        encoding: Encoding::Binary { label_bytes: 2 },
    },
    Layout {
        kind: "CIFAR-100 (Python version)",
        archive: "cifar-100-python.tar.gz",
        folder: "cifar-100-python",
        train: &["train"],
        test: "test",
        names: "meta",
        classes: 100,
        encoding: Encoding::Python { labels: "fine_labels", names: "fine_label_names" },
    },
];

impl Layout {
    fn files(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.train.iter().copied().chain([self.test, self.names])
    }

    fn file_named(&self, path: &Path) -> Option<&'static str> {
        self.files().find(|name| path.file_name() == Some(name.as_ref()))
    }
}

/// Reads both splits; images stay in file order.
pub(super) fn open(path: &Path, layouts: &[Layout]) -> Result<Parts, DatasetError> {
    let (layout, files) = load(path, layouts)?;
    let class_names = class_names(&files, layout)?;
    let train = read_split(&files, layout.train, layout)?;
    let test = read_split(&files, &[layout.test], layout)?;
    Ok(Parts::whole(class_names, train, None, Some(test)))
}

fn class_names(files: &Files, layout: &Layout) -> Result<Vec<String>, DatasetError> {
    let (bytes, place) = (files.get(layout.names)?, files.place(layout.names));
    let names: Vec<String> = match layout.encoding {
        Encoding::Binary { .. } => {
            let lines = String::from_utf8_lossy(bytes);
            lines.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect()
        }
        Encoding::Python { names, .. } => cifar_python::class_names(bytes, &place, names)?,
    };
    if names.len() != layout.classes {
        let (found, expected) = (names.len(), layout.classes);
        return Err(DatasetError::ClassNames { path: place, found, expected });
    }
    Ok(names)
}

/// The archive's files, whole.
struct Files {
    /// The directory or archive.
    origin: PathBuf,
    content: HashMap<&'static str, Vec<u8>>,
    kind: &'static str,
}

impl Files {
    fn new(origin: &Path, kind: &'static str) -> Self {
        Self { origin: origin.into(), content: HashMap::new(), kind }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.origin.join(name)
    }

    fn get(&self, name: &str) -> Result<&[u8], DatasetError> {
        self.content.get(name).map(Vec::as_slice).ok_or_else(|| DatasetError::Missing {
            path: self.place(name),
            expected: format!("a file of {}", self.kind),
        })
    }

    /// Reads a file that says to have `bytes`; memory is taken as they come, not as they are promised.
    fn add(
        &mut self,
        name: &'static str,
        bytes: u64,
        reader: impl Read,
    ) -> Result<(), DatasetError> {
        let held: usize = self.content.values().map(Vec::len).sum();
        if bytes > MOST_BYTES - held as u64 {
            let (path, kind) = (self.place(name), self.kind);
            return Err(DatasetError::Oversized { path, bytes, most: MOST_BYTES, kind });
        }
        let mut content = vec![];
        reader
            .take(bytes)
            .read_to_end(&mut content)
            .map_err(|source| DatasetError::Read { path: self.origin.clone(), source })?;
        self.content.insert(name, content);
        Ok(())
    }
}

fn load<'l>(path: &Path, layouts: &'l [Layout]) -> Result<(&'l Layout, Files), DatasetError> {
    if path.is_file() {
        return load_archive(path, layouts);
    }
    for layout in layouts {
        let candidates = [path.to_path_buf(), path.join(layout.folder)];
        if let Some(folder) = candidates.iter().find(|f| f.join(layout.train[0]).is_file()) {
            return Ok((layout, load_folder(folder, layout)?));
        }
        let archive = path.join(layout.archive);
        if archive.is_file() {
            return load_archive(&archive, layouts);
        }
    }
    let place = |l: &Layout| format!("{}: {} or the folder {}", l.kind, l.archive, l.folder);
    Err(DatasetError::Missing {
        path: if path.is_dir() { path.join(layouts[0].archive) } else { path.into() },
        expected: layouts.iter().map(place).collect::<Vec<_>>().join("; or "),
    })
}

fn load_folder(folder: &Path, layout: &Layout) -> Result<Files, DatasetError> {
    let mut files = Files::new(folder, layout.kind);
    for name in layout.files() {
        let path = folder.join(name);
        if path.is_file() {
            let read = |source| DatasetError::Read { path: path.clone(), source };
            let file = File::open(&path).map_err(read)?;
            let bytes = file.metadata().map_err(read)?.len();
            files.add(name, bytes, file)?;
        }
    }
    Ok(files)
}

/// Reads the files of an archive, and which version they are of.
fn load_archive<'l>(
    path: &Path,
    layouts: &'l [Layout],
) -> Result<(&'l Layout, Files), DatasetError> {
    let read = |source| DatasetError::Read { path: path.into(), source };
    let file = File::open(path).map_err(read)?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut found: Option<(&Layout, Files)> = None;
    // Raw: the long names and extensions that a member may bring are held in memory, however long.
    for entry in archive.entries().map_err(read)?.raw(true) {
        let entry = entry.map_err(read)?;
        let member = entry.path().map_err(read)?.into_owned();
        let inside = |c| matches!(c, Component::Normal(_) | Component::CurDir);
        if !entry.header().entry_type().is_file() || !member.components().all(inside) {
            continue;
        }
        // The first file decides which version the archive is of.
        let known = |layout: &'l Layout| Some((layout, layout.file_named(&member)?));
        let known = match &found {
            Some((layout, _)) => known(layout),
            None => layouts.iter().find_map(known),
        };
        let Some((layout, name)) = known else { continue };
        let (_, files) = found.get_or_insert_with(|| (layout, Files::new(path, layout.kind)));
        let bytes = entry.size();
        files.add(name, bytes, entry)?;
    }
    found.ok_or_else(|| DatasetError::Missing {
        path: path.join(layouts[0].train[0]),
        expected: layouts.iter().map(|l| l.kind).collect::<Vec<_>>().join(" or "),
    })
}

/// The records of a split so far.
struct Records<'a> {
    layout: &'a Layout,
    labels: Vec<u32>,
    paths: Vec<String>,
    pixels: Vec<u8>,
}

impl Records<'_> {
    /// Adds an image; `planes` are red, green, blue.
    fn add(
        &mut self,
        place: &Path,
        name: &str,
        record: usize,
        label: i64,
        planes: &[u8],
    ) -> Result<(), DatasetError> {
        let classes = self.layout.classes;
        let Some(class) = u32::try_from(label).ok().filter(|&c| (c as usize) < classes) else {
            return Err(DatasetError::Label { path: place.into(), record, label, classes });
        };
        self.labels.push(class);
        self.paths.push(format!("{name}#{record}"));
        self.pixels.extend((0..PLANE).flat_map(|at| [0, 1, 2].map(|c| planes[c * PLANE + at])));
        Ok(())
    }
}

fn read_split(files: &Files, names: &[&str], layout: &Layout) -> Result<SplitImages, DatasetError> {
    let mut records = Records { layout, labels: vec![], paths: vec![], pixels: vec![] };
    for name in names {
        let (bytes, place) = (files.get(name)?, files.place(name));
        match layout.encoding {
            Encoding::Binary { label_bytes } => {
                let record_bytes = label_bytes + 3 * PLANE;
                if bytes.is_empty() || !bytes.len().is_multiple_of(record_bytes) {
                    let (bytes, kind) = (bytes.len(), layout.kind);
                    return Err(DatasetError::Truncated { path: place, bytes, record_bytes, kind });
                }
                for (record, content) in bytes.chunks_exact(record_bytes).enumerate() {
                    let (labels, planes) = content.split_at(label_bytes);
                    records.add(&place, name, record, labels[label_bytes - 1].into(), planes)?;
                }
            }
            Encoding::Python { labels, .. } => {
                // Images have the names of the binary version, so that both versions of a set have
                // one fingerprint, and a run with either goes on with the other.
                let name = format!("{name}.bin");
                cifar_python::each_image(
                    bytes,
                    &place,
                    labels,
                    3 * PLANE,
                    |record, label, planes| records.add(&place, &name, record, label, planes),
                )?;
            }
        }
    }
    Ok(SplitImages::decoded(SIDE, records.labels, records.paths, records.pixels))
}
