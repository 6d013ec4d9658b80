//! Training on the batches of a run: window after window, each made while the one before is trained
//! on. Classifiers that share their batches train side by side.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::FinetuneError;
use super::diagnostics::BatchStatistics;
use super::fuser::Fuser;
use super::scoring::SplitVectors;
use super::window::{Fallbacks, Window};
use crate::classifier::{Classifier, Input};
use crate::config::FinetuneConfig;
use crate::domain::{ClassCounts, LinearHead};
use crate::head_training::{Batch, HeadTrainer, TrainerOptions};
use crate::methods::{Batches, Samples, Settings, Start};
use crate::progress::Watch;
use crate::rng::{KeyedRng, Stage};

/// One point of a run's curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Iterations done.
    pub iteration: usize,
    /// Mean loss since the point before.
    pub loss: f32,
    /// Share of the batches' samples that were classified right in training, in percent.
    pub batch_accuracy: f64,
    /// Balanced accuracy on the images that choose, in percent, where there are some.
    pub selection_accuracy: Option<f64>,
}

/// What training resulted in.
pub(super) struct Trained {
    pub(super) classifier: Classifier,
    /// Iterations after which the classifier was taken.
    pub(super) iteration: usize,
    pub(super) curve: Vec<CurvePoint>,
    pub(super) fallbacks: Fallbacks,
    pub(super) statistics: BatchStatistics,
    /// Seconds of its own steps and of what it shared with the others of its group.
    pub(super) secs: f64,
    pub(super) waiting_secs: f64,
}

/// Points of a curve; fewer where scoring them would take longer than the training.
const CURVE_POINTS: usize = 20;
/// Iterations whose batches are examined.
const EXAMINED: usize = 200;

/// One classifier of a group.
struct Trainee {
    trainer: HeadTrainer,
    input: Input,
    /// The batch under way as the classifier sees it, where its input is not plain.
    transformed: Vec<f32>,
    curve: Vec<CurvePoint>,
    loss_sum: f64,
    correct: u64,
    samples: u64,
    best: Option<(f64, usize, LinearHead)>,
    own_secs: f64,
}

/// Runs that share their batches.
pub(super) struct Group<'a> {
    pub(super) fuser: Fuser<'a>,
    /// They differ in settings that do not touch the batches.
    pub(super) configs: Vec<FinetuneConfig>,
    pub(super) seed: u64,
    pub(super) labels: &'a [u32],
    pub(super) is_tail: &'a [bool],
    /// Of Phase-I.
    pub(super) head: &'a LinearHead,
    pub(super) counts: &'a ClassCounts,
    /// The images that choose the iteration.
    pub(super) judge: Option<&'a SplitVectors<'a>>,
    /// Make windows in a thread of their own.
    pub(super) overlap: bool,
}

impl Group<'_> {
    /// Trains every classifier of the group.
    pub(super) fn train(&self, watch: Watch<'_>) -> Result<Vec<Trained>, FinetuneError> {
        let begin = Instant::now();
        let mut trainees: Vec<Trainee> =
            self.configs.iter().map(|config| self.trainee(config)).collect();
        let mut fallbacks = Fallbacks::default();
        let mut statistics = BatchStatistics::default();
        let mut waiting_secs = 0.0;
        let mut batches = [Samples::default(), Samples::default()];
        let mut consume = |window: &Window<'_>| -> Result<(), FinetuneError> {
            fallbacks.add(window.fallbacks);
            // As a task of the pool, so that the parts of a step are its other threads' to take.
            rayon::scope(|_| {
                self.train_on(window, &mut trainees, &mut batches, &mut statistics, watch)
            })
        };
        let starts: Vec<usize> =
            (0..self.iterations()).step_by(self.fuser.window_iterations()).collect();
        if self.overlap {
            waiting_secs = self.overlapped(&starts, &mut consume)?;
        } else {
            let mut memory = vec![];
            for &start in &starts {
                let window = self.fuser.window(self.range(start), memory)?;
                consume(&window)?;
                memory = window.sums;
            }
        }
        let own: f64 = trainees.iter().map(|trainee| trainee.own_secs).sum();
        let shared = begin.elapsed().as_secs_f64() - own;
        let finish = |trainee: Trainee| -> Result<Trained, FinetuneError> {
            let secs = trainee.own_secs + shared;
            let (iteration, head) = match trainee.best {
                Some((_, iteration, head)) => (iteration, head),
                None => (self.iterations(), trainee.trainer.head()),
            };
            if head.weight.iter().chain(&head.bias).any(|w| !w.is_finite()) {
                return Err(FinetuneError::Diverged { iterations: iteration });
            }
            Ok(Trained {
                classifier: Classifier { input: trainee.input, head },
                iteration,
                curve: trainee.curve,
                fallbacks,
                statistics: statistics.clone(),
                secs,
                waiting_secs,
            })
        };
        trainees.into_iter().map(finish).collect()
    }

    fn iterations(&self) -> usize {
        self.configs.first().map_or(0, |config| config.iterations)
    }

    fn range(&self, start: usize) -> std::ops::Range<usize> {
        start..self.iterations().min(start + self.fuser.window_iterations())
    }

    /// Makes windows in a second thread, one ahead; seconds that training waited for them.
    fn overlapped(
        &self,
        starts: &[usize],
        consume: &mut dyn FnMut(&Window<'_>) -> Result<(), FinetuneError>,
    ) -> Result<f64, FinetuneError> {
        let mut waiting_secs = 0.0;
        std::thread::scope(|scope| -> Result<(), FinetuneError> {
            let (send, receive) = crossbeam_channel::bounded(0);
            let (give_back, given_back) = crossbeam_channel::unbounded();
            scope.spawn(move || {
                for &start in starts {
                    let memory = given_back.try_recv().unwrap_or_default();
                    let window = self.fuser.window(self.range(start), memory);
                    let failed = window.is_err();
                    if send.send(window).is_err() || failed {
                        return;
                    }
                }
            });
            loop {
                let wait = Instant::now();
                let Ok(window) = receive.recv() else {
                    return Ok(());
                };
                let window = window?;
                waiting_secs += wait.elapsed().as_secs_f64();
                consume(&window)?;
                // Nobody takes it after the last window.
                let _ = give_back.send(window.sums);
            }
        })?;
        Ok(waiting_secs)
    }

    fn trainee(&self, config: &FinetuneConfig) -> Trainee {
        let making = config.method.batches().and_then(Batches::making);
        let input = match making.and_then(|making| making.input) {
            Some(input) => input(&Settings::of(config)),
            None if config.loss.cosine => Input::Direction,
            None => Input::Plain,
        };
        let options = TrainerOptions::new(config, self.counts);
        let trainer = match config.method.trained().map(|trained| trained.start) {
            Some(Start::New) => HeadTrainer::new(&new_head(self.head, self.seed), options),
            _ => HeadTrainer::new(self.head, options),
        };
        Trainee {
            trainer,
            input,
            transformed: vec![],
            curve: vec![],
            loss_sum: 0.0,
            correct: 0,
            samples: 0,
            best: None,
            own_secs: 0.0,
        }
    }

    fn train_on(
        &self,
        window: &Window<'_>,
        trainees: &mut [Trainee],
        batches: &mut [Samples; 2],
        statistics: &mut BatchStatistics,
        watch: Watch<'_>,
    ) -> Result<(), FinetuneError> {
        let iterations = self.iterations();
        let examined = iterations.div_ceil(EXAMINED);
        let [batch, next] = batches;
        window.assemble(0, self.labels, batch);
        for trainee in trainees.iter_mut() {
            trainee.transformed = trainee.seen(batch, window.channels);
            trainee.trainer.start(as_batch(batch, &trainee.transformed));
        }
        let last = window.iterations.len() - 1;
        for (index, iteration) in window.iterations.clone().enumerate() {
            if watch.interrupted() {
                return Err(FinetuneError::Interrupted { done: iteration, iterations });
            }
            if iteration % examined == 0 {
                statistics.add(&window.plans[index], batch, window.channels, self.is_tail);
            }
            if index < last {
                window.assemble(index + 1, self.labels, next);
            }
            for trainee in trainees.iter_mut() {
                let begin = Instant::now();
                let now = as_batch(batch, &trainee.transformed);
                let step = if index < last {
                    let seen = trainee.seen(next, window.channels);
                    let step = trainee.trainer.finish(now, Some(as_batch(next, &seen)));
                    trainee.transformed = seen;
                    step
                } else {
                    trainee.trainer.finish(now, None)
                };
                if !step.loss.is_finite() {
                    return Err(FinetuneError::Diverged { iterations: iteration + 1 });
                }
                trainee.loss_sum += f64::from(step.loss);
                trainee.correct += step.correct as u64;
                trainee.samples += batch.labels.len() as u64;
                self.mark(trainee, iteration + 1)?;
                trainee.own_secs += begin.elapsed().as_secs_f64();
                watch.progress.advance(1);
            }
            std::mem::swap(batch, next);
        }
        Ok(())
    }

    /// Points of the curve: [`CURVE_POINTS`], or fewer where as many passes over the images that
    /// choose would cost more than the training.
    fn points(&self) -> usize {
        let samples = self.iterations() * self.configs.first().map_or(1, |c| c.batch_size());
        let affordable = match self.judge {
            Some(judge) => samples / judge.len().max(1),
            None => CURVE_POINTS,
        };
        affordable.clamp(1, CURVE_POINTS).min(self.iterations().max(1))
    }

    /// Adds a point to the curve where one is due after `done` iterations.
    fn mark(&self, trainee: &mut Trainee, done: usize) -> Result<(), FinetuneError> {
        let (points, iterations) = (self.points(), self.iterations());
        let due = (trainee.curve.len() + 1) * iterations / points;
        if done != due {
            return Ok(());
        }
        let since = done - trainee.curve.last().map_or(0, |point| point.iteration);
        let mut selection_accuracy = None;
        if let Some(judge) = self.judge {
            let head = trainee.trainer.head();
            let classifier = Classifier { input: trainee.input.clone(), head };
            let accuracy = judge.accuracy(&[&classifier])?[0].acc_macro;
            if trainee.best.as_ref().is_none_or(|(best, ..)| accuracy > *best) {
                trainee.best = Some((accuracy, done, classifier.head));
            }
            selection_accuracy = Some(accuracy);
        }
        trainee.curve.push(CurvePoint {
            iteration: done,
            loss: (trainee.loss_sum / since.max(1) as f64) as f32,
            batch_accuracy: 100.0 * trainee.correct as f64 / trainee.samples.max(1) as f64,
            selection_accuracy,
        });
        (trainee.loss_sum, trainee.correct, trainee.samples) = (0.0, 0, 0);
        Ok(())
    }
}

impl Trainee {
    /// A batch's vectors after the input transformation; empty where they are taken as they are.
    fn seen(&self, batch: &Samples, channels: usize) -> Vec<f32> {
        match self.input {
            Input::Plain => vec![],
            _ => self.input.applied(&batch.vectors, channels).into_owned(),
        }
    }
}

/// A batch with its own vectors, or with `transformed` ones where there are some.
fn as_batch<'a>(batch: &'a Samples, transformed: &'a [f32]) -> Batch<'a> {
    let vectors = if transformed.is_empty() { &batch.vectors } else { transformed };
    Batch { vectors, labels: &batch.labels, weights: &batch.weights }
}

/// A new classifier, as PyTorch's `Linear` does: uniform within ±1/√K.
fn new_head(like: &LinearHead, seed: u64) -> LinearHead {
    let mut rng = KeyedRng::new(seed, Stage::NewClassifier, (0, 0));
    let bound = 1.0 / (like.channels() as f64).sqrt();
    let mut values = |n: usize| -> Vec<f32> {
        (0..n).map(|_| ((2.0 * rng.unit() - 1.0) * bound) as f32).collect()
    };
    let (weight, bias) = (values(like.weight.len()), values(like.bias.len()));
    LinearHead::new(weight, bias).expect("as many weights as before")
}
