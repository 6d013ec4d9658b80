//! Rows of a bank that take alike in bytes and time, and what each of them takes at most.

use std::collections::HashSet;

use super::request::FeaturesRequest;
use crate::bank::{BuildPlan, Manifest, PlannedShard, ShardFormat};
use crate::config::Precision;
use crate::domain::{FeatureShape, Split};

/// Rows that take alike: training rows with their maps, training rows without, rows of another split.
pub(super) struct RowKind {
    pub(super) split: Split,
    /// Whether the rows have maps.
    pub(super) maps: bool,
    /// Indices in the split, ascending.
    samples: Vec<u32>,
    /// Rows an image.
    views: u64,
    /// (sample, view) pairs an image: those beyond its rows have none.
    pairs: u64,
}

impl RowKind {
    /// The kinds that a bank has, in order of its splits, without the images that are known to have no rows.
    pub(super) fn all(request: &FeaturesRequest, plan: &BuildPlan) -> Vec<Self> {
        let dataset = request.dataset;
        let mut kinds = vec![];
        for split in Split::ALL {
            let labels = dataset.images(split).map_or(&[][..], |images| images.labels());
            let pairs = if split == Split::Train { plan.manifest.views.count as u64 } else { 1 };
            let skipped = dataset.skipped.some(split, 0..labels.len());
            let skipped: HashSet<u32> = skipped.iter().map(|i| i.sample_id as u32).collect();
            let has_map = |label| split == Split::Train && plan.manifest.maps.of_class(label);
            for maps in [true, false] {
                let of_kind = |&sample: &u32| {
                    has_map(labels[sample as usize]) == maps && !skipped.contains(&sample)
                };
                let samples: Vec<u32> = (0..labels.len() as u32).filter(of_kind).collect();
                let views = match split == Split::Train && !maps {
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
    fn rows_before(&self, pair: u64) -> u64 {
        let (sample, view) = (pair / self.pairs, (pair % self.pairs).min(self.views));
        let before = self.samples.partition_point(|&s| u64::from(s) < sample);
        let inside = self.samples.get(before).is_some_and(|&s| u64::from(s) == sample);
        before as u64 * self.views + if inside { view } else { 0 }
    }

    /// The (sample, view) pair of one of its rows.
    pub(super) fn pair(&self, row: u64) -> (u32, u32) {
        (self.samples[(row / self.views) as usize], (row % self.views) as u32)
    }

    /// Rows that are drawn together: neighbours compress and decode as they will in the bank, so they are
    /// whole images and whole pages, where few pages are enough for that.
    pub(super) fn block_rows(&self, format: &ShardFormat) -> u64 {
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

/// Bytes that a row takes at most, with its share of all else.
pub(super) fn most_bytes(kind: &RowKind, manifest: &Manifest, request: &FeaturesRequest) -> u64 {
    let dataset = request.dataset;
    let split = dataset.images(kind.split);
    let paths = split.iter().flat_map(|split| (0..split.len()).map(|i| split.path(i).len()));
    let names = dataset.class_names.iter().map(String::len);
    let text = paths.max().unwrap_or(0) + names.max().unwrap_or(0);
    most_row_bytes(kind, manifest.feature_shape, manifest.precision) + text as u64
}

fn most_row_bytes(kind: &RowKind, shape: FeatureShape, precision: Precision) -> u64 {
    /// Page headers, indexes, checksums and the integers.
    const OVERHEAD: u64 = 256;
    // Numbers are stored as f32, byte by byte. Those that f16 holds vary in 19 bits, which take up to 22
    // where a block of zstd has bytes of different kinds.
    let bits = match precision {
        Precision::F32 => 32,
        Precision::F16 => 22,
        Precision::Bf16 => 17,
    };
    let map = if kind.maps { shape.values() as u64 * bits / 8 } else { 0 };
    let cam = if kind.split == Split::Train { 5 * shape.locations() as u64 } else { 0 };
    let row = map + 4 * shape.channels as u64 + cam;
    row + row / 32 + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(samples: Vec<u32>, views: u64, maps: bool) -> RowKind {
        RowKind { split: Split::Train, maps, samples, views, pairs: views }
    }

    fn shard(items: [u64; 2]) -> PlannedShard {
        PlannedShard { split: Split::Train, place: 0, file: String::new(), items }
    }

    #[test]
    fn rows_of_a_kind_in_a_shard() {
        // Samples 0 to 4 in 3 views; 1 and 3 have maps.
        let (with, without) = (kind(vec![1, 3], 3, true), kind(vec![0, 2, 4], 3, false));
        assert_eq!((with.rows(), without.rows()), (6, 9));
        assert_eq!((with.rows_in(&shard([0, 5])), without.rows_in(&shard([0, 5]))), (2, 3));
        assert_eq!((with.rows_in(&shard([5, 10])), without.rows_in(&shard([5, 10]))), (2, 3));
        assert_eq!((with.rows_in(&shard([10, 15])), without.rows_in(&shard([10, 15]))), (2, 3));
        assert_eq!(with.rows_in(&PlannedShard { split: Split::Test, ..shard([0, 5]) }), 0);
        // The others with their clean views alone.
        let clean = RowKind { pairs: 3, ..kind(vec![0, 2, 4], 1, false) };
        let rows = [[0, 1], [1, 6], [1, 7], [6, 12], [12, 15]].map(|of| clean.rows_in(&shard(of)));
        assert_eq!((clean.rows(), rows), (3, [1, 0, 1, 1, 1]));
        assert_eq!((0..3).map(|row| clean.pair(row)).collect::<Vec<_>>(), [(0, 0), (2, 0), (4, 0)]);
        assert_eq!(
            (0..6).map(|row| with.pair(row)).collect::<Vec<_>>()[2..5],
            [(1, 2), (3, 0), (3, 1)]
        );
    }

    /// Maps of random bits, and pages in which bytes of different kinds share a block.
    #[test]
    fn no_row_takes_more_than_the_most() {
        use crate::bank::{Layout, RowHead, ShardWriter, TrainRow};
        use crate::rng::{KeyedRng, Stage};
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
            let mut writer =
                ShardWriter::nameless(&format.into(), Split::Train, dir.path()).unwrap();
            writer.append(&rows).unwrap();
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
