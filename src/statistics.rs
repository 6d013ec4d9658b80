//! A dataset in figures: sizes of its splits and classes, its head and tail, its shot groups.

use serde::Serialize;

use crate::config::{FinetuneConfig, ShotRule};
use crate::dataset::{Dataset, SplitImages};
use crate::domain::{ClassCounts, ClassId, Split};
use crate::eval::{ShotGroup, shot_group};

/// A dataset in figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// Name of the pipeline.
    pub name: String,
    /// Splits that have images, in the order train, val, test.
    pub splits: Vec<SplitStatistics>,
    /// Training images of the largest class.
    pub largest: u64,
    /// Of the middle one; the mean of the middle two of an even number.
    pub median: f64,
    /// Of the smallest.
    pub smallest: u64,
    /// Largest over smallest.
    pub imbalance_ratio: Option<f64>,
    /// The share of the training images that head classes hold at least.
    pub head_ratio: f64,
    /// The fewest largest classes that hold `head_ratio` of the training images.
    pub head: GroupStatistics,
    /// The other classes.
    pub tail: GroupStatistics,
    /// Rule of the next three.
    pub shot_rule: ShotRule,
    /// Many-shot classes.
    pub many: GroupStatistics,
    /// Medium-shot classes.
    pub medium: GroupStatistics,
    /// Few-shot classes.
    pub few: GroupStatistics,
    /// Every class, from most to fewest training images.
    pub per_class: Vec<ClassStatistics>,
}

/// One split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SplitStatistics {
    /// Its name.
    pub split: Split,
    /// Its images.
    pub images: usize,
    /// Classes that have images in it.
    pub classes: usize,
}

/// Some classes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupStatistics {
    /// How many they are.
    pub classes: usize,
    /// Their training images.
    pub images: u64,
    /// Those as a share of all training images, in 0..1.
    pub share: f64,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassStatistics {
    /// Its id.
    pub class: ClassId,
    /// Its name.
    pub name: String,
    /// Its training images.
    pub train_images: u64,
    /// Its validation images.
    pub val_images: u64,
    /// Its test images.
    pub test_images: u64,
    /// Whether it is a head class.
    pub head: bool,
    /// Its shot group; `None` of a class that the rule gives none.
    pub shots: Option<ShotGroup>,
}

/// Counts a dataset, without the images that were found undecodable; `settings` has the head ratio and the
/// rule of shot groups.
pub fn of(name: &str, dataset: &Dataset, settings: &FinetuneConfig) -> Statistics {
    let none = || ClassCounts(vec![0; dataset.class_names.len()]);
    let count = |split: &SplitImages| dataset.counts_as_listed(split);
    let val = dataset.val.as_ref().map_or_else(none, count);
    let counts = [count(&dataset.train), val, count(&dataset.test)];
    of_counts(name, &dataset.class_names, &counts, settings)
}

/// The same from images of each class in train, val and test.
pub fn of_counts(
    name: &str,
    class_names: &[String],
    counts: &[ClassCounts; 3],
    settings: &FinetuneConfig,
) -> Statistics {
    let [train, val, test] = counts;
    let (order, split) = (train.by_count(), train.split(settings.head_ratio));
    let (head_ratio, shot_rule) = (settings.head_ratio, settings.shot_rule);
    let class = |(place, class): (usize, &ClassId)| ClassStatistics {
        class: *class,
        name: class_names[class.index()].clone(),
        train_images: train.0[class.index()],
        val_images: val.0[class.index()],
        test_images: test.0[class.index()],
        head: place < split.head.len(),
        shots: shot_group(shot_rule, train.0[class.index()]),
    };
    let per_class: Vec<ClassStatistics> = order.iter().enumerate().map(class).collect();
    let group = |belongs: &dyn Fn(&ClassStatistics) -> bool| group(&per_class, belongs);
    let shots = |wanted| group(&|class| class.shots == Some(wanted));
    Statistics {
        name: name.into(),
        splits: splits(counts),
        largest: per_class.first().map_or(0, |class| class.train_images),
        median: median(&per_class),
        smallest: per_class.last().map_or(0, |class| class.train_images),
        imbalance_ratio: train.imbalance_ratio(),
        head_ratio,
        head: group(&|class| class.head),
        tail: group(&|class| !class.head),
        shot_rule,
        many: shots(ShotGroup::Many),
        medium: shots(ShotGroup::Medium),
        few: shots(ShotGroup::Few),
        per_class,
    }
}

fn splits(counts: &[ClassCounts; 3]) -> Vec<SplitStatistics> {
    let split = |(split, counts): (Split, &ClassCounts)| SplitStatistics {
        split,
        images: counts.total() as usize,
        classes: counts.0.iter().filter(|n| **n > 0).count(),
    };
    Split::ALL.into_iter().zip(counts).map(split).filter(|split| split.images > 0).collect()
}

fn group(
    classes: &[ClassStatistics],
    belongs: &dyn Fn(&ClassStatistics) -> bool,
) -> GroupStatistics {
    let all: u64 = classes.iter().map(|class| class.train_images).sum();
    let of_group: Vec<u64> =
        classes.iter().filter(|class| belongs(class)).map(|class| class.train_images).collect();
    let images = of_group.iter().sum();
    GroupStatistics { classes: of_group.len(), images, share: images as f64 / all.max(1) as f64 }
}

fn median(sorted: &[ClassStatistics]) -> f64 {
    let at = |i: usize| sorted.get(i).map_or(0.0, |class| class.train_images as f64);
    let n = sorted.len();
    if n.is_multiple_of(2) { (at(n.saturating_sub(2) / 2) + at(n / 2)) / 2.0 } else { at(n / 2) }
}
