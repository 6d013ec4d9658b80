//! A bank's Parquet files, with a manifest that fits them: the first byte says which, the others are it.
//!
//! Changes are made to footers, headers of pages, and what is compressed in pages, as well as to the bytes
//! themselves: few of those would be Parquet still.

#![no_main]

use std::cell::RefCell;
use std::fs::{self, File};

use fsa_bank::bank::{FileEntry, ShardEntry};
use fsa_bank::domain::Split;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

mod victim;
use victim::parquet_file::{ParquetFile, Thrift};
use victim::{Victim, look_at};

const CLASSES: &str = "classes.parquet";
/// Files with the splits whose shards they are, and their places among these.
const FILES: [(Option<Split>, usize, &str); 3] = [
    (Some(Split::Train), 0, "train-00000.parquet"),
    (Some(Split::Test), 1, "test-00001.parquet"),
    (None, 0, CLASSES),
];

thread_local! {
    static VICTIM: RefCell<Victim> = RefCell::new(Victim::new());
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    // Verifying takes more time.
    let verifying = bytes.len() % 8 == 0;
    VICTIM.with_borrow(|victim| {
        let (split, place, name) = FILES[usize::from(kind) % FILES.len()];
        let path = victim.dir.join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let mut manifest = victim.manifest.clone();
        if let Some(split) = split {
            let file = File::open(&path).unwrap();
            if let Ok(entry) = ShardEntry::of(name, &file, split, &manifest.map_specs()) {
                let of_split = manifest.splits.get_mut(split.name()).unwrap();
                of_split.rows = of_split.rows + entry.rows - of_split.shards[place].rows;
                of_split.images = of_split.images.min(of_split.rows);
                of_split.shards[place] = entry;
                victim.put(&manifest);
                look_at(&victim.dir, verifying);
            }
        } else {
            manifest.files.insert(name.into(), FileEntry::of(bytes));
            victim.put(&manifest);
            look_at(&victim.dir, verifying);
        }
        fs::write(&path, whole).unwrap();
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    match changed(&data[..size], seed) {
        Some(bytes) if bytes.len() <= max_size.min(data.len()) => {
            data[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});

/// The same file with another part, chosen by `seed`; `None` where it is to be changed as it is, or is
/// no Parquet file of ours.
fn changed(bytes: &[u8], seed: u32) -> Option<Vec<u8>> {
    let (kind, bytes) = bytes.split_first()?;
    if seed % 8 == 0 {
        return None;
    }
    // Files that were changed before may be anything.
    let mut file = ParquetFile::read(bytes)?;
    let pick = |from: usize, salt: u32| {
        let mixed = seed.wrapping_mul(0x9e37_79b9).rotate_left(salt);
        mixed as usize % from.max(1)
    };
    let (groups, mut edited) = (file.groups.len(), None);
    if groups == 0 {
        return None;
    }
    let group = pick(groups, 3);
    let columns = file.groups[group].len();
    if columns == 0 {
        return None;
    }
    let chunk = &mut file.groups[group][pick(columns, 9)];
    let pages = chunk.pages.len();
    match seed % 8 {
        1..=4 if pages > 0 => {
            let page = &mut chunk.pages[pick(pages, 14)];
            let content = page.content_of(1 << 16)?;
            page.compress(&mutated(&content));
        }
        5 if pages > 0 => {
            let page = &mut chunk.pages[pick(pages, 14)];
            page.header = Thrift::decode(&mut &mutated(&page.header.encode())[..])?;
        }
        6 => chunk.index = Thrift::decode(&mut &mutated(&chunk.index.encode())[..])?,
        _ => edited = Some(()),
    }
    let edit = |footer: &mut Thrift| {
        if edited.is_some()
            && let Some(other) = Thrift::decode(&mut &mutated(&footer.encode())[..])
        {
            *footer = other;
        }
    };
    Some([&[*kind][..], &file.assemble(edit).bytes].concat())
}

fn mutated(bytes: &[u8]) -> Vec<u8> {
    let mut buffer = bytes.to_vec();
    let room = bytes.len() + 64;
    buffer.resize(room, 0);
    let length = fuzzer_mutate(&mut buffer, bytes.len(), room);
    buffer.truncate(length);
    buffer
}
