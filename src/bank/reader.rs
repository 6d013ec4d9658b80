//! Reading a bank: its index, all rows without their maps, or chosen columns of chosen rows as a stream.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::file::metadata::ParquetMetaData;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::columns::{
    Column, Maps, RowValues, bools, cam, ids, open_group, part_of, pooled, select,
};
use super::files::{BankFiles, FolderFiles, read_at_most};
use super::index::{Position, RowIndex, RowRequest, Rows, in_order};
use super::manifest::{Manifest, SplitEntry};
use super::map_reader::MapReader;
use super::map_spec::MapSpec;
use super::maps::MapsKept;
use super::schema::FileColumns;
use super::verified::{VerifiedShard, read_whole};
use super::{BankError, CLASSES_FILE, CLASSIFIER_FILE, classes};
use crate::classifier_file::ClassifierCard;
use crate::domain::{ClassCounts, FeatureShape, LinearHead, Split};
use crate::untrusted_parquet::Contract;
use crate::weights::Weights;

/// What the program takes in addition to what it plans: code, stacks, buffers of decoders, and what the
/// allocator keeps for later.
const PROCESS_BYTES: u64 = 128 << 20;
/// What is known of a row's page of maps: its place and checksum, in the manifest and twice in readers.
const PAGE_BYTES: u64 = 256;

/// An open bank: manifest, classes and Phase-I classifier, all checked.
pub struct Bank {
    files: Arc<dyn BankFiles>,
    /// What the bank says of itself.
    pub manifest: Manifest,
    /// sha256 of the manifest, which names the bank: it covers every other file.
    pub id: String,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Training images of each class.
    pub class_counts: ClassCounts,
    /// The Phase-I classifier.
    pub head: LinearHead,
    /// Which classes and which network it belongs to.
    pub card: ClassifierCard,
}

impl Bank {
    /// Opens a bank. No shard is read yet.
    ///
    /// # Errors
    /// The folder is not a finished bank, a file is damaged, or the classifier is not the bank's.
    pub fn open(dir: &Path) -> Result<Self, BankError> {
        Self::of_manifest(Arc::new(FolderFiles::new(dir)), Manifest::load(dir)?)
    }

    /// Opens a bank that lies anywhere. No shard is read yet.
    ///
    /// # Errors
    /// As [`Bank::open`].
    pub fn read(files: Arc<dyn BankFiles>) -> Result<Self, BankError> {
        let manifest = Manifest::read(&*files)?;
        Self::of_manifest(files, manifest)
    }

    fn of_manifest(
        files: Arc<dyn BankFiles>,
        (manifest, manifest_bytes): (Manifest, Vec<u8>),
    ) -> Result<Self, BankError> {
        let content = |name: &str| {
            let entry = manifest.files.get(name).ok_or_else(|| BankError::Manifest {
                path: files.location(super::MANIFEST_FILE),
                found: format!("no entry for {name}"),
            })?;
            read_whole(&*files, name, entry.bytes, entry.xxh3)
        };
        let path = files.location(CLASSIFIER_FILE);
        let weights = read_at_most(&*files, CLASSIFIER_FILE, u64::MAX)
            .map_err(|source| BankError::Read { path: path.clone(), source })
            .and_then(|bytes| Ok(Weights::from_bytes(&bytes, &path)?));
        // A classifier that was put in place of the bank's is undamaged, so its own hash is checked first.
        let weights = weights.map_err(|e| content(CLASSIFIER_FILE).err().unwrap_or(e))?;
        let found = weights.sha256();
        if found != manifest.classifier_sha256 {
            let expected = manifest.classifier_sha256;
            return Err(BankError::OtherClassifier { path, found, expected });
        }
        let (classes, shape) = (manifest.dataset.classes, manifest.feature_shape);
        let head = weights.linear_head(classes, shape.channels, &path)?;
        let card = ClassifierCard::of(&weights);
        drop(weights);
        content(CLASSIFIER_FILE)?;
        let images = manifest.split(Split::Train).map_or(0, |split| split.rows);
        let (class_names, class_counts) =
            classes::read(content(CLASSES_FILE)?, shape, classes, images).map_err(|found| {
                BankError::Content {
                    path: files.location(CLASSES_FILE),
                    found,
                    expected: format!("{classes} classes with label, name and train_images"),
                }
            })?;
        let id = crate::text::hex(&Sha256::digest(&manifest_bytes));
        Ok(Self { files, manifest, id, class_names, class_counts, head, card })
    }

    /// The bank's folder.
    pub fn dir(&self) -> &Path {
        self.files.place()
    }

    /// Whether the bank has a split.
    pub fn has(&self, split: Split) -> bool {
        self.manifest.split(split).is_some()
    }

    /// Training rows that have a map.
    pub fn map_rows(&self) -> u64 {
        let rows = self.manifest.split(Split::Train).map_or(0, |split| split.rows);
        let MapsKept::Needed { classes, .. } = &self.manifest.maps else {
            return if self.manifest.maps.is_all() { rows } else { 0 };
        };
        let images = |&class: &u32| self.class_counts.0.get(class as usize).copied().unwrap_or(0);
        let images = classes.iter().map(images).fold(0u64, u64::saturating_add);
        images.saturating_mul(self.manifest.views.count as u64).min(rows)
    }

    /// Bytes of memory that the program takes with the index of the training rows read, whatever is done with
    /// them.
    pub fn open_bytes(&self) -> u64 {
        let rows = self.manifest.split(Split::Train).map_or(0, |split| split.rows);
        PROCESS_BYTES + self.map_rows() * PAGE_BYTES + RowIndex::bytes(rows)
    }

    fn split(&self, split: Split) -> Result<&SplitEntry, BankError> {
        self.manifest.split(split).ok_or_else(|| BankError::Manifest {
            path: self.files.location(super::MANIFEST_FILE),
            found: format!("this bank has no split `{}`", split.name()),
        })
    }

    fn contract(&self, split: Split) -> Contract {
        FileColumns::of_split(split, &self.manifest.map_specs()).contract()
    }

    /// Which rows a split has.
    ///
    /// # Errors
    /// A shard is damaged or breaks the contract.
    ///
    /// # Cost
    /// 24 bytes a row in memory, twice that while sorting ([`RowIndex::bytes`]).
    pub fn index(&self, split: Split) -> Result<RowIndex, BankError> {
        let mut index = RowIndex::default();
        self.read_groups(split, &[])?.into_iter().for_each(|part| index.extend(part.index));
        index.sort();
        self.check_rows(split, &index)?;
        Ok(index)
    }

    /// All rows of a split without their maps.
    ///
    /// # Errors
    /// A shard is damaged or breaks the contract.
    ///
    /// # Cost
    /// n · (K + 2 L) values in memory; `feature_map` is not read.
    pub fn rows(&self, split: Split) -> Result<Rows, BankError> {
        let columns: &[&str] = match split {
            Split::Train => &["pooled", "cam", "nonzero"],
            _ => &["pooled"],
        };
        let parts = self.read_groups(split, columns)?;
        let mut rows = Rows::default();
        for part in parts {
            rows.index.extend(part.index);
            rows.pooled.extend(part.pooled);
            rows.cam.extend(part.cam);
            rows.nonzero.extend(part.nonzero);
        }
        let rows = in_order(rows);
        self.check_rows(split, &rows.index)?;
        Ok(rows)
    }

    /// The rows of each row group, with the named columns in addition to those of the index.
    fn read_groups(&self, split: Split, columns: &[&str]) -> Result<Vec<Rows>, BankError> {
        let entry = self.split(split)?;
        let contract = self.contract(split);
        let mut tasks = vec![];
        for (shard, shard_entry) in entry.shards.iter().enumerate() {
            let (file, metadata) = VerifiedShard::open(&*self.files, shard_entry, &contract)?;
            tasks.extend(
                (0..metadata.num_row_groups())
                    .map(|group| (shard, group, file.clone(), metadata.clone())),
            );
        }
        tasks
            .into_par_iter()
            .map(|(shard, group, file, metadata)| {
                self.read_group(columns, shard, group, file, metadata)
            })
            .collect()
    }

    fn read_group(
        &self,
        columns: &[&str],
        shard: usize,
        group: usize,
        file: VerifiedShard,
        metadata: Arc<ParquetMetaData>,
    ) -> Result<Rows, BankError> {
        let shape = self.manifest.feature_shape;
        let names = [&["sample_id", "view", "label"], columns].concat();
        let mut rows = Rows::default();
        for batch in open_group(&file, metadata, group, &names, None)? {
            let batch = batch.map_err(|e| file.decode_error(&e))?;
            let wrong = |found| file.content(found, "the columns of schemas/bank-v2.md".into());
            rows.index.sample_ids.extend(ids(&batch, "sample_id").map_err(wrong)?);
            rows.index.views.extend(ids(&batch, "view").map_err(wrong)?);
            rows.index.labels.extend(ids(&batch, "label").map_err(wrong)?);
            for &column in columns {
                let wrong = |found| wrong(format!("{found} in row group {group}"));
                match column {
                    "pooled" => {
                        rows.pooled.extend_from_slice(pooled(&batch, shape).map_err(wrong)?);
                    }
                    "cam" => rows.cam.extend_from_slice(cam(&batch, shape).map_err(wrong)?),
                    _ => rows
                        .nonzero
                        .extend(bools(&batch, "nonzero", shape.locations()).map_err(wrong)?),
                }
            }
        }
        let position = |row| Position { shard: shard as u32, row_group: group as u32, row };
        rows.index.positions = (0..rows.len() as u32).map(position).collect();
        let classes = self.manifest.dataset.classes;
        if let Some(label) = rows.index.labels.iter().find(|&&l| l as usize >= classes) {
            return Err(file.content(
                format!("label {label} in row group {group}"),
                format!("0 to {}", classes - 1),
            ));
        }
        Ok(rows)
    }

    /// What the rows of a split must be together, in their order.
    fn check_rows(&self, split: Split, rows: &RowIndex) -> Result<(), BankError> {
        let name = split.name();
        let wrong = |found: String, expected: String| {
            Err(BankError::Content { path: self.dir().into(), found, expected })
        };
        let expected = self.split(split)?.rows;
        if rows.len() as u64 != expected {
            let found = format!("{} rows in split {name}", rows.len());
            return wrong(found, expected.to_string());
        }
        if let Some((sample_id, view)) = rows.repeated() {
            let found = format!("sample {sample_id}, view {view} of split {name} twice");
            return wrong(found, "each once".into());
        }
        if split == Split::Train {
            let mut images = vec![0; self.class_counts.0.len()];
            let clean = rows.labels.iter().zip(&rows.views).filter(|(_, view)| **view == 0);
            clean.for_each(|(&label, _)| images[label as usize] += 1);
            let differs = |(found, expected): (&u64, &u64)| found != expected;
            if let Some(class) = images.iter().zip(&self.class_counts.0).position(differs) {
                let found = format!("{} images of class {class} in split {name}", images[class]);
                let expected = self.class_counts.0[class];
                return wrong(found, format!("{expected}, as in {CLASSES_FILE}"));
            }
        }
        Ok(())
    }

    /// Opens the shards of a split for [`RowReader::read`].
    ///
    /// # Errors
    /// A shard is missing or damaged.
    pub fn row_reader(&self, split: Split) -> Result<RowReader, BankError> {
        self.row_reader_of(split, &self.manifest.map_specs()[0])
    }

    /// The same, whose [`Column::FeatureMap`] is the map `map` of [`Manifest::map_specs`].
    ///
    /// # Errors
    /// As [`Bank::row_reader`]; where the bank has no such map, when it is read.
    pub fn row_reader_of(&self, split: Split, map: &MapSpec) -> Result<RowReader, BankError> {
        let shards = &self.split(split)?.shards;
        let contract = self.contract(split);
        let shards = shards.iter().map(|entry| VerifiedShard::open(&*self.files, entry, &contract));
        let (shape, kept) = (self.manifest.feature_shape, self.manifest.maps.clone());
        Ok(RowReader { shards: shards.collect::<Result<_, _>>()?, shape, map: map.clone(), kept })
    }
}

/// Reads chosen rows of a split.
pub struct RowReader {
    shards: Vec<(VerifiedShard, Arc<ParquetMetaData>)>,
    /// Of the main map, which the other columns follow from.
    shape: FeatureShape,
    /// The map that is read.
    map: MapSpec,
    /// Which rows have maps.
    kept: MapsKept,
}

/// Bytes of values that are decoded at a time.
const DECODE_BYTES: usize = 1 << 20;

impl RowReader {
    /// Decodes some columns of the rows of one request and hands each row to `take`.
    ///
    /// # Errors
    /// A page is damaged, a value is outside its range, a map is missing or is where none should be, or a
    /// map is asked for of a row of a class whose maps the bank does not keep.
    ///
    /// # Cost
    /// Of `feature_map` only the pages that hold wanted rows are read and checked, and only wanted
    /// rows decoded; the other columns are read by row group.
    pub fn read(
        &self,
        request: &RowRequest,
        columns: &[Column],
        mut take: impl FnMut(usize, RowValues<'_>),
    ) -> Result<(), BankError> {
        let (file, metadata) = &self.shards[request.shard];
        let group = request.row_group;
        let mut names: Vec<&str> =
            columns.iter().flat_map(|column| column.names()).copied().collect();
        let with_maps = columns.contains(&Column::FeatureMap);
        let some_maps = with_maps && !self.kept.is_all();
        if some_maps {
            names.push("label");
        }
        let row_bytes: usize = columns.iter().map(|column| 4 * self.values(*column)).sum();
        let batch_rows = (DECODE_BYTES / row_bytes.max(1)).max(1);
        let (channels, locations) = (self.shape.channels, self.shape.locations());
        let mut batches = match names.is_empty() {
            true => None,
            false => {
                let selection = Some((select(&request.rows), batch_rows));
                Some(open_group(file, metadata.clone(), group, &names, selection)?)
            }
        };
        let mut map_reader = MapReader::new(file, metadata, group, &self.map, batch_rows);
        let wrong = |found: String| {
            file.content(
                format!("{found} in row group {group}"),
                "the columns of schemas/bank-v2.md".into(),
            )
        };
        let cut_short =
            || file.content("fewer rows than its footer says".into(), "all rows".into());
        let mut left = request.rows.as_slice();
        while !left.is_empty() {
            let batch = match &mut batches {
                Some(batches) => {
                    let batch = batches.next().ok_or_else(cut_short)?;
                    Some(batch.map_err(|e| file.decode_error(&e))?)
                }
                None => None,
            };
            let count = batch.as_ref().map_or(batch_rows, RecordBatch::num_rows).min(left.len());
            if count == 0 {
                return Err(cut_short());
            }
            let (mut vectors, mut cams): (&[f32], &[f32]) = (&[], &[]);
            let (mut flags, mut labels, mut maps) = (vec![], vec![], Maps::default());
            if let Some(batch) = &batch {
                if some_maps {
                    labels = ids(batch, "label").map_err(wrong)?;
                }
                if columns.contains(&Column::Pooled) {
                    vectors = pooled(batch, self.shape).map_err(wrong)?;
                }
                if columns.contains(&Column::Cam) {
                    cams = cam(batch, self.shape).map_err(wrong)?;
                    flags = bools(batch, "nonzero", locations).map_err(wrong)?;
                }
            }
            if with_maps {
                maps = map_reader.read(left, count)?;
                maps.check(&self.map, &self.kept, &labels).map_err(wrong)?;
            }
            if let Some(&class) = labels.iter().find(|&&label| !self.kept.of_class(label)) {
                let (path, kept) = (file.path().into(), self.kept.to_string());
                return Err(BankError::NoMap { path, class, kept });
            }
            let (now, later) = left.split_at(count);
            for (i, (_, row)) in now.iter().enumerate() {
                let nonzero = flags.get(i * locations..(i + 1) * locations).unwrap_or_default();
                take(
                    *row,
                    RowValues {
                        pooled: part_of(vectors, channels, i),
                        cam: part_of(cams, locations, i),
                        nonzero,
                        map: maps.of(i),
                    },
                );
            }
            left = later;
        }
        Ok(())
    }

    /// Values of a row.
    fn values(&self, column: Column) -> usize {
        match column {
            Column::Pooled => self.shape.channels,
            Column::Cam => 2 * self.shape.locations(),
            Column::FeatureMap => self.map.shape().values(),
        }
    }

    /// The pooled vectors of some rows (of `index`, ascending), in their order: `into` [n, K].
    ///
    /// # Errors
    /// A shard is damaged or holds a value that is not finite.
    pub fn pooled(
        &self,
        index: &RowIndex,
        rows: &[usize],
        into: &mut Vec<f32>,
    ) -> Result<(), BankError> {
        let channels = self.shape.channels;
        into.resize(rows.len() * channels, 0.0);
        let read = |request: &RowRequest| {
            let mut values = Vec::with_capacity(request.rows.len() * channels);
            self.read(request, &[Column::Pooled], |_, row| values.extend_from_slice(row.pooled))?;
            Ok(values)
        };
        for requests in index.plan(rows).chunks(REQUESTS_AT_A_TIME) {
            let parts: Vec<Vec<f32>> =
                requests.par_iter().map(read).collect::<Result<_, BankError>>()?;
            for (request, values) in requests.iter().zip(parts) {
                for (row, vector) in request.rows().zip(values.chunks_exact(channels)) {
                    let place = rows.partition_point(|&r| r < row);
                    into[place * channels..][..channels].copy_from_slice(vector);
                }
            }
        }
        Ok(())
    }

    /// Bytes that were read from the shards and checked.
    pub fn bytes_read(&self) -> u64 {
        self.shards.iter().map(|(file, _)| file.bytes_read()).sum()
    }
}

/// Requests whose decoded vectors are in memory together.
const REQUESTS_AT_A_TIME: usize = 16;
