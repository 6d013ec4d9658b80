//! Banks made to do harm. Whoever makes a bank makes its checksums too, so those of all these fit: each is
//! a named error within little memory and time, and none ends the program by a signal.

mod changed;
mod extreme;
mod footers;
mod pages;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fsa_bank::bank::{
    Bank, BankError, BuildPlan, Column, FileEntry, Layout, Manifest, ShardEntry, TrainRow,
};
use fsa_bank::domain::{FeatureShape, Split};
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::Weights;

use crate::fixtures::BankSpec;
use crate::parquet_file::{Assembled, ParquetFile, Thrift, sealed, varint};
use crate::support::program::{PROGRAM, text};

/// Address space that a run may take, of which the allocator reserves a part at once.
const KIB: u64 = 1_500_000;
/// Processor time that a run may take.
const SECS: u64 = 20;

/// A bank that is whole, to be made hostile.
struct Victim {
    dir: PathBuf,
    _keep: tempfile::TempDir,
}

impl Victim {
    fn new() -> Self {
        Self::of(|_| {})
    }

    /// Whose training rows are changed before they are written.
    fn of(edit: fn(&mut TrainRow)) -> Self {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("bank");
        // 10 rows a row group, 4 maps a page.
        let layout = Layout { row_group_bytes: 1920, map_page_bytes: 768, ..Default::default() };
        let counts = vec![8, 4, 3];
        BankSpec { layout, counts, edit, ..Default::default() }.write(&dir);
        Self { dir, _keep: keep }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs the program on it, within bounds.
    fn bounded(&self, command: &[&str]) -> Output {
        let limited = format!("ulimit -v {KIB}; ulimit -t {SECS}; exec \"$0\" \"$@\"");
        let word = |&word: &&str| match word {
            "BANK" => self.dir.clone(),
            "OUT" => self.path("../out"),
            word => word.into(),
        };
        let args = command.iter().map(word);
        Command::new("sh").args(["-c", &limited, PROGRAM, "-q"]).args(args).output().unwrap()
    }

    fn manifest(&self, edit: impl FnOnce(&mut Manifest)) {
        let (mut manifest, _) = Manifest::load(&self.dir).unwrap();
        edit(&mut manifest);
        fs::write(self.path(MANIFEST), sealed(&manifest)).unwrap();
    }

    fn replace(&self, split: &str, file: &Assembled) {
        self.manifest(|manifest| {
            let shard = &mut manifest.splits.get_mut(split).unwrap().shards[0];
            *shard = file.entry(shard);
            fs::write(self.path(&shard.file), &file.bytes).unwrap();
        });
    }

    /// Changes the pages of the training shard.
    fn pages(&self, edit: impl FnOnce(&mut ParquetFile)) {
        let mut file = ParquetFile::of(&fs::read(self.path(TRAIN)).unwrap());
        edit(&mut file);
        self.replace("train", &file.assemble(|_| {}));
    }

    /// Changes the footer of the training shard.
    fn footer(&self, edit: impl FnOnce(&mut Thrift)) {
        let file = ParquetFile::of(&fs::read(self.path(TRAIN)).unwrap());
        self.replace("train", &file.assemble(edit));
    }

    /// Changes what the footer says of the first chunk of a column.
    fn chunk(&self, name: &str, edit: impl FnOnce(&mut Thrift)) {
        let mut file = ParquetFile::of(&fs::read(self.path(TRAIN)).unwrap());
        let at = file.position(name);
        let edit = |footer: &mut Thrift| edit(&mut footer.at(4).list()[0].at(1).list()[at]);
        self.replace("train", &file.assemble(edit));
    }

    /// Puts other content in place of a file that is not a shard.
    fn content(&self, name: &str, content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
        self.manifest(|m| {
            m.files.insert(name.into(), FileEntry::of(content));
        });
    }

    fn classes(&self, edit: impl FnOnce(&mut ParquetFile)) {
        let mut file = ParquetFile::of(&fs::read(self.path(CLASSES)).unwrap());
        edit(&mut file);
        self.content(CLASSES, &file.assemble(|_| {}).bytes);
    }

    /// Begins a bank of so many shards in its place.
    fn plan(&self, shards: u64) {
        let (manifest, _) = Manifest::load(&self.dir).unwrap();
        let items = [("train".to_string(), shards)].into();
        let (batch_size, compression_level, shard_bytes) = (1, 1, 1);
        let plan = BuildPlan { manifest, batch_size, compression_level, shard_bytes, items };
        let partial = self.path("../bank.partial");
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join("plan.json"), serde_json::to_vec(&plan).unwrap()).unwrap();
        fs::remove_file(self.path(MANIFEST)).unwrap();
    }

    /// In place of a file: none, a pipe, a folder, a link.
    fn instead_of(&self, name: &str, put: impl FnOnce(&Path)) {
        fs::remove_file(self.path(name)).unwrap();
        put(&self.path(name));
    }
}

const TRAIN: &str = "train-00000.parquet";
const CLASSES: &str = "classes.parquet";
const MANIFEST: &str = "manifest.json";
const CLASSIFIER: &str = "classifier.safetensors";

fn shard(manifest: &mut Manifest) -> &mut ShardEntry {
    &mut manifest.splits.get_mut("train").unwrap().shards[0]
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A zstd frame of blocks that repeat a byte, 128 KiB each.
fn bomb(blocks: usize) -> Vec<u8> {
    // Magic; a window of 1 MiB; then blocks of 3 bytes of header and the byte.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50];
    for block in 1..=blocks {
        let head = (1u32 << 17) << 3 | 1 << 1 | u32::from(block == blocks);
        frame.extend_from_slice(&head.to_le_bytes()[..3]);
        frame.push(0);
    }
    frame
}

/// A list of two billion elements.
fn endless(kind: u8) -> Thrift {
    Thrift::Raw(9, [vec![0xf0 | kind], varint(i32::MAX as u64)].concat())
}

type Case = (&'static str, fn(&Victim), &'static str);

/// Manifests, whose own checksum fits.
const MANIFESTS: &[Case] = &[
    (
        "2^60 rows",
        |v| {
            v.manifest(|m| {
                shard(m).rows = 1 << 60;
                shard(m).row_groups[0].rows += (1 << 60) - 30;
                m.splits.get_mut("train").unwrap().rows = 1 << 60;
            })
        },
        "which cannot hold 1152921504606846976 rows",
    ),
    (
        "rows whose sum overflows",
        |v| {
            v.manifest(|m| {
                let groups = &mut shard(m).row_groups;
                (groups[0].rows, groups[1].rows) = (1 << 63, (1 << 63) + 20);
            })
        },
        "its row groups have too many rows",
    ),
    (
        "more rows than 32 bits number",
        |v| {
            v.manifest(|m| {
                shard(m).bytes = 1 << 40;
                shard(m).rows = 1 << 32;
                shard(m).row_groups[0].rows = (1 << 32) - 20;
                m.splits.get_mut("train").unwrap().rows = 1 << 32;
            })
        },
        "split `train`: 4294967296 rows",
    ),
    (
        "bytes whose sum overflows",
        |v| {
            v.manifest(|m| {
                shard(m).bytes = u64::MAX;
            })
        },
        "files of more bytes than there can be",
    ),
    (
        "16 million classes",
        |v| v.manifest(|m| m.dataset.classes = 1 << 24),
        "expected [16777216, 8]",
    ),
    (
        "16 million channels",
        |v| {
            v.manifest(|m| {
                m.feature_shape = FeatureShape { channels: 1 << 24, height: 1, width: 1 }
            })
        },
        "which cannot hold 30 rows",
    ),
    (
        "a shape whose product overflows",
        |v| {
            v.manifest(|m| {
                m.feature_shape = FeatureShape { channels: 1, height: 1 << 24, width: 1 << 24 }
            })
        },
        "absurdly large",
    ),
    (
        "a shard above the bank",
        |v| v.manifest(|m| shard(m).file = "../train-00000.parquet".into()),
        "`../train-00000.parquet` is not a plain file name",
    ),
    (
        "a shard inside another folder",
        |v| v.manifest(|m| shard(m).file = "train-/../../x.parquet".into()),
        "is not a plain file name",
    ),
    (
        "a shard anywhere",
        |v| v.manifest(|m| shard(m).file = "/etc/passwd".into()),
        "`/etc/passwd` is not a plain file name",
    ),
    (
        "a shard whose name has a NUL and moves the cursor",
        |v| v.manifest(|m| shard(m).file = "train-\0\x1b[2J.parquet".into()),
        "`train-\\0\\u{1b}[2J.parquet` is not a plain file name",
    ),
    (
        "a shard listed twice",
        |v| {
            v.manifest(|m| {
                let split = m.splits.get_mut("train").unwrap();
                split.shards.push(split.shards[0].clone());
                split.rows *= 2;
            })
        },
        "`train-00000.parquet` is listed twice",
    ),
    (
        "a manifest of 100 GB, which takes no space on disk",
        |v| {
            let file = fs::File::options().write(true).open(v.path(MANIFEST)).unwrap();
            file.set_len(100 << 30).unwrap();
        },
        "107374182400 bytes; expected at most",
    ),
    (
        "a manifest of a million arrays in each other",
        |v| fs::write(v.path(MANIFEST), "[".repeat(1 << 20)).unwrap(),
        "not a bank's manifest",
    ),
    (
        "a field of a million arrays in each other",
        |v| {
            let path = v.path(MANIFEST);
            let manifest = fs::read_to_string(&path).unwrap();
            fs::write(
                &path,
                manifest.replacen('{', &format!("{{\"x\":{}", "[".repeat(1 << 20)), 1),
            )
            .unwrap();
        },
        "not a bank's manifest",
    ),
];

/// Files that are none.
const FILES: &[Case] = &[
    (
        "a pipe for a shard",
        |v| v.instead_of(TRAIN, pipe),
        "train-00000.parquet: cannot be read: not a regular file",
    ),
    (
        "a pipe for the classes",
        |v| v.instead_of(CLASSES, pipe),
        "classes.parquet: cannot be read: not a regular file",
    ),
    (
        "a pipe for the classifier",
        |v| v.instead_of(CLASSIFIER, pipe),
        "classifier.safetensors: cannot be read: not a regular file",
    ),
    (
        "a pipe for the manifest",
        |v| v.instead_of(MANIFEST, pipe),
        "manifest.json: cannot be read: not a regular file",
    ),
    (
        "a folder for a shard",
        |v| v.instead_of(TRAIN, |path| fs::create_dir(path).unwrap()),
        "not a regular file",
    ),
    (
        "a link to a device for a shard",
        |v| v.instead_of(TRAIN, |path| symlink("/dev/zero", path).unwrap()),
        "not a regular file",
    ),
    (
        "a link to a device for the classifier",
        |v| v.instead_of(CLASSIFIER, |path| symlink("/dev/zero", path).unwrap()),
        "not a regular file",
    ),
    (
        "a shard of 100 GB, all of it footer",
        |v| {
            fs::File::create(v.path(TRAIN)).unwrap().set_len(100 << 30).unwrap();
            v.manifest(|m| (shard(m).bytes, shard(m).footer_offset) = (100 << 30, 0));
        },
        "footer_offset 0 in the manifest",
    ),
    (
        "a footer behind the file's end",
        |v| v.manifest(|m| shard(m).footer_offset = u64::MAX),
        "footer_offset 18446744073709551615 in the manifest",
    ),
    (
        "classes of 100 GB",
        |v| {
            fs::File::create(v.path(CLASSES)).unwrap().set_len(100 << 30).unwrap();
        },
        "classes.parquet: 107374182400 bytes; the manifest says",
    ),
];

/// Rows that are no dataset.
const ROWS: &[Case] = &[
    (
        "a row twice",
        |v| {
            v.pages(|f| {
                let all_zero = [128, 4, 10, 0].map(varint).concat();
                f.column(0, "view").pages[0].compress(&[&all_zero[..], &[0; 5]].concat());
            })
        },
        "view 0 of split train twice",
    ),
    (
        "a class without a row",
        |v| {
            v.pages(|f| {
                for group in 0..3 {
                    let all_zero = [128, 4, 10, 0].map(varint).concat();
                    f.column(group, "label").pages[0].compress(&[&all_zero[..], &[0; 5]].concat());
                }
            })
        },
        "15 images of class 0 in split train; expected 8, as in classes.parquet",
    ),
    (
        "a class beyond the last",
        |v| {
            v.pages(|f| {
                let all = [128, 4, 10, 2 * i32::MAX as u64].map(varint).concat();
                f.column(0, "label").pages[0].compress(&[&all[..], &[0; 5]].concat());
            })
        },
        "label 2147483647 in row group 0; expected 0 to 2",
    ),
];

/// `classes.parquet`.
const CLASS_TABLES: &[Case] = &[
    (
        "more images than there can be",
        |v| {
            v.classes(|f| {
                let most = i64::MAX.to_le_bytes();
                f.column(0, "train_images").pages[0].compress(&[most; 3].concat());
            })
        },
        "classes.parquet: more images than the 30 training rows",
    ),
    (
        "a class of fewer than no images",
        |v| {
            v.classes(|f| {
                let numbers = [-5i64, 10, 10].map(i64::to_le_bytes).concat();
                f.column(0, "train_images").pages[0].compress(&numbers);
            })
        },
        "3 classes, 1 of them without images",
    ),
    (
        "a name of 2 GB",
        |v| {
            v.classes(|f| {
                let page = &mut f.column(0, "name").pages[0];
                page.content = bomb(1 << 14);
                page.header.set(2, Thrift::I32(i32::MAX.into()));
                page.header.set(3, Thrift::I32(page.content.len() as i64));
            })
        },
        "column name: its page 0: 2147483647 bytes when it is decompressed",
    ),
    (
        "names longer than their page",
        |v| v.classes(|f| f.column(0, "name").pages[0].compress(&[0xff; 12])),
        "classes.parquet: ",
    ),
    (
        "no Parquet at all",
        |v| v.content(CLASSES, b"PAR1"),
        "classes.parquet: its footer is cut short",
    ),
];

fn run(cases: &[Case], command: &[&str]) {
    for (name, harm, expected) in cases {
        let victim = Victim::new();
        harm(&victim);
        let dir = victim.dir.to_str().unwrap();
        let output = victim.bounded(command);
        let message = text(&output.stderr);
        assert!(matches!(output.status.code(), Some(2 | 3)), "{name}: {message}");
        assert!(message.starts_with(&format!("error: {dir}")), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!message.contains("panicked"), "{name}: {message}");
    }
}

const INSPECT: [&str; 2] = ["inspect", "BANK"];

#[test]
fn hostile_manifests_are_named() {
    run(MANIFESTS, &INSPECT);
}

#[test]
fn files_that_are_none_are_named_and_hold_no_one() {
    run(FILES, &INSPECT);
}

#[test]
fn rows_that_are_no_dataset_are_named() {
    run(ROWS, &INSPECT);
}

#[test]
fn hostile_class_tables_are_named() {
    run(CLASS_TABLES, &INSPECT);
}

/// Plans of banks under way.
const PLANS: &[Case] = &[
    ("2^60 shards", |v| v.plan(1 << 60), "plan.json is missing or unreadable"),
    ("4 billion shards", |v| v.plan(u32::MAX.into()), "plan.json is missing or unreadable"),
    (
        "a plan of 100 GB",
        |v| {
            v.plan(1);
            let path = v.path("../bank.partial/plan.json");
            fs::File::options().write(true).open(path).unwrap().set_len(100 << 30).unwrap();
        },
        "plan.json: cannot be read: 107374182400 bytes; expected at most",
    ),
];

#[test]
fn hostile_plans_are_named() {
    run(PLANS, &["commit", "BANK"]);
}

/// A bank whose maps, and what is drawn from them, are read.
const FINETUNE: [&str; 6] =
    ["finetune", "BANK", "--iterations=2", "--head-ratio=0.5", "--out", "OUT"];

/// A bank that is whole gets through both commands within the same bounds.
#[test]
fn a_bank_that_is_taken_apart_and_put_together_is_the_same() {
    let victim = Victim::new();
    let read = || format!("{:?}", Bank::open(&victim.dir).unwrap().rows(Split::Train).unwrap());
    let before = read();
    victim.pages(|_| {});
    victim.classes(|_| {});
    assert_eq!(read(), before);
    for command in [&INSPECT[..], &FINETUNE] {
        let output = victim.bounded(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

/// Links are followed: caches of downloads are made of them.
#[test]
fn a_bank_of_links_is_read() {
    let victim = Victim::new();
    let elsewhere = victim.path("../elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for name in [TRAIN, CLASSES, CLASSIFIER, MANIFEST, "test-00000.parquet"] {
        fs::rename(victim.path(name), elsewhere.join(name)).unwrap();
        symlink(elsewhere.join(name), victim.path(name)).unwrap();
    }
    read_all(&victim.dir).unwrap();
}

fn read_all(dir: &Path) -> Result<(), BankError> {
    let bank = Bank::open(dir)?;
    bank.rows(Split::Test)?;
    let rows = bank.rows(Split::Train)?;
    let all: Vec<usize> = (0..rows.len()).collect();
    let reader = bank.row_reader(Split::Train)?;
    for request in rows.index.plan(&all) {
        reader.read(&request, &[Column::Pooled, Column::Cam, Column::FeatureMap], |_, _| {})?;
    }
    Ok(())
}
