//! The making of one bank, step by step: what is planned, which of its shards are missing, the pass over
//! these, the commit.

use super::build_plan::build_plan;
use super::context::BuildContext;
use super::error::FeaturesError;
use super::estimate::BuildEstimate;
use super::existing::existing;
use super::needed::{TailImages, plan_in_force};
use super::network_source::MapSource;
use super::pass::ImagePass;
use super::refit;
use super::request::{FeaturesOutcome, skipped_file};
use super::rows::RowMaker;
use super::shard_pass::{PassFigures, pass};
use crate::bank::{BankError, Build, Manifest, PlannedShard, ShardResult};
use crate::classifier_file::ClassifierCard;
use crate::dataset::{SkippedList, save_skipped};
use crate::domain::LinearHead;
use crate::progress::{Interrupt, Watch};

/// What is known of each shard of a bank; `None` of those that are missing.
type Results = Vec<Option<ShardResult>>;

/// Makes the shards that are missing and, without a partition, the bank that `manifest` describes.
pub(super) fn run(
    context: &BuildContext,
    manifest: Manifest,
    head: &LinearHead,
    source: MapSource,
) -> Result<FeaturesOutcome, FeaturesError> {
    let wanted = manifest.clone();
    match make(context, manifest, head, source) {
        Err(e) if !context.watch.interrupted() => after_failure(context, wanted, e),
        made => made,
    }
}

/// What a failure means, where other processes may be making the same bank.
fn after_failure(
    context: &BuildContext,
    wanted: Manifest,
    error: FeaturesError,
) -> Result<FeaturesOutcome, FeaturesError> {
    let BuildContext { request, out, .. } = context;
    if !request.overwrite
        && let Ok(Some(done)) = existing(out, false, &wanted)
    {
        // Another process that was making the same bank was faster.
        return Ok(done);
    }
    match Build::begun(out, &build_plan(request, wanted), false) {
        // Another process has begun another one meanwhile.
        Err(other @ BankError::OtherBuild { .. }) => Err(other.into()),
        Ok(Some(_)) => Err(error.with_a_bank_begun()),
        _ => Err(error),
    }
}

fn make(
    context: &BuildContext,
    manifest: Manifest,
    head: &LinearHead,
    mut source: MapSource,
) -> Result<FeaturesOutcome, FeaturesError> {
    let build = prepare(context, manifest, head, &mut source)?;
    let mut results = finished_before(context, &build, &source)?;
    let missing: Vec<&PlannedShard> = missing(context, &build, &results).collect();
    let figures = make_missing(context, &build, &missing, head, source, &mut results)?;
    let figures = collect(context, &build, &missing, &mut results, figures)?;
    finish(context, build, results, figures)
}

/// Plans the bank, makes sure that there is room for it, and begins it or takes it up.
fn prepare(
    context: &BuildContext,
    manifest: Manifest,
    head: &LinearHead,
    source: &mut MapSource,
) -> Result<Build, FeaturesError> {
    let BuildContext { request, out, watch, .. } = context;
    let card = ClassifierCard {
        class_names: request.dataset.class_names.clone(),
        network_sha256: context.identity.into(),
        preprocessing: manifest.preprocessing.clone(),
        input: None,
    };
    let classifier = card.weights(head, []).to_bytes();
    let (plan, _) = plan_in_force(context, manifest, head, source, TailImages::All)?;
    if let MapSource::Network(network) = source {
        let estimate = BuildEstimate::new(request, out, plan.clone(), head)?;
        estimate.require_room(network, *watch)?;
    }
    Ok(Build::begin(out, plan, card.class_names, &classifier, request.overwrite)?)
}

/// The shards that are done, each compared with its checksum; the images that they left out are left out
/// again.
fn finished_before(
    context: &BuildContext,
    build: &Build,
    source: &MapSource,
) -> Result<Results, FeaturesError> {
    let BuildContext { request, out, watch, .. } = context;
    let mut results: Results = vec![None; build.shards().len()];
    build.check(&mut results, request.overwrite, *watch)?;
    let state = build.state(&results);
    if watch.interrupted() && state.shards_done > 0 {
        return Err(FeaturesError::InterruptedCheck);
    }
    let skipped = &request.dataset.skipped;
    skipped.restore(results.iter().flatten().flat_map(|result| &result.skipped));
    if let MapSource::Bank(_) = source {
        // Those that were left out when the maps were made.
        skipped.restore(SkippedList::images_in(&skipped_file(out)).iter());
    }
    if state.shards_done > 0 {
        watch.progress.line(&format!("{}: {state}", out.display()));
    }
    Ok(results)
}

/// The shards that this run is to make and that are not done.
fn missing<'b>(
    context: &BuildContext,
    build: &'b Build,
    results: &[Option<ShardResult>],
) -> impl Iterator<Item = &'b PlannedShard> {
    let missing = |shard: &&PlannedShard| results[shard.place].is_none() && context.has(shard);
    build.shards().iter().filter(missing)
}

/// Makes shards, here or by other processes, until all are made or the user stops it.
fn make_missing(
    context: &BuildContext,
    build: &Build,
    missing: &[&PlannedShard],
    head: &LinearHead,
    source: MapSource,
    results: &mut Results,
) -> Result<PassFigures, FeaturesError> {
    let mut figures = PassFigures::default();
    if missing.is_empty() {
        return Ok(figures);
    }
    let maker = RowMaker::new(&build.plan.manifest, head);
    let finished = match (source, context.request.make_in_processes) {
        (MapSource::Network(network), Some(make_in_processes)) => {
            // Its memory is for those who make the shards.
            drop(network);
            let rows = ImagePass::new(context.request).count(build, missing);
            figures.time(|| make_in_processes(rows))?;
            vec![]
        }
        (MapSource::Network(mut network), None) => {
            pass(context, build, missing, &maker, network.get()?, &mut figures)?
        }
        (MapSource::Bank(bank), _) => refit::write(context, bank, build, missing, &maker)?,
    };
    for (place, result) in finished {
        results[place] = Some(result);
    }
    Ok(figures)
}

/// Looks at what other processes have made meanwhile, and counts what was `missing`.
fn collect(
    context: &BuildContext,
    build: &Build,
    missing: &[&PlannedShard],
    results: &mut Results,
    mut figures: PassFigures,
) -> Result<PassFigures, FeaturesError> {
    let overwrite = context.request.overwrite;
    build.check(results, overwrite, Watch::new(context.watch.progress, &Interrupt::default()))?;
    figures.shards = missing.len();
    for result in missing.iter().filter_map(|shard| results[shard.place].as_ref()) {
        figures.bytes += result.shard.bytes;
        figures.rows += result.shard.rows;
    }
    if self::missing(context, build, results).next().is_some() {
        return Err(FeaturesError::Interrupted { state: build.state(results) });
    }
    Ok(figures)
}

/// Commits the bank; of a partition there is nothing to commit.
fn finish(
    context: &BuildContext,
    build: Build,
    results: Results,
    figures: PassFigures,
) -> Result<FeaturesOutcome, FeaturesError> {
    let BuildContext { request, out, .. } = context;
    if context.partition.is_some() {
        let manifest = &build.plan.manifest;
        return Ok(figures.outcome(FeaturesOutcome {
            state: Some(build.state(&results)),
            rows: figures.rows,
            bytes: figures.bytes,
            skipped: request.dataset.skipped.count(),
            ..FeaturesOutcome::of_bank(out, manifest, figures.shards == 0)
        }));
    }
    let committed = build.commit(results, request.overwrite)?;
    let skipped = save_skipped(&committed.skipped, &skipped_file(out))?;
    skipped.told().iter().for_each(|text| context.watch.progress.line(text));
    Ok(figures.outcome(FeaturesOutcome {
        top1: committed.top1,
        reordering: committed.reordering,
        skipped,
        ..FeaturesOutcome::of_bank(out, &committed.manifest, false)
    }))
}
