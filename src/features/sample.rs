//! A sample of a bank's rows, made by the three stages that make the bank: the bytes and the time that a
//! row takes.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use super::error::FeaturesError;
use super::pass::{AskForBatch, Batch, ImagePass, StageSecs};
use super::request::FeaturesRequest;
use super::row_kind::{RowKind, most_bytes};
use super::rows::RowMaker;
use crate::backbone::Backbone;
use crate::bank::{Manifest, PlannedShard, ShardEntry, ShardFormat, ShardWriter};
use crate::progress::Watch;
use crate::rng::{KeyedRng, Stage};

/// When enough was seen of a kind.
#[derive(Clone, Copy)]
struct Effort {
    rows: u64,
    blocks: u64,
    batches: u64,
    secs: f64,
    /// After which slow networks stop short of the rest, once they have [`LEAST_ROWS`].
    most_secs: f64,
}

/// Of the kind that most rows are of.
const THOROUGH: Effort = Effort { rows: 512, blocks: 16, batches: 8, secs: 2.0, most_secs: 20.0 };
/// Of the others.
const BRIEF: Effort = Effort { rows: 128, blocks: 8, batches: 4, secs: 0.5, most_secs: 5.0 };
const LEAST_ROWS: u64 = 32;
/// Batches of a slow network become smaller, so that a sample has enough of them.
const BATCH_SECS: f64 = 0.5;
const LEAST_BATCH: usize = 8;
/// Shards of this size or more take time in proportion to their bytes to be finished.
const LARGE_BYTES: u64 = 1 << 22;

/// What was seen of a kind.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KindCosts {
    /// Rows that were asked for.
    pub(super) rows: u64,
    /// Bytes of the columns.
    data_bytes: u64,
    /// Bytes of page indexes and footer, for each row group.
    footer_bytes: f64,
    /// Checksums in the manifest.
    checksums: u64,
    /// Seconds a row, of the three stages together, the finishing of shards included.
    pub(super) row_secs: f64,
    /// Seconds a row that each stage is at work.
    pub(super) stages: StageSecs,
}

/// A sample of every kind.
pub(super) struct RowCosts {
    pub(super) samples: Vec<KindCosts>,
    /// Seconds that the network took for its first batches beyond those of later ones.
    pub(super) first_secs: f64,
    /// Seconds that the sample took.
    pub(super) secs: f64,
}

/// What a sample is made with.
pub(super) struct Sampler<'a> {
    pub(super) request: &'a FeaturesRequest<'a>,
    pub(super) manifest: &'a Manifest,
    pub(super) format: &'a std::sync::Arc<ShardFormat>,
    pub(super) maker: RowMaker<'a>,
    /// A folder on the bank's disk.
    pub(super) place: &'a Path,
    /// Bytes that the sample of a kind may take there, were it stored uncompressed.
    pub(super) room: u64,
    pub(super) watch: Watch<'a>,
}

impl Sampler<'_> {
    /// Makes some rows of every kind; they are written to the bank's disk, and gone.
    ///
    /// # Cost
    /// 2 s for the largest kind and 0.5 s for each of the others where the network is fast, 20 s and 5 s
    /// where it is slow; more where 32 rows take longer.
    pub(super) fn measure(
        &self,
        kinds: &[RowKind],
        backbone: &mut dyn Backbone,
    ) -> Result<RowCosts, FeaturesError> {
        self.watch.progress.line("measuring a sample of rows (discarded afterwards)");
        let begin = Instant::now();
        let images = ImagePass::new(self.request);
        let most = kinds.iter().map(RowKind::rows).max().unwrap_or(0);
        let largest = kinds.iter().position(|kind| kind.rows() == most);
        let (mut batch, mut first_secs) = (images.batch_size(), 0.0);
        if let Some(largest) = largest {
            (batch, first_secs) = warm_up(&images, &kinds[largest], backbone)?;
        }
        let mut samples = vec![];
        for (place, kind) in kinds.iter().enumerate() {
            let effort = if Some(place) == largest { THOROUGH } else { BRIEF };
            let shard = PlannedShard { place, ..planned(kind) };
            samples.push(self.measure_kind(&images, kind, &shard, effort, batch, backbone)?);
        }
        Ok(RowCosts { samples, first_secs, secs: begin.elapsed().as_secs_f64() })
    }

    /// Makes some rows of a kind, as if it were the shard `shard`, in batches of `batch`.
    fn measure_kind<'s>(
        &self,
        images: &ImagePass,
        kind: &RowKind,
        shard: &'s PlannedShard,
        effort: Effort,
        batch: usize,
        backbone: &mut dyn Backbone,
    ) -> Result<KindCosts, FeaturesError> {
        let mut writer = ShardWriter::nameless(self.format, kind.split, self.place)?;
        let begin = Instant::now();
        let secs = || begin.elapsed().as_secs_f64();
        let most_rows = (self.room / most_bytes(kind, self.manifest, self.request)).max(LEAST_ROWS);
        let enough = |rows: u64, blocks: u64, batches: u64| {
            let seen = rows >= effort.rows
                && blocks >= effort.blocks
                && batches >= effort.batches
                && secs() >= effort.secs;
            let late = rows >= LEAST_ROWS && secs() >= effort.most_secs;
            seen || late || rows >= most_rows || self.watch.interrupted()
        };
        let ask = |make: &mut AskForBatch<'_, 's>| {
            self.ask_for_blocks(kind, shard, batch, enough, make);
            Ok(())
        };
        // Rows of each batch, and when it was encoded.
        let mut ends: Vec<(u64, f64)> = vec![];
        let encode = |shard: &PlannedShard, maps: Batch| {
            let rows = maps.rows as u64;
            writer.append(&images.rows(shard, maps, &self.maker)?)?;
            ends.push((rows, secs()));
            Ok(())
        };
        let stages = images.stages(ask, backbone, &mut |_| {}, encode)?;
        if self.watch.interrupted() {
            return Err(FeaturesError::InterruptedSample);
        }
        let finish = Instant::now();
        let entry = writer.discard()?;
        let finish_secs = finish.elapsed().as_secs_f64();
        Ok(KindCosts::of(&entry, &ends, stages, finish_secs, self.shard_rows()))
    }

    /// Asks for blocks of rows, in batches of `batch`, until `enough` says of the rows, blocks and batches so
    /// far that they are.
    fn ask_for_blocks<'s>(
        &self,
        kind: &RowKind,
        shard: &'s PlannedShard,
        batch: usize,
        enough: impl Fn(u64, u64, u64) -> bool,
        make: &mut AskForBatch<'_, 's>,
    ) {
        let (mut waiting, mut rows, mut batches) = (vec![], 0, 0);
        let block_rows = kind.block_rows(self.format);
        let blocks = kind.rows().div_ceil(block_rows);
        let order = spread(blocks, self.manifest.views.seed, shard.place as u64);
        for (taken, block) in (0..).zip(order) {
            if enough(rows + waiting.len() as u64, taken, batches) {
                break;
            }
            let to = kind.rows().min((block + 1) * block_rows);
            waiting.extend((block * block_rows..to).map(|row| kind.pair(row)));
            while waiting.len() >= batch {
                let later = waiting.split_off(batch);
                if !make(shard, &waiting, false) {
                    return;
                }
                (rows, batches) = (rows + batch as u64, batches + 1);
                waiting = later;
            }
        }
        if !waiting.is_empty() {
            make(shard, &waiting, false);
        }
    }

    fn shard_rows(&self) -> u64 {
        self.format.rows_in(self.format.layout.shard_bytes)
    }
}

/// As if a kind were a shard.
fn planned(kind: &RowKind) -> PlannedShard {
    PlannedShard { split: kind.split, place: 0, file: String::new(), items: [0, kind.rows()] }
}

/// Computes a few maps, for what a network does only once; returns how many images a batch of the sample
/// has, and the seconds that were lost.
fn warm_up(
    images: &ImagePass,
    kind: &RowKind,
    backbone: &mut dyn Backbone,
) -> Result<(usize, f64), FeaturesError> {
    const FEW: usize = 4;
    let mut forward = |count: usize| {
        let pairs: Vec<(u32, u32)> =
            (0..kind.rows().min(count as u64)).map(|row| kind.pair(row)).collect();
        let inputs = images.inputs(&planned(kind), &pairs)?;
        let begin = Instant::now();
        if !inputs.pairs.is_empty() {
            backbone.feature_maps(&inputs.values, inputs.pairs.len())?;
        }
        Ok::<_, FeaturesError>(begin.elapsed().as_secs_f64())
    };
    let first = forward(FEW)?;
    let second = forward(FEW)?;
    let fits = (BATCH_SECS * FEW as f64 / second.max(1e-9)) as usize;
    let batch = images.batch_size().min(fits.max(LEAST_BATCH));
    forward(batch)?;
    Ok((batch, (first - second).max(0.0)))
}

/// Numbers below `n`, each once and in an order whose every beginning is spread evenly: multiples of the
/// golden ratio, from a random start. Rows of a class lie together, so draws that are merely random would
/// have more of some classes than their share.
fn spread(n: u64, seed: u64, key: u64) -> impl Iterator<Item = u64> {
    const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;
    let mut at = KeyedRng::new(seed, Stage::BankSample, (key, 0)).unit();
    let mut seen = HashSet::new();
    let next = move || {
        at = (at + GOLDEN_RATIO).fract();
        ((at * n as f64) as u64).min(n - 1)
    };
    std::iter::repeat_with(next).filter(move |&i| seen.insert(i)).take(n as usize)
}

impl KindCosts {
    fn of(
        entry: &ShardEntry,
        ends: &[(u64, f64)],
        stages: StageSecs,
        finish_secs: f64,
        shard_rows: u64,
    ) -> Self {
        let rows = ends.iter().map(|(rows, _)| rows).sum::<u64>();
        if rows == 0 {
            return Self::default();
        }
        let a_row = |secs: f64| secs / rows as f64;
        let finish = match entry.bytes >= LARGE_BYTES {
            true => a_row(finish_secs),
            false => finish_secs / rows.max(shard_rows) as f64,
        };
        let stages = StageSecs {
            decode: a_row(stages.decode),
            forward: a_row(stages.forward),
            encode: a_row(stages.encode) + finish,
        };
        // From the start a batch goes through all stages alone; from the first one's end on, too much may
        // be ready. The pace of a long run lies between.
        let ((first_rows, first_end), (_, end)) = (ends[0], ends[ends.len() - 1]);
        let from_start = a_row(end);
        let from_first = match rows - first_rows {
            0 => from_start,
            later => (end - first_end) / later as f64,
        };
        let checksums = |group: &crate::bank::RowGroupEntry| -> u64 {
            group.columns.iter().map(|column| column.len() as u64).sum()
        };
        Self {
            rows,
            data_bytes: entry.footer_offset,
            footer_bytes: (entry.bytes - entry.footer_offset) as f64
                / entry.row_groups.len().max(1) as f64,
            checksums: entry.row_groups.iter().map(checksums).sum(),
            row_secs: ((from_start + from_first) / 2.0).max(stages.encode),
            stages,
        }
    }

    fn a_row(&self, of_sample: u64) -> f64 {
        of_sample as f64 / self.rows.max(1) as f64
    }
}

impl RowCosts {
    /// Expected bytes of shards.
    pub(super) fn shard_bytes<'s>(
        &self,
        kinds: &[RowKind],
        format: &ShardFormat,
        shards: impl Iterator<Item = &'s PlannedShard>,
    ) -> f64 {
        let group_rows = format.rows_in(format.layout.row_group_bytes);
        let bytes = |shard: &PlannedShard| {
            let of_split =
                || self.samples.iter().zip(kinds).filter(|(_, k)| k.split == shard.split);
            let data =
                of_split().map(|(s, kind)| s.a_row(s.data_bytes) * kind.rows_in(shard) as f64);
            let footer = of_split().map(|(s, _)| s.footer_bytes).fold(0.0, f64::max);
            data.sum::<f64>() + footer * shard.len().div_ceil(group_rows) as f64
        };
        shards.map(bytes).sum()
    }

    /// Expected bytes of what is kept beside shards: their checksums, in markers and in the manifest.
    pub(super) fn checksum_bytes<'s>(
        &self,
        kinds: &[RowKind],
        shards: impl Iterator<Item = &'s PlannedShard>,
    ) -> f64 {
        // 16 digits and a comma in a marker, on a line of their own in the manifest; what a shard has
        // as well.
        const A_CHECKSUM: f64 = 60.0;
        const A_SHARD: f64 = 1000.0;
        let bytes = |shard: &PlannedShard| {
            let of_kind = |(s, kind): (&KindCosts, &RowKind)| {
                s.a_row(s.checksums) * kind.rows_in(shard) as f64
            };
            A_SHARD + A_CHECKSUM * self.samples.iter().zip(kinds).map(of_kind).sum::<f64>()
        };
        shards.map(bytes).sum()
    }

    /// Expected seconds for the rows of shards.
    pub(super) fn secs<'s>(
        &self,
        kinds: &[RowKind],
        shards: impl Iterator<Item = &'s PlannedShard>,
    ) -> f64 {
        let secs = |shard: &PlannedShard| -> f64 {
            let of_kind =
                |(s, kind): (&KindCosts, &RowKind)| s.row_secs * kind.rows_in(shard) as f64;
            self.samples.iter().zip(kinds).map(of_kind).sum()
        };
        self.first_secs + shards.map(secs).sum::<f64>()
    }

    /// Of the kind that most rows are of.
    pub(super) fn main(&self, kinds: &[RowKind]) -> KindCosts {
        let most = self.samples.iter().zip(kinds).max_by_key(|(_, kind)| kind.rows());
        most.map_or(KindCosts::default(), |(sample, _)| *sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_beginning_of_the_order_is_spread_and_all_of_it_a_permutation() {
        for n in [1, 2, 7, 100, 1000] {
            let mut all: Vec<u64> = spread(n, 3, 0).collect();
            for some in [10, 40] {
                let mut first = all[..some.min(all.len())].to_vec();
                first.sort_unstable();
                let gaps = first.windows(2).map(|pair| pair[1] - pair[0]);
                let widest = gaps.max().unwrap_or(0);
                assert!(widest <= 1 + 3 * n / some as u64, "{n} {some}: {widest}");
            }
            all.sort_unstable();
            assert_eq!(all, (0..n).collect::<Vec<_>>());
        }
    }
}
