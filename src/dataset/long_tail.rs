//! Cutting a training set to a long tail: balanced images as the field's CIFAR-LT protocol does, others
//! by the same sizes in order of their own.

use std::path::Path;

use rand_mt::Mt;

use super::error::DatasetError;
use crate::config::{DatasetConfig, Imbalance, Selection};
use crate::domain::ClassCounts;
use crate::rng::{KeyedRng, Stage};

/// Seed of LDAM-DRW's subset.
const LDAM_SEED: u32 = 0;

/// What a cut left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Largest over smallest class that was asked for.
    pub wanted_ratio: f64,
    /// Largest over smallest class of the images that are kept; at least the one that was asked for.
    pub ratio: f64,
    /// Classes that have fewer images than the cut keeps of a class of their rank; all theirs are kept.
    pub smaller_classes: usize,
}

impl Cut {
    /// What differs from what was asked for, if anything does.
    pub fn describe(&self) -> Option<String> {
        (self.smaller_classes > 0).then(|| {
            format!(
                "an imbalance ratio of {:.1} in place of {}; classes with fewer images than the cut keeps: {}",
                self.ratio,
                self.wanted_ratio,
                self.smaller_classes
            )
        })
    }
}

/// Images that the class of each rank keeps, from the largest: of C classes, rank i keeps
/// trunc(max · ratio^(-i / (C - 1))), or in steps max below rank floor(C / 2) and trunc(max / ratio)
/// from there.
///
/// Source: `get_img_num_per_cls` of kaidic/LDAM-DRW, imb_type "exp" and "step" (which leaves out the
/// last class of an odd number).
pub(super) fn class_sizes(
    classes: usize,
    max: usize,
    imbalance_ratio: f64,
    imbalance: Imbalance,
) -> Vec<usize> {
    let mu = 1.0 / imbalance_ratio;
    let share = |rank: usize| match imbalance {
        Imbalance::Exponential => mu.powf(rank as f64 / (classes - 1) as f64),
        Imbalance::Step if rank < classes / 2 => 1.0,
        Imbalance::Step => mu,
    };
    (0..classes).map(|rank| (max as f64 * share(rank)) as usize).collect()
}

/// Indices of the images that are kept, class by class in label order, and what that makes.
///
/// Classes rank by their images, equal ones in label order; a class keeps what its rank says, or all
/// its images where it has fewer.
pub(super) fn select(
    path: &Path,
    class_names: &[String],
    labels: &[u32],
    config: &DatasetConfig,
) -> Result<(Vec<usize>, Cut), DatasetError> {
    let mut members = vec![vec![]; class_names.len()];
    labels.iter().enumerate().for_each(|(i, &label)| members[label as usize].push(i));
    let counts = ClassCounts::from_labels(labels, class_names.len());
    if config.selection == Selection::Ldam {
        refuse_unbalanced(path, class_names, &counts)?;
    }
    let sizes = sizes_by_label(&counts, config);
    if let Some(class) = (0..sizes.len()).find(|&c| sizes[c] == 0 && !members[c].is_empty()) {
        return Err(DatasetError::CutAway {
            path: path.into(),
            class: class_names[class].clone(),
            found: members[class].len(),
            imbalance_ratio: config.imbalance_ratio,
        });
    }
    let mut generator = Mt::new(LDAM_SEED);
    let mut keep = Vec::with_capacity(sizes.iter().sum());
    for (class, (members, &size)) in members.iter_mut().zip(&sizes).enumerate() {
        match config.selection {
            Selection::First => {}
            Selection::Ldam => numpy_shuffle(&mut generator, members),
            Selection::Random => {
                let key = (class as u64, 0);
                KeyedRng::new(config.selection_seed, Stage::LongTail, key).shuffle(members);
            }
        }
        keep.extend_from_slice(&members[..size.min(members.len())]);
    }
    let kept = ClassCounts(sizes.iter().zip(&counts.0).map(|(&s, &n)| n.min(s as u64)).collect());
    let cut = Cut {
        wanted_ratio: config.imbalance_ratio,
        ratio: kept.imbalance_ratio().unwrap_or(f64::INFINITY),
        smaller_classes: sizes.iter().zip(&counts.0).filter(|&(&s, &n)| n < s as u64).count(),
    };
    Ok((keep, cut))
}

fn refuse_unbalanced(
    path: &Path,
    class_names: &[String],
    counts: &ClassCounts,
) -> Result<(), DatasetError> {
    let max = counts.0.iter().copied().max().unwrap_or(0);
    match counts.0.iter().position(|&n| n != max) {
        None => Ok(()),
        Some(class) => Err(DatasetError::TooFew {
            path: path.into(),
            class: class_names[class].clone(),
            found: counts.0[class] as usize,
            wanted: max as usize,
            remedy: "selection = \"ldam\" shuffles the full, balanced training set; for images that \
                     are not balanced, use selection = \"first\" or \"random\".",
        }),
    }
}

/// What each class would keep by its rank, in label order.
fn sizes_by_label(counts: &ClassCounts, config: &DatasetConfig) -> Vec<usize> {
    let classes = counts.0.len();
    let max = counts.0.iter().copied().max().unwrap_or(0) as usize;
    let by_rank = class_sizes(classes, max, config.imbalance_ratio, config.imbalance);
    let mut sizes = vec![0; classes];
    for (class, size) in counts.by_count().into_iter().zip(by_rank) {
        sizes[class.index()] = size;
    }
    sizes
}

/// `numpy.random.shuffle` of a legacy `numpy.random.seed` generator.
fn numpy_shuffle(generator: &mut Mt, items: &mut [usize]) {
    for i in (1..items.len()).rev() {
        items.swap(i, numpy_interval(generator, i as u32) as usize);
    }
}

/// `random_interval` of numpy: uniform in 0..=max by masked rejection.
fn numpy_interval(generator: &mut Mt, max: u32) -> u32 {
    let mask = max
        .checked_next_power_of_two()
        .map_or(u32::MAX, |p| if p == max { 2 * p - 1 } else { p - 1 });
    loop {
        let value = generator.next_u32() & mask;
        if value <= max {
            return value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATIOS: [f64; 5] = [10.0, 20.0, 50.0, 100.0, 200.0];

    fn names(classes: usize) -> Vec<String> {
        (0..classes).map(|c| c.to_string()).collect()
    }

    fn subset_of(counts: &[usize], config: &DatasetConfig) -> (Vec<Vec<usize>>, Cut) {
        let class = |(class, &n): (usize, &usize)| std::iter::repeat_n(class as u32, n);
        let labels: Vec<u32> = counts.iter().enumerate().flat_map(class).collect();
        let (keep, cut) = select(Path::new("x"), &names(counts.len()), &labels, config).unwrap();
        // Class by class, in label order.
        assert!(keep.is_sorted_by_key(|&i| labels[i]));
        let of_class = |c: usize| keep.iter().copied().filter(|&i| labels[i] == c as u32).collect();
        ((0..counts.len()).map(of_class).collect(), cut)
    }

    fn sizes_of(counts: &[usize], config: &DatasetConfig) -> (Vec<usize>, Cut) {
        let (keep, cut) = subset_of(counts, config);
        (keep.iter().map(Vec::len).collect(), cut)
    }

    fn config(ratio: f64, selection: Selection) -> DatasetConfig {
        DatasetConfig { imbalance_ratio: ratio, selection, ..Default::default() }
    }

    fn subset(classes: usize, size: usize, ratio: f64) -> Vec<usize> {
        subset_of(&vec![size; classes], &config(ratio, Selection::Ldam)).0.concat()
    }

    #[test]
    fn class_sizes_are_those_of_the_protocol() {
        let totals = |classes, max| {
            RATIOS.map(|ratio| {
                let sizes = class_sizes(classes, max, ratio, Imbalance::Exponential);
                (sizes.iter().sum::<usize>(), *sizes.last().unwrap())
            })
        };
        assert_eq!(
            totals(10, 5000),
            [(20431, 500), (17023, 250), (13996, 100), (12406, 50), (11203, 25)]
        );
        assert_eq!(
            totals(100, 500),
            [(19573, 50), (15907, 25), (12608, 10), (10847, 5), (9502, 2)]
        );
    }

    #[test]
    fn half_of_the_classes_keep_all_in_steps() {
        let sizes = |classes, max, ratio| class_sizes(classes, max, ratio, Imbalance::Step);
        for ratio in RATIOS {
            let small = (5000.0 / ratio) as usize;
            assert_eq!(sizes(10, 5000, ratio), [[5000; 5], [small; 5]].concat());
        }
        assert_eq!(sizes(100, 500, 200.0), [[500; 50], [2; 50]].concat());
        assert_eq!(sizes(5, 12, 3.0), [12, 12, 4, 4, 4]);
        assert_eq!(sizes(2, 7, 2.0), [7, 3]);
        let step = DatasetConfig { imbalance: Imbalance::Step, ..config(100.0, Selection::Ldam) };
        let (kept, cut) = subset_of(&[5000; 10], &step);
        assert_eq!(kept.iter().map(Vec::len).sum::<usize>(), 25_250);
        assert_eq!(cut, Cut { wanted_ratio: 100.0, ratio: 100.0, smaller_classes: 0 });
        // The images of a class are the first of the same shuffle, whatever the sizes.
        let exponential = subset_of(&[5000; 10], &config(100.0, Selection::Ldam)).0;
        assert_eq!(kept[9], exponential[9]);
        assert!(exponential[7].starts_with(&kept[7]));
    }

    #[test]
    fn ldam_subset_is_numpys_bit_for_bit() {
        let keep = subset(10, 5000, 100.0);
        assert_eq!(keep[..8], [398, 3833, 4836, 4572, 636, 2545, 1161, 2230]);
        let second: Vec<usize> = keep[5000..5005].iter().map(|i| i - 5000).collect();
        assert_eq!(second, [597, 332, 521, 3935, 4800]);

        let keep = subset(100, 500, 100.0);
        assert_eq!(keep[..8], [90, 254, 283, 445, 461, 15, 316, 489]);
        let sizes = class_sizes(100, 500, 100.0, Imbalance::Exponential);
        assert_eq!(keep[sizes[0]..][..2], [500 + 277, 500 + 307]);
        let last: Vec<usize> = keep[keep.len() - 5..].iter().map(|i| i - 99 * 500).collect();
        assert_eq!(last[..2], [348, 153]);
    }

    #[test]
    fn a_steeper_subset_is_a_prefix_of_each_class() {
        let (steep, gentle) = (subset(10, 5000, 200.0), subset(10, 5000, 100.0));
        let of_class = |keep: &[usize], c: usize| -> Vec<usize> {
            keep.iter().copied().filter(|i| i / 5000 == c).collect()
        };
        for class in 0..10 {
            assert!(of_class(&gentle, class).starts_with(&of_class(&steep, class)));
        }
    }

    #[test]
    fn first_keeps_file_order_and_ldam_refuses_a_cut_set() {
        let labels = [0, 1, 0, 1, 0, 0];
        let names = ["a".to_string(), "b".to_string()];
        let open = |selection| {
            select(Path::new("x"), &names, &labels, &config(2.0, selection)).map(|(keep, _)| keep)
        };
        assert_eq!(open(Selection::First).unwrap(), [0, 2, 4, 5, 1, 3]);
        let message = open(Selection::Ldam).unwrap_err().to_string();
        assert!(
            message.contains("class `b` has 2 images") && message.contains("first"),
            "{message}"
        );
    }

    #[test]
    fn classes_shrink_in_order_of_their_size() {
        // Ranks by count, then label: 1 (90), 3 (90), 0 (40), 4 (40), 2 (30). By hand, ratio 9:
        // 90 · 9^(-rank/4) = 90, 51.96, 30, 17.32, 10.
        for selection in [Selection::First, Selection::Random] {
            let (sizes, cut) = sizes_of(&[40, 90, 30, 90, 40], &config(9.0, selection));
            assert_eq!(sizes, [30, 90, 10, 51, 17]);
            assert_eq!(cut, Cut { wanted_ratio: 9.0, ratio: 9.0, smaller_classes: 0 });
            assert_eq!(cut.describe(), None);
        }
    }

    #[test]
    fn a_class_with_fewer_images_keeps_them_all_and_the_ratio_says_so() {
        // 1000 · 10^(-rank/2) = 1000, 316, 100; the two rare classes have 10 and 4.
        let (sizes, cut) = sizes_of(&[10, 1000, 4], &config(10.0, Selection::Random));
        assert_eq!(sizes, [10, 1000, 4]);
        assert_eq!(cut, Cut { wanted_ratio: 10.0, ratio: 250.0, smaller_classes: 2 });
        assert_eq!(
            cut.describe().unwrap(),
            "an imbalance ratio of 250.0 in place of 10; classes with fewer images than the cut keeps: 2"
        );
        let step = DatasetConfig { imbalance: Imbalance::Step, ..config(10.0, Selection::First) };
        // The first half of the ranks would keep 1000 each.
        let (sizes, cut) = sizes_of(&[500, 1000, 400, 20], &step);
        assert_eq!(sizes, [500, 1000, 100, 20]);
        assert_eq!(cut, Cut { wanted_ratio: 10.0, ratio: 50.0, smaller_classes: 2 });
    }

    #[test]
    fn a_cut_that_leaves_a_class_nothing_is_an_error() {
        for selection in [Selection::Ldam, Selection::First, Selection::Random] {
            let labels: Vec<u32> = (0..40).map(|i| i / 20).collect();
            let config = config(25.0, selection);
            let error = select(Path::new("x"), &names(2), &labels, &config).unwrap_err();
            assert!(
                error.to_string().starts_with(
                    "x: an imbalance ratio of 25 leaves class `1` none of its 20 images"
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn random_images_follow_from_the_seed_and_their_class_alone() {
        let random = |counts: &[usize], ratio, selection_seed| {
            let config = DatasetConfig { selection_seed, ..config(ratio, Selection::Random) };
            subset_of(counts, &config).0
        };
        let kept = random(&[200; 4], 8.0, 1);
        assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [200, 100, 50, 25]);
        assert_eq!(kept, random(&[200; 4], 8.0, 1));
        let other = random(&[200; 4], 8.0, 2);
        assert!((1..4).all(|c| kept[c] != other[c]));
        // No image twice, not the first ones, and spread over the class.
        let mut class = kept[2].clone();
        class.sort_unstable();
        class.dedup();
        assert_eq!(class.len(), 50);
        assert!(class[49] - class[0] > 150, "{class:?}");
        // A steeper cut keeps a part of a gentler one, of each class.
        let steep = random(&[200; 4], 64.0, 1);
        assert!((0..4).all(|c| kept[c].starts_with(&steep[c])));
        // Another class's images do not change it.
        let fewer = random(&[200, 199, 200, 200], 8.0, 1);
        let of_three: Vec<usize> = fewer[3].iter().map(|i| i + 1).collect();
        assert!(of_three.starts_with(&kept[3]));
    }
}
