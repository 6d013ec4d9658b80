//! Sizes and speeds of ways to store the maps of a bank: `cargo bench --bench layout -- SHARDS`.
//!
//! Takes maps from a real bank and writes them again: location by location or channel by channel,
//! with other page and row-group sizes and zstd levels. Reads all of them, and a random 2 %. One
//! thread; MB are of the maps as f16, whatever they are stored as. `schemas/bank-v2.md` records what
//! it printed.

#[path = "../suite/support/write_bank.rs"]
mod write_bank;

use std::path::{Path, PathBuf};
use std::time::Instant;

use fsa_bank::bank::{
    Bank, Column, FORMAT_VERSION, Layout, Manifest, RowHead, RowValues, TrainRow,
};
use fsa_bank::domain::Split;
use fsa_bank::rng::{KeyedRng, Stage};
use write_bank::{NewBank, write_bank};

const MAPS: usize = 4000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn main() {
    let Some(bank) = std::env::args().skip(1).find(|a| !a.starts_with("--")).map(PathBuf::from)
    else {
        eprintln!("usage: cargo bench --bench layout -- SHARDS");
        return;
    };
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .expect("the first use of the pool");
    let bank = Bank::open(&bank).unwrap_or_else(|e| panic!("{e}"));
    let rows = load(&bank);
    let shape = bank.manifest.feature_shape;
    let zeros = rows.iter().flat_map(|r| &r.feature_map).filter(|v| **v == 0.0).count();
    let values = rows.len() * shape.values();
    println!("{} maps of {shape}, {:.0} % zeros", rows.len(), 100.0 * zeros as f64 / values as f64);
    println!("{:<44} {:>6} {:>8} {:>8} {:>12}", "layout", "size", "write", "read", "2 % of rows");
    let base = Layout::default();
    measure("location by location (as chosen)", &bank, &rows, base);
    measure("channel by channel", &bank, &by_channel(&rows, shape.channels), base);
    for kib in [64, 128, 256, 1024, 4096] {
        measure(
            &format!("pages of {kib} KiB"),
            &bank,
            &rows,
            Layout { map_page_bytes: kib * KIB, ..base },
        );
    }
    for mib in [4, 8, 128] {
        measure(
            &format!("row groups of {mib} MiB"),
            &bank,
            &rows,
            Layout { row_group_bytes: mib * MIB, ..base },
        );
    }
    for compression_level in [1, 3, 9] {
        measure(
            &format!("zstd {compression_level}, searching for repeats"),
            &bank,
            &rows,
            Layout { compression_level, search_repeats: true, ..base },
        );
    }
}

/// The first maps of the bank with their rows.
fn load(bank: &Bank) -> Vec<TrainRow> {
    let rows = bank.rows(Split::Train).unwrap_or_else(|e| panic!("{e}"));
    let wanted: Vec<usize> = (0..rows.len().min(MAPS)).collect();
    let reader = bank.row_reader(Split::Train).unwrap_or_else(|e| panic!("{e}"));
    let mut loaded = vec![];
    for request in rows.index.plan(&wanted) {
        let take = |row: usize, values: RowValues<'_>| {
            let map = values.map;
            // Images of their own, dealt out to the classes: counts follow from their number.
            let image = loaded.len() as u32;
            let head = RowHead {
                sample_id: image,
                view: 0,
                path: String::new(),
                label: image % bank.class_names.len() as u32,
                predicted: 0,
                confidence: 0.0,
                pooled: rows.pooled_of(row).to_vec(),
            };
            let (cam, nonzero) = (rows.cam_of(row).to_vec(), rows.nonzero_of(row).to_vec());
            loaded.push(TrainRow { head, cam, nonzero, feature_map: map.to_vec() });
        };
        reader.read(&request, &[Column::FeatureMap], take).unwrap_or_else(|e| panic!("{e}"));
    }
    loaded
}

fn by_channel(rows: &[TrainRow], channels: usize) -> Vec<TrainRow> {
    let transpose = |map: &[f32]| {
        (0..channels)
            .flat_map(|k| map.chunks_exact(channels).map(move |vector| vector[k]))
            .collect()
    };
    rows.iter()
        .map(|row| TrainRow { feature_map: transpose(&row.feature_map), ..row.clone() })
        .collect()
}

fn measure(name: &str, bank: &Bank, rows: &[TrainRow], layout: Layout) {
    let dir = std::env::temp_dir().join(format!("fsa-bank-layout-{}", std::process::id()));
    let begin = Instant::now();
    write(&dir, bank, rows, layout);
    let write_secs = begin.elapsed().as_secs_f64();
    let copy = Bank::open(&dir).unwrap_or_else(|e| panic!("{e}"));
    let map_bytes: u64 = std::fs::metadata(dir.join("train-00000.parquet")).map_or(0, |m| m.len());
    let raw = (rows.len() * bank.manifest.feature_shape.values() * 2) as f64;
    let mut rng = KeyedRng::new(0, Stage::BatchRows, (0, 0));
    let mut few: Vec<usize> =
        (0..rows.len() / 50).map(|_| rng.below(rows.len() as u32) as usize).collect();
    few.sort_unstable();
    few.dedup();
    let few_secs = read(&copy, &few);
    let all_secs = read(&copy, &(0..rows.len()).collect::<Vec<_>>());
    let mb = |secs: f64| raw / 1e6 / secs;
    println!(
        "{name:<44} {:>6.3} {:>8.0} {:>8.0} {:>9.1} ms",
        map_bytes as f64 / raw,
        mb(write_secs),
        mb(all_secs),
        few_secs * 1e3
    );
    let _ = std::fs::remove_dir_all(&dir);
}

fn write(dir: &Path, bank: &Bank, rows: &[TrainRow], layout: Layout) {
    let new = NewBank {
        manifest: Manifest {
            version: FORMAT_VERSION,
            needs: Manifest::needs(),
            splits: Default::default(),
            files: Default::default(),
            ..bank.manifest.clone()
        },
        layout: Layout { shard_bytes: u64::MAX, ..layout },
        class_names: bank.class_names.clone(),
        head: &bank.head,
        rows: [("train", rows.len() as u64), ("test", 1)].map(|(s, n)| (s.to_string(), n)).into(),
    };
    let done = write_bank(dir, new, |shard, open| {
        let [from, to] = shard.items.map(|at| at as usize);
        open.append(&rows[from..to])
    });
    done.unwrap_or_else(|e| panic!("{e}"));
}

/// Seconds to read and decode the maps of some rows; the best of three.
fn read(bank: &Bank, wanted: &[usize]) -> f64 {
    let rows = bank.rows(Split::Train).unwrap_or_else(|e| panic!("{e}"));
    let once = |_| {
        let reader = bank.row_reader(Split::Train).unwrap_or_else(|e| panic!("{e}"));
        let begin = Instant::now();
        let mut sum = 0.0;
        for request in rows.index.plan(wanted) {
            reader
                .read(&request, &[Column::FeatureMap], |_, row| sum += row.map[0])
                .unwrap_or_else(|e| panic!("{e}"));
        }
        assert!(sum.is_finite());
        begin.elapsed().as_secs_f64()
    };
    (0..3).map(once).fold(f64::INFINITY, f64::min)
}
