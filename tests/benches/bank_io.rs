//! Speed of writing and reading a bank: `cargo bench --bench bank_io -- [DIR [K H W ROWS]]`.
//!
//! Makes the rows of a bank of synthetic maps in memory (by default 2,600 of 2048 x 7 x 7, half of
//! their values 0), then, with 1 and 2 threads, writes them to DIR/shards in batches of 64 rows and
//! reads all of them back: the index, `pooled`, `cam` and `nonzero`, and every map, whose bits are
//! summed and compared with what was written. Once with zstd searching for repeats, as other programs
//! have it, then as banks are written.
//! Prints a line of JSON for each; DIR/shards stays, so that `bank_io_pyarrow.py` can use the same
//! rows. MB are 10^6 bytes of the maps, as f16 and as f32, whatever they are stored as.

#[path = "synthetic.rs"]
mod synthetic;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fsa_bank::bank::{Bank, BankError, Column, Layout, TrainRow};
use fsa_bank::domain::{FeatureShape, LinearHead, Split};
use rayon::prelude::*;

/// What real programs run with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLASSES: usize = 100;
/// Rows of a call, as `features` appends them.
const BATCH: usize = 64;
const THREADS: [usize; 2] = [1, 2];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let number = |i: usize, default: usize| {
        args.get(i).map_or(default, |a| a.parse().unwrap_or_else(|_| panic!("{a} is no number")))
    };
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let dir = args.first().map_or(temporary.path().to_path_buf(), PathBuf::from);
    let shape =
        FeatureShape { channels: number(1, 2048), height: number(2, 7), width: number(3, 7) };
    let head = synthetic::head(shape, CLASSES);
    let rows: Vec<TrainRow> = (0..number(4, 2600) as u32)
        .into_par_iter()
        .map(|i| {
            let mut row = synthetic::row(&head, shape, i, i % CLASSES as u32);
            row.head.path = format!("train/{i:06}.jpg");
            row
        })
        .collect();
    let zeros = rows.par_iter().flat_map_iter(|r| &r.feature_map).filter(|v| **v == 0.0).count();
    let share = 100.0 * zeros as f64 / (rows.len() * shape.values()) as f64;
    println!("{} rows of {shape}, {share:.0} % of the values zeros", rows.len());
    let written: u64 = rows.iter().map(|row| bits(&row.feature_map)).fold(0, u64::wrapping_add);
    let shards = dir.join("shards");
    for (threads, search_repeats) in
        THREADS.into_iter().flat_map(|threads| [(threads, true), (threads, false)])
    {
        let layout = Layout { search_repeats, ..Default::default() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let _ = std::fs::remove_dir_all(&shards);
        let done = Measured::of(|| pool.install(|| write(&shards, shape, layout, &head, &rows)));
        let how = if search_repeats { ", zstd searching" } else { "" };
        done.print(&format!("write{how}"), threads, &rows, shape, stored(&shards));
        let mut read_bits = 0;
        let done = Measured::of(|| pool.install(|| read(&shards).map(|bits| read_bits = bits)));
        assert_eq!(read_bits, written, "values read are not those that were written");
        done.print(&format!("read{how}"), threads, &rows, shape, stored(&shards));
    }
}

/// A sum that changes with any bit of any value, at the speed of memory.
fn bits(values: &[f32]) -> u64 {
    values.iter().fold(0, |sum: u64, value| sum.wrapping_add(value.to_bits().into()))
}

fn write(
    dir: &Path,
    shape: FeatureShape,
    layout: Layout,
    head: &LinearHead,
    rows: &[TrainRow],
) -> Result<(), BankError> {
    let bank = synthetic::new_bank(shape, layout, head, rows.len(), 1);
    synthetic::write_bank(dir, bank, |shard, open| {
        let [from, to] = shard.items.map(|at| at as usize);
        rows[from..to].chunks(BATCH).try_for_each(|batch| open.append(batch))
    })
    .map(drop)
}

/// The sum of the bits of all maps.
fn read(dir: &Path) -> Result<u64, BankError> {
    let bank = Bank::open(dir)?;
    let rows = bank.rows(Split::Train)?;
    let all: Vec<usize> = (0..rows.len()).collect();
    let reader = bank.row_reader(Split::Train)?;
    let (sum, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    rows.index.plan(&all).par_iter().try_for_each(|request| {
        reader.read(request, &[Column::FeatureMap], |_, row| {
            sum.fetch_add(bits(row.map), Ordering::Relaxed);
            seen.fetch_add(1, Ordering::Relaxed);
        })
    })?;
    assert_eq!(seen.into_inner(), rows.len() as u64);
    Ok(sum.into_inner())
}

fn stored(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("the bank");
    files.map(|file| file.expect("a file").metadata().expect("its length").len()).sum()
}

struct Measured {
    secs: f64,
    cpu_secs: f64,
}

impl Measured {
    fn of(work: impl FnOnce() -> Result<(), BankError>) -> Self {
        let (begin, cpu) = (Instant::now(), cpu_secs());
        work().unwrap_or_else(|e| panic!("{e}"));
        Self { secs: begin.elapsed().as_secs_f64(), cpu_secs: cpu_secs() - cpu }
    }

    fn print(
        &self,
        what: &str,
        threads: usize,
        rows: &[TrainRow],
        shape: FeatureShape,
        bytes: u64,
    ) {
        let values = (rows.len() * shape.values()) as f64;
        let line = serde_json::json!({
            "what": what,
            "threads": threads,
            "secs": self.secs,
            "cpu_secs": self.cpu_secs,
            "rows_per_sec": rows.len() as f64 / self.secs,
            "f16_mb_per_sec": 2.0 * values / 1e6 / self.secs,
            "f32_mb_per_sec": 4.0 * values / 1e6 / self.secs,
            "stored_bytes": bytes,
            "size_to_f16": bytes as f64 / (2.0 * values),
        });
        println!("{line}");
    }
}

/// Seconds of processor time of this process so far, to a hundredth.
fn cpu_secs() -> f64 {
    const TICKS_PER_SEC: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in brackets: user and system time are the 12th and 13th field.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|n| n.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SEC
}
