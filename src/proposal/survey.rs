//! What images there are: classes, counts, splits and sizes.

use rayon::prelude::*;
use serde::Serialize;

use crate::config::{DatasetConfig, DatasetKind};
use crate::dataset::{Account, Dataset, DatasetError, SplitImages};
use crate::domain::ClassCounts;

/// Images whose headers are read.
const MEASURED: usize = 400;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Survey {
    /// How the images are found.
    pub kind: DatasetKind,
    /// Name of each class.
    pub class_names: Vec<String>,
    /// Training images of each class, without those that were held out as test images.
    pub train: ClassCounts,
    /// Images of each class in the val split; `None` without one.
    pub val: Option<ClassCounts>,
    /// Test images of each class.
    pub test: ClassCounts,
    /// Whether they were held out of data without splits.
    pub test_held_out: bool,
    /// Sides of the training images.
    pub sides: Sides,
    /// Bits that the values of images of 16 bits need; `None` where no such images were seen.
    pub bit_depth: Option<u32>,
    /// Files among those measured that are not readable images.
    pub unreadable: Vec<String>,
    /// What became of every file that was met.
    #[serde(skip)]
    pub account: Account,
}

impl Survey {
    /// Bits of the values of images of 16 bits, where they need fewer.
    pub(super) fn fewer_bits(&self) -> Option<u32> {
        self.bit_depth.filter(|bits| *bits < DatasetConfig::default().bit_depth)
    }
}

/// Sides of images in pixels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sides {
    /// Images that were measured, evenly spread over the training images.
    pub measured: usize,
    /// The shorter side of the smallest, the median and the largest image.
    pub shorter: [u32; 3],
    /// Longer over shorter side, the median.
    pub median_aspect: f64,
}

/// Lists the images and reads the headers of some.
pub(super) fn examine(config: &DatasetConfig) -> Result<Survey, DatasetError> {
    let dataset = Dataset::open(config)?;
    let counts = |split: &SplitImages| dataset.counts_as_listed(split);
    let (sides, unreadable) = measure(&dataset.train)?;
    Ok(Survey {
        kind: config.kind,
        train: counts(&dataset.train),
        val: dataset.val.as_ref().map(counts),
        test: counts(&dataset.test),
        test_held_out: dataset.test_held_out,
        class_names: dataset.class_names,
        bit_depth: dataset.bit_depth_seen,
        sides,
        unreadable,
        account: dataset.account,
    })
}

/// Fails where not one of the images can be read.
fn measure(split: &SplitImages) -> Result<(Sides, Vec<String>), DatasetError> {
    let measured = split.len().min(MEASURED);
    let indices: Vec<usize> = (0..measured).map(|i| i * split.len() / measured).collect();
    let found: Vec<_> = indices.par_iter().map(|&i| split.stored_size(i)).collect();
    let (mut sizes, mut unreadable, mut first_error) = (vec![], vec![], None);
    for (&i, size) in indices.iter().zip(found) {
        match size {
            Ok(size) => sizes.push(size),
            Err(e) => {
                unreadable.push(split.path(i).to_string());
                first_error.get_or_insert(e);
            }
        }
    }
    match (Sides::of(&sizes), first_error) {
        (Some(sides), _) => Ok((sides, unreadable)),
        (None, Some(e)) => Err(e),
        (None, None) => unreachable!("a dataset has training images"),
    }
}

impl Sides {
    fn of(sizes: &[[u32; 2]]) -> Option<Self> {
        let mut shorter: Vec<u32> = sizes.iter().map(|[w, h]| *w.min(h)).collect();
        let aspect = |[w, h]: &[u32; 2]| f64::from(*w.max(h)) / f64::from((*w.min(h)).max(1));
        let mut aspects: Vec<f64> = sizes.iter().map(aspect).collect();
        shorter.sort_unstable();
        aspects.sort_unstable_by(f64::total_cmp);
        let median = sizes.len() / 2;
        Some(Self {
            measured: sizes.len(),
            shorter: [*shorter.first()?, shorter[median], *shorter.last()?],
            median_aspect: aspects[median],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_those_of_the_shorter_side() {
        let sides = Sides::of(&[[300, 200], [50, 100], [90, 90]]).unwrap();
        assert_eq!((sides.measured, sides.shorter), (3, [50, 90, 200]));
        assert_eq!(sides.median_aspect, 1.5);
        assert_eq!(Sides::of(&[]), None);
    }
}
