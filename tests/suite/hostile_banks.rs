//! Banks made to do harm. Whoever makes a bank makes its checksums too, so those of all these fit: each is
//! a named error within little memory and time, and none ends the program by a signal.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fsa_bank::bank::{
    Bank, BankError, BuildPlan, Column, FileEntry, Layout, Manifest, ShardEntry, SplitName,
    TrainRow,
};
use fsa_bank::domain::FeatureShape;
use fsa_bank::rng::{KeyedRng, Stage};
use fsa_bank::weights::Weights;

use crate::command_line::{PROGRAM, text};
use crate::fixtures::BankSpec;
use crate::parquet_file::{Assembled, ParquetFile, Thrift, sealed, varint};

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

/// Footers of a training shard.
const FOOTERS: &[Case] = &[
    (
        "a footer of 4 GB",
        |v| {
            let file = ParquetFile::of(&fs::read(v.path(TRAIN)).unwrap());
            let mut file = file.assemble(|_| {});
            let at = file.bytes.len() - 8;
            file.bytes[at..at + 4].fill(0xff);
            v.replace("train", &file);
        },
        "its footer is cut short",
    ),
    (
        "an encrypted footer",
        |v| {
            let file = ParquetFile::of(&fs::read(v.path(TRAIN)).unwrap());
            let mut file = file.assemble(|_| {});
            *file.bytes.last_mut().unwrap() = b'E';
            v.replace("train", &file);
        },
        "does not end as a Parquet file does",
    ),
    (
        "two billion row groups",
        |v| v.footer(|f| f.set(4, endless(12))),
        "a list of 2147483647 elements",
    ),
    (
        "two billion columns",
        |v| v.footer(|f| f.set(2, endless(12))),
        "a list of 2147483647 elements",
    ),
    (
        "a schema of two billion children",
        |v| v.footer(|f| f.at(2).list()[0].set(5, Thrift::I32(i32::MAX.into()))),
        "the root` of 2147483647 parts in the place of `the root` of 11 parts",
    ),
    (
        "a schema of 8,000 groups in each other",
        |v| {
            v.footer(|f| {
                let mut group = Thrift::structure();
                group.set(3, Thrift::I32(0));
                group.set(4, Thrift::text("a"));
                group.set(5, Thrift::I32(1));
                f.set(2, Thrift::List(12, vec![group; 8000]));
            })
        },
        "its columns: ",
    ),
    (
        "a footer of structs in each other",
        |v| v.footer(|f| f.set(2, Thrift::Raw(12, vec![0x1c; 30_000]))),
        "nested too deep",
    ),
    (
        "truth values that take time and no bytes",
        |v| {
            v.footer(|f| {
                let list = endless(1).encode();
                f.set(30, Thrift::Raw(9, [vec![0xf9], varint(5000), list.repeat(5000)].concat()))
            })
        },
        "a list of 2147483647 elements",
    ),
    (
        "a column of another type",
        |v| v.footer(|f| f.at(2).list()[1].set(1, Thrift::I32(2))),
        "its columns: `sample_id` of type 2 in the place of `sample_id` of type 1",
    ),
    (
        "a column of another type in its chunk",
        |v| v.chunk("label", |c| c.at(3).set(1, Thrift::I32(5))),
        "column label: type 5; expected 1",
    ),
    (
        "a column with nulls",
        |v| v.footer(|f| f.at(2).list()[4].set(3, Thrift::I32(1))),
        "optional `label` of type 1 in the place of `label` of type 1",
    ),
    (
        "a column of another name",
        |v| v.footer(|f| f.at(2).list()[4].set(4, Thrift::text("x\x1b[2J"))),
        "`x\\u{1b}[2J` of type 1 in the place of `label`",
    ),
    (
        "a column too many",
        |v| {
            v.footer(|f| {
                let column = f.at(2).list()[1].clone();
                f.at(2).list().push(column);
            })
        },
        "its columns: `sample_id` of type 1 beyond the last one",
    ),
    (
        "a column chunk too many",
        |v| {
            v.footer(|f| {
                let chunks = f.at(4).list()[0].at(1).list();
                chunks.push(chunks[0].clone());
            })
        },
        "a row group of 12 columns",
    ),
    (
        "fields twice",
        |v| {
            v.footer(|f| {
                // Behind a row group's rows, other columns.
                let rows = f.at(4).list()[0].clone().encode();
                let again = [&rows[..rows.len() - 1], &[0x09, 2, 0x0c]].concat();
                f.at(4).list()[0] = Thrift::Raw(12, again);
            })
        },
        "misplaced field",
    ),
    (
        "no compression",
        |v| v.chunk("pooled", |c| c.at(3).set(4, Thrift::I32(0))),
        "column pooled: compression 0; expected zstd",
    ),
    (
        "2^60 values",
        |v| v.chunk("pooled", |c| c.at(3).set(5, Thrift::I64(1 << 60))),
        "column pooled: 1152921504606846976 values of 10 rows",
    ),
    (
        "no values",
        |v| v.chunk("label", |c| c.at(3).set(5, Thrift::I64(0))),
        "column label: 0 values of 10 rows",
    ),
    (
        "fewer than no values",
        |v| v.chunk("label", |c| c.at(3).set(5, Thrift::I64(-1))),
        "column label: field 5 of its metadata is not a size",
    ),
    (
        "2^62 rows",
        |v| {
            v.footer(|f| {
                f.at(4).list()[0].set(3, Thrift::I64(1 << 62));
                f.set(3, Thrift::I64((1 << 62) + 20));
            })
        },
        "a row group of 4611686018427387904 rows",
    ),
    (
        "fewer than no rows",
        |v| v.footer(|f| f.at(4).list()[0].set(3, Thrift::I64(-10))),
        "field 3 of its metadata is not a size",
    ),
    (
        "pages outside the file",
        |v| v.chunk("label", |c| c.at(3).set(9, Thrift::I64(1 << 50))),
        "column label: ",
    ),
    (
        "pages before the file",
        |v| v.chunk("label", |c| c.at(3).set(9, Thrift::I64(-4))),
        "column label: field 9 of its metadata is not a size",
    ),
    (
        "a chunk whose end overflows",
        |v| {
            v.chunk("label", |c| {
                c.at(3).set(7, Thrift::I64(i64::MAX));
                c.at(3).set(9, Thrift::I64(i64::MAX));
            })
        },
        "column label: 9223372036854775807 bytes at byte 9223372036854775807",
    ),
    (
        "all row groups over the same bytes",
        |v| {
            v.footer(|f| {
                let groups = f.at(4).list();
                let first = groups[0].at(1).clone();
                groups[1].set(1, first);
            })
        },
        "bytes at byte 4; expected some of the bytes",
    ),
    (
        "a dictionary of numbers",
        |v| {
            v.chunk("view", |c| {
                let at = c.at(3).number(9).unwrap();
                c.at(3).set(11, Thrift::I64(at));
                c.at(3).set(9, Thrift::I64(at + 4));
            })
        },
        "column view: a dictionary, which only texts have",
    ),
    (
        "pages in another file",
        |v| v.chunk("label", |c| c.set(1, Thrift::text("/etc/passwd"))),
        "column label: it is in another file",
    ),
    (
        "an index outside the footer",
        |v| v.chunk("label", |c| c.set(4, Thrift::I64(5))),
        "column label: an offset index outside the footer",
    ),
    (
        "an index before the file",
        |v| v.chunk("label", |c| c.set(4, Thrift::I64(i64::MIN))),
        "column label: field 4 of its metadata is not a size",
    ),
    (
        "an index of 2 GB",
        |v| v.chunk("label", |c| c.set(5, Thrift::I32(i32::MAX.into()))),
        "column label: an offset index outside the footer",
    ),
    (
        "two billion pages",
        |v| v.pages(|file| file.column(0, "label").index.set(1, endless(12))),
        "column label: a list of 2147483647 elements",
    ),
    (
        "pages of more rows than there are",
        |v| {
            v.pages(|file| {
                file.column(0, "feature_map").index.at(1).list()[1].set(3, Thrift::I64(1 << 40))
            })
        },
        "column feature_map: its page 1 does not follow the one before",
    ),
    (
        "a million pages, all of them one",
        |v| {
            v.pages(|file| {
                let places = file.column(0, "label").index.at(1).list();
                *places = vec![places[0].clone(); 3000];
            })
        },
        "column label: its page 0 does not follow the one before",
    ),
];

/// Pages of a training shard that every reader reads.
const PAGES: &[Case] = &[
    (
        "a page of 2 GB",
        |v| v.pages(|f| f.column(0, "pooled").pages[0].header.set(2, Thrift::I32(i32::MAX.into()))),
        "column pooled of row group 0, bytes",
    ),
    (
        "a page that becomes 2 GB",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                page.content = bomb(1 << 14);
                page.header.set(2, Thrift::I32(i32::MAX.into()));
                page.header.set(3, Thrift::I32(page.content.len() as i64));
            })
        },
        "2147483647 bytes when it is decompressed; there can be ",
    ),
    (
        "a page that becomes 2 GB and does not say so",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "label").pages[0];
                page.content = bomb(1 << 14);
                page.header.set(3, Thrift::I32(page.content.len() as i64));
            })
        },
        "it does not decode",
    ),
    (
        "two billion values in a page",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                page.header.at(5).set(1, Thrift::I32(i32::MAX.into()));
            })
        },
        "its page 0: 2147483647 values of 10 rows; expected 8 each",
    ),
    (
        "fewer than no values in a page",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.at(5).set(1, Thrift::I32(-1))),
        "its page 0: field 1 of its metadata is not a size",
    ),
    (
        "a page longer than its place",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(3, Thrift::I32(i32::MAX.into()))),
        "2147483647 bytes in its header",
    ),
    (
        "a page of another kind",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(1, Thrift::I32(1))),
        "its page 0: kind 1; expected 0",
    ),
    (
        "a page of another encoding",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.at(5).set(2, Thrift::I32(8))),
        "its page 0: encoding 8, which such a column has not",
    ),
    (
        "levels of another encoding",
        |v| v.pages(|f| f.column(0, "pooled").pages[0].header.at(5).set(4, Thrift::I32(4))),
        "which such a column has not",
    ),
    (
        "a header with statistics of 2^60 bytes",
        |v| {
            v.pages(|f| {
                let huge = [vec![0x18], varint(1 << 60)].concat();
                f.column(0, "view").pages[0].header.at(5).set(5, Thrift::Raw(12, huge))
            })
        },
        "its page 0: its metadata ends within",
    ),
    (
        "a header with a field of truth values",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(20, endless(1))),
        "its page 0: a list of 2147483647 elements",
    ),
    (
        "a header with a field that no one knows",
        |v| v.pages(|f| f.column(0, "view").pages[0].header.set(9, Thrift::I32(1))),
        "its page 0: a field 9 in its header",
    ),
    (
        "differences in blocks of 2^60",
        |v| {
            v.pages(|f| {
                // Values of a block, miniblocks, values, the first value.
                let numbers = [1 << 60, 1, 10, 0].map(varint).concat();
                f.column(0, "view").pages[0].compress(&[&numbers[..], &[0, 64, 0]].concat());
            })
        },
        "it does not decode",
    ),
    (
        "differences in blocks of nothing",
        |v| {
            v.pages(|f| {
                let numbers = [0, 1, 10, 0].map(varint).concat();
                f.column(0, "view").pages[0].compress(&[&numbers[..], &[0; 30]].concat());
            })
        },
        "it does not decode",
    ),
    (
        "levels longer than their page",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                let mut content = page.decompressed();
                content[..4].copy_from_slice(&i32::MAX.to_le_bytes());
                page.compress(&content);
            })
        },
        "it does not decode",
    ),
    (
        "levels of fewer than no bytes",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "pooled").pages[0];
                let mut content = page.decompressed();
                content[..4].copy_from_slice(&(-1i32).to_le_bytes());
                page.compress(&content);
            })
        },
        "it does not decode",
    ),
    (
        "an empty page",
        |v| v.pages(|f| f.column(0, "pooled").pages[0].compress(&[])),
        "it does not decode",
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
fn hostile_footers_are_named() {
    run(FOOTERS, &INSPECT);
}

#[test]
fn hostile_pages_are_named() {
    run(PAGES, &INSPECT);
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
    ("2^60 shards", |v| v.plan(1 << 60), "without a plan.json that reads"),
    ("4 billion shards", |v| v.plan(u32::MAX.into()), "without a plan.json that reads"),
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

/// Pages that only readers of maps read.
const MAPS: &[Case] = &[
    (
        "a map of 2 GB",
        |v| {
            v.pages(|f| {
                f.column(0, "feature_map").pages[1].header.set(2, Thrift::I32(i32::MAX.into()))
            })
        },
        "its page 1: 2147483647 bytes when it is decompressed; there can be ",
    ),
    (
        "two billion values in a page of maps",
        |v| {
            v.pages(|f| {
                f.column(0, "feature_map").pages[0]
                    .header
                    .at(5)
                    .set(1, Thrift::I32(i32::MAX.into()))
            })
        },
        "its page 0: 2147483647 values of 4 rows; expected 48 each",
    ),
    (
        "all values of a page in one row",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "feature_map").pages[0];
                let mut content = page.decompressed();
                // Levels of repetition: their length, then one run of 192 that say `the same list`.
                let length = u32::from_le_bytes(content[..4].try_into().unwrap()) as usize;
                content.splice(..4 + length, [&3u32.to_le_bytes()[..], &[0x80, 0x03, 1]].concat());
                page.compress(&content);
            })
        },
        "train-00000.parquet: ",
    ),
    (
        "a page of maps whose values are cut off",
        |v| {
            v.pages(|f| {
                let page = &mut f.column(0, "feature_map").pages[0];
                let content = page.decompressed();
                page.compress(&content[..content.len() / 2]);
            })
        },
        "it does not decode",
    ),
];

#[test]
fn hostile_maps_are_named() {
    run(MAPS, &FINETUNE);
}

/// A bank that is whole gets through both commands within the same bounds.
#[test]
fn a_bank_that_is_taken_apart_and_put_together_is_the_same() {
    let victim = Victim::new();
    let read = || format!("{:?}", Bank::open(&victim.dir).unwrap().rows(SplitName::Train).unwrap());
    let before = read();
    victim.pages(|_| {});
    victim.classes(|_| {});
    assert_eq!(read(), before);
    for command in [&INSPECT[..], &FINETUNE] {
        let output = victim.bounded(command);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

/// Values at the ends of what a bank may hold, and splits without rows.
#[test]
fn extreme_banks_end_in_results_or_in_named_errors() {
    type Edit = fn(&mut TrainRow);
    type Attack = (&'static str, Edit, fn(&Victim));
    let cases: [Attack; 5] = [
        (
            "the largest numbers",
            |row| {
                row.head.pooled.fill(f32::MAX);
                row.feature_map.fill(f32::MAX);
            },
            |_| {},
        ),
        (
            "nothing but zeros",
            |row| {
                row.head.pooled.fill(0.0);
                row.feature_map.fill(0.0);
                row.cam.fill(0.0);
                row.nonzero.fill(false);
            },
            |_| {},
        ),
        ("the smallest numbers", |row| row.feature_map.fill(1e-45), |_| {}),
        (
            "no test rows",
            |_| {},
            |v| {
                v.manifest(|m| {
                    let test = m.splits.get_mut("test").unwrap();
                    (test.rows, test.images) = (0, 0);
                    test.shards.clear();
                });
            },
        ),
        (
            "a classifier of the largest numbers",
            |_| {},
            |v| {
                let mut head = BankSpec { counts: vec![8, 4, 3], ..Default::default() }.head();
                head.weight.fill(f32::MAX);
                head.bias.fill(f32::MIN);
                let weights = Weights::of_head(&head);
                v.manifest(|m| m.classifier_sha256 = weights.sha256());
                v.content(CLASSIFIER, &weights.to_bytes());
            },
        ),
    ];
    for (name, edit, harm) in cases {
        let victim = Victim::of(edit);
        harm(&victim);
        let compare = [
            "compare",
            "BANK",
            "--iterations=2",
            "--seeds=1",
            "--head-ratio=0.5",
            "--memory=256MiB",
            "--out",
            "OUT",
        ];
        for command in [&INSPECT[..], &FINETUNE, &compare, &["verify", "BANK"]] {
            let output = victim.bounded(command);
            let message = text(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(0 | 1 | 3)),
                "{name}, {command:?}: {message}"
            );
            assert!(!message.contains("panicked"), "{name}, {command:?}: {message}");
        }
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
    bank.rows(SplitName::Test)?;
    let rows = bank.rows(SplitName::Train)?;
    let all: Vec<usize> = (0..rows.len()).collect();
    let reader = bank.row_reader(SplitName::Train)?;
    for request in rows.index.plan(&all) {
        reader.read(&request, &[Column::Pooled, Column::Cam, Column::FeatureMap], |_, _| {})?;
    }
    Ok(())
}

/// Rounds of the test below; more for a longer search.
fn rounds(usual: u64) -> u64 {
    std::env::var("FSA_BANK_FUZZ_ROUNDS").map_or(usual, |text| text.parse().unwrap())
}

/// Some bytes changed, inserted, taken out, or all after one of them cut off.
fn changed(bytes: &[u8], rng: &mut KeyedRng) -> Vec<u8> {
    const TELLING: [u8; 8] = [0, 1, 2, 7, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(bytes.len().max(1) as u32) as usize;
        match rng.below(8) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 => bytes.insert(at, rng.below(256) as u8),
            2 => bytes.truncate(at.max(1)),
            3 | 4 if at < bytes.len() => bytes[at] = TELLING[rng.below(8) as usize],
            _ if at < bytes.len() => bytes[at] = rng.below(256) as u8,
            _ => {}
        }
    }
    bytes
}

/// Changes something of a bank whose checksums are made to fit.
fn harm(victim: &Victim, rng: &mut KeyedRng) {
    let file = || ParquetFile::of(&fs::read(victim.path(TRAIN)).unwrap());
    let pick = |rng: &mut KeyedRng, of: usize| rng.below(of as u32) as usize;
    match rng.below(10) {
        0 => {
            let text = changed(&fs::read(victim.path(MANIFEST)).unwrap(), rng);
            fs::write(victim.path(MANIFEST), &text).unwrap();
            // Sealed again, where it is a manifest still.
            if let Ok(manifest) = serde_json::from_slice::<Manifest>(&text) {
                fs::write(victim.path(MANIFEST), sealed(&manifest)).unwrap();
            }
        }
        1 => {
            let bytes = changed(&fs::read(victim.path(CLASSIFIER)).unwrap(), rng);
            if let Ok(weights) = Weights::from_bytes(&bytes, Path::new(CLASSIFIER)) {
                victim.manifest(|m| m.classifier_sha256 = weights.sha256());
            }
            victim.content(CLASSIFIER, &bytes);
        }
        2 => {
            let bytes = changed(&fs::read(victim.path(CLASSES)).unwrap(), rng);
            victim.content(CLASSES, &bytes);
        }
        3 => {
            let mut file = file().assemble(|_| {});
            let at = file.footer_offset as usize;
            let tail = changed(&file.bytes[at..], rng);
            file.bytes.splice(at.., tail);
            victim.replace("train", &file);
        }
        4 => {
            let mut file = file();
            let group = pick(rng, 3);
            let column = pick(rng, 11);
            let page = &mut file.groups[group][column].pages[0];
            let header = changed(&page.header.encode(), rng);
            // As it stands, whatever it is.
            page.header = Thrift::Raw(12, header);
            victim.replace("train", &file.assemble(|_| {}));
        }
        _ => {
            let mut file = file();
            let group = pick(rng, 3);
            let column = pick(rng, 11);
            let pages = &mut file.groups[group][column].pages;
            let page = pick(rng, pages.len());
            let content = changed(&pages[page].decompressed(), rng);
            pages[page].compress(&content);
            victim.replace("train", &file.assemble(|_| {}));
        }
    }
}

#[test]
fn changed_banks_whose_checksums_fit_are_read_or_are_errors() {
    const SEED: u64 = 9;
    let victim = Victim::new();
    let names = [TRAIN, CLASSES, CLASSIFIER, MANIFEST];
    let whole = names.map(|name| fs::read(victim.path(name)).unwrap());
    let (mut read, mut refused) = (0, 0);
    for round in 0..rounds(1500) {
        let mut rng = KeyedRng::new(SEED, Stage::InitialWeights, (round, 0));
        harm(&victim, &mut rng);
        let result = std::panic::catch_unwind(|| read_all(&victim.dir));
        match result {
            Ok(Ok(())) => read += 1,
            Ok(Err(error)) => {
                refused += 1;
                let text = error.to_string();
                assert!(text.starts_with(victim.dir.to_str().unwrap()), "round {round}: {text}");
            }
            Err(_) => panic!("seed {SEED}, round {round}: a panic"),
        }
        for (name, bytes) in names.iter().zip(&whole) {
            fs::write(victim.path(name), bytes).unwrap();
        }
    }
    assert!(read > 0 && refused > read, "{read} {refused}");
}
