//! The pass of the network over the images of some shards of a bank, with its progress and the time that it
//! takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::context::BuildContext;
use super::error::FeaturesError;
use super::pass::{BareForward, ImagePass, PassHooks, ShardAction};
use super::request::FeaturesOutcome;
use super::rows::RowMaker;
use crate::backbone::Backbone;
use crate::bank::{Build, PlannedShard, ShardResult};

/// What was made in this run, and how fast.
#[derive(Default)]
pub(super) struct PassFigures {
    /// Shards that were missing.
    pub(super) shards: usize,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    secs: f64,
    forward_rows_per_sec: Option<f64>,
}

impl PassFigures {
    /// Does the work whose seconds count.
    pub(super) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let done = work();
        self.secs = begin.elapsed().as_secs_f64();
        done
    }

    /// An outcome with these figures.
    pub(super) fn outcome(&self, outcome: FeaturesOutcome) -> FeaturesOutcome {
        let rows_per_sec = if self.secs > 0.0 { self.rows as f64 / self.secs } else { 0.0 };
        FeaturesOutcome {
            rows_made: self.rows,
            secs: self.secs,
            rows_per_sec,
            forward_rows_per_sec: self.forward_rows_per_sec,
            ..outcome
        }
    }
}

/// Runs the network over the images of some shards; those that are made, with their place among all.
pub(super) fn pass(
    context: &BuildContext,
    build: &Build,
    shards: &[&PlannedShard],
    maker: &RowMaker,
    backbone: &mut dyn Backbone,
    figures: &mut PassFigures,
) -> Result<Vec<(usize, ShardResult)>, FeaturesError> {
    let BuildContext { request, watch, .. } = context;
    let images = ImagePass::new(request);
    watch.progress.line(&announcement(context, build));
    // Half before the pass and half after it, for a machine's pace changes.
    let mut forward = BareForward::default();
    if request.measure_forward {
        forward.time(&images, build, shards, backbone, watch.progress)?;
    }
    watch.progress.start("feature maps", images.count(build, shards), "row");
    let finished = figures.time(|| timed(context, build, &images, shards, maker, backbone))?;
    watch.progress.finish();
    if request.measure_forward && !watch.interrupted() {
        forward.time(&images, build, shards, backbone, watch.progress)?;
    }
    figures.forward_rows_per_sec = forward.rows_per_sec();
    Ok(finished)
}

fn announcement(context: &BuildContext, build: &Build) -> String {
    let BuildContext { request, device, .. } = context;
    format!(
        "{} images x {} of {} training, {} test, on {device}",
        request.dataset.train.len(),
        build.plan.manifest.views_text(),
        request.loaded.name,
        request.dataset.test.len(),
    )
}

/// The part of the pass that counts as its time.
fn timed(
    context: &BuildContext,
    build: &Build,
    images: &ImagePass,
    shards: &[&PlannedShard],
    maker: &RowMaker,
    backbone: &mut dyn Backbone,
) -> Result<Vec<(usize, ShardResult)>, FeaturesError> {
    let BuildContext { request, watch, .. } = context;
    let told = AtomicBool::new(false);
    let action = |shard: &PlannedShard| {
        if watch.interrupted() {
            return Ok(ShardAction::Stop);
        }
        let done = build.done(shard, request.overwrite)?.is_some();
        Ok(if done { ShardAction::Skip } else { ShardAction::Make })
    };
    let mut finished = vec![];
    let hooks = PassHooks {
        action: &action,
        after: &mut |rows| {
            watch.progress.advance(rows);
            if watch.interrupted() && !told.swap(true, Ordering::Relaxed) {
                watch
                    .progress
                    .line("stopping when the shard in hand is done; Ctrl-C stops at once");
            }
        },
        done: &mut |shard, result| finished.push((shard.place, result)),
    };
    images.run(build, shards, maker, backbone, hooks)?;
    Ok(finished)
}
