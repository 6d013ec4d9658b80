//! Which images make up an epoch, and how mixup pairs those of a batch.

use crate::backbone::Mixed;
use crate::config::EpochSampling;
use crate::domain::ClassCounts;
use crate::rng::{KeyedRng, Stage};

/// One place of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    /// Index of the image in its split.
    pub(super) sample: usize,
    /// How often it came before in the same epoch.
    pub(super) repeat: u32,
}

impl Draw {
    /// What its transform is drawn for: an image drawn again is cropped again.
    pub(super) fn key(self) -> u64 {
        self.sample as u64 | u64::from(self.repeat) << 32
    }
}

/// The places of an epoch, as many as there are images: a permutation, or draws with replacement.
pub(super) fn epoch(
    labels: &[u32],
    classes: usize,
    sampling: EpochSampling,
    seed: u64,
    epoch: usize,
) -> Vec<Draw> {
    let key = (epoch as u64, 0);
    let mut order: Vec<usize> = (0..labels.len()).collect();
    let weight: fn(f64) -> f64 = match sampling {
        EpochSampling::Instance => {
            KeyedRng::new(seed, Stage::DataOrder, key).shuffle(&mut order);
            return order.into_iter().map(|sample| Draw { sample, repeat: 0 }).collect();
        }
        EpochSampling::Class => |_| 1.0,
        EpochSampling::SquareRoot => f64::sqrt,
    };
    let counts = ClassCounts::from_labels(labels, classes).0;
    // Images of a class next to each other, and where each class ends in weights and images.
    order.sort_by_key(|&sample| labels[sample]);
    let (mut weights, mut firsts) = (vec![0.0], vec![0]);
    for &n in &counts {
        weights.push(weights[weights.len() - 1] + if n > 0 { weight(n as f64) } else { 0.0 });
        firsts.push(firsts[firsts.len() - 1] + n as usize);
    }
    let total = weights[counts.len()];
    let mut rng = KeyedRng::new(seed, Stage::EpochDraws, key);
    let mut drawn = vec![0; labels.len()];
    let mut draw = || {
        let place = rng.unit() * total;
        // The last class whose weights begin at or before the place; an empty class has none.
        let class = weights.partition_point(|&start| start <= place) - 1;
        let sample = order[firsts[class] + rng.below(counts[class] as u32) as usize];
        drawn[sample] += 1;
        Draw { sample, repeat: drawn[sample] - 1 }
    };
    (0..labels.len()).map(|_| draw()).collect()
}

/// Draws what the images of a batch are mixed with: λ of its own and 1 − λ of another image, with one
/// λ ~ Beta(`alpha`, `alpha`) for the batch (Zhang et al., ICLR 2018, as its authors' code does).
pub(super) fn mix(labels: &[i64], alpha: f64, rng: &mut KeyedRng) -> Mixed {
    let share = rng.beta(alpha);
    let mut partners: Vec<i64> = (0..labels.len() as i64).collect();
    rng.shuffle(&mut partners);
    let labels = partners.iter().map(|&partner| labels[partner as usize]).collect();
    Mixed { partners, labels, share }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 900 images of class 0, none of class 1, 100 of class 2.
    fn labels() -> Vec<u32> {
        (0..1000).map(|i| if i % 10 == 3 { 2 } else { 0 }).collect()
    }

    fn share_of_tail(sampling: EpochSampling) -> f64 {
        let labels = labels();
        let tail = |epoch_number| {
            let draws = epoch(&labels, 3, sampling, 0, epoch_number);
            assert_eq!(draws.len(), 1000);
            draws.iter().filter(|d| labels[d.sample] == 2).count()
        };
        (0..20).map(tail).sum::<usize>() as f64 / 20_000.0
    }

    #[test]
    fn classes_have_their_shares_of_an_epoch() {
        assert_eq!(share_of_tail(EpochSampling::Instance), 0.1);
        assert!((share_of_tail(EpochSampling::Class) - 0.5).abs() < 0.01);
        // sqrt(100) of sqrt(100) + sqrt(900).
        assert!((share_of_tail(EpochSampling::SquareRoot) - 0.25).abs() < 0.01);
    }

    #[test]
    fn an_epoch_is_a_permutation_or_counts_its_repeats() {
        let once = epoch(&labels(), 3, EpochSampling::Instance, 0, 1);
        let mut samples: Vec<usize> = once.iter().map(|d| d.sample).collect();
        samples.sort_unstable();
        assert_eq!(samples, (0..1000).collect::<Vec<_>>());
        assert_ne!(once, epoch(&labels(), 3, EpochSampling::Instance, 0, 2));

        let drawn = epoch(&labels(), 3, EpochSampling::Class, 0, 1);
        let mut keys: Vec<u64> = drawn.iter().map(|d| d.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 1000);
        assert!(drawn.iter().any(|d| d.repeat > 3));
        assert_eq!(drawn, epoch(&labels(), 3, EpochSampling::Class, 0, 1));
    }

    #[test]
    fn partners_are_a_permutation_and_bring_their_labels() {
        let labels = [5, 6, 7, 8];
        let mixed = mix(&labels, 1.0, &mut KeyedRng::new(0, Stage::Mixup, (0, 3)));
        let mut places = mixed.partners.clone();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3]);
        let of_partners: Vec<i64> = mixed.partners.iter().map(|&p| labels[p as usize]).collect();
        assert_eq!(mixed.labels, of_partners);
        assert!((0.0..=1.0).contains(&mixed.share));
    }
}
