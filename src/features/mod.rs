//! The precompute stage: one pass of the frozen backbone over all images, into a bank, shard by shard
//! (`making`, `shard_pass`, `pass`, `rows`); where the classifier is to be fitted, the maps first, then it, then
//! the bank (`fit`, `refit`). Where not all maps are kept, `needed` finds out which. What a bank will be is known
//! before (`estimate`, `settled_forecast`), from a `sample` of it.

mod build_plan;
mod context;
mod disk_room;
mod error;
mod estimate;
mod existing;
mod fit;
mod forecast;
mod making;
mod model;
mod needed;
mod network;
mod network_source;
mod pass;
mod refit;
mod repair;
mod request;
mod row_kind;
mod rows;
mod sample;
mod settled_forecast;
mod shard_pass;

use std::path::Path;
use std::time::Instant;

use crate::atomic_file::WriteError;
use crate::bank::{Bank, Build, MANIFEST_FILE, Manifest};
use crate::domain::{FitOptions, LinearHead};
use crate::progress::Watch;
use crate::weights::Weights;
use context::BuildContext;
use existing::{describe, existing, without_classifier};
use network_source::{LazyNetwork, MapSource, StartNetwork};
use request::{skipped_file, unfitted_folder};

pub use error::FeaturesError;
pub use estimate::plan;
pub use forecast::{
    DiskForecast, Forecast, MapsKnown, RawBytes, SampleFigures, SplitForecast, ToDo,
};
pub use model::{FrozenModel, HeadSource};
pub use network::{RECALIBRATED_FILE, TorchNetwork, TorchRequest};
pub use repair::{RepairOutcome, repair};
pub use request::{FeaturesOutcome, FeaturesRequest, SKIPPED_FILE};

/// Makes a bank, or finds that the same bank exists already.
///
/// It grows in `NAME.partial` beside its place and is renamed when it is whole; a run that was stopped
/// or killed goes on with the shards that are missing. With [`HeadSource::Fitted`] the maps are written
/// first, into `NAME.unfitted`; from them the classifier is fitted and the bank made.
///
/// # Errors
/// See [`FeaturesError`]. What cannot fit on the disk is refused before it is begun.
///
/// # Cost
/// One pass of the network. Where the disk might be too small, a sample of the rows is measured first, as
/// [`plan`] does.
///
/// # Determinism
/// Which rows a shard has follows from the images and the settings. Views are functions of (seed,
/// sample, view). The same maps give byte-identical shards.
pub fn run(
    request: &FeaturesRequest,
    model: FrozenModel,
    watch: Watch<'_>,
) -> Result<FeaturesOutcome, FeaturesError> {
    model.must_suit(request.dataset)?;
    let FrozenModel { shape, head, reference, identity, device, start } = model;
    let manifest = describe(request, reference, &head, shape);
    if let Some(done) = existing(request.out, request.overwrite, &manifest)? {
        return Ok(done);
    }
    let (out, partition) = (request.out, request.partition);
    let (identity, device) = (&*identity, &*device);
    let context = BuildContext { request, out, partition, identity, device, watch };
    match head {
        HeadSource::Given(head) => {
            let source = MapSource::Network(LazyNetwork::new(start));
            making::run(&context, manifest, &head, source)
        }
        HeadSource::Fitted(options) => run_with_fitted_head(&context, manifest, &options, start),
    }
}

/// Makes the maps, fits the classifier to them, and makes the bank of both.
fn run_with_fitted_head(
    context: &BuildContext,
    manifest: Manifest,
    options: &FitOptions,
    start: StartNetwork,
) -> Result<FeaturesOutcome, FeaturesError> {
    let BuildContext { request, watch, .. } = *context;
    let unfitted = unfitted_folder(request.out);
    let (bare, none) = without_classifier(&manifest);
    let maps = unfitted_maps(&BuildContext { out: &unfitted, ..*context }, bare, &none, start)?;
    if maps.state.is_some() {
        return Ok(maps);
    }
    let begin = Instant::now();
    let bank = Bank::open(&unfitted)?;
    disk_room::room_for_another(request, &bank.manifest).require()?;
    let head = fit::head(&bank, options, watch)?;
    let classifier_sha256 = Weights::of_head(&head).sha256();
    let manifest = Manifest { classifier_sha256, ..manifest };
    let context = BuildContext { partition: None, ..*context };
    let made = making::run(&context, manifest, &head, MapSource::Bank(&bank))?;
    std::fs::remove_dir_all(&unfitted).map_err(WriteError::at(&unfitted))?;
    let secs = maps.secs + begin.elapsed().as_secs_f64();
    let rows_per_sec = made.rows as f64 / secs;
    let forward_rows_per_sec = maps.forward_rows_per_sec;
    Ok(FeaturesOutcome { forward_rows_per_sec, secs, rows_per_sec, ..made })
}

/// The maps that wait for their classifier: existing ones, or made now.
fn unfitted_maps(
    context: &BuildContext,
    bare: Manifest,
    none: &LinearHead,
    start: StartNetwork,
) -> Result<FeaturesOutcome, FeaturesError> {
    match existing(context.out, false, &bare) {
        Ok(Some(there)) => {
            let out = context.out.display();
            context.watch.progress.line(&format!("{out}: the maps exist already"));
            Ok(there)
        }
        Err(e) if !context.request.overwrite => Err(e),
        _ => {
            let source = MapSource::Network(LazyNetwork::new(start));
            making::run(context, bare, none, source)
        }
    }
}

/// Makes a bank of shards that were made in partitions, once all are made; each is read and compared
/// with the checksum in its marker.
///
/// # Errors
/// Shards are missing or damaged, or another bank is in the place.
pub fn commit(
    bank: &Path,
    overwrite: bool,
    watch: Watch<'_>,
) -> Result<FeaturesOutcome, FeaturesError> {
    let made = || {
        let build = Build::open(bank)?;
        let mut results = vec![None; build.shards().len()];
        build.check(&mut results, false, watch)?;
        if watch.interrupted() {
            return Err(FeaturesError::InterruptedCheck);
        }
        Ok(build.commit(results, overwrite)?)
    };
    match made() {
        Ok(committed) => {
            let skipped = crate::dataset::save_skipped(&committed.skipped, &skipped_file(bank))?;
            let done = FeaturesOutcome::of_bank(bank, &committed.manifest, false);
            let (top1, reordering) = (committed.top1, committed.reordering);
            Ok(FeaturesOutcome { top1, reordering, skipped, ..done })
        }
        // Committed before, or by another process meanwhile.
        Err(_) if !Build::is_begun(bank) && bank.join(MANIFEST_FILE).exists() => {
            let (manifest, _) = Manifest::load(bank)?;
            manifest.check_lengths(bank)?;
            Build::tidy(bank);
            Ok(FeaturesOutcome::of_bank(bank, &manifest, true))
        }
        Err(e) => Err(e),
    }
}
