//! `manifest.json`: what the bank is, its files, and a checksum for every range of their bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::{BankFiles, FolderFiles, read_at_most};
use super::map_spec::MapSpec;
use super::maps::MapsKept;
use super::schema::check_maps;
use super::{BankError, unfinished};
use crate::atomic_file::{self, WriteError};
use crate::config::{InputSpec, Precision};
use crate::domain::{FeatureShape, FitOptions, Split};
use crate::untrusted_parquet::MOST_EXPANSION;

/// The newest format that this version reads, and the one it writes; it reads all older ones.
pub const FORMAT_VERSION: u32 = 2;
/// The first version of the program that reads [`FORMAT_VERSION`].
const NEEDS: &str = "0.2.0";
/// The manifest's name.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Names, counts and Phase-I weights of the classes, for SQL.
pub const CLASSES_FILE: &str = "classes.parquet";
/// The Phase-I classifier.
pub const CLASSIFIER_FILE: &str = "classifier.safetensors";
const FORMAT_NAME: &str = "fsa-bank";
/// A larger file is not a manifest: one of a page for each of 20 million maps takes as much.
const MOST_BYTES: u64 = 1 << 30;
/// Rows of a split at most; they are numbered in 32 bits.
pub(super) const MOST_ROWS: u64 = u32::MAX as u64;

/// XXH3-64 of a range of bytes; 16 hexadecimal digits in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Checksum(pub u64);

impl Checksum {
    /// Of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(twox_hash::XxHash3_64::oneshot(bytes))
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Checksum {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Checksum {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16)
            .map(Self)
            .map_err(|_| serde::de::Error::custom(format!("`{text}` is not a checksum")))
    }
}

/// The whole manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `fsa-bank`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// The first version of the program that reads this format; empty in format 1.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub needs: String,
    /// Program and version that wrote the bank.
    pub writer: String,
    /// Name of the pipeline.
    pub name: String,
    /// The images.
    pub dataset: DatasetCard,
    /// The backbone.
    pub model: ModelRef,
    /// How images became the network's inputs; none in banks of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<InputSpec>,
    /// Shape of a map.
    pub feature_shape: FeatureShape,
    /// Rounding of the stored maps.
    pub precision: Precision,
    /// How the views were made.
    pub views: ViewSettings,
    /// Which training rows have a map.
    #[serde(default, skip_serializing_if = "MapsKept::is_all")]
    pub maps: MapsKept,
    /// The maps of a training row, the one that activation maps and pooled vectors follow from first; empty
    /// where there is one, of the last layer, of `feature_shape` ([`Manifest::map_specs`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub map_columns: Vec<MapSpec>,
    /// sha256 of the classifier's tensors: the CAMs were made with them.
    pub classifier_sha256: String,
    /// How the classifier was fitted to the bank's own pooled vectors, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fitted_head: Option<FitOptions>,
    /// The files that are not shards.
    pub files: BTreeMap<String, FileEntry>,
    /// `train`, `test` and, where the dataset has one, `val`.
    pub splits: BTreeMap<String, SplitEntry>,
    /// Of this file with 16 zeros here; in format 1, of the object as compact JSON with a zero here.
    pub manifest_xxh3: Checksum,
}

/// The images a bank was made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetCard {
    /// Fingerprint of classes, labels, paths and pixels.
    pub fingerprint: String,
    /// C.
    pub classes: usize,
}

/// The network a bank was made with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Its layout.
    pub arch: String,
    /// Side of its input images.
    pub image_size: usize,
    /// sha256 of its tensors.
    pub weights_sha256: String,
    /// Number type of the convolutions: `f32`, `bf16` or `auto`.
    pub arithmetic: String,
}

/// Ends the layout of a network of an ONNX file.
const OF_ONNX: &str = " (ONNX)";

impl ModelRef {
    /// The layout of the network in the ONNX file `name`.
    pub fn onnx_arch(name: &str) -> String {
        format!("{name}{OF_ONNX}")
    }

    /// Whether it is of an ONNX file.
    pub fn is_onnx(&self) -> bool {
        self.arch.ends_with(OF_ONNX)
    }
}

/// How the views of an image were made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ViewSettings {
    /// Rows an image.
    pub count: usize,
    /// Seed of the random crops and flips.
    pub seed: u64,
    /// Padding of the random crops.
    pub crop_padding: usize,
    /// Areas of the random crops as shares of the original image's, where they are scaled to the square
    /// in place of being cut from the padded one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop_scale: Option<[f64; 2]>,
    /// Whether views may be mirrored.
    pub flip: bool,
    /// How far brightness, contrast and saturation may change.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub color_jitter: f64,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// One file that is read whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its length.
    pub bytes: u64,
    /// Of its content.
    pub xxh3: Checksum,
}

impl FileEntry {
    /// Of a file's content.
    pub fn of(content: &[u8]) -> Self {
        Self { bytes: content.len() as u64, xxh3: Checksum::of(content) }
    }
}

/// The shards of a split.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SplitEntry {
    /// Images.
    pub images: u64,
    /// Rows: images times views.
    pub rows: u64,
    /// In order of their rows.
    pub shards: Vec<ShardEntry>,
}

/// One Parquet file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ShardEntry {
    /// Its name, without a folder.
    pub file: String,
    /// Its rows.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// Of the whole file; empty in format 1.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The (sample, view) pairs of the split that it was made of, from and up to, in order of sample and
    /// view: its rows, and the images among them that could not be decoded. None in format 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<[u64; 2]>,
    /// Where the bytes after the last column chunk begin: page indexes and footer.
    pub footer_offset: u64,
    /// Of the bytes from `footer_offset` to the end.
    pub footer_xxh3: Checksum,
    /// In order.
    pub row_groups: Vec<RowGroupEntry>,
}

/// One row group of a shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RowGroupEntry {
    /// Its rows.
    pub rows: u64,
    /// Of each column chunk, in order of the columns; of `feature_map`, of each data page.
    pub columns: Vec<Vec<Checksum>>,
}

/// Where two JSON values differ first, as `features.views is 1, not 4`.
pub(super) fn first_difference(
    name: &str,
    there: &serde_json::Value,
    wanted: &serde_json::Value,
) -> Option<String> {
    use serde_json::Value;
    if there == wanted {
        return None;
    }
    if let (Value::Object(there), Value::Object(wanted)) = (there, wanted) {
        let keys: BTreeSet<&String> = there.keys().chain(wanted.keys()).collect();
        let differs = |key: &&String| {
            let name = if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
            let value = |of: &serde_json::Map<String, Value>| of.get(*key).cloned();
            first_difference(
                &name,
                &value(there).unwrap_or_default(),
                &value(wanted).unwrap_or_default(),
            )
        };
        return keys.iter().find_map(differs);
    }
    let text = |value: &Value| match value {
        Value::Null => "none".into(),
        // Of a hash, enough to tell it from another.
        Value::String(text) => text.chars().take(16).collect(),
        other => other.to_string(),
    };
    Some(format!("{name} is {}, not {}", text(there), text(wanted)))
}

/// The last field of a manifest.
fn seal_text(checksum: Checksum) -> String {
    format!("\"manifest_xxh3\": \"{checksum}\"")
}

/// The checksum that a manifest's text should carry; `None` where `carried` is not written as it should.
fn seal(text: &[u8], carried: Checksum) -> Option<Checksum> {
    let carried = seal_text(carried);
    let at = text.windows(carried.len()).rposition(|window| window == carried.as_bytes())?;
    let zeros = seal_text(Checksum::default());
    let unsealed = [&text[..at], zeros.as_bytes(), &text[at + carried.len()..]];
    Some(Checksum::of(&unsealed.concat()))
}

impl Manifest {
    /// Where `format` stands in a new manifest.
    pub fn format_name() -> String {
        FORMAT_NAME.into()
    }

    /// Where `needs` stands in a new manifest.
    pub fn needs() -> String {
        NEEDS.into()
    }

    /// Reads and checks a bank's manifest.
    ///
    /// # Errors
    /// There is none, it is damaged, or it is of a newer format.
    pub fn load(dir: &Path) -> Result<(Self, Vec<u8>), BankError> {
        match Self::read(&FolderFiles::new(dir)) {
            Err(BankError::Read { .. }) if dir.exists() && !dir.is_dir() => {
                Err(BankError::no_bank(dir.into()))
            }
            Err(BankError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let (dir, partial) = (dir.to_path_buf(), unfinished(dir));
                Err(match partial.exists() {
                    true => BankError::Unfinished { dir, partial },
                    false => BankError::no_bank(dir),
                })
            }
            read => read,
        }
    }

    /// The same of a bank that lies anywhere, with the bytes of the manifest.
    ///
    /// # Errors
    /// As [`Manifest::load`]; of a missing manifest it says no more than that it is missing.
    pub fn read(files: &dyn BankFiles) -> Result<(Self, Vec<u8>), BankError> {
        let path = files.location(MANIFEST_FILE);
        let bytes = read_at_most(files, MANIFEST_FILE, MOST_BYTES)
            .map_err(|source| BankError::Read { path: path.clone(), source })?;
        let wrong = |found: String| BankError::Manifest { path: path.clone(), found };
        #[derive(Deserialize)]
        struct Version {
            format: String,
            version: u32,
            #[serde(default)]
            needs: Option<String>,
        }
        let head: Version = serde_json::from_slice(&bytes)
            .map_err(|e| wrong(format!("not a bank's manifest ({e})")))?;
        if head.format != FORMAT_NAME {
            return Err(wrong(format!("format `{}`; expected `{FORMAT_NAME}`", head.format)));
        }
        if head.version > FORMAT_VERSION {
            let needs = head.needs.map_or(String::new(), |needs| format!(" {needs} or newer"));
            let (found, known) = (head.version, FORMAT_VERSION);
            return Err(BankError::NewerFormat { path, found, known, needs });
        }
        let manifest: Self = serde_json::from_slice(&bytes)
            .map_err(|e| wrong(format!("not a whole manifest ({e})")))?;
        let expected = manifest.manifest_xxh3;
        let found = match head.version {
            1 => manifest.checksum_of_values(),
            _ => seal(&bytes, expected).ok_or_else(|| wrong("no seal at its end".into()))?,
        };
        if found != expected {
            return Err(BankError::Damaged {
                path,
                place: super::MANIFEST_PLACE.into(),
                found,
                expected,
            });
        }
        manifest.check().map_err(wrong)?;
        Ok((manifest, bytes))
    }

    /// The checksum of format 1.
    fn checksum_of_values(&self) -> Checksum {
        let unsealed = Self { manifest_xxh3: Checksum::default(), ..self.clone() };
        Checksum::of(&serde_json::to_vec(&unsealed).expect("a manifest is JSON"))
    }

    /// The text that is written of these values, the seal included, as it is.
    pub fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("a manifest is JSON") + "\n"
    }

    /// Writes the manifest, sealed by its checksum: from then on the folder is a bank.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), WriteError> {
        self.save_in(dir, dir)
    }

    /// The same; until it is whole it grows in the folder `aside`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save_in(&self, aside: &Path, dir: &Path) -> Result<(), WriteError> {
        let unsealed = Self { manifest_xxh3: Checksum::default(), ..self.clone() };
        let mut text = unsealed.text();
        let checksum = Checksum::of(text.as_bytes());
        let at = text.rfind(&seal_text(Checksum::default())).expect("the last field");
        text.replace_range(
            at..,
            &text[at..].replace(&seal_text(Checksum::default()), &seal_text(checksum)),
        );
        atomic_file::write_in(aside, &dir.join(MANIFEST_FILE), text.as_bytes())
    }

    /// The first thing in which this bank differs from the one `wanted` describes, in words; files,
    /// shards and what follows from the rest are not compared.
    pub fn difference(&self, wanted: &Self) -> Option<String> {
        let described = |manifest: &Self| {
            let mut described = manifest.clone();
            (described.version, described.needs) = (FORMAT_VERSION, String::new());
            (described.writer, described.name) = (String::new(), String::new());
            (described.files, described.splits) = Default::default();
            described.manifest_xxh3 = Checksum::default();
            if self.preprocessing.is_none() || wanted.preprocessing.is_none() {
                // Of an earlier version, which did not write it down.
                described.preprocessing = None;
            }
            if wanted.fitted_head.is_some() {
                described.classifier_sha256.clear();
            }
            let maps = std::mem::take(&mut described.maps);
            let mut json = serde_json::to_value(&described).expect("a manifest is JSON");
            let fields = json.as_object_mut().expect("a manifest is an object");
            // The classes of these settings follow from the images.
            fields.extend(maps.settings());
            // Under the names that settings have in a pipeline.
            if let Some(serde_json::Value::Object(views)) = fields.remove("views") {
                fields.extend(views.into_iter().map(|(name, value)| match name.as_str() {
                    "count" => ("features.views".into(), value),
                    "seed" => ("seed".into(), value),
                    _ => (format!("train.{name}"), value),
                }));
            }
            if let Some(serde_json::Value::Object(input)) = fields.remove("preprocessing") {
                fields.extend(input.into_iter().map(|(key, v)| (format!("dataset.{key}"), v)));
            }
            if let Some(precision) = fields.remove("precision") {
                fields.insert("features.precision".into(), precision);
            }
            json
        };
        first_difference("", &described(self), &described(wanted))
    }

    /// Length and hash that a file of the bank should have; `None` where it is not one of its files.
    pub fn entry(&self, file: &str) -> Option<(u64, String)> {
        let shards = self.splits.values().flat_map(|split| &split.shards);
        let shard = |shard: &ShardEntry| (shard.bytes, shard.sha256.clone());
        let of_shard = shards.into_iter().find(|shard| shard.file == file).map(shard);
        of_shard.or_else(|| self.files.get(file).map(|f| (f.bytes, f.xxh3.to_string())))
    }

    /// Checks that every file of the bank in `dir` exists and has its length; the content is not read.
    ///
    /// # Errors
    /// One is missing, or longer or shorter.
    pub fn check_lengths(&self, dir: &Path) -> Result<(), BankError> {
        let shards = self.splits.values().flat_map(|split| &split.shards);
        let shards = shards.map(|shard| (&shard.file, shard.bytes));
        let bank = FolderFiles::new(dir);
        for (name, expected) in shards.chain(self.files.iter().map(|(name, f)| (name, f.bytes))) {
            let path = bank.location(name);
            match bank.open(name).map(|file| file.length()) {
                Ok(found) if found == expected => {}
                Ok(found) => return Err(BankError::Length { path, found, expected }),
                Err(source) => return Err(BankError::Read { path, source }),
            }
        }
        Ok(())
    }

    /// The maps of a training row, the main one first.
    pub fn map_specs(&self) -> Vec<MapSpec> {
        match self.map_columns.is_empty() {
            true => vec![MapSpec::last(self.feature_shape)],
            false => self.map_columns.clone(),
        }
    }

    /// Views an image, in words.
    pub fn views_text(&self) -> String {
        let count = self.views.count;
        match self.maps.least_views(count) {
            other if other < count => format!("{count} views (other classes {other})"),
            _ => format!("{count} views"),
        }
    }

    /// What it says of a split, where the bank has it.
    pub fn split(&self, split: Split) -> Option<&SplitEntry> {
        self.splits.get(split.name())
    }

    /// Bytes of all files but the manifest.
    pub fn total_bytes(&self) -> u64 {
        let shards = self.splits.values().flat_map(|s| &s.shards).map(|s| s.bytes);
        shards.chain(self.files.values().map(|f| f.bytes)).sum()
    }

    /// That the sizes in it are those of a dataset and a network.
    pub(super) fn check_sizes(&self) -> Result<(), String> {
        let shape = self.feature_shape;
        let sizes =
            [shape.channels, shape.height, shape.width, self.dataset.classes, self.views.count];
        if sizes.iter().any(|&n| n == 0 || n > LARGEST) {
            return Err("a size in it is 0 or absurdly large".into());
        }
        if !plausible(shape) {
            return Err(format!("feature_shape {shape} is absurdly large"));
        }
        self.maps.check(self.dataset.classes)?;
        check_maps(&self.map_columns, shape)?;
        if self.map_columns.iter().any(|map| !plausible(map.shape())) {
            return Err("map_columns: a map is absurdly large, or has no values".into());
        }
        Ok(())
    }

    /// What a reader relies on without asking again.
    fn check(&self) -> Result<(), String> {
        self.check_sizes()?;
        let shape = self.feature_shape;
        for needed in [Split::Train, Split::Test] {
            if self.split(needed).is_none() {
                return Err(format!("no split `{needed}`"));
            }
        }
        let mut names = BTreeSet::new();
        for (name, split) in &self.splits {
            for shard in &split.shards {
                shard.check(name, shape)?;
                if !names.insert(&shard.file) {
                    return Err(format!("`{}` is listed twice", shard.file));
                }
            }
            let rows = sum(split.shards.iter().map(|s| s.rows));
            let most = split.rows.max(split.images);
            if rows != Some(split.rows) || most > MOST_ROWS {
                return Err(format!(
                    "split `{name}`: {} rows of {} images, and shards of {} rows",
                    split.rows,
                    split.images,
                    rows.map_or("too many".into(), |rows| rows.to_string()),
                ));
            }
        }
        let shards = self.splits.values().flat_map(|split| &split.shards);
        let files = self.files.values().map(|file| file.bytes);
        if sum(shards.map(|shard| shard.bytes).chain(files)).is_none() {
            return Err("files of more bytes than there can be".into());
        }
        Ok(())
    }
}

impl ShardEntry {
    fn check(&self, split: &str, shape: FeatureShape) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let middle = self.file.strip_prefix(split).and_then(|rest| rest.strip_prefix('-'));
        let middle = middle.and_then(|rest| rest.strip_suffix(".parquet"));
        if !middle.is_some_and(|middle| middle.chars().all(plain)) {
            let name = self.file.escape_debug();
            return Err(format!("`{name}` is not a plain file name as {split}-00000.parquet"));
        }
        let rows = sum(self.row_groups.iter().map(|g| g.rows));
        if rows != Some(self.rows) {
            let rows = rows.map_or("too many".into(), |rows| rows.to_string());
            return Err(format!(
                "{}: its row groups have {rows} rows, not {}",
                self.file, self.rows
            ));
        }
        // Every row has a pooled vector.
        let least = self.rows.saturating_mul(4 * shape.channels as u64);
        if least > self.bytes.saturating_mul(MOST_EXPANSION) {
            let (file, rows, bytes) = (&self.file, self.rows, self.bytes);
            return Err(format!("{file}: {bytes} bytes, which cannot hold {rows} rows"));
        }
        Ok(())
    }
}

/// Classes, views, and values of a map at most.
const LARGEST: usize = 1 << 24;

/// Whether a network's map can have this shape.
fn plausible(shape: FeatureShape) -> bool {
    let FeatureShape { channels, height, width } = shape;
    let values = height.saturating_mul(width).saturating_mul(channels);
    [channels, height, width, values].iter().all(|n| (1..=LARGEST).contains(n))
}

/// `None` where it does not fit.
fn sum(mut numbers: impl Iterator<Item = u64>) -> Option<u64> {
    numbers.try_fold(0u64, |sum, n| sum.checked_add(n))
}
