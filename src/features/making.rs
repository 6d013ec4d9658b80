//! The making of one bank: which of its shards are there, the pass over the others, the commit.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::forecast::MapsKnown;
use super::needed::TailImages;
use super::outlook::Outlook;
use super::pass::{Forward, Hooks, Jobs, Wanted};
use super::rows::RowMaker;
use super::{
    FeaturesError, FeaturesOutcome, FeaturesRequest, existing, needed, refit, skipped_file,
};
use crate::backbone::{Backbone, BackboneError};
use crate::bank::{
    Bank, BankError, Build, BuildPlan, Manifest, MapsKept, Partition, PlannedShard, ShardResult,
};
use crate::classifier_file::ClassifierCard;
use crate::dataset::SkippedList;
use crate::domain::LinearHead;
use crate::progress::{Interrupt, Progress};

/// What the making of one bank has at hand.
pub(super) struct Making<'a> {
    pub(super) request: &'a FeaturesRequest<'a>,
    /// The bank's place.
    pub(super) out: &'a Path,
    /// The shards to make; `None`: all, and then the bank.
    pub(super) partition: Option<Partition>,
    /// sha256 that names the network.
    pub(super) identity: &'a str,
    /// In words.
    pub(super) device: &'a str,
    pub(super) progress: &'a dyn Progress,
    pub(super) interrupt: &'a Interrupt,
}

/// Makes a network ready.
pub(super) type Start<'a> = Box<dyn FnOnce() -> Result<Box<dyn Backbone>, BackboneError> + 'a>;

/// A network that is made ready when it is first needed.
pub(super) struct Network<'a> {
    start: Option<Start<'a>>,
    ready: Option<Box<dyn Backbone>>,
}

impl<'a> Network<'a> {
    pub(super) fn new(start: Start<'a>) -> Self {
        Self { start: Some(start), ready: None }
    }

    pub(super) fn get(&mut self) -> Result<&mut dyn Backbone, BackboneError> {
        if let Some(start) = self.start.take() {
            self.ready = Some(start()?);
        }
        Ok(self.ready.as_mut().expect("a network that failed is not asked for again").as_mut())
    }
}

/// Where the maps come from.
pub(super) enum Source<'a> {
    /// Images, through the network.
    Images(Network<'a>),
    /// A bank that has them.
    Maps(&'a Bank),
}

/// What was made in this run.
#[derive(Default)]
pub(super) struct Made {
    secs: f64,
    rows: u64,
    bytes: u64,
    forward_rows_per_sec: Option<f64>,
}

/// What a bank will be.
pub(super) fn build_plan(request: &FeaturesRequest, manifest: Manifest) -> BuildPlan {
    let features = &request.loaded.pipeline.features;
    let dataset = request.dataset;
    let training = (dataset.train.len() * features.views) as u64;
    let mut items = vec![("train", training), ("test", dataset.test.len() as u64)];
    items.extend(dataset.val.as_ref().map(|val| ("val", val.len() as u64)));
    BuildPlan {
        manifest,
        batch_size: features.batch_size,
        compression_level: features.compression_level,
        shard_bytes: features.shard_bytes,
        items: items.into_iter().map(|(split, n)| (split.to_string(), n)).collect(),
    }
}

impl Making<'_> {
    /// Makes the shards that are missing and, without a partition, the bank that `manifest` describes.
    pub(super) fn run(
        &self,
        manifest: Manifest,
        head: &LinearHead,
        source: Source,
    ) -> Result<FeaturesOutcome, FeaturesError> {
        let wanted = manifest.clone();
        match self.make(manifest, head, source) {
            Err(e) if !self.interrupt.requested() => {
                if !self.request.overwrite
                    && let Ok(Some(done)) = existing(self.out, false, &wanted)
                {
                    // Another process that was making the same bank was faster.
                    return Ok(done);
                }
                match Build::begun(self.out, &build_plan(self.request, wanted), false) {
                    // Another process has begun another one meanwhile.
                    Err(other @ BankError::OtherBuild { .. }) => Err(other.into()),
                    Ok(Some(_)) => Err(e.with_a_bank_begun()),
                    _ => Err(e),
                }
            }
            made => made,
        }
    }

    fn make(
        &self,
        manifest: Manifest,
        head: &LinearHead,
        mut source: Source,
    ) -> Result<FeaturesOutcome, FeaturesError> {
        let Self { request, progress, .. } = self;
        let (dataset, overwrite) = (request.dataset, request.overwrite);
        let card = ClassifierCard {
            class_names: dataset.class_names.clone(),
            network_sha256: self.identity.into(),
            preprocessing: manifest.preprocessing.clone(),
            input: None,
        };
        let classifier = card.weights(head, []).to_bytes();
        let (plan, _) = self.plan_in_force(manifest, head, &mut source, TailImages::All)?;
        if let Source::Images(network) = &mut source {
            let outlook = Outlook::new(request, self.out, plan.clone(), head)?;
            outlook.require_room(network, *progress, self.interrupt)?;
        }
        let build = Build::begin(self.out, plan, card.class_names, &classifier, overwrite)?;
        let mut results: Vec<Option<ShardResult>> = vec![None; build.shards().len()];
        build.check(&mut results, overwrite, *progress, self.interrupt)?;
        if self.interrupt.requested() && build.state(&results).shards_done > 0 {
            return Err(FeaturesError::InterruptedCheck);
        }
        dataset.skipped.restore(results.iter().flatten().flat_map(|result| &result.skipped));
        if let Source::Maps(_) = source {
            // Those that were left out when the maps were made.
            dataset.skipped.restore(SkippedList::images_in(&skipped_file(self.out)).iter());
        }
        let state = build.state(&results);
        if state.shards_done > 0 {
            progress.line(&format!("{}: {state}", self.out.display()));
        }
        let missing = |shard: &&PlannedShard| {
            results[shard.place].is_none() && self.partition.is_none_or(|part| part.has(shard))
        };
        let todo: Vec<&PlannedShard> = build.shards().iter().filter(missing).collect();
        let mut made = Made::default();
        if !todo.is_empty() {
            let maker = RowMaker {
                shape: build.plan.manifest.feature_shape,
                head,
                precision: build.plan.manifest.precision,
                maps: &build.plan.manifest.maps,
            };
            let begin = Instant::now();
            let finished = match (source, request.elsewhere) {
                (Source::Images(network), Some(elsewhere)) => {
                    // Its memory is for those who make the shards.
                    drop(network);
                    elsewhere(Jobs::new(request).count(&build, &todo))?;
                    made.secs = begin.elapsed().as_secs_f64();
                    vec![]
                }
                (Source::Images(mut network), None) => {
                    self.pass(&build, &todo, &maker, network.get()?, &mut made)?
                }
                (Source::Maps(bank), _) => refit::write(self, bank, &build, &todo, &maker)?,
            };
            for (place, result) in finished {
                results[place] = Some(result);
            }
        }
        // What other processes have made meanwhile.
        build.check(&mut results, overwrite, *progress, &Interrupt::default())?;
        for result in todo.iter().filter_map(|shard| results[shard.place].as_ref()) {
            made.bytes += result.shard.bytes;
            made.rows += result.shard.rows;
        }
        let state = build.state(&results);
        let mine = |shard: &&PlannedShard| self.partition.is_none_or(|part| part.has(shard));
        if build.shards().iter().filter(mine).any(|shard| results[shard.place].is_none()) {
            return Err(FeaturesError::Interrupted { state });
        }
        let rows_made = made.rows;
        let rows_per_sec = if made.secs > 0.0 { made.rows as f64 / made.secs } else { 0.0 };
        let outcome = |outcome: FeaturesOutcome| FeaturesOutcome {
            rows_made,
            secs: made.secs,
            rows_per_sec,
            forward_rows_per_sec: made.forward_rows_per_sec,
            ..outcome
        };
        if self.partition.is_some() {
            let skipped = dataset.skipped.count();
            return Ok(outcome(FeaturesOutcome {
                state: Some(state),
                rows: made.rows,
                bytes: made.bytes,
                skipped,
                ..super::outcome(self.out, &build.plan.manifest, todo.is_empty())
            }));
        }
        let committed = build.commit(results, overwrite)?;
        let skipped = crate::dataset::save_skipped(&committed.skipped, &skipped_file(self.out))?;
        skipped.told().iter().for_each(|text| progress.line(text));
        Ok(outcome(FeaturesOutcome {
            top1: committed.top1,
            reordering: committed.reordering,
            skipped,
            ..super::outcome(self.out, &committed.manifest, false)
        }))
    }

    /// What the bank will be, with the classes whose maps are kept: those of the plan that is there, or found
    /// now, from `images` of the tail.
    pub(super) fn plan_in_force(
        &self,
        manifest: Manifest,
        head: &LinearHead,
        source: &mut Source,
        images: TailImages,
    ) -> Result<(BuildPlan, MapsKnown), FeaturesError> {
        let mut plan = build_plan(self.request, manifest);
        let mut known = MapsKnown::Known;
        if let MapsKept::Needed { .. } = plan.manifest.maps {
            let mut maps = plan.manifest.maps.clone();
            match Build::begun(self.out, &plan, self.request.overwrite)? {
                Some(there) => maps = there.manifest.maps,
                None => {
                    let Manifest { feature_shape: shape, precision, .. } = plan.manifest;
                    let maker = RowMaker { shape, head, precision, maps: &MapsKept::All };
                    known = needed::fill_in(&mut maps, self, &maker, source, images)?;
                }
            }
            plan.manifest.maps = maps;
        }
        Ok((plan, known))
    }

    /// Runs the network over the images of some shards.
    pub(super) fn pass(
        &self,
        build: &Build,
        todo: &[&PlannedShard],
        maker: &RowMaker,
        backbone: &mut dyn Backbone,
        made: &mut Made,
    ) -> Result<Vec<(usize, ShardResult)>, FeaturesError> {
        let Self { request, progress, interrupt, .. } = self;
        let jobs = Jobs::new(request);
        let total = jobs.count(build, todo);
        progress.line(&format!(
            "{} images x {} of {} training, {} test, on {}",
            request.dataset.train.len(),
            build.plan.manifest.views_text(),
            request.loaded.name,
            request.dataset.test.len(),
            self.device,
        ));
        // Half before the pass and half after it, for a machine's pace changes.
        let mut forward = Forward::default();
        if request.measure_forward {
            forward.time(&jobs, build, todo, backbone, *progress)?;
        }
        let begin = Instant::now();
        progress.start("feature maps", total, "row");
        let told = AtomicBool::new(false);
        let wanted = |shard: &PlannedShard| {
            if interrupt.requested() {
                return Ok(Wanted::Stop);
            }
            let there = build.done(shard, request.overwrite)?.is_some();
            Ok(if there { Wanted::No } else { Wanted::Yes })
        };
        let mut finished = vec![];
        let hooks = Hooks {
            wanted: &wanted,
            after: &mut |rows| {
                progress.advance(rows);
                if interrupt.requested() && !told.swap(true, Ordering::Relaxed) {
                    progress.line("stopping when the shard in hand is done; Ctrl-C stops at once");
                }
            },
            done: &mut |shard, result| finished.push((shard.place, result)),
        };
        jobs.run(build, todo, maker, backbone, hooks)?;
        progress.finish();
        made.secs = begin.elapsed().as_secs_f64();
        if request.measure_forward && !interrupt.requested() {
            forward.time(&jobs, build, todo, backbone, *progress)?;
        }
        made.forward_rows_per_sec = forward.rows_per_sec();
        Ok(finished)
    }
}
