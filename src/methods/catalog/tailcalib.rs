//! TailCalib (Vigneswaran et al., ICVGIP 2021): new vectors for small classes from Gaussians.
//!
//! Vectors are scaled to length 1. A vector x of a class, Tukey-transformed, has the k nearest class
//! means (of untransformed vectors); the new vector is drawn from the Gaussian with the mean
//! (Σ means + x) / (k + 1) and the covariance Σ covariances / k + α + ε I (Eq. 7 and 8; α is added to
//! every entry and ε is 1e-4, as the authors' code does).

use std::sync::Arc;

use faer::Mat;
use faer::Side;
use rayon::prelude::*;

use crate::augment::nearest;
use crate::classifier::{Input, normalise};
use crate::methods::making::Filling;
use crate::methods::method::decoupling;
use crate::methods::{
    Batches, Drawn, Entry, Made, Maker, Making, MethodFacts, Samples, Settings, Trained,
    TrainingRows,
};
use crate::rng::{KeyedRng, Stage};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "tailcalib",
        title: "TailCalib",
        source: "Vigneswaran et al., ICVGIP 2021, Eq. 7 and 8",
        classifier: "from Phase-I, on vectors that are scaled to length 1, raised to λ, scaled again",
        preset: decoupling!("num_neighbours = 1\n"),
        way: Trained::from_phase1(Batches::Made(&MAKING)),
    }),
    loss: None,
};

static MAKING: Making = Making {
    name: "tailcalib",
    batches: "class-balanced, classes filled up to the largest with draws from Gaussians",
    keys: &["num_neighbours", "tukey_power", "calibration_spread"],
    vectors: 1,
    held: Some(Calibrator::bytes),
    input: Some(|settings| Input::Tukey(settings.float("tukey_power"))),
    maker: |rows, settings, seed| Arc::new(Calibrator::new(rows, settings, seed)),
};

/// What is added to the diagonal of a covariance.
const EPSILON: f32 = 1e-4;

/// The statistics of all classes.
struct Calibrator {
    filling: Filling,
    seed: u64,
    channels: usize,
    power: f32,
    spread: f32,
    /// [C, K].
    means: Vec<f32>,
    /// Of each class: F [r, K] with Fᵀ F its covariance.
    factors: Vec<Vec<f32>>,
    /// Of each row, the classes whose means are nearest.
    near: Vec<Vec<u32>>,
}

impl Calibrator {
    /// Bytes that it takes, for classes of these sizes (in rows).
    fn bytes(class_rows: &[usize], channels: usize) -> usize {
        let factors: usize = class_rows.iter().map(|&rows| rows.min(channels) * channels).sum();
        // Normalised and transformed copies of all vectors while it is made.
        let vectors: usize = class_rows.iter().sum::<usize>() * channels;
        4 * (factors + 2 * vectors)
    }

    /// Statistics of the rows of each class; a class of one row has no spread of its own.
    fn new(rows: &TrainingRows<'_>, settings: &Settings, seed: u64) -> Self {
        let (channels, power) = (rows.channels, settings.float("tukey_power"));
        let directions = Input::Direction.applied(rows.pooled, channels).into_owned();
        let mut of_class = vec![vec![]; rows.class_sizes.len()];
        let labels = rows.labels.iter();
        labels.enumerate().for_each(|(row, &class)| of_class[class as usize].push(row));
        let statistics: Vec<(Vec<f32>, Vec<f32>)> = of_class
            .par_iter()
            .map(|of_class| class_statistics(&directions, of_class, channels))
            .collect();
        let (means, factors): (Vec<Vec<f32>>, Vec<Vec<f32>>) = statistics.into_iter().unzip();
        let means = means.concat();
        let mut transformed = directions;
        transformed.iter_mut().for_each(|v| *v = v.signum() * v.abs().powf(power));
        let count = settings.count("num_neighbours");
        let near = nearest(&transformed, &means, channels, count, |_, _| false);
        let spread = settings.float("calibration_spread");
        let filling = Filling::new(rows);
        Self { filling, seed, channels, power, spread, means, factors, near }
    }

    /// Appends a vector drawn at `row`, whose pooled vector is given; `key` is (iteration, place in the
    /// batch). Tukey's transformation is taken back, so that it is a vector like the pooled ones.
    fn draw(&self, row: u32, pooled: &[f32], key: (u64, u64), into: &mut Vec<f32>) {
        let mut rng = KeyedRng::new(self.seed, Stage::CalibratedNoise, key);
        let mut x = pooled.to_vec();
        normalise(&mut x);
        let near = &self.near[row as usize];
        let count = near.len() as f32;
        for (k, value) in x.iter_mut().enumerate() {
            *value = value.signum() * value.abs().powf(self.power);
            for &class in near {
                *value += self.means[class as usize * self.channels + k];
            }
            *value /= count + 1.0;
        }
        let share = 1.0 / count.max(1.0).sqrt();
        for &class in near {
            for factor in self.factors[class as usize].chunks_exact(self.channels) {
                let noise = rng.normal() as f32 * share;
                x.iter_mut().zip(factor).for_each(|(x, f)| *x += noise * f);
            }
        }
        let common = self.spread.sqrt() * rng.normal() as f32;
        x.iter_mut().for_each(|x| *x += EPSILON.sqrt() * rng.normal() as f32 + common);
        into.extend(x.iter().map(|x| x.signum() * x.abs().powf(1.0 / self.power)));
    }
}

impl Maker for Calibrator {
    fn plan(&self, row: u32, _: &dyn Fn(&mut KeyedRng) -> u32, rng: &mut KeyedRng) -> Option<Made> {
        let real = self.filling.is_real(row, rng);
        (!real).then_some(Made { rows: [row, row], share: 0.0 })
    }

    fn make(&self, drawn: &Drawn<'_>, into: &mut Samples) {
        self.draw(drawn.made.rows[0], drawn.vectors[0], drawn.key, &mut into.vectors);
        into.labels.push(drawn.labels[0]);
    }
}

/// Mean `[K]` and covariance factor [r, K] of some rows of `vectors`.
fn class_statistics(vectors: &[f32], rows: &[usize], channels: usize) -> (Vec<f32>, Vec<f32>) {
    let mut sums = vec![0.0f64; channels];
    let vector = |row: usize| &vectors[row * channels..][..channels];
    for &row in rows {
        sums.iter_mut().zip(vector(row)).for_each(|(sum, v)| *sum += f64::from(*v));
    }
    let mean: Vec<f32> = sums.iter().map(|sum| (sum / rows.len().max(1) as f64) as f32).collect();
    if rows.len() < 2 {
        return (mean, vec![]);
    }
    let scale = 1.0 / ((rows.len() - 1) as f32).sqrt();
    let deviation = |(v, m): (&f32, &f32)| (v - m) * scale;
    let deviations: Vec<f32> =
        rows.iter().flat_map(|&row| vector(row).iter().zip(&mean).map(deviation)).collect();
    if rows.len() <= channels {
        return (mean, deviations);
    }
    // More rows than channels: K rows of a triangular factor stand for them all.
    let rows = faer::MatRef::from_row_major_slice(&deviations, rows.len(), channels);
    let mut covariance: Mat<f64> = Mat::zeros(channels, channels);
    let wide = Mat::from_fn(rows.nrows(), channels, |i, j| f64::from(rows[(i, j)]));
    faer::linalg::matmul::matmul(
        covariance.as_mut(),
        faer::Accum::Replace,
        wide.transpose(),
        &wide,
        1.0,
        faer::Par::Seq,
    );
    // Dead channels make it singular; next to ε I this is nothing.
    (0..channels).for_each(|k| covariance[(k, k)] += 1e-10);
    match covariance.llt(Side::Lower) {
        Ok(decomposition) => {
            let lower = decomposition.L();
            let factor =
                (0..channels).flat_map(|j| (0..channels).map(move |i| lower[(i, j)] as f32));
            (mean, factor.collect())
        }
        Err(_) => (mean, deviations),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_has_the_covariance_with_few_rows_and_with_many() {
        let mut rng = KeyedRng::new(1, Stage::CalibratedNoise, (0, 0));
        for rows in [3usize, 40] {
            let channels = 4;
            let vectors: Vec<f32> = (0..rows * channels).map(|_| rng.normal() as f32).collect();
            let all: Vec<usize> = (0..rows).collect();
            let (mean, factor) = class_statistics(&vectors, &all, channels);
            assert_eq!(factor.len(), rows.min(channels) * channels);
            for a in 0..channels {
                for b in 0..channels {
                    let deviation = |x: &[f32], k: usize| f64::from(x[k] - mean[k]);
                    let wanted: f64 = vectors
                        .chunks(channels)
                        .map(|x| deviation(x, a) * deviation(x, b))
                        .sum::<f64>()
                        / (rows - 1) as f64;
                    let found: f64 =
                        factor.chunks(channels).map(|f| f64::from(f[a]) * f64::from(f[b])).sum();
                    assert!((found - wanted).abs() < 1e-5, "{rows} {a} {b}: {found} {wanted}");
                }
            }
        }
        assert_eq!(class_statistics(&[1.0, 2.0], &[0], 2), (vec![1.0, 2.0], vec![]));
    }

    #[test]
    fn draws_have_the_calibrated_mean_and_covariance() {
        // Class 0: (1, 0) and (0, 1), of mean (1/2, 1/2) and covariance (1/2, -1/2; -1/2, 1/2).
        // Class 1: one vector, (0.6, -0.8) after scaling, nearest to the mean of class 1 itself.
        let pooled = vec![2.0, 0.0, 0.0, 3.0, 3.0, -4.0];
        let rows =
            TrainingRows { labels: &[0, 0, 1], pooled: &pooled, channels: 2, class_sizes: &[2, 1] };
        let settings =
            Settings::from_text("num_neighbours = 2\ntukey_power = 1.0\ncalibration_spread = 0.09");
        let calibrator = Calibrator::new(&rows, &settings, 3);
        let draws = 100_000;
        let (mut sums, mut products) = ([0.0f64; 2], [0.0f64; 3]);
        let mut drawn = vec![];
        for i in 0..draws {
            drawn.clear();
            calibrator.draw(2, &[3.0, -4.0], (i as u64, 0), &mut drawn);
            let [a, b] = [f64::from(drawn[0]), f64::from(drawn[1])];
            sums[0] += a;
            sums[1] += b;
            products.iter_mut().zip([a * a, a * b, b * b]).for_each(|(sum, p)| *sum += p);
        }
        let n = draws as f64;
        let mean = sums.map(|s| s / n);
        // (1/2 + 0.6 + 0.6) / 3, (1/2 - 0.8 - 0.8) / 3.
        assert!((mean[0] - 1.7 / 3.0).abs() < 5e-3 && (mean[1] + 1.1 / 3.0).abs() < 5e-3);
        let covariance = [
            products[0] / n - mean[0] * mean[0],
            products[1] / n - mean[0] * mean[1],
            products[2] / n - mean[1] * mean[1],
        ];
        // Half of class 0's, plus 0.09 everywhere, plus 1e-4 on the diagonal.
        for (found, wanted) in covariance.into_iter().zip([0.3401, -0.16, 0.3401]) {
            assert!((found - wanted).abs() < 5e-3, "{covariance:?}");
        }
    }
}
