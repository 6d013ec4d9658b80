//! A bank under way: which shards it will have, which of them are done, and its commit.
//!
//! Until it is committed a bank grows in `NAME.partial` beside its place: `plan.json` says what it will
//! be, `bank/` holds its finished files, `train-00000.json` and the like are the markers of its finished
//! shards. The plan follows from images and settings alone, so any number of processes can make its
//! shards at once, each of them again and again: a shard is whole or absent, and always the same. The
//! commit renames `bank/` to the bank's place, so that no reader sees a part of it; [`super::place`] has what
//! that takes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::classes_table::classes_table;
use super::manifest::{self, FileEntry, MANIFEST_FILE, Manifest, ShardEntry, SplitEntry};
use super::place::{BuildLock, FILES, PLAN_FILE, remove_all};
use super::plan::{BuildPlan, Hashes, PlannedShard};
use super::shard::{Layout, ShardFormat, ShardWriter, file_sha256};
use super::{BankError, CLASSES_FILE, CLASSIFIER_FILE, beside, unfinished};
use crate::atomic_file::{self, WriteError};
use crate::classifier_file::ClassifierCard;
use crate::domain::{LinearHead, SkippedImage, Split};
use crate::eval::{Confusion, Reordering};
use crate::progress::Watch;
use crate::regular_file;
use crate::weights::Weights;

/// A larger file is not a plan.
const MOST_PLAN_BYTES: u64 = 1 << 24;

/// What is known of a finished shard.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ShardResult {
    /// The file and its checksums.
    pub shard: ShardEntry,
    /// Images with rows in it: clean views.
    pub images: u64,
    /// Clean views whose class is predicted.
    pub right: u64,
    /// Clean views of each class, of the training split.
    pub class_images: BTreeMap<u32, u64>,
    /// Of each class of the training split, clean views by the other class that is predicted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mistaken: BTreeMap<u32, BTreeMap<u32, u64>>,
    /// Images that could not be decoded.
    pub skipped: Vec<SkippedImage>,
}

/// A finished shard's marker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Marker {
    split: Split,
    made_from: Hashes,
    made: ShardResult,
}

/// How far a bank is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BuildState {
    /// Shards that are done.
    pub shards_done: usize,
    /// All.
    pub shards: usize,
    /// (sample, view) pairs of the shards that are done, those without a row included.
    pub items_done: u64,
    /// All.
    pub items: u64,
}

impl std::fmt::Display for BuildState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} shards done", self.shards_done, self.shards)
    }
}

/// A bank that was committed.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its manifest.
    pub manifest: Manifest,
    /// Of each split, the share of clean rows whose class is predicted, in percent.
    pub top1: BTreeMap<String, f64>,
    /// Whether another order of the classifier's outputs would suit the training images.
    pub reordering: Option<Reordering>,
    /// Images without rows.
    pub skipped: Vec<SkippedImage>,
}

/// A bank under way.
pub struct Build {
    /// The bank's place.
    bank: PathBuf,
    dir: PathBuf,
    /// What it will be.
    pub plan: BuildPlan,
    hashes: Hashes,
    format: Arc<ShardFormat>,
    shards: Vec<PlannedShard>,
}

impl Build {
    /// Where the bank `bank` grows.
    pub fn folder(bank: &Path) -> PathBuf {
        unfinished(bank)
    }

    /// Begins a bank, or takes it up where the same one was begun. `classifier` is the content of its
    /// `classifier.safetensors`.
    ///
    /// # Errors
    /// Another bank was begun there, and `overwrite` does not allow to put it aside; or another process has
    /// finished the same one meanwhile.
    pub fn begin(
        bank: &Path,
        mut plan: BuildPlan,
        class_names: Vec<String>,
        classifier: &[u8],
        overwrite: bool,
    ) -> Result<Self, BankError> {
        let dir = Self::folder(bank);
        let lock = loop {
            let lock = BuildLock::begin(&dir)?;
            if !lock.recover(bank)? {
                break lock;
            }
        };
        if !lock.is_begun() && !overwrite && is_same_bank(bank, &plan.manifest)? {
            lock.remove(bank)?;
            return Err(BankError::Finished { dir: bank.into() });
        }
        let there = Self::begun(bank, &plan, overwrite)?;
        if there.is_none() && lock.is_begun() {
            // Shards of other settings can be of no use any more.
            lock.clear()?;
        }
        atomic_file::remove_stale(&dir);
        atomic_file::create_dir(&dir.join(FILES))?;
        match there {
            // Whoever makes shards of it keeps the maps of the same classes.
            Some(there) => {
                plan.manifest.maps = there.manifest.maps;
                // None, where an earlier version began it.
                plan.manifest.preprocessing = there.manifest.preprocessing;
            }
            None => {
                let text = serde_json::to_string_pretty(&plan).expect("a plan is JSON") + "\n";
                atomic_file::write(&dir.join(PLAN_FILE), text.as_bytes())?;
            }
        }
        let classifier_path = dir.join(FILES).join(CLASSIFIER_FILE);
        if fs::read(&classifier_path).ok().as_deref() != Some(classifier) {
            atomic_file::write_in(&dir, &classifier_path, classifier)?;
        }
        Ok(Self::of(bank, dir, plan, class_names))
    }

    /// Whether a bank was begun there and is not finished.
    pub fn is_begun(bank: &Path) -> bool {
        Self::folder(bank).join(PLAN_FILE).exists()
    }

    /// The plan of the same bank, where it was begun: it may keep the maps of other classes. `None` where
    /// none was begun, or another that `overwrite` allows to put aside.
    ///
    /// # Errors
    /// Another bank was begun there.
    pub fn begun(
        bank: &Path,
        plan: &BuildPlan,
        overwrite: bool,
    ) -> Result<Option<BuildPlan>, BankError> {
        let dir = Self::folder(bank);
        match dir.join(PLAN_FILE).exists() {
            true => same_plan(&dir, plan, overwrite),
            false => Ok(None),
        }
    }

    /// A bank as far as it was begun, if it was; nothing is written.
    ///
    /// # Errors
    /// As [`Build::begin`].
    pub fn look(
        bank: &Path,
        plan: BuildPlan,
        class_names: Vec<String>,
        overwrite: bool,
    ) -> Result<Self, BankError> {
        let plan = Self::begun(bank, &plan, overwrite)?.unwrap_or(plan);
        Ok(Self::of(bank, Self::folder(bank), plan, class_names))
    }

    /// Opens a bank that was begun.
    ///
    /// # Errors
    /// None was.
    pub fn open(bank: &Path) -> Result<Self, BankError> {
        let dir = Self::folder(bank);
        let none = || BankError::NoBuild { dir: dir.clone() };
        if BuildLock::wait(&dir)?.ok_or_else(none)?.recover(bank)? {
            return Err(none());
        }
        let plan = read_plan(&dir)?.ok_or_else(none)?;
        let card = ClassifierCard::of(&Weights::load(&dir.join(FILES).join(CLASSIFIER_FILE))?);
        Ok(Self::of(bank, dir, plan, card.class_names))
    }

    fn of(bank: &Path, dir: PathBuf, plan: BuildPlan, class_names: Vec<String>) -> Self {
        let format = ShardFormat {
            shape: plan.manifest.feature_shape,
            layout: Layout {
                compression_level: plan.compression_level,
                shard_bytes: plan.shard_bytes,
                ..Default::default()
            },
            class_names,
        };
        let (hashes, shards) = (plan.hashes(), plan.shards());
        Self { bank: bank.into(), dir, plan, hashes, format: format.into(), shards }
    }

    /// The same with row groups and pages of other sizes than the default, for measurements and tests.
    pub fn with_layout(self, layout: Layout) -> Self {
        let ShardFormat { shape, class_names, .. } = (*self.format).clone();
        Self { format: ShardFormat { shape, layout, class_names }.into(), ..self }
    }

    /// Its shards, done or not.
    pub fn shards(&self) -> &[PlannedShard] {
        &self.shards
    }

    /// What its shards have in common.
    pub fn format(&self) -> &Arc<ShardFormat> {
        &self.format
    }

    fn path(&self, shard: &PlannedShard) -> PathBuf {
        self.dir.join(FILES).join(&shard.file)
    }

    fn marker_path(&self, shard: &PlannedShard) -> PathBuf {
        self.dir.join(&shard.file).with_extension("json")
    }

    /// What is known of a shard, if it is done; its content is not read.
    ///
    /// # Errors
    /// It is one of another bank, and `overwrite` does not allow to replace it.
    pub fn done(
        &self,
        shard: &PlannedShard,
        overwrite: bool,
    ) -> Result<Option<ShardResult>, BankError> {
        let path = self.marker_path(shard);
        let text = match fs::read(&path) {
            Ok(text) => text,
            // A folder that is a file is found when it is written to.
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(BankError::Read { path, source }),
        };
        // A file that is not a valid marker is ignored.
        let Ok(marker) = serde_json::from_slice::<Marker>(&text) else { return Ok(None) };
        if marker.made_from != self.hashes {
            let what = manifest::first_difference(
                "",
                &serde_json::to_value(&marker.made_from).expect("text is JSON"),
                &serde_json::to_value(&self.hashes).expect("text is JSON"),
            );
            return match overwrite {
                true => Ok(None),
                false => Err(BankError::OtherBuild { dir: path, what: what.unwrap_or_default() }),
            };
        }
        let of_shard = marker.split == shard.split
            && marker.made.shard.file == shard.file
            && marker.made.shard.items == Some(shard.items);
        let length = fs::metadata(self.path(shard)).map_or(0, |data| data.len());
        let whole = of_shard && length == marker.made.shard.bytes;
        Ok(whole.then_some(marker.made))
    }

    /// Of each shard that is not in `results`, what is known of it if it is done and its bytes are those
    /// that were written; `results[shard]` takes it.
    ///
    /// # Errors
    /// As [`Build::done`].
    ///
    /// # Cost
    /// Reads those shards once, on all threads.
    pub fn check(
        &self,
        results: &mut [Option<ShardResult>],
        overwrite: bool,
        watch: Watch<'_>,
    ) -> Result<(), BankError> {
        let look = |(shard, result): (&PlannedShard, &Option<ShardResult>)| match result {
            Some(_) => Ok(None),
            None => self.done(shard, overwrite),
        };
        let done: Vec<Option<ShardResult>> =
            self.shards.iter().zip(results.iter()).map(look).collect::<Result<_, _>>()?;
        let bytes: u64 = done.iter().flatten().map(|result| result.shard.bytes).sum();
        if bytes == 0 {
            return Ok(());
        }
        watch.progress.start("checking", bytes, "byte");
        let check = |(shard, result): (&PlannedShard, Option<ShardResult>)| {
            let result = result.filter(|_| !watch.interrupted())?;
            let found = File::open(self.path(shard)).and_then(|file| file_sha256(&file));
            watch.progress.advance(result.shard.bytes);
            match found {
                Ok((sha256, _)) if sha256 == result.shard.sha256 => Some(result),
                _ => {
                    watch.progress.line(&format!("{}: damaged; it will be made again", shard.file));
                    // A shard that stays marked would be taken for done by whoever makes the others.
                    let _ = fs::remove_file(self.marker_path(shard));
                    None
                }
            }
        };
        let checked: Vec<Option<ShardResult>> =
            self.shards.par_iter().zip(done).map(check).collect();
        watch.progress.finish();
        results.iter_mut().zip(checked).for_each(|(result, checked)| {
            if checked.is_some() {
                *result = checked;
            }
        });
        Ok(())
    }

    /// How far it is, after what is known of each shard.
    pub fn state(&self, results: &[Option<ShardResult>]) -> BuildState {
        let done = || self.shards.iter().zip(results).filter(|(_, result)| result.is_some());
        BuildState {
            shards_done: done().count(),
            shards: self.shards.len(),
            items_done: done().map(|(shard, _)| shard.len()).sum(),
            items: self.shards.iter().map(PlannedShard::len).sum(),
        }
    }

    /// Begins a shard.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn writer(&self, shard: &PlannedShard) -> Result<ShardWriter, BankError> {
        ShardWriter::create(&self.format, shard.split, &self.path(shard), &self.dir)
    }

    /// Marks a shard that has its name as done.
    ///
    /// # Errors
    /// The marker cannot be written.
    pub fn mark(&self, shard: &PlannedShard, result: ShardResult) -> Result<(), BankError> {
        let marker = Marker { split: shard.split, made_from: self.hashes.clone(), made: result };
        let text = serde_json::to_string(&marker).expect("a marker is JSON") + "\n";
        Ok(atomic_file::write(&self.marker_path(shard), text.as_bytes())?)
    }

    /// Makes the finished shards a bank. `results` has what [`Build::check`] found, or what was marked
    /// since.
    ///
    /// # Errors
    /// Shards are missing; another bank is in its place and `overwrite` does not allow to replace it; another
    /// process has ended it, or put it aside, meanwhile.
    pub fn commit(
        self,
        mut results: Vec<Option<ShardResult>>,
        overwrite: bool,
    ) -> Result<Committed, BankError> {
        let none = || BankError::NoBuild { dir: self.dir.clone() };
        let lock = BuildLock::wait(&self.dir)?.ok_or_else(none)?;
        if lock.recover(&self.bank)? || !lock.is_begun() {
            return Err(none());
        }
        same_plan(&self.dir, &self.plan, false)?;
        for (shard, result) in self.shards.iter().zip(&mut results) {
            if *result != self.done(shard, false)? {
                *result = None;
            }
        }
        let state = self.state(&results);
        if state.shards_done < state.shards {
            let missing = |(shard, result): (&PlannedShard, &Option<ShardResult>)| {
                result.is_none().then(|| shard.file.clone())
            };
            let missing = self.shards.iter().zip(&results).filter_map(missing).collect();
            return Err(BankError::MissingShards { dir: self.dir, state, missing });
        }
        self.may_replace(overwrite)?;
        let results: Vec<ShardResult> = results.into_iter().flatten().collect();
        let mut splits: BTreeMap<String, SplitEntry> =
            self.plan.items.keys().map(|name| (name.clone(), SplitEntry::default())).collect();
        let mut right: BTreeMap<String, u64> = BTreeMap::new();
        let images = vec![0; self.plan.manifest.dataset.classes];
        let mut training = Confusion { images, ..Confusion::default() };
        let mut skipped = vec![];
        for (shard, result) in self.shards.iter().zip(results) {
            let entry = splits.entry(shard.split.to_string()).or_default();
            entry.images += result.images;
            entry.rows += result.shard.rows;
            entry.shards.push(result.shard);
            *right.entry(shard.split.to_string()).or_default() += result.right;
            training.add(&result.class_images, &result.mistaken);
            skipped.extend(result.skipped);
        }
        // An image that lies in two shards is skipped in both.
        skipped.dedup_by(|a, b| (a.split, a.sample_id) == (b.split, b.sample_id));
        if let Some(class) = training.images.iter().position(|&images| images == 0) {
            let class = self.format.class_names.get(class).cloned().unwrap_or_default();
            return Err(BankError::EmptyClass { dir: self.dir, class });
        }
        let manifest = self.write_rest(splits, &training.images)?;
        lock.take_place(&self.bank)?;
        let top1 = right.into_iter().map(|(split, right)| {
            let all = manifest.splits[&split].images.max(1);
            (split, 100.0 * right as f64 / all as f64)
        });
        let reordering = training.reordering(&self.format.class_names);
        Ok(Committed { top1: top1.collect(), reordering, manifest, skipped })
    }

    /// Writes what is not shards, the manifest last.
    fn write_rest(
        &self,
        splits: BTreeMap<String, SplitEntry>,
        counts: &[u64],
    ) -> Result<Manifest, BankError> {
        let files_dir = self.dir.join(FILES);
        let path = files_dir.join(CLASSIFIER_FILE);
        let weights = Weights::load(&path)?;
        let (found, expected) = (weights.sha256(), &self.plan.manifest.classifier_sha256);
        if found != *expected {
            return Err(BankError::OtherClassifier { path, found, expected: expected.clone() });
        }
        let shape = self.plan.manifest.feature_shape;
        let head = weights.linear_head(counts.len(), shape.channels, &path)?;
        let table = self.classes_table(counts, &head)?;
        atomic_file::write_in(&self.dir, &files_dir.join(CLASSES_FILE), &table)?;
        let classifier =
            fs::read(&path).map_err(|source| BankError::Read { path: path.clone(), source })?;
        let files = BTreeMap::from([
            (CLASSES_FILE.to_string(), FileEntry::of(&table)),
            (CLASSIFIER_FILE.to_string(), FileEntry::of(&classifier)),
        ]);
        let manifest = Manifest { splits, files, ..self.plan.manifest.clone() };
        // Shards of a plan that was replaced.
        let known = |name: &str| {
            manifest.files.contains_key(name) || self.shards.iter().any(|s| s.file == name)
        };
        for entry in fs::read_dir(&files_dir).map_err(WriteError::at(&files_dir))? {
            let path = entry.map_err(WriteError::at(&files_dir))?.path();
            if !path.file_name().is_some_and(|name| known(&name.to_string_lossy())) {
                fs::remove_file(&path).map_err(WriteError::at(&path))?;
            }
        }
        manifest.save_in(&self.dir, &files_dir)?;
        Ok(manifest)
    }

    /// The content of `classes.parquet`: `counts` `[C]` are the training images of each class.
    ///
    /// # Errors
    /// The Parquet library refuses to write it.
    pub fn classes_table(&self, counts: &[u64], head: &LinearHead) -> Result<Vec<u8>, BankError> {
        classes_table(&self.format, counts, head)
    }

    /// Begins to make files of the bank `bank` again, in `NAME.repair` beside it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn repair(
        bank: &Path,
        plan: BuildPlan,
        class_names: Vec<String>,
    ) -> Result<Self, BankError> {
        let dir = beside(bank, ".repair");
        remove_all(&dir)?;
        atomic_file::create_dir(&dir.join(FILES))?;
        Ok(Self::of(bank, dir, plan, class_names))
    }

    /// Puts the shards that were made again, and other files with their content, into the bank; then its
    /// manifest, if it changed.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn end_repair(
        self,
        shards: &[&PlannedShard],
        others: &[(&str, Vec<u8>)],
        manifest: Option<&Manifest>,
    ) -> Result<(), BankError> {
        for shard in shards {
            let place = self.bank.join(&shard.file);
            fs::rename(self.path(shard), &place).map_err(WriteError::at(&place))?;
        }
        for (name, content) in others {
            atomic_file::write(&self.bank.join(name), content)?;
        }
        if let Some(manifest) = manifest {
            manifest.save(&self.bank)?;
        }
        Ok(remove_all(&self.dir)?)
    }

    /// Whether the commit may take the bank's place.
    fn may_replace(&self, overwrite: bool) -> Result<(), BankError> {
        if overwrite || !self.bank.join(MANIFEST_FILE).exists() {
            return Ok(());
        }
        let (there, _) = Manifest::load(&self.bank)?;
        match there.difference(&self.plan.manifest) {
            None => Ok(()),
            Some(what) => Err(BankError::OtherBank { dir: self.bank.clone(), what }),
        }
    }

    /// Removes what a commit of the finished `bank` left because it was killed before its end. What cannot
    /// be removed now stays for the next run.
    pub fn tidy(bank: &Path) {
        let tidied = || {
            let Some(lock) = BuildLock::wait(&Self::folder(bank))? else { return Ok(()) };
            if lock.recover(bank)? || lock.is_begun() { Ok(()) } else { lock.remove(bank) }
        };
        let _: Result<(), WriteError> = tidied();
    }
}

/// Whether the bank that `manifest` describes is in its place.
fn is_same_bank(bank: &Path, manifest: &Manifest) -> Result<bool, BankError> {
    let there = bank.join(MANIFEST_FILE).exists();
    Ok(there && Manifest::load(bank)?.0.difference(manifest).is_none())
}

/// The plan in `dir`, if it is the same; `None` where `overwrite` allows to put another aside.
fn same_plan(
    dir: &Path,
    plan: &BuildPlan,
    overwrite: bool,
) -> Result<Option<BuildPlan>, BankError> {
    let there = read_plan(dir)?;
    let what = match &there {
        Some(there) => there.difference(plan),
        None => Some("plan.json is not a plan".into()),
    };
    match what {
        None => Ok(there),
        Some(_) if overwrite => Ok(None),
        Some(what) => Err(BankError::OtherBuild { dir: dir.into(), what }),
    }
}

/// The plan of a bank that was begun; `None` without a readable one.
fn read_plan(dir: &Path) -> Result<Option<BuildPlan>, BankError> {
    let path = dir.join(PLAN_FILE);
    match regular_file::read(&path, MOST_PLAN_BYTES) {
        Ok(text) => Ok(serde_json::from_slice(&text).ok().filter(BuildPlan::is_plausible)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(BankError::Read { path, source }),
    }
}
