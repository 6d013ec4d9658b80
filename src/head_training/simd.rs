//! The loops over numbers of a training step, on vectors of them.

use super::SgdOptions;

/// The last part of a step of SGD, and the first of the next: w ← w − lr v, then v ← m v + decay w, to
/// which the next gradient is added. So no gradient is kept apart from the momentum.
pub(super) fn descend(weights: &mut [f32], momentum: &mut [f32], options: SgdOptions) {
    struct Update<'a>(&'a mut [f32], &'a mut [f32], SgdOptions);
    impl pulp::WithSimd for Update<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) {
            let Self(weights, momentum, options) = self;
            for (w, v) in weights.iter_mut().zip(momentum) {
                *w -= options.learning_rate * *v;
                *v = options.momentum * *v + options.weight_decay * *w;
            }
        }
    }
    pulp::Arch::new().dispatch(Update(weights, momentum, options));
}

/// Replaces a row of logits by their exponentials relative to the largest; returns that and
/// their sum.
pub(super) fn exponentials(row: &mut [f32]) -> (f32, f32) {
    struct Exponentials<'a>(&'a mut [f32]);
    impl pulp::WithSimd for Exponentials<'_> {
        type Output = (f32, f32);

        #[inline(always)]
        fn with_simd<S: pulp::Simd>(self, _: S) -> (f32, f32) {
            let max = self.0.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            self.0.iter_mut().for_each(|value| *value = exp(*value - max));
            (max, self.0.iter().sum())
        }
    }
    pulp::Arch::new().dispatch(Exponentials(row))
}

/// e^x for x ≤ 0 within 2 units in the last place; 0 below the smallest normal number, NaN of NaN.
///
/// The usual reduction x = n ln 2 + r and a polynomial in r, without a branch, so that it runs on
/// vectors of numbers; the library's `exp` took a fifth of a step.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LARGEST_SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const SMALLEST: f32 = -87.0;
    let clamped = if x < SMALLEST { SMALLEST } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + LARGEST_SHIFT;
    let n = shifted - LARGEST_SHIFT;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    // Taylor's polynomial of e^r, |r| ≤ ln 2 / 2.
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + coefficient;
    }
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x < SMALLEST { 0.0 } else { scaled }
}
