//! Random numbers that are a pure function of what they are for.
//!
//! Every random choice of the project takes its numbers from a stream keyed by (seed, stage, key),
//! so the same seed gives the same result at any thread count and in any order of work. The
//! generator is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): its values are part of this
//! project's contract and cannot change with a dependency.

/// What a random stream is for; two stages never share a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stage {
    /// Order of the training images in an epoch: key (epoch, 0).
    DataOrder = 1,
    /// Random crop and flip in Phase-I: key (epoch, sample).
    TrainTransform = 2,
    /// Random crop and flip of a bank's views: key (sample, view).
    ViewTransform = 3,
    /// Initial weights: key (tensor index, 0).
    InitialWeights = 4,
    /// Rows of a Phase-II batch: key (iteration, 0).
    BatchRows = 5,
    /// Locations drawn for the class-specific part of a fused sample: key (iteration, slot).
    SpecificLocations = 6,
    /// Locations drawn for the class-generic part of a fused sample: key (iteration, slot).
    GenericLocations = 7,
    /// Noise of a vector drawn from a calibrated Gaussian: key (iteration, place in the batch).
    CalibratedNoise = 8,
    /// Weights of a new classifier: key (0, 0).
    NewClassifier = 9,
    /// Images held out of training: key (class, 0).
    HoldOut = 10,
    /// Order of rows while a classifier is fitted: key (epoch, 0 for row groups, 1 + window for rows).
    HeadFit = 11,
    /// Images that batch statistics are estimated on: key (batch, 0).
    Recalibration = 12,
    /// Images drawn for an epoch of Phase-I that is not a permutation: key (epoch, 0).
    EpochDraws = 13,
    /// Partners and share of a mixed batch in Phase-I: key (epoch, step).
    Mixup = 14,
    /// Images that a cut to a long tail keeps: key (class, 0).
    LongTail = 15,
    /// Rows of a bank whose pooled vector and activation map are computed again: key (part, 0).
    VerifiedRows = 16,
    /// Rows that a bank is estimated from: key (place among the kinds of rows, 0).
    BankSample = 17,
}

/// SplitMix64 over a keyed start.
#[derive(Debug, Clone)]
pub struct KeyedRng {
    state: u64,
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl KeyedRng {
    /// The stream of `stage` for `key` under `seed`.
    pub fn new(seed: u64, stage: Stage, key: (u64, u64)) -> Self {
        let state = [stage as u64, key.0, key.1].into_iter().fold(
            mix(seed.wrapping_add(GOLDEN_GAMMA)),
            |state, word| {
                mix(state ^ mix(word.wrapping_add(GOLDEN_GAMMA)).wrapping_mul(GOLDEN_GAMMA))
            },
        );
        Self { state }
    }

    /// 64 uniform bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// A uniform integer in `0..n`, without bias (Lemire, 2019).
    ///
    /// # Panics
    /// When `n` is 0: an empty range has no element to draw.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "a draw from an empty range");
        let mut product = (self.next_u64() >> 32) * u64::from(n);
        let threshold = n.wrapping_neg() % n;
        while (product as u32) < threshold {
            product = (self.next_u64() >> 32) * u64::from(n);
        }
        (product >> 32) as u32
    }

    /// A uniform number in [0, 1), in steps of 2^-53.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A standard normal number (Box and Muller, 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A draw from Beta(α, α): x / (x + y) of two draws from Gamma(α).
    pub fn beta(&mut self, alpha: f64) -> f64 {
        let (x, y) = (self.gamma(alpha), self.gamma(alpha));
        // Both are 0 only where α is so small that the draw is one of the two ends.
        if x + y > 0.0 { x / (x + y) } else { f64::from(self.below(2)) }
    }

    /// A draw from Gamma(α) (Marsaglia and Tsang, 2000).
    fn gamma(&mut self, alpha: f64) -> f64 {
        if alpha < 1.0 {
            let power = (1.0 - self.unit()).powf(1.0 / alpha);
            return self.gamma(alpha + 1.0) * power;
        }
        let d = alpha - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// Shuffles in place, every permutation equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_every_part_of_the_key() {
        let first = |seed, stage, key| KeyedRng::new(seed, stage, key).next_u64();
        let base = first(0, Stage::DataOrder, (1, 2));
        assert_eq!(base, first(0, Stage::DataOrder, (1, 2)));
        assert_ne!(base, first(1, Stage::DataOrder, (1, 2)));
        assert_ne!(base, first(0, Stage::TrainTransform, (1, 2)));
        assert_ne!(base, first(0, Stage::DataOrder, (2, 1)));
    }

    #[test]
    fn values_are_those_of_splitmix64() {
        // The published reference sequence for the state 1234567.
        let mut rng = KeyedRng { state: 1234567 };
        assert_eq!(rng.next_u64(), 6457827717110365317);
        assert_eq!(rng.next_u64(), 3203168211198807973);
    }

    #[test]
    fn below_is_uniform_and_shuffle_permutes() {
        let mut rng = KeyedRng::new(3, Stage::BatchRows, (0, 0));
        let mut seen = [0u32; 7];
        (0..70_000).for_each(|_| seen[rng.below(7) as usize] += 1);
        assert!(seen.iter().all(|&n| (9_600..10_400).contains(&n)), "{seen:?}");
        let mut items: Vec<u32> = (0..100).collect();
        rng.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn beta_draws_have_their_mean_and_variance() {
        for alpha in [0.2, 1.0, 4.0] {
            let mut rng = KeyedRng::new(1, Stage::BatchRows, (0, 0));
            let draws: Vec<f64> = (0..50_000).map(|_| rng.beta(alpha)).collect();
            let mean = draws.iter().sum::<f64>() / 50_000.0;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 50_000.0;
            let wanted = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            assert!((variance / wanted - 1.0).abs() < 0.03, "{alpha}: {variance} {wanted}");
        }
    }

    #[test]
    fn normal_has_unit_variance() {
        let mut rng = KeyedRng::new(3, Stage::InitialWeights, (0, 0));
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }
}
