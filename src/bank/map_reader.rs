//! Maps of chosen rows, from the pages of their column where these are as this program writes them, else
//! through the Parquet decoder.
//!
//! In such a page every list has the length of a map or is empty, so where the values of a row lie
//! follows from the levels, which are a few runs; of the values only those of wanted rows are put
//! together, straight from the four streams of bytes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::file::metadata::ParquetMetaData;
use zstd::bulk::Decompressor;

use super::BankError;
use super::columns::{Maps, feature_maps, open_group, select};
use super::map_spec::MapSpec;
use super::verified::VerifiedShard;
use crate::untrusted_parquet::{Batches, Page, SplitPage};

const VALUE_BYTES: usize = size_of::<f32>();

/// Reads maps of one row group, in order of their rows.
pub(super) struct MapReader<'a> {
    file: &'a VerifiedShard,
    metadata: &'a Arc<ParquetMetaData>,
    group: usize,
    map: &'a MapSpec,
    /// Rows that are asked for at a time.
    batch_rows: usize,
    source: Source,
    /// The maps that were read last, where they came from pages, and where each begins.
    values: Vec<f32>,
    offsets: Vec<i32>,
    /// The maps that were read last, where they came from the decoder.
    batch: Option<RecordBatch>,
}

enum Source {
    Unopened,
    Pages(MapPages),
    Decoder(Batches),
}

impl<'a> MapReader<'a> {
    /// A reader that will be asked for `batch_rows` maps at a time.
    pub(super) fn new(
        file: &'a VerifiedShard,
        metadata: &'a Arc<ParquetMetaData>,
        group: usize,
        map: &'a MapSpec,
        batch_rows: usize,
    ) -> Self {
        let (source, batch) = (Source::Unopened, None);
        let (values, offsets) = (vec![], vec![]);
        Self { file, metadata, group, map, batch_rows, source, values, offsets, batch }
    }

    /// The maps of the first `count` rows of those that are left, whatever their lengths: `batch_rows` of
    /// them, or all.
    ///
    /// # Errors
    /// A page is damaged, or is not a page of this format.
    pub(super) fn read(
        &mut self,
        left: &[(usize, usize)],
        count: usize,
    ) -> Result<Maps<'_>, BankError> {
        if let Source::Unopened = self.source {
            let pages = MapPages::open(self.file, self.group, self.map);
            self.source = pages.map_or(Source::Unopened, Source::Pages);
        }
        if let Source::Pages(pages) = &mut self.source {
            if pages.read(&left[..count], &mut self.values, &mut self.offsets)?.is_some() {
                return Ok(Maps::new(&self.values, &self.offsets));
            }
            self.source = Source::Unopened;
        }
        if let Source::Unopened = self.source {
            let (metadata, selection) = (self.metadata.clone(), (select(left), self.batch_rows));
            let columns = [self.map.name.as_str()];
            let batches = open_group(self.file, metadata, self.group, &columns, Some(selection))?;
            self.source = Source::Decoder(batches);
        }
        let Source::Decoder(batches) = &mut self.source else { return Ok(Maps::default()) };
        let batch = batches.next().transpose().map_err(|e| self.file.decode_error(&e))?;
        let batch = batch.filter(|batch| batch.num_rows() == count);
        let batch = batch.ok_or_else(|| {
            self.file.content("fewer rows than its footer says".into(), "all rows".into())
        })?;
        feature_maps(self.batch.insert(batch), &self.map.name).map_err(|found| {
            let expected = "the columns of schemas/bank-v2.md".into();
            self.file.content(format!("{found} in row group {}", self.group), expected)
        })
    }
}

/// The pages of one row group.
struct MapPages {
    file: VerifiedShard,
    pages: Vec<Page>,
    /// The first row of each page, and the rows of all.
    first_rows: Vec<u64>,
    /// Values of a map.
    length: usize,
    decompressor: Decompressor<'static>,
    /// The page that was read last, by its number.
    current: Option<(usize, Starts)>,
    /// Its levels and values.
    content: Vec<u8>,
}

/// What a page holds.
struct Starts {
    /// Of each list, where its values begin, unless it is empty.
    lists: Vec<Option<usize>>,
    /// Where the values of all begin in the page's content.
    values: usize,
}

impl MapPages {
    fn open(file: &VerifiedShard, group: usize, map: &MapSpec) -> Option<Self> {
        let (pages, length) = (file.pages(group, &map.name)?.to_vec(), map.shape().values());
        let mut first_rows = vec![0];
        for page in &pages {
            first_rows.push(first_rows.last()? + page.rows);
        }
        let (decompressor, content) = (Decompressor::new().ok()?, vec![]);
        let (file, current) = (file.session(), None);
        Some(Self { file, pages, first_rows, length, decompressor, current, content })
    }

    /// Puts the maps of some rows together. `None` where a page is another than this program writes.
    ///
    /// # Errors
    /// A page is damaged.
    fn read(
        &mut self,
        rows: &[(usize, usize)],
        values: &mut Vec<f32>,
        offsets: &mut Vec<i32>,
    ) -> Result<Option<()>, BankError> {
        values.resize(rows.len() * self.length, 0.0);
        offsets.clear();
        offsets.push(0);
        let mut at = 0;
        for &(row, _) in rows {
            let row = row as u64;
            let number = self.first_rows.partition_point(|&first| first <= row).wrapping_sub(1);
            let Some(&page) = self.pages.get(number) else { return Ok(None) };
            if self.current.as_ref().is_none_or(|(current, _)| *current != number) {
                let bytes = self.file.page(&page)?;
                let Some(starts) = self.understand(&bytes, page.rows as usize) else {
                    return Ok(None);
                };
                self.current = Some((number, starts));
            }
            let Some((_, starts)) = &self.current else { return Ok(None) };
            let list = starts.lists.get((row - self.first_rows[number]) as usize);
            if let Some(from) = list.copied().flatten() {
                let map = &mut values[at..at + self.length];
                join(&self.content[starts.values..], from, map);
                at += self.length;
            }
            let Ok(end) = i32::try_from(at) else { return Ok(None) };
            offsets.push(end);
        }
        Ok(Some(()))
    }

    /// Decompresses a page of `rows` rows into `content`.
    fn understand(&mut self, bytes: &[u8], rows: usize) -> Option<Starts> {
        let page = SplitPage::of(bytes)?;
        // Bounded by the rows: pages were checked.
        self.content.resize(page.content_bytes, 0);
        let decompressed =
            self.decompressor.decompress_to_buffer(page.compressed, self.content.as_mut_slice());
        (decompressed.ok()? == page.content_bytes).then_some(())?;
        Starts::of(&self.content, page.levels, rows, self.length)
    }
}

impl Starts {
    /// `None` where a page of `rows` rows has other lists than full ones of `length` elements and empty
    /// ones.
    fn of(content: &[u8], levels: usize, rows: usize, length: usize) -> Option<Self> {
        let (repetition, at) = levels_at(content, 0)?;
        let (definition, at) = levels_at(content, at)?;
        let full = lists(&runs(repetition, levels)?, &runs(definition, levels)?, rows, length)?;
        let mut end = 0;
        let lists = full
            .into_iter()
            .map(|full| {
                let start = full.then_some(end);
                end += if full { length } else { 0 };
                start
            })
            .collect();
        (content.len() - at == VALUE_BYTES * end).then_some(Self { lists, values: at })
    }
}

/// Encoded levels and the place after them: four bytes with their length stand before them.
fn levels_at(content: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let (length, rest) = content.get(at..)?.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    Some((rest.get(..length)?, at + 4 + length))
}

/// Levels of one bit as runs of equal ones, from Parquet's hybrid of runs and packed bits.
fn runs(encoded: &[u8], count: usize) -> Option<Vec<(bool, usize)>> {
    let mut runs: Vec<(bool, usize)> = vec![];
    let mut push = |level: bool, count: usize| match runs.last_mut() {
        Some((of, length)) if *of == level => *length += count,
        _ => runs.push((level, count)),
    };
    let (mut bytes, mut left) = (encoded.iter().copied(), count);
    while left > 0 {
        let mut header = 0;
        for shift in (0..usize::BITS - 7).step_by(7) {
            let byte = bytes.next()?;
            header |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let length = header >> 1;
        if length == 0 {
            return None;
        }
        if header & 1 == 0 {
            push(bytes.next().filter(|level| *level < 2)? == 1, length);
            left = left.checked_sub(length)?;
        } else {
            // Groups of eight; the last may go beyond the levels.
            for _ in 0..length.min(left.div_ceil(8)) {
                let packed = bytes.next()?;
                (0..left.min(8)).for_each(|bit| push(packed >> bit & 1 == 1, 1));
                left -= left.min(8);
            }
        }
    }
    Some(runs)
}

/// Which of a page's `rows` lists are full, where each has `length` elements or none.
fn lists(
    repetition: &[(bool, usize)],
    definition: &[(bool, usize)],
    rows: usize,
    length: usize,
) -> Option<Vec<bool>> {
    let mut sizes: Vec<usize> = vec![];
    for &(continues, count) in repetition {
        if continues {
            *sizes.last_mut()? += count;
        } else if sizes.len() + count <= rows {
            sizes.resize(sizes.len() + count, 1);
        } else {
            return None;
        }
    }
    let mut definition = definition.iter();
    let (mut defined, mut left) = (false, 0);
    let mut full = Vec::with_capacity(rows);
    for size in sizes {
        if left == 0 {
            (defined, left) = *definition.next()?;
        }
        left = left.checked_sub(size)?;
        match defined {
            true if size == length => full.push(true),
            false if size == 1 => full.push(false),
            _ => return None,
        }
    }
    (full.len() == rows).then_some(full)
}

/// The values from place `from` of a page in BYTE_STREAM_SPLIT: first the first bytes of all values,
/// then the second ones, and so on.
fn join(streams: &[u8], from: usize, values: &mut [f32]) {
    let stream = streams.len() / VALUE_BYTES;
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| &streams[i * stream + from..][..values.len()]);
    for ((((value, a), b), c), d) in values.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *value = f32::from_le_bytes([*a, *b, *c, *d]);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use parquet::basic::{Compression, Encoding};
    use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
    use parquet::schema::types::ColumnPath;

    use super::super::files::FolderFiles;
    use super::super::manifest::ShardEntry;
    use super::super::map_pages;
    use super::super::map_spec::{Locations, MAP_COLUMN};
    use super::super::schema::{FileColumns, LIST_ELEMENT};
    use super::super::shard::TrainRow;
    use super::super::shard::tests::{SHAPE, rows, through_the_library, write};
    use super::*;
    use crate::domain::Split;
    use crate::rng::{KeyedRng, Stage};

    type Shard = (VerifiedShard, Arc<ParquetMetaData>);

    fn open(dir: &Path, entry: &ShardEntry) -> Shard {
        open_with(dir, entry, &[MapSpec::last(SHAPE)])
    }

    fn open_with(dir: &Path, entry: &ShardEntry, maps: &[MapSpec]) -> Shard {
        let contract = FileColumns::of_split(Split::Train, maps).contract();
        VerifiedShard::open(&FolderFiles::new(dir), entry, &contract).unwrap()
    }

    /// Maps of some rows of the second row group, in two calls, and whether they came from pages.
    fn read(shard: &Shard, wanted: &[usize]) -> (Vec<Vec<f32>>, bool) {
        read_map(shard, &MapSpec::last(SHAPE), wanted)
    }

    fn read_map(
        (file, metadata): &Shard,
        map: &MapSpec,
        wanted: &[usize],
    ) -> (Vec<Vec<f32>>, bool) {
        let mut reader = MapReader::new(file, metadata, 1, map, 3);
        let mut left: Vec<(usize, usize)> = wanted.iter().map(|&row| (row, row)).collect();
        let mut read = vec![];
        while !left.is_empty() {
            let count = left.len().min(3);
            let maps = reader.read(&left, count).unwrap();
            read.extend((0..count).map(|i| maps.of(i).to_vec()));
            left.drain(..count);
        }
        (read, matches!(reader.source, Source::Pages(_)))
    }

    fn of_library(dir: &Path, rows: &[TrainRow], properties: WriterPropertiesBuilder) -> Shard {
        let zstd = Compression::ZSTD(Default::default());
        let properties = properties.set_compression(zstd).set_dictionary_enabled(false);
        let path = dir.join("other.parquet");
        let maps = [MapSpec::last(SHAPE)];
        std::fs::write(&path, through_the_library(rows, &maps, properties.build())).unwrap();
        let file = File::open(&path).unwrap();
        open(dir, &ShardEntry::of("other.parquet", &file, Split::Train, &maps).unwrap())
    }

    /// Of a convolution's map and a transformer's tokens.
    #[test]
    fn each_map_of_a_row_is_read_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let locations = Locations::Sequence { length: SHAPE.locations() };
        let (name, layer) = ("tokens".to_string(), "blocks.11".to_string());
        let tokens = MapSpec { name, layer, channels: SHAPE.channels, locations };
        let maps = [MapSpec::last(SHAPE), tokens];
        let rows = rows(25);
        let properties = WriterProperties::builder().set_dictionary_enabled(false);
        let properties = properties.set_compression(Compression::ZSTD(Default::default())).build();
        let path = dir.path().join("other.parquet");
        std::fs::write(&path, through_the_library(&rows, &maps, properties)).unwrap();
        let file = File::open(&path).unwrap();
        let entry = ShardEntry::of("other.parquet", &file, Split::Train, &maps).unwrap();
        let shard = open_with(dir.path(), &entry, &maps);
        let wanted = [0, 1, 2, 6, 8];
        let of_wanted = wanted.iter().map(|row| &rows[10 + row].feature_map);
        let main: Vec<Vec<f32>> = of_wanted.cloned().collect();
        assert_eq!(read_map(&shard, &maps[0], &wanted).0, main);
        // The file's second map has the values of the first, negated.
        let negated = main.iter().map(|map| map.iter().map(|v| -v).collect()).collect();
        assert_eq!(read_map(&shard, &maps[1], &wanted), (negated, false));
        // Its pages have checksums of their own too.
        let columns = &entry.row_groups[0].columns;
        assert_eq!((columns.len(), columns[11].len()), (12, columns[10].len()));
        let one = FileColumns::of_split(Split::Train, &maps[..1]).contract();
        let refused = VerifiedShard::open(&FolderFiles::new(dir.path()), &entry, &one);
        let refused = refused.err().unwrap().to_string();
        assert!(
            refused.contains("expected `the root` of 11 parts, found `the root` of 12 parts"),
            "{refused}"
        );
    }

    #[test]
    fn maps_are_the_same_from_pages_and_from_the_decoder() {
        let dir = tempfile::tempdir().unwrap();
        let rows = rows(25);
        // Of these 1, 4 and 7 have no map.
        let wanted = [1, 2, 4, 5, 6, 7, 8];
        let expected: Vec<Vec<f32>> =
            wanted.iter().map(|row| rows[10 + row].feature_map.clone()).collect();
        let own = open(dir.path(), &write(dir.path(), &rows));
        assert_eq!(read(&own, &wanted), (expected.clone(), true));
        let builder = WriterProperties::builder;
        let column = ColumnPath::from(vec![MAP_COLUMN.into(), "list".into(), LIST_ELEMENT.into()]);
        let split = builder().set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT);
        for (properties, from_pages) in [(split, true), (builder(), false)] {
            let other = of_library(dir.path(), &rows, properties);
            assert_eq!(read(&other, &wanted), (expected.clone(), from_pages));
        }
    }

    #[test]
    fn levels_are_understood_whichever_lists_are_empty() {
        let dir = tempfile::tempdir().unwrap();
        let (_, metadata) = open(dir.path(), &write(dir.path(), &rows(10)));
        let column = metadata.row_group(0).columns().last().unwrap().column_descr_ptr();
        let mut rng = KeyedRng::new(5, Stage::BatchRows, (0, 0));
        for length in [1, 2, 7, 8, 9, 63, 64, 100, 600] {
            for rows in [1, 2, 5, 40] {
                let full: Vec<bool> = (0..rows).map(|_| rng.below(4) > 0).collect();
                let mut content = map_pages::levels(&column, &full, length).unwrap().to_vec();
                let levels = full.iter().map(|full| if *full { length } else { 1 }).sum();
                let values = content.len();
                let maps = full.iter().filter(|full| **full).count();
                content.resize(values + VALUE_BYTES * length * maps, 0);
                let found = |rows| Starts::of(&content, levels, rows, length);
                let starts = found(rows).unwrap();
                assert_eq!(starts.values, values);
                let found_full: Vec<bool> = starts.lists.iter().map(Option::is_some).collect();
                assert_eq!(found_full, full, "{rows} lists of {length}");
                let places: Vec<usize> = starts.lists.iter().copied().flatten().collect();
                assert_eq!(places, (0..maps).map(|map| map * length).collect::<Vec<_>>());
                assert!(found(rows + 1).is_none() && found(rows - 1).is_none());
                content.pop();
                assert!(Starts::of(&content, levels, rows, length).is_none());
            }
        }
    }

    #[test]
    fn any_bytes_are_understood_or_not() {
        let mut rng = KeyedRng::new(6, Stage::BatchRows, (0, 0));
        let mut understood = 0;
        for _ in 0..20_000 {
            // Levels as they should be, or a little changed.
            let mut content = vec![4, 0, 0, 0, 2, 0, 22, 1, 2, 0, 0, 0, 24, 1];
            content.resize(content.len() + 48, 7);
            for _ in 0..rng.below(3) {
                let at = rng.below(14) as usize;
                content[at] = rng.next_u64() as u8;
            }
            content.truncate(content.len() - rng.below(2) as usize);
            if let Some(starts) = Starts::of(&content, 12, 1, 12) {
                understood += 1;
                if let Some(from) = starts.lists[0] {
                    join(&content[starts.values..], from, &mut [0.0; 12]);
                }
            }
        }
        assert!(understood > 1000);
    }

    #[test]
    fn values_are_put_together_from_their_four_bytes() {
        let values = [1.5f32, -0.0, f32::MAX, 1e-40, f32::INFINITY];
        let streams: Vec<u8> =
            (0..4).flat_map(|byte| values.map(|value| value.to_le_bytes()[byte])).collect();
        let mut found = [0.0; 3];
        join(&streams, 1, &mut found);
        assert_eq!(found.map(f32::to_bits), [values[1], values[2], values[3]].map(f32::to_bits));
    }
}
