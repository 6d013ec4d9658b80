//! Holding images of each class out of training, to make choices on.

use crate::rng::{KeyedRng, Stage};

/// Seed of the choice: the same images of the same data are always held out.
const SEED: u64 = 0;

/// What was held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldOut {
    /// Images.
    pub images: usize,
    /// Classes too small to give one.
    pub classes_without: usize,
}

/// Images that a class of `images` gives: round(`fraction` n), and never its last one.
pub fn held_of(images: usize, fraction: f64) -> usize {
    let count = (fraction * images as f64).round() as usize;
    count.min(images.saturating_sub(1))
}

/// Divides images into those that stay in training and those that are held out, each in their order:
/// of every class [`held_of`] it, at random.
pub(super) fn divide(labels: &[u32], classes: usize, fraction: f64) -> (Vec<usize>, Vec<usize>) {
    let mut members = vec![vec![]; classes];
    labels.iter().enumerate().for_each(|(i, &label)| members[label as usize].push(i));
    let mut held = vec![];
    for (class, mut members) in members.into_iter().enumerate() {
        KeyedRng::new(SEED, Stage::HoldOut, (class as u64, 0)).shuffle(&mut members);
        held.extend_from_slice(&members[..held_of(members.len(), fraction)]);
    }
    held.sort_unstable();
    let stays = (0..labels.len()).filter(|i| held.binary_search(i).is_err()).collect();
    (stays, held)
}

impl HeldOut {
    /// Counts what `held` labels have of `classes`.
    pub(super) fn of(held: &[u32], classes: usize) -> Self {
        let mut has = vec![false; classes];
        held.iter().for_each(|&label| has[label as usize] = true);
        let classes_without = has.iter().filter(|has| !**has).count();
        Self { images: held.len(), classes_without }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(counts: &[usize]) -> Vec<u32> {
        let class = |(class, &n): (usize, &usize)| std::iter::repeat_n(class as u32, n);
        counts.iter().enumerate().flat_map(class).collect()
    }

    #[test]
    fn every_class_gives_its_share_but_never_its_last_image() {
        let labels = labels(&[100, 10, 4, 1]);
        let (stays, held) = divide(&labels, 4, 0.1);
        let count = |of: &[usize], class| of.iter().filter(|&&i| labels[i] == class).count();
        assert_eq!([0, 1, 2, 3].map(|class| count(&held, class)), [10, 1, 0, 0]);
        assert_eq!(stays.len() + held.len(), labels.len());
        let mut all = [stays, held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        // Not the first ones, and the same ones every time.
        assert_ne!(held[..10], (0..10).collect::<Vec<_>>());
        assert_eq!(divide(&labels, 4, 0.1).1, held);
        let of_held: Vec<u32> = held.iter().map(|&i| labels[i]).collect();
        assert_eq!(HeldOut::of(&of_held, 4), HeldOut { images: 11, classes_without: 2 });
        let (stays, held) = divide(&labels, 4, 0.99);
        assert_eq!([0, 1, 2, 3].map(|class| count(&stays, class)), [1; 4]);
        assert_eq!(count(&held, 3), 0);
    }
}
