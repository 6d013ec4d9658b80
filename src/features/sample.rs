//! A sample of a bank's rows, made by the three stages that make the bank: the bytes and the time that a
//! row takes.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use super::pass::{Ask, Jobs, Part, StageSecs, append};
use super::rows::RowMaker;
use super::{FeaturesError, FeaturesRequest};
use crate::backbone::Backbone;
use crate::bank::{
    BuildPlan, Manifest, PlannedShard, SPLITS, ShardEntry, ShardFormat, ShardWriter,
};
use crate::config::Precision;
use crate::domain::FeatureShape;
use crate::progress::{Interrupt, Progress};
use crate::rng::{KeyedRng, Stage};

/// Rows that take alike: training rows with their maps, training rows without, rows of another split.
pub(super) struct Kind {
    pub(super) split: &'static str,
    /// Whether the rows have maps.
    pub(super) maps: bool,
    /// Indices in the split, ascending.
    samples: Vec<u32>,
    /// Rows an image.
    views: u64,
    /// (sample, view) pairs an image: those beyond its rows have none.
    pairs: u64,
}

impl Kind {
    /// The kinds that a bank has, in order of its splits, without the images that are known to have no rows.
    pub(super) fn all(request: &FeaturesRequest, plan: &BuildPlan) -> Vec<Self> {
        let dataset = request.dataset;
        let mut kinds = vec![];
        for split in SPLITS {
            let (labels, pairs) = match split {
                "train" => (dataset.train.labels(), plan.manifest.views.count as u64),
                "val" => (dataset.val.as_ref().map_or(&[][..], |val| val.labels()), 1),
                _ => (dataset.test.labels(), 1),
            };
            let skipped = dataset.skipped.some(split, 0..labels.len());
            let skipped: HashSet<u32> = skipped.iter().map(|i| i.sample_id as u32).collect();
            let has_map = |label| split == "train" && plan.manifest.maps.of_class(label);
            for maps in [true, false] {
                let of_kind = |&sample: &u32| {
                    has_map(labels[sample as usize]) == maps && !skipped.contains(&sample)
                };
                let samples: Vec<u32> = (0..labels.len() as u32).filter(of_kind).collect();
                let views = match split == "train" && !maps {
                    true => plan.manifest.maps.least_views(pairs as usize) as u64,
                    false => pairs,
                };
                if !samples.is_empty() {
                    kinds.push(Self { split, maps, samples, views, pairs });
                }
            }
        }
        kinds
    }

    /// Its images.
    pub(super) fn images(&self) -> u64 {
        self.samples.len() as u64
    }

    /// All its rows.
    pub(super) fn rows(&self) -> u64 {
        self.samples.len() as u64 * self.views
    }

    /// Its rows among those of a shard.
    pub(super) fn rows_in(&self, shard: &PlannedShard) -> u64 {
        match self.split == shard.split {
            true => self.rows_before(shard.items[1]) - self.rows_before(shard.items[0]),
            false => 0,
        }
    }

    /// Its rows before a (sample, view) pair of the split.
    fn rows_before(&self, item: u64) -> u64 {
        let (sample, view) = (item / self.pairs, (item % self.pairs).min(self.views));
        let before = self.samples.partition_point(|&s| u64::from(s) < sample);
        let inside = self.samples.get(before).is_some_and(|&s| u64::from(s) == sample);
        before as u64 * self.views + if inside { view } else { 0 }
    }

    fn item(&self, row: u64) -> (u32, u32) {
        (self.samples[(row / self.views) as usize], (row % self.views) as u32)
    }

    /// Rows that are drawn together: neighbours compress and decode as they will in the bank, so they are
    /// whole images and whole pages, where few pages are enough for that.
    fn block_rows(&self, format: &ShardFormat) -> u64 {
        const MOST_PAGES: u64 = 4;
        const MOST_PAGE_ROWS: u64 = 128;
        let page = match self.maps {
            true => format.rows_in(format.layout.map_page_bytes).min(MOST_PAGE_ROWS),
            false => 1,
        };
        let whole = (1..=MOST_PAGES).map(|n| n * page).find(|rows| rows % self.views == 0);
        whole.unwrap_or((MOST_PAGES * page).next_multiple_of(self.views))
    }
}

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
pub(super) struct Sample {
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
pub(super) struct Measured {
    pub(super) samples: Vec<Sample>,
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
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a Interrupt,
}

impl Sampler<'_> {
    /// Makes some rows of every kind; they are written to the bank's disk, and gone.
    ///
    /// # Cost
    /// 2 s for the largest kind and 0.5 s for each of the others where the network is fast, 20 s and 5 s
    /// where it is slow; more where 32 rows take longer.
    pub(super) fn measure(
        &self,
        kinds: &[Kind],
        backbone: &mut dyn Backbone,
    ) -> Result<Measured, FeaturesError> {
        self.progress.line("measuring a sample of the rows, of which nothing stays");
        let begin = Instant::now();
        let jobs = Jobs::new(self.request);
        let most = kinds.iter().map(Kind::rows).max().unwrap_or(0);
        let largest = kinds.iter().position(|kind| kind.rows() == most);
        let (mut batch, mut first_secs) = (jobs.batch_size(), 0.0);
        if let Some(largest) = largest {
            (batch, first_secs) = warm_up(&jobs, &kinds[largest], backbone)?;
        }
        let mut samples = vec![];
        for (place, kind) in kinds.iter().enumerate() {
            let effort = if Some(place) == largest { THOROUGH } else { BRIEF };
            let shard = PlannedShard { place, ..planned(kind) };
            samples.push(self.one(&jobs, kind, &shard, effort, batch, backbone)?);
        }
        Ok(Measured { samples, first_secs, secs: begin.elapsed().as_secs_f64() })
    }

    /// Makes some rows of a kind, as if it were the shard `shard`, in batches of `batch`.
    fn one<'s>(
        &self,
        jobs: &Jobs,
        kind: &Kind,
        shard: &'s PlannedShard,
        effort: Effort,
        batch: usize,
        backbone: &mut dyn Backbone,
    ) -> Result<Sample, FeaturesError> {
        let mut writer = ShardWriter::nameless(self.format, kind.split, self.place)?;
        let begin = Instant::now();
        let secs = || begin.elapsed().as_secs_f64();
        let block_rows = kind.block_rows(self.format);
        let most_rows = (self.room / most_bytes(kind, self.manifest, self.request)).max(LEAST_ROWS);
        let enough = |rows: u64, blocks: u64, batches: u64| {
            let seen = rows >= effort.rows
                && blocks >= effort.blocks
                && batches >= effort.batches
                && secs() >= effort.secs;
            let late = rows >= LEAST_ROWS && secs() >= effort.most_secs;
            seen || late || rows >= most_rows || self.interrupt.requested()
        };
        let ask = |make: &mut Ask<'_, 's>| {
            let (mut waiting, mut rows, mut batches) = (vec![], 0, 0);
            let blocks = kind.rows().div_ceil(block_rows);
            let order = spread(blocks, self.manifest.views.seed, shard.place as u64);
            for (taken, block) in (0..).zip(order) {
                if enough(rows + waiting.len() as u64, taken, batches) {
                    break;
                }
                let to = kind.rows().min((block + 1) * block_rows);
                waiting.extend((block * block_rows..to).map(|row| kind.item(row)));
                while waiting.len() >= batch {
                    let later = waiting.split_off(batch);
                    if !make(shard, &waiting, false) {
                        return Ok(());
                    }
                    (rows, batches) = (rows + batch as u64, batches + 1);
                    waiting = later;
                }
            }
            if !waiting.is_empty() {
                make(shard, &waiting, false);
            }
            Ok(())
        };
        // Rows of each batch, and when it was encoded.
        let mut ends: Vec<(u64, f64)> = vec![];
        let encode = |shard: &PlannedShard, part: Part| {
            let rows = part.rows as u64;
            append(&mut writer, shard.split, jobs.rows(shard, part, &self.maker)?)?;
            ends.push((rows, secs()));
            Ok(())
        };
        let stages = jobs.stages(ask, backbone, &mut |_| {}, encode)?;
        if self.interrupt.requested() {
            return Err(FeaturesError::InterruptedSample);
        }
        let finish = Instant::now();
        let entry = writer.discard()?;
        let finish_secs = finish.elapsed().as_secs_f64();
        Ok(Sample::of(&entry, &ends, stages, finish_secs, self.shard_rows()))
    }

    fn shard_rows(&self) -> u64 {
        self.format.rows_in(self.format.layout.shard_bytes)
    }
}

/// As if a kind were a shard.
fn planned(kind: &Kind) -> PlannedShard {
    PlannedShard { split: kind.split, place: 0, file: String::new(), items: [0, kind.rows()] }
}

/// Computes a few maps, for what a network does only once; returns how many images a batch of the sample
/// has, and the seconds that were lost.
fn warm_up(
    jobs: &Jobs,
    kind: &Kind,
    backbone: &mut dyn Backbone,
) -> Result<(usize, f64), FeaturesError> {
    const FEW: usize = 4;
    let mut forward = |images: usize| {
        let items: Vec<(u32, u32)> =
            (0..kind.rows().min(images as u64)).map(|row| kind.item(row)).collect();
        let part = jobs.inputs(&planned(kind), &items)?;
        let begin = Instant::now();
        if !part.items.is_empty() {
            backbone.feature_maps(&part.values, part.items.len())?;
        }
        Ok::<_, FeaturesError>(begin.elapsed().as_secs_f64())
    };
    let first = forward(FEW)?;
    let second = forward(FEW)?;
    let fits = (BATCH_SECS * FEW as f64 / second.max(1e-9)) as usize;
    let batch = jobs.batch_size().min(fits.max(LEAST_BATCH));
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

impl Sample {
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

impl Measured {
    /// Expected bytes of shards.
    pub(super) fn shard_bytes<'s>(
        &self,
        kinds: &[Kind],
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
        kinds: &[Kind],
        shards: impl Iterator<Item = &'s PlannedShard>,
    ) -> f64 {
        // 16 digits and a comma in a marker, on a line of their own in the manifest; what a shard has
        // besides.
        const A_CHECKSUM: f64 = 60.0;
        const A_SHARD: f64 = 1000.0;
        let bytes = |shard: &PlannedShard| {
            let of_kind =
                |(s, kind): (&Sample, &Kind)| s.a_row(s.checksums) * kind.rows_in(shard) as f64;
            A_SHARD + A_CHECKSUM * self.samples.iter().zip(kinds).map(of_kind).sum::<f64>()
        };
        shards.map(bytes).sum()
    }

    /// Expected seconds for the rows of shards.
    pub(super) fn secs<'s>(
        &self,
        kinds: &[Kind],
        shards: impl Iterator<Item = &'s PlannedShard>,
    ) -> f64 {
        let secs = |shard: &PlannedShard| -> f64 {
            let of_kind = |(s, kind): (&Sample, &Kind)| s.row_secs * kind.rows_in(shard) as f64;
            self.samples.iter().zip(kinds).map(of_kind).sum()
        };
        self.first_secs + shards.map(secs).sum::<f64>()
    }

    /// Of the kind that most rows are of.
    pub(super) fn main(&self, kinds: &[Kind]) -> Sample {
        let most = self.samples.iter().zip(kinds).max_by_key(|(_, kind)| kind.rows());
        most.map_or(Sample::default(), |(sample, _)| *sample)
    }
}

/// Bytes that a row takes at most, with its share of all else.
pub(super) fn most_bytes(kind: &Kind, manifest: &Manifest, request: &FeaturesRequest) -> u64 {
    let dataset = request.dataset;
    let split = match kind.split {
        "train" => Some(&dataset.train),
        "val" => dataset.val.as_ref(),
        _ => Some(&dataset.test),
    };
    let paths = split.iter().flat_map(|split| (0..split.len()).map(|i| split.path(i).len()));
    let names = dataset.class_names.iter().map(String::len);
    let text = paths.max().unwrap_or(0) + names.max().unwrap_or(0);
    most_row_bytes(kind, manifest.feature_shape, manifest.precision) + text as u64
}

fn most_row_bytes(kind: &Kind, shape: FeatureShape, precision: Precision) -> u64 {
    /// Page headers, indexes, checksums and the integers.
    const BESIDES: u64 = 256;
    // Numbers are stored as f32, byte by byte. Those that f16 holds vary in 19 bits, which take up to 22
    // where a block of zstd has bytes of different kinds.
    let bits = match precision {
        Precision::F32 => 32,
        Precision::F16 => 22,
        Precision::Bf16 => 17,
    };
    let map = if kind.maps { shape.values() as u64 * bits / 8 } else { 0 };
    let cam = if kind.split == "train" { 5 * shape.locations() as u64 } else { 0 };
    let row = map + 4 * shape.channels as u64 + cam;
    row + row / 32 + BESIDES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(samples: Vec<u32>, views: u64, maps: bool) -> Kind {
        Kind { split: "train", maps, samples, views, pairs: views }
    }

    fn shard(items: [u64; 2]) -> PlannedShard {
        PlannedShard { split: "train", place: 0, file: String::new(), items }
    }

    #[test]
    fn rows_of_a_kind_in_a_shard() {
        // Samples 0 to 4 in 3 views; 1 and 3 have maps.
        let (with, without) = (kind(vec![1, 3], 3, true), kind(vec![0, 2, 4], 3, false));
        assert_eq!((with.rows(), without.rows()), (6, 9));
        assert_eq!((with.rows_in(&shard([0, 5])), without.rows_in(&shard([0, 5]))), (2, 3));
        assert_eq!((with.rows_in(&shard([5, 10])), without.rows_in(&shard([5, 10]))), (2, 3));
        assert_eq!((with.rows_in(&shard([10, 15])), without.rows_in(&shard([10, 15]))), (2, 3));
        assert_eq!(with.rows_in(&PlannedShard { split: "test", ..shard([0, 5]) }), 0);
        // The others with their clean views alone.
        let clean = Kind { pairs: 3, ..kind(vec![0, 2, 4], 1, false) };
        let rows = [[0, 1], [1, 6], [1, 7], [6, 12], [12, 15]].map(|of| clean.rows_in(&shard(of)));
        assert_eq!((clean.rows(), rows), (3, [1, 0, 1, 1, 1]));
        assert_eq!((0..3).map(|row| clean.item(row)).collect::<Vec<_>>(), [(0, 0), (2, 0), (4, 0)]);
        assert_eq!(
            (0..6).map(|row| with.item(row)).collect::<Vec<_>>()[2..5],
            [(1, 2), (3, 0), (3, 1)]
        );
    }

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

    /// Maps of random bits, and pages in which bytes of different kinds share a block.
    #[test]
    fn no_row_takes_more_than_the_most() {
        use crate::bank::{Layout, RowHead, TrainRow};
        let dir = tempfile::tempdir().unwrap();
        for ([channels, height, width], precision) in [
            ([64, 8, 8], Precision::F16),
            ([511, 7, 7], Precision::F16),
            ([64, 8, 8], Precision::Bf16),
            ([64, 8, 8], Precision::F32),
            ([16, 1, 1], Precision::F16),
        ] {
            let shape = FeatureShape { channels, height, width };
            let mut rng = KeyedRng::new(7, Stage::BankSample, (channels as u64, 0));
            let mut number = || loop {
                let bits = rng.next_u64();
                let number = match precision {
                    Precision::F16 => half::f16::from_bits(bits as u16).to_f32(),
                    Precision::Bf16 => half::bf16::from_bits(bits as u16).to_f32(),
                    Precision::F32 => f32::from_bits(bits as u32),
                };
                if number.is_finite() {
                    return number;
                }
            };
            let mut numbers = |n: usize| (0..n).map(|_| number()).collect::<Vec<f32>>();
            let mut row = |sample_id| TrainRow {
                head: RowHead {
                    sample_id,
                    view: 0,
                    path: format!("{sample_id:08}"),
                    label: 0,
                    predicted: 0,
                    confidence: 0.5,
                    pooled: numbers(channels),
                },
                cam: numbers(shape.locations()),
                nonzero: vec![true; shape.locations()],
                feature_map: numbers(shape.values()),
            };
            let rows: Vec<TrainRow> = (0..32).map(&mut row).collect();
            let class_names = vec!["a".to_string()];
            let format = ShardFormat { shape, layout: Layout::default(), class_names };
            let mut writer = ShardWriter::nameless(&format.into(), "train", dir.path()).unwrap();
            writer.append_train(&rows).unwrap();
            let entry = writer.discard().unwrap();
            let most = 32 * (most_row_bytes(&kind(vec![0], 1, true), shape, precision) + 9);
            assert!(entry.footer_offset < most, "{shape} {precision:?}: {}", entry.bytes);
            assert!(entry.bytes < most + (1 << 13), "{shape} {precision:?}: {}", entry.bytes);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn blocks_are_whole_pages_and_whole_images() {
        use crate::bank::Layout;
        let rows = |channels, side, views| {
            let shape = FeatureShape { channels, height: side, width: side };
            let format = ShardFormat { shape, layout: Layout::default(), class_names: vec![] };
            kind(vec![0], views, true).block_rows(&format)
        };
        // Pages of 1, 16, 128 and 4096 rows, of which the last are too many.
        assert_eq!([rows(2048, 7, 1), rows(2048, 7, 4), rows(2048, 7, 10)], [1, 4, 10]);
        assert_eq!(
            [rows(64, 8, 1), rows(64, 8, 4), rows(64, 8, 3), rows(64, 8, 10)],
            [16, 16, 48, 70]
        );
        assert_eq!([rows(512, 1, 2), rows(16, 1, 1)], [128, 128]);
    }
}
