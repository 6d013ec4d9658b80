//! Several Phase-II runs over one bank: read once, batches shared where they are the same, and as
//! many runs at a time as there are threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::computed;
use super::diagnostics::BatchStatistics;
use super::engine::{CurvePoint, Group, Trained};
use super::fuser::Fuser;
use super::kept_maps;
use super::memory::{MemoryPlan, iteration_bytes};
use super::scoring::SplitVectors;
use super::source::{Source, generic_classes};
use super::window::Fallbacks;
use super::{FinetuneError, TAU_GRID};
use crate::augment::ConfusingClasses;
use crate::bank::Bank;
use crate::classifier::Classifier;
use crate::config::{FinetuneConfig, Method};
use crate::domain::HeadTail;
use crate::methods::{Batches, Computed, Maker, Settings, TrainingRows};
use crate::progress::Watch;
use crate::sampler::{BatchSampler, Population};

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The settings.
    pub config: FinetuneConfig,
    /// Seed of every draw.
    pub seed: u64,
}

/// How jobs are run; nothing here changes a result but `judge`.
pub struct JobOptions<'a> {
    /// Bytes that the process may take.
    pub memory_bytes: u64,
    /// The images that choose the iteration of a trained method, and τ of a computed one.
    pub judge: Option<&'a SplitVectors<'a>>,
}

/// What a job resulted in.
pub struct JobResult {
    /// The classifier.
    pub classifier: Classifier,
    /// Iterations after which it was taken; 0 for computed ones.
    pub iteration: usize,
    /// τ, of methods that have one.
    pub tau: Option<f32>,
    /// Loss and accuracy over the iterations.
    pub curve: Vec<CurvePoint>,
    /// Fused samples whose masks were empty.
    pub fallbacks: Fallbacks,
    /// What the batches were like.
    pub statistics: BatchStatistics,
    /// Confusing classes of each tail class; empty for methods that do not use them.
    pub confusing: Vec<ConfusingClasses>,
    /// Seconds of planning, and of reading maps that are held for the run.
    pub prepare_secs: f64,
    /// Seconds of making batches and training.
    pub secs: f64,
    /// Of these, waiting for batches.
    pub waiting_secs: f64,
}

/// A bank that is open for jobs.
pub struct Workbench<'a> {
    pub(super) source: Source<'a>,
    plan: MemoryPlan,
    workers: usize,
    /// Jobs by what they draw, as places in the list.
    groups: Vec<Vec<usize>>,
    /// Seconds that opening took.
    pub load_secs: f64,
}

/// What decides the batches of a job: settings that do not are at their defaults.
fn batch_key(job: &Job) -> Job {
    let mut config = job.config.of_batches();
    let batches = config.method.batches();
    config.method = Method::all().find(|m| m.batches() == batches).unwrap_or(config.method);
    if !batches.and_then(Batches::making).is_some_and(|making| making.reads("num_neighbours")) {
        config.num_neighbours = FinetuneConfig::default().num_neighbours;
    }
    Job { config, seed: job.seed }
}

impl<'a> Workbench<'a> {
    /// Opens the training rows for these jobs within the memory there is.
    ///
    /// # Errors
    /// The bank is damaged, or the memory is too little for any way to run the jobs.
    pub fn open(
        bank: &'a Bank,
        jobs: &[Job],
        options: &JobOptions<'_>,
    ) -> Result<Self, FinetuneError> {
        let begin = Instant::now();
        let threads = rayon::current_num_threads();
        let head_bytes = 4 * (bank.head.weight.len() + bank.head.bias.len()) as u64;
        let together = (options.memory_bytes / 3 / (5 * head_bytes)).max(1) as usize;
        let mut keyed: Vec<(Job, Vec<usize>)> = vec![];
        for (place, job) in jobs.iter().enumerate() {
            let key = batch_key(job);
            let fits = |(of, group): &&mut (Job, Vec<usize>)| *of == key && group.len() < together;
            match keyed.iter_mut().find(fits) {
                Some((_, group)) => group.push(place),
                None => keyed.push((key, vec![place])),
            }
        }
        let groups: Vec<Vec<usize>> = keyed.into_iter().map(|(_, group)| group).collect();
        let largest = groups.iter().map(Vec::len).max().unwrap_or(1);
        let workers = threads.min(groups.len()).min((together / largest).max(1)).max(1);
        let channels = bank.manifest.feature_shape.channels;
        let iteration =
            jobs.iter().map(|job| iteration_bytes(channels, &job.config)).max().unwrap_or(0);
        let (trainers, iteration) = (workers * largest, workers * iteration);
        let plan = MemoryPlan::new(bank, options.memory_bytes, trainers, iteration)?;
        let mut source = Source::open(bank, plan)?;
        let mut plan = plan;
        let fusing = |group: &&Vec<usize>| jobs[group[0]].config.method.fuses();
        if groups.iter().filter(fusing).count() > 1 {
            // Several runs fuse: all maps are read once for all of them.
            source.hold_maps(plan.rest / 2)?;
            if let Some(maps) = &source.maps {
                plan.rest -= maps.bytes();
            }
        }
        Ok(Self { source, plan, workers, groups, load_secs: begin.elapsed().as_secs_f64() })
    }

    /// Runs the jobs and hands over each result when it is ready, with its place in the list.
    ///
    /// A job that fails does not stop the others. An interrupt ends them all.
    pub fn run(
        &self,
        jobs: &[Job],
        options: &JobOptions<'_>,
        watch: Watch<'_>,
        done: &(dyn Fn(usize, Result<JobResult, FinetuneError>) + Sync),
    ) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(group) = self.groups.get(next.fetch_add(1, Ordering::SeqCst)) {
                self.run_group(group, jobs, options, watch, done);
            }
        };
        if self.workers == 1 {
            return work();
        }
        let threads = (rayon::current_num_threads() / self.workers).max(1);
        std::thread::scope(|scope| {
            for _ in 0..self.workers {
                scope.spawn(|| {
                    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
                        Ok(pool) => pool.install(work),
                        Err(_) => work(),
                    }
                });
            }
        });
    }

    fn run_group(
        &self,
        group: &[usize],
        jobs: &[Job],
        options: &JobOptions<'_>,
        watch: Watch<'_>,
        done: &(dyn Fn(usize, Result<JobResult, FinetuneError>) + Sync),
    ) {
        let configs: Vec<&Job> = group.iter().map(|&place| &jobs[place]).collect();
        match self.results(&configs, options, watch) {
            Ok(results) => {
                group.iter().zip(results).for_each(|(&place, result)| done(place, Ok(result)));
            }
            // One that diverges must not take the others with it.
            Err(FinetuneError::Diverged { .. }) if group.len() > 1 => {
                for &place in group {
                    self.run_group(&[place], jobs, options, watch, done);
                }
            }
            Err(error) => {
                let mut error = Some(error);
                for &place in group {
                    let of_job = error.take().unwrap_or(FinetuneError::SharedJobFailed);
                    done(place, Err(of_job));
                }
            }
        }
    }

    /// The results of jobs that share their batches.
    fn results(
        &self,
        jobs: &[&Job],
        options: &JobOptions<'_>,
        watch: Watch<'_>,
    ) -> Result<Vec<JobResult>, FinetuneError> {
        let Job { config, seed } = jobs[0];
        if !config.method.trains() {
            let ways = jobs.iter().filter_map(|job| Some((job.config.method.computed()?, *job)));
            return ways.map(|(way, job)| self.computed(way, &job.config, options)).collect();
        }
        let begin = Instant::now();
        let (source, bank) = (&self.source, self.source.bank);
        let split = bank.class_counts.split(config.head_ratio);
        let classes = bank.class_names.len();
        let divides = config.method.batches().is_some_and(Batches::divide_head_and_tail);
        if divides && split.tail.is_empty() {
            return Err(FinetuneError::NoTail { head_ratio: config.head_ratio, classes });
        }
        let (mut confusing, mut generic) = (vec![], vec![]);
        if config.method.fuses() {
            kept_maps::must_have_tail(bank, config, &split)?;
            (confusing, generic) = generic_classes(config, &split, source)?;
            kept_maps::must_have_confusing(bank, config, &confusing)?;
        }
        let (labels, generic) = (&source.index().labels[..], &generic[..]);
        let (maps, views) = (&bank.manifest.maps, bank.manifest.views.count);
        let uneven = maps.least_views(views) < views;
        let images = uneven.then_some(&bank.class_counts.0[..]);
        let maker = self.maker(config, *seed, images)?;
        let population = Population { labels, images, split: &split, generic, maker };
        let sampler = BatchSampler::new(config, *seed, &population);
        let fuser = Fuser::new(source, &sampler, config, *seed, self.plan.rest / self.workers)?;
        let group = Group {
            fuser,
            configs: jobs.iter().map(|job| job.config.clone()).collect(),
            seed: *seed,
            labels,
            is_tail: &tail_flags(&split, classes),
            head: &bank.head,
            counts: &bank.class_counts,
            judge: options.judge,
            overlap: self.workers == 1,
        };
        let prepare_secs = begin.elapsed().as_secs_f64();
        let result = |trained: Trained| JobResult {
            classifier: trained.classifier,
            iteration: trained.iteration,
            tau: None,
            curve: trained.curve,
            fallbacks: trained.fallbacks,
            statistics: trained.statistics,
            confusing: confusing.clone(),
            prepare_secs,
            secs: trained.secs,
            waiting_secs: trained.waiting_secs,
        };
        Ok(group.train(watch)?.into_iter().map(result).collect())
    }

    /// What makes samples for a method that does, if the rows it needs are held and its memory suffices.
    fn maker(
        &self,
        config: &FinetuneConfig,
        seed: u64,
        images: Option<&[u64]>,
    ) -> Result<Option<Arc<dyn Maker>>, FinetuneError> {
        let Some(making) = config.method.batches().and_then(Batches::making) else {
            return Ok(None);
        };
        let (labels, channels) = (&self.source.index().labels[..], self.source.channels());
        let mut class_rows = vec![0; self.source.bank.class_names.len()];
        labels.iter().for_each(|&label| class_rows[label as usize] += 1);
        let bytes = self.plan.rest / self.workers;
        let pooled = match (making.held, self.source.held()) {
            (None, _) => &[][..],
            (Some(needed), Some(rows)) if needed(&class_rows, channels) <= bytes => &rows.pooled,
            _ => return Err(FinetuneError::NeedsRows { method: config.method }),
        };
        let own: Vec<u64> = class_rows.iter().map(|&rows| rows as u64).collect();
        let rows = TrainingRows { labels, pooled, channels, class_sizes: images.unwrap_or(&own) };
        Ok(Some((making.maker)(&rows, &Settings::of(config), seed)))
    }

    /// The result of a method that has no training.
    fn computed(
        &self,
        way: &Computed,
        config: &FinetuneConfig,
        options: &JobOptions<'_>,
    ) -> Result<JobResult, FinetuneError> {
        let begin = Instant::now();
        let mut tau = config.tau;
        if let (Some(judge), true) = (options.judge, way.has_tau) {
            let mut best = f64::NEG_INFINITY;
            for candidate in TAU_GRID {
                let classifier = computed::classifier(way, candidate, &self.source)?;
                let accuracy = judge.accuracy(&[&classifier])?[0].acc_macro;
                if accuracy > best {
                    (best, tau) = (accuracy, candidate);
                }
            }
        }
        Ok(JobResult {
            classifier: computed::classifier(way, tau, &self.source)?,
            iteration: 0,
            tau: way.has_tau.then_some(tau),
            curve: vec![],
            fallbacks: Fallbacks::default(),
            statistics: BatchStatistics::default(),
            confusing: vec![],
            prepare_secs: 0.0,
            secs: begin.elapsed().as_secs_f64(),
            waiting_secs: 0.0,
        })
    }

    /// Bytes of the shards that were read.
    pub fn bytes_read(&self) -> u64 {
        self.source.reader().bytes_read()
    }

    /// Runs one job alone.
    ///
    /// # Errors
    /// See [`FinetuneError`].
    pub fn run_one(
        &self,
        job: &Job,
        options: &JobOptions<'_>,
        watch: Watch<'_>,
    ) -> Result<JobResult, FinetuneError> {
        let found = Mutex::new(None);
        let keep = |_, result| *found.lock().expect("no panic while held") = Some(result);
        self.run(std::slice::from_ref(job), options, watch, &keep);
        found
            .into_inner()
            .expect("no panic while held")
            .unwrap_or(Err(FinetuneError::SharedJobFailed))
    }
}

/// Whether each class is a tail class.
pub(super) fn tail_flags(split: &HeadTail, classes: usize) -> Vec<bool> {
    let mut is_tail = vec![false; classes];
    split.tail.iter().for_each(|class| is_tail[class.index()] = true);
    is_tail
}
