//! The words every stage shares: class ids, the shape of a feature map, class counts with their
//! head and tail, and the linear classifier.

use serde::{Deserialize, Serialize};

/// A class, as its index in the class list (0-based).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassId(pub u32);

impl ClassId {
    /// The id as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Shape of one image's feature map: K channels at L = height · width locations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureShape {
    /// K, the width of the pooled vector.
    pub channels: usize,
    /// H, rows of locations.
    pub height: usize,
    /// W, locations in a row.
    pub width: usize,
}

impl FeatureShape {
    /// L, the number of spatial locations.
    pub fn locations(self) -> usize {
        self.height * self.width
    }

    /// K · L, the values of one map.
    pub fn values(self) -> usize {
        self.channels * self.locations()
    }
}

impl std::fmt::Display for FeatureShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} x {} x {}", self.channels, self.height, self.width)
    }
}

/// A part of a dataset or bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training; in a bank, with maps.
    Train,
    /// Held out for choices; not every dataset has it.
    Val,
    /// For the final accuracy.
    Test,
}

impl Split {
    /// All, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// Its name in files and their names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// An image that was left out because it cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedImage {
    /// Its split.
    pub split: Split,
    /// Index in the split.
    pub sample_id: usize,
    /// What identifies it in its source.
    pub path: String,
    /// Name of its class.
    pub class: String,
    /// Why.
    pub reason: String,
    /// Whether there is no such file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
}

/// Training images of each class; a view of an image does not count again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassCounts(pub Vec<u64>);

impl ClassCounts {
    /// Counts labels; a label beyond `classes` is the caller's bug, not data (readers check).
    pub fn from_labels(labels: &[u32], classes: usize) -> Self {
        let mut counts = vec![0; classes];
        labels.iter().for_each(|&label| counts[label as usize] += 1);
        Self(counts)
    }

    /// All images.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Largest over smallest class, at least 1; `None` with an empty class.
    pub fn imbalance_ratio(&self) -> Option<f64> {
        let (min, max) = (self.0.iter().min()?, self.0.iter().max()?);
        (*min > 0).then(|| *max as f64 / *min as f64)
    }

    /// Classes from most to fewest images; equal counts in order of id.
    pub fn by_count(&self) -> Vec<ClassId> {
        let mut order: Vec<ClassId> = (0..self.0.len() as u32).map(ClassId).collect();
        order.sort_by_key(|c| (std::cmp::Reverse(self.0[c.index()]), *c));
        order
    }

    /// The images of each class as numbers, 1 for a class without any.
    pub fn at_least_one(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|&n| n.max(1) as f64)
    }

    /// Weight of a sample of each class, `[C]`: (1 − β) / (1 − β^n) for n images, scaled so that they
    /// sum to the number of classes. `beta` is in [0, 1).
    ///
    /// Source: Cui et al., CVPR 2019, Eq. 9.
    pub fn effective_weights(&self, beta: f64) -> Vec<f32> {
        let weight = |n: f64| (1.0 - beta) / (1.0 - beta.powf(n));
        let raw: Vec<f64> = self.at_least_one().map(weight).collect();
        let scale = raw.len() as f64 / raw.iter().sum::<f64>();
        raw.into_iter().map(|weight| (weight * scale) as f32).collect()
    }

    /// Head and tail classes: the head is the smallest number of largest classes that hold at
    /// least `head_ratio` of all images (paper, Sec. 5.4), the tail is the rest.
    ///
    /// Both are sorted from most to fewest images.
    pub fn split(&self, head_ratio: f64) -> HeadTail {
        let order = self.by_count();
        let wanted = head_ratio * self.total() as f64;
        let mut held = 0u64;
        let mut head_len = 0;
        for class in &order {
            if held as f64 >= wanted {
                break;
            }
            held += self.0[class.index()];
            head_len += 1;
        }
        let tail = order[head_len..].to_vec();
        HeadTail { head: order[..head_len].to_vec(), tail }
    }
}

/// Head and tail classes, each from most to fewest training images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadTail {
    /// Classes with ample images.
    pub head: Vec<ClassId>,
    /// The rest: the classes that Phase-II augments.
    pub tail: Vec<ClassId>,
}

/// The final FC layer: `logits = weight · pooled + bias`.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearHead {
    classes: usize,
    channels: usize,
    /// [C, K], row-major: row c is w^c of Eq. 1.
    pub weight: Vec<f32>,
    /// `[C]`.
    pub bias: Vec<f32>,
}

impl LinearHead {
    /// A head of `bias.len()` classes over `weight.len() / bias.len()` channels; `None` where the
    /// two lengths do not make a whole matrix.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>) -> Option<Self> {
        let classes = bias.len();
        let fits = classes > 0 && !weight.is_empty() && weight.len().is_multiple_of(classes);
        fits.then(|| Self { classes, channels: weight.len() / classes, weight, bias })
    }

    /// C.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// K.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// A classifier of some of the classes, in the order of `rows`.
    pub fn rows(&self, rows: &[usize]) -> Self {
        let weight = rows.iter().flat_map(|&row| self.class_weight(ClassId(row as u32)));
        Self {
            classes: rows.len(),
            channels: self.channels,
            weight: weight.copied().collect(),
            bias: rows.iter().map(|&row| self.bias[row]).collect(),
        }
    }

    /// w^c, the weights of one class: `[K]`.
    pub fn class_weight(&self, class: ClassId) -> &[f32] {
        &self.weight[class.index() * self.channels..][..self.channels]
    }
}

/// How a classifier is fitted to pooled vectors (`features --head fit`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FitOptions {
    /// Passes over the training rows.
    pub epochs: usize,
    /// L2 penalty on the weights of standardised vectors.
    pub weight_decay: f32,
    /// Seed of the order of rows.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long_tail(classes: u32, max: f64, mu: f64) -> ClassCounts {
        let share = |i: u32| f64::from(i) / f64::from(classes - 1);
        ClassCounts((0..classes).map(|i| (max * mu.powf(share(i))) as u64).collect())
    }

    #[test]
    fn head_is_the_fewest_classes_that_reach_the_ratio() {
        // Head classes at 0.9 and 0.95 for the five imbalance ratios of CIFAR-10-LT, then CIFAR-100-LT.
        let mus = [0.1, 0.05, 0.02, 0.01, 0.005];
        let heads = |classes, max| {
            mus.map(|mu| {
                let counts = long_tail(classes, max, mu);
                (counts.split(0.9).head.len(), counts.split(0.95).head.len())
            })
        };
        assert_eq!(heads(10, 5000.0), [(7, 9), (7, 8), (6, 7), (5, 6), (4, 5)]);
        assert_eq!(heads(100, 500.0), [(72, 84), (64, 78), (54, 68), (48, 61), (42, 54)]);
    }

    #[test]
    fn a_split_has_one_name_everywhere() {
        let names = Split::ALL.map(|split| split.name());
        assert_eq!(names, ["train", "val", "test"]);
        assert_eq!(Split::ALL.map(|split| split.to_string()), names);
        assert_eq!(serde_json::to_value(Split::ALL).unwrap(), serde_json::json!(names));
        assert!(serde_json::from_str::<Split>("\"Train\"").is_err());
    }

    #[test]
    fn class_balanced_weights_by_hand() {
        let close = |beta, wanted: [f32; 2]| {
            let found = ClassCounts(vec![1, 2]).effective_weights(beta);
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
        };
        // beta 1/2: (1 - 1/2) / (1 - 1/2^n) is 1, 2/3 for n = 1, 2; scaled by 2 / (5/3).
        close(0.5, [1.2, 0.8]);
        close(0.0, [1.0, 1.0]);
    }

    #[test]
    fn ties_are_split_by_class_id() {
        let split = ClassCounts(vec![5, 10, 5, 10]).split(0.7);
        assert_eq!(split.head, [ClassId(1), ClassId(3), ClassId(0)]);
        assert_eq!(split.tail, [ClassId(2)]);
    }

    #[test]
    fn one_class_alone_is_head_and_an_empty_class_has_no_ratio() {
        let counts = ClassCounts(vec![4]);
        assert_eq!(counts.split(0.9).tail, []);
        assert_eq!(counts.imbalance_ratio(), Some(1.0));
        assert_eq!(ClassCounts(vec![4, 0]).imbalance_ratio(), None);
    }

    #[test]
    fn a_head_needs_a_whole_matrix() {
        assert!(LinearHead::new(vec![0.0; 6], vec![0.0; 4]).is_none());
        assert!(LinearHead::new(vec![], vec![]).is_none());
        let head = LinearHead::new((0..6).map(|v| v as f32).collect(), vec![0.0; 2]).unwrap();
        assert_eq!(head.class_weight(ClassId(1)), [3.0, 4.0, 5.0]);
    }
}
