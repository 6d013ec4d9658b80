//! A linear classifier for the classes of a bank, fitted to its pooled vectors: softmax regression on
//! instance-balanced draws, which is what Phase-I's classifier is on a network that stays as it is.

use rayon::prelude::*;

use super::error::FeaturesError;
use crate::bank::{Bank, BankError, Column, RowIndex, RowReader, RowRequest};
use crate::config::RateSchedule;
use crate::domain::{FitOptions, LinearHead, Split};
use crate::head_training::{Batch, Form, HeadTrainer, Objective, SgdOptions, TrainerOptions};
use crate::progress::Watch;
use crate::rng::{KeyedRng, Stage};

/// Rows a step; batches of an epoch are of equal size up to this.
const BATCH: usize = 128;
/// At the start; it falls to 0 as half a cosine. Vectors have a mean squared length of 1, so the loss
/// curves by at most 1/2 and a rate of 1 is stable whatever the network.
const LEARNING_RATE: f32 = 1.0;
const MOMENTUM: f32 = 0.9;
/// Small sets are visited more often than the epochs say.
const LEAST_STEPS: usize = 2000;
/// Pooled vectors in memory at a time; rows are shuffled within what these hold, and what they hold is
/// drawn from everywhere.
const WINDOW_BYTES: usize = 256 << 20;

/// Fits a classifier to the training rows of `bank`, all views of each image.
///
/// # Errors
/// A damaged shard; weights that do not stay finite; an interrupt.
///
/// # Determinism
/// Depends on the bank, the options and the order of rows on disk, not on threads or memory.
///
/// # Cost
/// 256 MiB of vectors at most; a bank whose vectors are more is read once an epoch.
pub(super) fn head(
    bank: &Bank,
    options: &FitOptions,
    watch: Watch<'_>,
) -> Result<LinearHead, FeaturesError> {
    let source = Source::open(bank)?;
    let (rows, classes) = (source.index.len(), bank.class_names.len());
    let scaling = source.scaling()?;
    let windows = rows.div_ceil(source.window_rows());
    let steps_an_epoch = rows.div_ceil(BATCH).max(windows);
    let epochs = options.epochs.max(LEAST_STEPS.div_ceil(steps_an_epoch));
    let zero = LinearHead::new(vec![0.0; classes * source.channels], vec![0.0; classes]);
    let zero = zero.expect("a bank has classes and channels");
    let mut trainer = HeadTrainer::new(
        &zero,
        TrainerOptions {
            form: Form::Linear,
            objective: Objective::default(),
            sgd: SgdOptions {
                learning_rate: LEARNING_RATE,
                momentum: MOMENTUM,
                weight_decay: options.weight_decay,
            },
            schedule: RateSchedule::Cosine,
            iterations: epochs * steps_an_epoch,
            max_norm: 0.0,
        },
    );
    watch.progress.line(&format!(
        "fitting a classifier of {classes} classes to {rows} pooled vectors, {epochs} epochs"
    ));
    watch.progress.start("fitting", (epochs * rows) as u64, "row");
    let mut held: Option<Vectors> = None;
    for epoch in 0..epochs {
        let mut requests: Vec<&RowRequest> = source.requests.iter().collect();
        let key = |part: usize| (epoch as u64, part as u64);
        KeyedRng::new(options.seed, Stage::HeadFit, key(0)).shuffle(&mut requests);
        for (number, window) in source.windows(&requests).into_iter().enumerate() {
            let vectors = match held.take() {
                Some(vectors) => vectors,
                None => source.vectors(window, Some(&scaling))?,
            };
            let mut order: Vec<usize> = (0..vectors.labels.len()).collect();
            KeyedRng::new(options.seed, Stage::HeadFit, key(1 + number)).shuffle(&mut order);
            let size = order.len().div_ceil(order.len().div_ceil(BATCH));
            for rows in order.chunks(size) {
                if watch.interrupted() {
                    return Err(FeaturesError::InterruptedFit);
                }
                let batch = vectors.select(rows, source.channels);
                let step = trainer.step(Batch {
                    vectors: &batch.values,
                    labels: &batch.labels,
                    weights: &[],
                });
                watch.progress.status(&format!("loss {:.3}", step.loss));
                watch.progress.advance(rows.len() as u64);
            }
            // A window that holds everything serves all epochs.
            held = (windows == 1).then_some(vectors);
        }
    }
    watch.progress.finish();
    let head = scaling.unscaled(&trainer.head());
    match head.weight.iter().chain(&head.bias).all(|w| w.is_finite()) {
        true => Ok(head),
        false => Err(FeaturesError::Diverged),
    }
}

/// The training rows of a bank.
struct Source {
    index: RowIndex,
    reader: RowReader,
    requests: Vec<RowRequest>,
    channels: usize,
}

/// Pooled vectors [n, K] and their classes.
#[derive(Default)]
struct Vectors {
    values: Vec<f32>,
    labels: Vec<u32>,
}

impl Vectors {
    fn select(&self, rows: &[usize], channels: usize) -> Self {
        let vector = |&row: &usize| &self.values[row * channels..][..channels];
        Self {
            values: rows.iter().flat_map(vector).copied().collect(),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
        }
    }
}

impl Source {
    fn open(bank: &Bank) -> Result<Self, BankError> {
        let index = bank.index(Split::Train)?;
        let all: Vec<usize> = (0..index.len()).collect();
        let requests = index.plan(&all);
        let channels = bank.manifest.feature_shape.channels;
        Ok(Self { index, reader: bank.row_reader(Split::Train)?, requests, channels })
    }

    fn window_rows(&self) -> usize {
        (WINDOW_BYTES / (4 * self.channels)).max(1)
    }

    /// Requests in groups that fit the memory of a window.
    fn windows<'r, 'b>(&self, requests: &'r [&'b RowRequest]) -> Vec<&'r [&'b RowRequest]> {
        let (mut windows, mut rest) = (vec![], requests);
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |request: &&&RowRequest| {
                rows += request.rows().count();
                rows <= self.window_rows()
            };
            let fitting = rest.iter().take_while(fits).count().max(1);
            let (window, later) = rest.split_at(fitting);
            windows.push(window);
            rest = later;
        }
        windows
    }

    fn vectors(
        &self,
        requests: &[&RowRequest],
        scaling: Option<&Scaling>,
    ) -> Result<Vectors, BankError> {
        let read = |request: &&RowRequest| {
            let mut vectors = Vectors::default();
            self.reader.read(request, &[Column::Pooled], |row, values| {
                vectors.labels.push(self.index.labels[row]);
                match scaling {
                    Some(scaling) => vectors.values.extend(scaling.scaled(values.pooled)),
                    None => vectors.values.extend_from_slice(values.pooled),
                }
            })?;
            Ok(vectors)
        };
        let parts: Vec<Vectors> =
            requests.par_iter().map(read).collect::<Result<_, BankError>>()?;
        let mut all = Vectors::default();
        for part in parts {
            all.values.extend(part.values);
            all.labels.extend(part.labels);
        }
        Ok(all)
    }

    /// Mean and deviation of each channel over all rows, in one reading.
    fn scaling(&self) -> Result<Scaling, BankError> {
        let (mut sums, mut squares) = (vec![0f64; self.channels], vec![0f64; self.channels]);
        let requests: Vec<&RowRequest> = self.requests.iter().collect();
        for window in self.windows(&requests) {
            for vector in self.vectors(window, None)?.values.chunks_exact(self.channels) {
                for ((sum, square), &v) in sums.iter_mut().zip(&mut squares).zip(vector) {
                    *sum += f64::from(v);
                    *square += f64::from(v) * f64::from(v);
                }
            }
        }
        Ok(Scaling::new(&sums, &squares, self.index.len()))
    }
}

/// Standardises vectors: each channel less its mean, over its deviation and the root of the number of
/// channels. A channel that never changes becomes 0.
struct Scaling {
    mean: Vec<f64>,
    factor: Vec<f64>,
}

impl Scaling {
    fn new(sums: &[f64], squares: &[f64], rows: usize) -> Self {
        let (n, channels) = (rows as f64, sums.len() as f64);
        let mean: Vec<f64> = sums.iter().map(|sum| sum / n).collect();
        let factor = mean.iter().zip(squares).map(|(mean, square)| {
            let (variance, noise) = (square / n - mean * mean, 1e-12 * (square / n));
            if variance > noise { 1.0 / (variance * channels).sqrt() } else { 0.0 }
        });
        Self { factor: factor.collect(), mean }
    }

    fn scaled<'a>(&'a self, vector: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        let terms = vector.iter().zip(&self.mean).zip(&self.factor);
        terms.map(|((&v, mean), factor)| ((f64::from(v) - mean) * factor) as f32)
    }

    /// The classifier of vectors as they are that gives the logits of `head` on scaled ones.
    fn unscaled(&self, head: &LinearHead) -> LinearHead {
        let channels = self.mean.len();
        let (mut weight, mut bias) = (Vec::with_capacity(head.weight.len()), vec![]);
        for (row, b) in head.weight.chunks_exact(channels).zip(&head.bias) {
            let mut shift = 0.0;
            for ((w, mean), factor) in row.iter().zip(&self.mean).zip(&self.factor) {
                let w = f64::from(*w) * factor;
                shift += w * mean;
                weight.push(w as f32);
            }
            bias.push((f64::from(*b) - shift) as f32);
        }
        LinearHead::new(weight, bias).expect("as many weights as before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::logits;

    #[test]
    fn scaling_has_mean_0_and_length_1_and_the_head_takes_it_back() {
        // Three vectors of three channels, the last of which never changes.
        let vectors = [[1.0, 10.0, 7.0], [2.0, 30.0, 7.0], [3.0, 20.0, 7.0f32]];
        let sum = |of: &dyn Fn(f64) -> f64| -> Vec<f64> {
            (0..3).map(|k| vectors.iter().map(|v| of(f64::from(v[k]))).sum()).collect()
        };
        let scaling = Scaling::new(&sum(&|v| v), &sum(&|v| v * v), 3);
        let scaled: Vec<f32> = vectors.iter().flat_map(|v| scaling.scaled(v)).collect();
        for k in 0..3 {
            let mean: f32 = (0..3).map(|i| scaled[i * 3 + k]).sum::<f32>() / 3.0;
            let variance: f32 = (0..3).map(|i| scaled[i * 3 + k].powi(2)).sum::<f32>() / 3.0;
            assert!(mean.abs() < 1e-6);
            assert!((variance - if k == 2 { 0.0 } else { 1.0 / 3.0 }).abs() < 1e-6);
        }
        let head = LinearHead::new(vec![1.0, -2.0, 5.0, 0.5, 0.0, 3.0], vec![0.25, -1.0]).unwrap();
        let plain: Vec<f32> = vectors.concat();
        let found = logits(&plain, &scaling.unscaled(&head));
        for (a, b) in found.iter().zip(logits(&scaled, &head)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
