//! Which rows of the bank form each Phase-II batch: index choice alone, no values.
//!
//! The choice never depends on the weights being trained: the rows of an iteration are a function
//! of (seed, iteration), so batches can be planned, sorted by where their maps lie, and fused in
//! any order.

use crate::config::{FinetuneConfig, Method, Sampling};
use crate::domain::{ClassId, HeadTail};
use crate::rng::{KeyedRng, Stage};

/// The rows of each class.
#[derive(Debug, Clone)]
pub struct ClassRows(Vec<Vec<u32>>);

impl ClassRows {
    /// Groups row indices by label; within a class rows keep their order.
    pub fn new(labels: &[u32], classes: usize) -> Self {
        let mut rows = vec![vec![]; classes];
        labels.iter().enumerate().for_each(|(row, &label)| rows[label as usize].push(row as u32));
        Self(rows)
    }

    /// The rows of one class.
    pub fn of(&self, class: ClassId) -> &[u32] {
        &self.0[class.index()]
    }
}

/// Rows of a set of classes, drawn by class or by instance.
#[derive(Debug, Clone)]
struct Pool {
    sampling: Sampling,
    /// All rows, class by class.
    rows: Vec<u32>,
    /// Where each class begins, and the end.
    bounds: Vec<usize>,
}

impl Pool {
    fn new(classes: &[ClassId], class_rows: &ClassRows, sampling: Sampling) -> Self {
        let mut pool = Self { sampling, rows: vec![], bounds: vec![0] };
        for &class in classes {
            pool.rows.extend_from_slice(class_rows.of(class));
            pool.bounds.push(pool.rows.len());
        }
        pool
    }

    fn draw(&self, rng: &mut KeyedRng) -> u32 {
        let among = match self.sampling {
            Sampling::Instance => &self.rows[..],
            Sampling::Class => {
                let class = rng.below(self.bounds.len() as u32 - 1) as usize;
                &self.rows[self.bounds[class]..self.bounds[class + 1]]
            }
        };
        among[rng.below(among.len() as u32) as usize]
    }
}

/// A fused sample to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusedPlan {
    /// Row of the tail sample that gives the class-specific vectors and the label.
    pub tail_row: u32,
    /// Row of the confusing class that gives the class-generic vectors.
    pub generic_row: u32,
    /// γ, the share of class-specific vectors.
    pub gamma: f64,
}

/// The rows of one batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BatchPlan {
    /// Real tail samples.
    pub tail: Vec<u32>,
    /// Fused tail samples; none for [`Method::NoAug`].
    pub fused: Vec<FusedPlan>,
    /// Real head samples, as many as the two above.
    pub head: Vec<u32>,
}

/// Plans the batches of a run.
#[derive(Debug, Clone)]
pub struct BatchSampler {
    seed: u64,
    tail: Pool,
    head: Pool,
    /// Rows of the confusing classes of each class; empty for head classes.
    confusing: Vec<Vec<Vec<u32>>>,
    labels: Vec<u32>,
    tail_per_batch: usize,
    num_augmented: usize,
    gamma_range: [f64; 2],
    fuses: bool,
}

impl BatchSampler {
    /// A sampler over the rows of a bank.
    ///
    /// `confusing` gives the confusing classes of each class, empty for head classes. Every class
    /// has at least one row, and there is at least one tail class; the caller has checked both.
    pub fn new(
        config: &FinetuneConfig,
        seed: u64,
        labels: &[u32],
        split: &HeadTail,
        confusing: &[Vec<ClassId>],
    ) -> Self {
        let class_rows = ClassRows::new(labels, confusing.len());
        let rows_of =
            |classes: &Vec<ClassId>| classes.iter().map(|&c| class_rows.of(c).to_vec()).collect();
        Self {
            seed,
            tail: Pool::new(&split.tail, &class_rows, config.tail_sampling),
            head: Pool::new(&split.head, &class_rows, config.head_sampling),
            confusing: confusing.iter().map(rows_of).collect(),
            labels: labels.to_vec(),
            tail_per_batch: config.tail_per_batch,
            num_augmented: config.num_augmented,
            gamma_range: config.gamma_range,
            fuses: config.method == Method::Fsa,
        }
    }

    /// The rows of batch `iteration`: paper, Alg. 1, lines 4 to 21.
    ///
    /// With N_a = N_f each confusing class gives one sample, as in the paper; otherwise they take
    /// turns, from a random first one.
    pub fn batch(&self, iteration: usize) -> BatchPlan {
        let mut rng = KeyedRng::new(self.seed, Stage::BatchRows, (iteration as u64, 0));
        let mut plan = BatchPlan::default();
        let tail_samples = self.tail_per_batch * (1 + self.num_augmented);
        if self.fuses {
            for _ in 0..self.tail_per_batch {
                let tail_row = self.tail.draw(&mut rng);
                plan.tail.push(tail_row);
                self.plan_fused(tail_row, &mut rng, &mut plan.fused);
            }
        } else {
            plan.tail.extend((0..tail_samples).map(|_| self.tail.draw(&mut rng)));
        }
        plan.head.extend((0..tail_samples).map(|_| self.head.draw(&mut rng)));
        plan
    }

    fn plan_fused(&self, tail_row: u32, rng: &mut KeyedRng, fused: &mut Vec<FusedPlan>) {
        let classes = &self.confusing[self.labels[tail_row as usize] as usize];
        let even = self.num_augmented.is_multiple_of(classes.len());
        let first = if even { 0 } else { rng.below(classes.len() as u32) as usize };
        let [low, high] = self.gamma_range;
        for turn in 0..self.num_augmented {
            let rows = &classes[(first + turn) % classes.len()];
            let generic_row = rows[rng.below(rows.len() as u32) as usize];
            let gamma = low + (high - low) * rng.unit();
            fused.push(FusedPlan { tail_row, generic_row, gamma });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows 0..90 of class 0, 90..100 of class 1, 100..104 of class 2, 104 of class 3.
    fn sampler(config: FinetuneConfig) -> BatchSampler {
        let labels: Vec<u32> = [(0, 90), (1, 10), (2, 4), (3, 1)]
            .into_iter()
            .flat_map(|(class, n)| std::iter::repeat_n(class, n))
            .collect();
        let ids = |classes: &[u32]| classes.iter().copied().map(ClassId).collect::<Vec<_>>();
        let split = HeadTail { head: ids(&[0, 1]), tail: ids(&[2, 3]) };
        let confusing = [vec![], vec![], ids(&[0, 3]), ids(&[2, 1])];
        BatchSampler::new(&config, 7, &labels, &split, &confusing)
    }

    fn count(rows: &[u32], of: std::ops::Range<u32>) -> usize {
        rows.iter().filter(|r| of.contains(r)).count()
    }

    #[test]
    fn a_batch_has_the_papers_composition() {
        let config = FinetuneConfig { num_confusing: 2, num_augmented: 2, ..Default::default() };
        let plan = sampler(config.clone()).batch(0);
        assert_eq!((plan.tail.len(), plan.fused.len(), plan.head.len()), (16, 32, 48));
        assert_eq!(config.batch_size(), 96);
        assert!(plan.tail.iter().all(|&r| (100..105).contains(&r)));
        assert!(plan.head.iter().all(|&r| r < 100));
        for (i, fused) in plan.fused.iter().enumerate() {
            // Each fused sample belongs to its own tail sample; its classes are that label's.
            assert_eq!(fused.tail_row, plan.tail[i / 2]);
            let expected = match (fused.tail_row, i % 2) {
                (104, 0) => 100..104,
                (104, _) => 90..100,
                (_, 0) => 0..90,
                _ => 104..105,
            };
            assert!(expected.contains(&fused.generic_row), "{fused:?}");
            assert!((0.0..1.0).contains(&fused.gamma));
        }
    }

    #[test]
    fn no_aug_has_real_tail_samples_only() {
        let config = FinetuneConfig { method: Method::NoAug, ..Default::default() };
        let plan = sampler(config).batch(0);
        assert_eq!((plan.tail.len(), plan.fused.len(), plan.head.len()), (64, 0, 64));
    }

    #[test]
    fn class_draws_are_class_uniform_and_instance_draws_are_not() {
        let rows = |sampling| {
            let config = FinetuneConfig { head_sampling: sampling, ..Default::default() };
            let sampler = sampler(config);
            (0..100).flat_map(|i| sampler.batch(i).head).collect::<Vec<_>>()
        };
        let (by_class, by_instance) = (rows(Sampling::Class), rows(Sampling::Instance));
        assert_eq!(by_class.len(), 6400);
        assert!((2900..3500).contains(&count(&by_class, 90..100)));
        assert!((500..800).contains(&count(&by_instance, 90..100)));
    }

    #[test]
    fn a_batch_is_a_function_of_seed_and_iteration() {
        let sampler = sampler(FinetuneConfig::default());
        assert_eq!(sampler.batch(5), sampler.batch(5));
        assert_ne!(sampler.batch(5), sampler.batch(6));
    }
}
