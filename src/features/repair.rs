//! Damaged files of a bank, made again from the images; the others stay as they are.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::build_plan::build_plan;
use super::context::BuildContext;
use super::error::FeaturesError;
use super::existing::describe;
use super::model::{FrozenModel, HeadSource};
use super::network_source::LazyNetwork;
use super::request::{FeaturesRequest, skipped_file};
use super::rows::RowMaker;
use super::shard_pass::{PassFigures, pass};
use crate::bank::{
    Bank, BankError, Build, CLASSES_FILE, CLASSIFIER_FILE, FileEntry, MANIFEST_FILE, Manifest,
    PlannedShard,
};
use crate::classifier_file::ClassifierCard;
use crate::dataset::SkippedList;
use crate::domain::Split;
use crate::progress::Watch;

/// What a repair has done.
#[derive(Debug, Clone, Serialize)]
pub struct RepairOutcome {
    /// The bank's folder.
    pub bank: PathBuf,
    /// Files that were restored byte for byte.
    pub restored: Vec<String>,
    /// Files that were made again and have other bytes than before: the network was run on another device,
    /// or with other batches. The manifest has their checksums now.
    pub changed: Vec<String>,
}

/// Makes the files `damaged` of the bank `request.out` again. With a classifier that was fitted, the bank's
/// own is taken, so it must be whole.
///
/// # Errors
/// The bank was made of other images, weights or settings, or by a version that did not write down what
/// its shards were made of; what [`super::run`] fails by.
pub fn repair(
    request: &FeaturesRequest,
    model: FrozenModel,
    damaged: &[String],
    watch: Watch<'_>,
) -> Result<RepairOutcome, FeaturesError> {
    let FrozenModel { shape, head, reference, identity, device, start } = model;
    let (there, _) = Manifest::load(request.out)?;
    let mut wanted = describe(request, reference, &head, shape);
    let head = match (head, there.fitted_head) {
        (HeadSource::Given(head), None) => head,
        (HeadSource::Fitted(_) | HeadSource::Given(_), _) => {
            wanted.fitted_head = there.fitted_head;
            wanted.classifier_sha256 = there.classifier_sha256.clone();
            Bank::open(request.out)?.head
        }
    };
    wanted.maps = there.maps.clone();
    if let Some(what) = there.difference(&wanted) {
        return Err(FeaturesError::OtherSettings { bank: request.out.into(), what });
    }
    let context = BuildContext {
        request,
        out: request.out,
        partition: None,
        identity: &identity,
        device: &device,
        watch,
    };
    let shards = planned(request.out, &there)?;
    let todo: Vec<&PlannedShard> = shards.iter().filter(|s| damaged.contains(&s.file)).collect();
    let dataset = request.dataset;
    let card = ClassifierCard {
        class_names: dataset.class_names.clone(),
        network_sha256: identity.clone(),
        preprocessing: there.preprocessing.clone(),
        input: None,
    };
    let classifier = card.weights(&head, []).to_bytes();
    let mut manifest = there.clone();
    let plan = build_plan(request, there.clone());
    let build = Build::repair(request.out, plan, card.class_names)?;
    dataset.skipped.restore(SkippedList::images_in(&skipped_file(request.out)).iter());
    if !todo.is_empty() {
        let maker = RowMaker::new(&there, &head);
        let mut network = LazyNetwork::new(Box::new(start));
        let made =
            pass(&context, &build, &todo, &maker, network.get()?, &mut PassFigures::default())?;
        if made.len() < todo.len() {
            return Err(FeaturesError::InterruptedRepair { done: made.len(), of: todo.len() });
        }
        for (shard, (_, result)) in todo.iter().zip(made) {
            let split = manifest.splits.get_mut(shard.split.name()).expect("planned from it");
            let entry = split.shards.iter_mut().find(|entry| entry.file == shard.file);
            *entry.expect("planned from it") = result.shard;
            split.rows = split.shards.iter().map(|shard| shard.rows).sum();
        }
    }
    let mut rest = vec![];
    for (name, content) in [
        (CLASSIFIER_FILE, classifier),
        (CLASSES_FILE, build.classes_table(&dataset.decodable_class_counts().0, &head)?),
    ] {
        if damaged.iter().any(|file| file == name) {
            manifest.files.insert(name.into(), FileEntry::of(&content));
            rest.push((name, content));
        }
    }
    build.end_repair(&todo, &rest, (manifest != there).then_some(&manifest))?;
    let same = |name: &&String| there.entry(name) == manifest.entry(name);
    let known = damaged.iter().filter(|name| there.entry(name).is_some());
    let (restored, changed): (Vec<&String>, Vec<&String>) = known.partition(same);
    let names = |files: Vec<&String>| files.into_iter().cloned().collect();
    let (restored, changed) = (names(restored), names(changed));
    Ok(RepairOutcome { bank: request.out.into(), restored, changed })
}

/// The shards of a bank, after what its manifest says they were made of.
fn planned(bank: &Path, manifest: &Manifest) -> Result<Vec<PlannedShard>, BankError> {
    let mut shards = vec![];
    for split in Split::ALL {
        for entry in manifest.split(split).into_iter().flat_map(|split| &split.shards) {
            let items = entry.items.ok_or_else(|| BankError::Manifest {
                path: bank.join(MANIFEST_FILE),
                found: format!(
                    "it does not say what {} was made of, so it cannot be made alone",
                    entry.file
                ),
            })?;
            shards.push(PlannedShard {
                split,
                place: shards.len(),
                file: entry.file.clone(),
                items,
            });
        }
    }
    Ok(shards)
}
