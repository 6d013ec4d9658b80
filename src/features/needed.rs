//! Which classes keep their maps with `features.maps = "needed"`: those of the tail, and those that give
//! them class-generic vectors, which Phase-II would find from the finished bank.
//!
//! The plan of a bank says which maps it keeps, so that they must be known before the first shard. The
//! clean views of the tail classes' images go through the network once more, first; their vectors are
//! rounded, scored and ranked as Phase-II does it. Two things can make the bank differ at the margin: an
//! image of a larger class that cannot be decoded (seen only when its shard is made) may move the border
//! of head and tail, and networks whose values depend on which images share a batch may swap classes of
//! nearly equal scores. Phase-II refuses to begin without a map that it needs, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::build_plan::build_plan;
use super::context::BuildContext;
use super::error::FeaturesError;
use super::forecast::MapsKnown;
use super::network_source::MapSource;
use super::pass::ImagePass;
use super::rows::RowMaker;
use crate::augment::{ConfusingClasses, confusing_of_tail};
use crate::backbone::Backbone;
use crate::bank::{Bank, Build, BuildPlan, Manifest, MapsKept, TrainRow};
use crate::config::GenericClasses;
use crate::dataset::Dataset;
use crate::domain::{ClassCounts, HeadTail, LinearHead, Split};

/// The settings of Phase-II that decide.
#[derive(Clone, Copy)]
struct Settings {
    head_ratio: f64,
    num_confusing: usize,
    generic_classes: GenericClasses,
}

/// Which images of the tail are used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum TailImages {
    /// All.
    All,
    /// As many as are done in this many seconds, of every class alike: for an estimate.
    ForSecs(f64),
}

/// The plan of the bank that `manifest` describes, with the classes whose maps are kept: those of the plan that
/// was begun, or found now, from `images` of the tail.
///
/// # Errors
/// Another bank was begun there; those of the search for the classes.
pub(super) fn plan_in_force(
    context: &BuildContext,
    manifest: Manifest,
    head: &LinearHead,
    source: &mut MapSource,
    images: TailImages,
) -> Result<(BuildPlan, MapsKnown), FeaturesError> {
    let BuildContext { request, out, .. } = context;
    let mut plan = build_plan(request, manifest);
    if !matches!(plan.manifest.maps, MapsKept::Needed { .. }) {
        return Ok((plan, MapsKnown::Known));
    }
    if let Some(begun) = Build::begun(out, &plan, request.overwrite)? {
        plan.manifest.maps = begun.manifest.maps;
        return Ok((plan, MapsKnown::Known));
    }
    let mut maps = plan.manifest.maps.clone();
    let maker = RowMaker { maps: &MapsKept::All, ..RowMaker::new(&plan.manifest, head) };
    let known = fill_in(&mut maps, context, &maker, source, images)?;
    plan.manifest.maps = maps;
    Ok((plan, known))
}

/// Fills in the classes of [`MapsKept::Needed`], for the classifier and the rounding of `maker`; how sure
/// they are.
///
/// # Errors
/// An image, the network or the bank with the maps fails; an interrupt.
///
/// # Cost
/// The tail's images through the network (none where the maps are in a bank already), and K values an
/// image in memory.
fn fill_in(
    kept: &mut MapsKept,
    context: &BuildContext,
    maker: &RowMaker,
    source: &mut MapSource,
    images: TailImages,
) -> Result<MapsKnown, FeaturesError> {
    let MapsKept::Needed { head_ratio, num_confusing, generic_classes, classes, .. } = kept else {
        return Ok(MapsKnown::Known);
    };
    let settings = Settings {
        head_ratio: *head_ratio,
        num_confusing: *num_confusing,
        generic_classes: *generic_classes,
    };
    let all = context.request.dataset.class_names.len();
    if settings.generic_classes == GenericClasses::Random {
        classes.extend(0..all as u32);
        context.watch.progress.line("generic_classes is random: the maps of all classes are kept");
        return Ok(MapsKnown::Known);
    }
    let mut known = MapsKnown::Known;
    let (split, confusing) = match source {
        MapSource::Network(network) => {
            let backbone = network.get()?;
            of_images(settings, context, maker, backbone, images, &mut known)?
        }
        MapSource::Bank(bank) => of_bank(settings, maker, bank)?,
    };
    let ranked = confusing.iter().flat_map(|of_class| &of_class.ranked).map(|(class, _)| class.0);
    let needed: BTreeSet<u32> = split.tail.iter().map(|class| class.0).chain(ranked).collect();
    context.watch.progress.line(&format!(
        "maps are kept of {} of {all} classes: {} in the tail (head_ratio {head_ratio}), and those that these are confused with (num_confusing {num_confusing})",
        needed.len(),
        split.tail.len(),
    ));
    classes.extend(needed);
    Ok(known)
}

/// From the images: they are passed through the network.
fn of_images(
    settings: Settings,
    context: &BuildContext,
    maker: &RowMaker,
    backbone: &mut dyn Backbone,
    images: TailImages,
    known: &mut MapsKnown,
) -> Result<(HeadTail, Vec<ConfusingClasses>), FeaturesError> {
    let BuildContext { watch, .. } = context;
    /// Images between two readings of the clock.
    const AT_ONCE: usize = 64;
    let begin = Instant::now();
    let dataset = context.request.dataset;
    let labels = dataset.train.labels();
    let pass = ImagePass::new(context.request);
    let mut passed = vec![false; dataset.class_names.len()];
    let mut vectors: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    let split = loop {
        // Images that turn out not to be decodable change the counts, and they may change the tail.
        let split = counts(dataset).split(settings.head_ratio);
        let mut now = vec![false; passed.len()];
        for class in split.tail.iter().map(|class| class.index()) {
            now[class] = !std::mem::replace(&mut passed[class], true);
        }
        let of_now = |&sample: &u32| now[labels[sample as usize] as usize];
        let samples: Vec<u32> = (0..labels.len() as u32).filter(of_now).collect();
        if samples.is_empty() {
            break split;
        }
        let (samples, at_once, most_secs) = match images {
            TailImages::All => (samples, usize::MAX, f64::INFINITY),
            TailImages::ForSecs(secs) => (in_turns(&samples, labels), AT_ONCE, secs),
        };
        watch.progress.start("tail images", samples.len() as u64, "image");
        for some in samples.chunks(at_once) {
            if begin.elapsed().as_secs_f64() > most_secs {
                *known = MapsKnown::Sampled;
                break;
            }
            pass.clean_rows(some, maker, backbone, &mut |asked, rows| {
                if watch.interrupted() {
                    return Err(FeaturesError::InterruptedNeeded);
                }
                let vector = |row: TrainRow| (row.head.sample_id as usize, row.head.pooled);
                vectors.extend(rows.into_iter().map(vector));
                watch.progress.advance(asked);
                Ok(())
            })?;
        }
        watch.progress.finish();
    };
    let rows = vectors.keys().map(|&sample| (sample, labels[sample]));
    let seen: BTreeSet<u32> = vectors.keys().map(|&sample| labels[sample]).collect();
    let tail = split.tail.iter().copied().filter(|class| seen.contains(&class.0)).collect();
    let of_seen = HeadTail { tail, ..split.clone() };
    let confusing = ranked(settings, &of_seen, maker, rows, |samples| {
        Ok(samples.iter().flat_map(|sample| &vectors[sample]).copied().collect())
    })?;
    Ok((split, confusing))
}

/// One of every class, then another of each, and so on.
fn in_turns(samples: &[u32], labels: &[u32]) -> Vec<u32> {
    let mut of_class: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for &sample in samples {
        of_class.entry(labels[sample as usize]).or_default().push(sample);
    }
    let most = of_class.values().map(Vec::len).max().unwrap_or(0);
    let nth = |n: usize| of_class.values().filter_map(move |samples| samples.get(n).copied());
    (0..most).flat_map(nth).collect()
}

/// From a bank that has the maps, and was made with another classifier.
fn of_bank(
    settings: Settings,
    maker: &RowMaker,
    bank: &Bank,
) -> Result<(HeadTail, Vec<ConfusingClasses>), FeaturesError> {
    let (index, reader) = (bank.index(Split::Train)?, bank.row_reader(Split::Train)?);
    let split = bank.class_counts.split(settings.head_ratio);
    let clean = (0..index.len()).filter(|&row| index.views[row] == 0);
    let rows = clean.map(|row| (row, index.labels[row]));
    let confusing = ranked(settings, &split, maker, rows, |rows| {
        let mut vectors = vec![];
        reader.pooled(&index, rows, &mut vectors)?;
        Ok(vectors)
    })?;
    Ok((split, confusing))
}

/// The confusing classes from the clean views, which are given with their classes in ascending order.
fn ranked(
    settings: Settings,
    split: &HeadTail,
    maker: &RowMaker,
    clean: impl Iterator<Item = (usize, u32)>,
    pooled: impl Fn(&[usize]) -> Result<Vec<f32>, FeaturesError>,
) -> Result<Vec<ConfusingClasses>, FeaturesError> {
    let mut of_class = vec![vec![]; maker.head.classes()];
    clean.for_each(|(row, label)| of_class[label as usize].push(row));
    let head_only = settings.generic_classes == GenericClasses::Head;
    confusing_of_tail(split, head_only, settings.num_confusing, maker.head, &of_class, pooled)
}

/// Training images of each class that can be decoded, as far as that is known.
fn counts(dataset: &Dataset) -> ClassCounts {
    let labels = dataset.train.labels();
    let mut counts = ClassCounts::from_labels(labels, dataset.class_names.len());
    for image in dataset.skipped.some(Split::Train, 0..labels.len()) {
        counts.0[labels[image.sample_id] as usize] -= 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_take_turns() {
        let labels = [0, 2, 2, 2, 1, 1, 0];
        assert_eq!(in_turns(&[1, 2, 3, 4, 5, 6], &labels), [6, 4, 1, 5, 2, 3]);
        assert!(in_turns(&[], &labels).is_empty());
    }
}
