//! Fused vectors: paper, Sec. 4.2 and Alg. 1, lines 7 to 17.
//!
//! Average pooling follows the fusion, so the positions of the drawn vectors do not matter
//! (Sec. 4.3): a fused sample is a mean of stored vectors, weighted by how often each was drawn,
//! and no fused map is ever built.

use half::{bf16, f16};

use crate::rng::KeyedRng;

/// The locations of a map that a draw may take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask {
    locations: Vec<u16>,
}

impl Mask {
    /// Class-specific: CAM above `tau_specific` (Eq. 2, as binarised in Alg. 1, line 7), vector not
    /// all zeros.
    pub fn specific(cam: &[f32], nonzero: &[bool], tau_specific: f32) -> Self {
        Self::of(cam, nonzero, |m| m > tau_specific)
    }

    /// Class-generic: CAM below `tau_generic` (Eq. 3, line 12), vector not all zeros.
    pub fn generic(cam: &[f32], nonzero: &[bool], tau_generic: f32) -> Self {
        Self::of(cam, nonzero, |m| m < tau_generic)
    }

    fn of(cam: &[f32], nonzero: &[bool], keep: impl Fn(f32) -> bool) -> Self {
        let kept = cam.iter().zip(nonzero).enumerate().filter(|(_, (m, nz))| **nz && keep(**m));
        Self { locations: kept.map(|(l, _)| l as u16).collect() }
    }

    /// Locations.
    pub fn len(&self) -> usize {
        self.locations.len()
    }

    /// Whether there is none to draw.
    pub fn is_empty(&self) -> bool {
        self.locations.is_empty()
    }
}

/// Draws `draws` locations of a mask uniformly, with repetition (Alg. 1, lines 15 and 16), and
/// counts them into `counts` `[L]`, which is cleared first.
///
/// # Panics
/// When the mask is empty and `draws` is not 0.
pub fn draw_locations(mask: &Mask, draws: usize, rng: &mut KeyedRng, counts: &mut [f32]) {
    counts.fill(0.0);
    for _ in 0..draws {
        counts[usize::from(mask.locations[rng.below(mask.len() as u32) as usize])] += 1.0;
    }
}

/// Values of stored maps: how each is read as f32.
pub trait MapValue: Copy {
    /// The value; exact.
    fn value(self) -> f32;
}

impl MapValue for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl MapValue for f16 {
    /// Shifted into place, exponent and fraction are those of an f32 that is 2^112 times too small;
    /// the product is exact, for subnormal numbers too. Right for finite values, which stored ones
    /// are; without a branch, so that it runs on vectors of values.
    #[inline(always)]
    fn value(self) -> f32 {
        const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * TWO_TO_112;
        f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
    }
}

impl MapValue for bf16 {
    #[inline(always)]
    fn value(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

/// `sum` `[K]` = Σ_l weights_l · map_l, in order of l; the weights are how often each vector was drawn.
///
/// # Cost
/// One pass over the vectors that were drawn; each product and sum is rounded by itself, so the
/// result does not depend on the processor.
pub fn sum_locations<T: MapValue>(map: &[T], weights: &[f32], sum: &mut [f32]) {
    struct Sum<'a, T>(&'a [T], &'a [f32], &'a mut [f32]);
    impl<T: MapValue> pulp::WithSimd for Sum<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) {
            let Self(map, weights, sum) = self;
            sum.fill(0.0);
            for (vector, &times) in map.chunks_exact(sum.len()).zip(weights) {
                if times != 0.0 {
                    sum.iter_mut().zip(vector).for_each(|(sum, f)| *sum += times * f.value());
                }
            }
        }
    }
    pulp::Arch::new().dispatch(Sum(map, weights, sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stage;

    const CAM: [f32; 4] = [0.75, 0.0, 0.5, 1.0];
    const NONZERO: [bool; 4] = [true, true, false, true];

    #[test]
    fn masks_of_a_2_by_2_map_by_hand() {
        assert_eq!(Mask::specific(&CAM, &NONZERO, 0.5).locations, [0, 3]);
        assert_eq!(Mask::generic(&CAM, &NONZERO, 0.6).locations, [1]);
        // Both comparisons are strict (Alg. 1), and a zero vector is in neither mask.
        assert_eq!(Mask::specific(&CAM, &NONZERO, 0.75).locations, [3]);
        assert!(Mask::generic(&CAM, &[false; 4], 1.0).is_empty());
    }

    #[test]
    fn draws_stay_in_the_mask_and_are_uniform() {
        let mask = Mask::specific(&CAM, &NONZERO, 0.5);
        let mut rng = KeyedRng::new(0, Stage::SpecificLocations, (0, 0));
        let mut counts = [0.0; 4];
        draw_locations(&mask, 20_000, &mut rng, &mut counts);
        assert_eq!(counts[1] + counts[2], 0.0);
        assert_eq!(counts[0] + counts[3], 20_000.0);
        assert!((9_600.0..10_400.0).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_weighted_sum_by_hand() {
        let map = [1.0, 0.0, 0.0, 2.0, 5.0, 5.0, 3.0, 1.0];
        let mut sum = [10.0, 0.0];
        sum_locations(&map, &[2.0, 1.0, 0.0, 1.0], &mut sum);
        assert_eq!(sum, [5.0, 3.0]);
    }

    #[test]
    fn halves_are_read_exactly() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            if half.is_finite() {
                assert_eq!(half.value().to_bits(), half.to_f32().to_bits());
            }
            let half = bf16::from_bits(bits);
            if !half.is_nan() {
                assert_eq!(half.value().to_bits(), half.to_f32().to_bits());
            }
        }
    }
}
