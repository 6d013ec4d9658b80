//! Which rows of the bank form each Phase-II batch: index choice alone, no values.
//!
//! The choice never depends on the weights being trained: the rows of an iteration are a function
//! of (seed, iteration), so batches can be planned, sorted by where their maps lie, and fused in
//! any order.

use std::sync::Arc;

use crate::config::{FinetuneConfig, GenericClasses, Sampling};
use crate::domain::{ClassId, HeadTail};
use crate::methods::{Batches, Made, Maker};
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

    /// C.
    pub fn classes(&self) -> usize {
        self.0.len()
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
    /// The same for the images, where classes have unequal numbers of rows an image.
    image_bounds: Option<Vec<u64>>,
}

impl Pool {
    fn new(
        classes: &[ClassId],
        class_rows: &ClassRows,
        images: Option<&[u64]>,
        sampling: Sampling,
    ) -> Self {
        let mut pool = Self { sampling, rows: vec![], bounds: vec![0], image_bounds: None };
        for &class in classes {
            pool.rows.extend_from_slice(class_rows.of(class));
            pool.bounds.push(pool.rows.len());
        }
        if let Some(images) = images {
            let ends = classes.iter().scan(0, |end, class| {
                *end += images[class.index()];
                Some(*end)
            });
            pool.image_bounds = Some(std::iter::once(0).chain(ends).collect());
        }
        pool
    }

    fn draw(&self, rng: &mut KeyedRng) -> u32 {
        let of_class = |class: usize| &self.rows[self.bounds[class]..self.bounds[class + 1]];
        let among = match (self.sampling, &self.image_bounds) {
            (Sampling::Instance, None) => &self.rows[..],
            // A class in proportion to its images, which have equally many rows.
            (Sampling::Instance, Some(bounds)) => {
                let image = u64::from(rng.below(bounds[bounds.len() - 1] as u32));
                of_class(bounds.partition_point(|&begin| begin <= image) - 1)
            }
            (Sampling::Class, _) => of_class(rng.below(self.bounds.len() as u32 - 1) as usize),
        };
        among[rng.below(among.len() as u32) as usize]
    }
}

/// A fused sample to be made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusedPlan {
    /// Row of the tail sample that gives the class-specific vectors and the label.
    pub tail_row: u32,
    /// Row that gives the class-generic vectors.
    pub generic_row: u32,
    /// γ, the share of class-specific vectors.
    pub gamma: f64,
}

/// One sample of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// The pooled vector of a row.
    Real(u32),
    /// Vectors drawn from two maps.
    Fused(FusedPlan),
    /// What the method makes of pooled vectors.
    Made(Made),
}

/// The samples of one batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BatchPlan {
    /// In the order in which they are trained on; for FSA real tail samples, fused ones, head samples.
    pub samples: Vec<Sample>,
}

impl BatchPlan {
    /// The fused samples, in order; the place of one among them is its slot.
    pub fn fused(&self) -> impl Iterator<Item = &FusedPlan> {
        self.samples.iter().filter_map(|sample| match sample {
            Sample::Fused(plan) => Some(plan),
            _ => None,
        })
    }
}

/// What batches are drawn from.
pub struct Population<'a> {
    /// Class of each row.
    pub labels: &'a [u32],
    /// Images of each class, where classes have unequal numbers of rows an image: what is drawn by
    /// instance is an image then, whatever rows it has. `None` where all have equally many.
    pub images: Option<&'a [u64]>,
    /// Classes with ample images and the others.
    pub split: &'a HeadTail,
    /// The classes that give class-generic vectors to each class, the best first; empty for head
    /// classes. Not used where they are drawn at random.
    pub generic: &'a [Vec<ClassId>],
    /// What makes samples, for methods that do.
    pub maker: Option<Arc<dyn Maker>>,
}

/// Plans the batches of a run.
pub struct BatchSampler {
    seed: u64,
    /// `None` for a method without batches.
    batches: Option<Batches>,
    labels: Vec<u32>,
    /// The tail for batches of head and tail, all classes for others.
    tail: Pool,
    head: Pool,
    class_rows: ClassRows,
    /// See [`Population::generic`]; `None` where classes are drawn at random.
    generic: Option<Vec<Vec<ClassId>>>,
    maker: Option<Arc<dyn Maker>>,
    tail_per_batch: usize,
    num_augmented: usize,
    gamma_range: [f64; 2],
}

impl BatchSampler {
    /// A sampler over the rows of a bank.
    ///
    /// Every class has at least one row, and there is at least one tail class where the method divides
    /// head and tail; the caller has checked both.
    pub fn new(config: &FinetuneConfig, seed: u64, population: &Population<'_>) -> Self {
        let labels = population.labels;
        let classes = population.split.head.len() + population.split.tail.len();
        let class_rows = ClassRows::new(labels, classes);
        let all: Vec<ClassId> = (0..classes as u32).map(ClassId).collect();
        let batches = config.method.batches();
        let (tail, tail_sampling, head) = match batches {
            Some(Batches::Fused | Batches::HeadTail) => {
                (&population.split.tail, config.tail_sampling, &population.split.head)
            }
            Some(Batches::Instance) | None => (&all, Sampling::Instance, &all),
            _ => (&all, Sampling::Class, &all),
        };
        let random = config.generic_classes == GenericClasses::Random;
        let images = population.images;
        Self {
            seed,
            batches,
            tail: Pool::new(tail, &class_rows, images, tail_sampling),
            head: Pool::new(head, &class_rows, images, config.head_sampling),
            class_rows,
            generic: (!random).then(|| population.generic.to_vec()),
            maker: population.maker.clone(),
            labels: labels.to_vec(),
            tail_per_batch: config.tail_per_batch,
            num_augmented: config.num_augmented,
            gamma_range: config.gamma_range,
        }
    }

    /// The samples of batch `iteration`: for FSA paper, Alg. 1, lines 4 to 21.
    ///
    /// With N_a = N_f each confusing class gives one sample, as in the paper; otherwise they take
    /// turns, from a random first one.
    pub fn batch(&self, iteration: usize) -> BatchPlan {
        let mut rng = KeyedRng::new(self.seed, Stage::BatchRows, (iteration as u64, 0));
        let half = self.tail_per_batch * (1 + self.num_augmented);
        let samples = match self.batches {
            None => vec![],
            Some(Batches::Fused) => self.fused_batch(half, &mut rng),
            Some(Batches::HeadTail) => {
                let tail: Vec<u32> = (0..half).map(|_| self.tail.draw(&mut rng)).collect();
                let head = (0..half).map(|_| self.head.draw(&mut rng));
                tail.into_iter().chain(head).map(Sample::Real).collect()
            }
            _ => (0..2 * half).map(|_| self.drawn(&mut rng)).collect(),
        };
        BatchPlan { samples }
    }

    /// What makes samples, for methods that do.
    pub fn maker(&self) -> Option<&dyn Maker> {
        self.maker.as_deref()
    }

    fn fused_batch(&self, half: usize, rng: &mut KeyedRng) -> Vec<Sample> {
        let (mut samples, mut fused) = (vec![], vec![]);
        for _ in 0..self.tail_per_batch {
            let tail_row = self.tail.draw(rng);
            samples.push(Sample::Real(tail_row));
            self.plan_fused(tail_row, rng, &mut fused);
        }
        samples.extend(fused.into_iter().map(Sample::Fused));
        samples.extend((0..half).map(|_| Sample::Real(self.head.draw(rng))));
        samples
    }

    fn plan_fused(&self, tail_row: u32, rng: &mut KeyedRng, fused: &mut Vec<FusedPlan>) {
        let label = self.labels[tail_row as usize];
        let classes = self.generic.as_ref().map(|generic| &generic[label as usize][..]);
        let even = classes.is_some_and(|c| self.num_augmented.is_multiple_of(c.len()));
        let first = match classes {
            Some(classes) if !even => rng.below(classes.len() as u32) as usize,
            _ => 0,
        };
        let [low, high] = self.gamma_range;
        for turn in 0..self.num_augmented {
            let class = match classes {
                Some(classes) => classes[(first + turn) % classes.len()],
                None => self.any_class_but(label, rng),
            };
            let rows = self.class_rows.of(class);
            let generic_row = rows[rng.below(rows.len() as u32) as usize];
            let gamma = low + (high - low) * rng.unit();
            fused.push(FusedPlan { tail_row, generic_row, gamma });
        }
    }

    fn any_class_but(&self, label: u32, rng: &mut KeyedRng) -> ClassId {
        let drawn = rng.below(self.class_rows.classes() as u32 - 1);
        ClassId(drawn + u32::from(drawn >= label))
    }

    /// One sample of the methods that draw from all classes alike.
    fn drawn(&self, rng: &mut KeyedRng) -> Sample {
        let row = self.tail.draw(rng);
        let draw = |rng: &mut KeyedRng| self.tail.draw(rng);
        let made = self.maker().and_then(|maker| maker.plan(row, &draw, rng));
        made.map_or(Sample::Real(row), Sample::Made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Method;
    use crate::methods::{Settings, TrainingRows};

    /// Rows 0..90 of class 0, 90..100 of class 1, 100..104 of class 2, 104 of class 3.
    fn sampler(config: FinetuneConfig) -> BatchSampler {
        let labels: Vec<u32> = [(0, 90), (1, 10), (2, 4), (3, 1)]
            .into_iter()
            .flat_map(|(class, n)| std::iter::repeat_n(class, n))
            .collect();
        let ids = |classes: &[u32]| classes.iter().copied().map(ClassId).collect::<Vec<_>>();
        let split = HeadTail { head: ids(&[0, 1]), tail: ids(&[2, 3]) };
        let generic = [vec![], vec![], ids(&[0, 3]), ids(&[2, 1])];
        // Rows 2 n and 2 n + 1 are near each other.
        let pooled: Vec<f32> = (0..105).map(|row| (10 * (row / 2) + row % 2) as f32).collect();
        let (channels, class_sizes) = (1, &[90, 10, 4, 1][..]);
        let maker = maker(
            &config,
            &TrainingRows { labels: &labels, pooled: &pooled, channels, class_sizes },
        );
        let generic = &generic[..];
        let population =
            Population { labels: &labels, images: None, split: &split, generic, maker };
        BatchSampler::new(&config, 7, &population)
    }

    fn maker(config: &FinetuneConfig, rows: &TrainingRows<'_>) -> Option<Arc<dyn Maker>> {
        let making = config.method.batches().and_then(Batches::making)?;
        Some((making.maker)(rows, &Settings::of(config), 7))
    }

    fn config(method: &str) -> FinetuneConfig {
        let (method, num_neighbours) = (Method::named(method), 1);
        FinetuneConfig {
            num_confusing: 2,
            num_augmented: 2,
            method,
            num_neighbours,
            ..Default::default()
        }
    }

    fn real(plan: &BatchPlan) -> Vec<u32> {
        let row = |sample: &Sample| if let Sample::Real(row) = sample { Some(*row) } else { None };
        plan.samples.iter().filter_map(row).collect()
    }

    fn count(rows: &[u32], of: std::ops::Range<u32>) -> usize {
        rows.iter().filter(|r| of.contains(r)).count()
    }

    #[test]
    fn a_batch_has_the_papers_composition() {
        let plan = sampler(config("fsa")).batch(0);
        let (real, fused) = (real(&plan), plan.fused().collect::<Vec<_>>());
        let (tail, head) = real.split_at(16);
        assert_eq!((head.len(), fused.len()), (48, 32));
        assert_eq!(config("fsa").batch_size(), 96);
        assert!(tail.iter().all(|&r| (100..105).contains(&r)));
        assert!(head.iter().all(|&r| r < 100));
        for (i, fused) in fused.iter().enumerate() {
            // Each fused sample belongs to its own tail sample; its classes are that label's.
            assert_eq!(fused.tail_row, tail[i / 2]);
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
    fn random_classes_are_any_but_the_tail_samples_own() {
        let config = FinetuneConfig { generic_classes: GenericClasses::Random, ..config("fsa") };
        let sampler = sampler(config);
        let plans: Vec<BatchPlan> = (0..50).map(|i| sampler.batch(i)).collect();
        let fused: Vec<&FusedPlan> = plans.iter().flat_map(BatchPlan::fused).collect();
        let class = |row: u32| sampler.labels[row as usize];
        assert!(fused.iter().all(|f| class(f.generic_row) != class(f.tail_row)));
        for wanted in 0..4 {
            let share = fused.iter().filter(|f| class(f.generic_row) == wanted).count();
            assert!(share > fused.len() / 8, "{wanted}: {share} of {}", fused.len());
        }
    }

    #[test]
    fn no_aug_has_real_tail_samples_only() {
        let plan = sampler(config("no-aug")).batch(0);
        let rows = real(&plan);
        assert_eq!(rows.len(), plan.samples.len());
        assert_eq!((count(&rows[..48], 100..105), count(&rows[48..], 0..100)), (48, 48));
    }

    #[test]
    fn class_draws_are_class_uniform_and_instance_draws_are_not() {
        let rows = |method| {
            let sampler = sampler(config(method));
            (0..100).flat_map(|i| real(&sampler.batch(i))).collect::<Vec<_>>()
        };
        let (by_class, by_instance) = (rows("crt"), rows("focal"));
        assert_eq!((by_class.len(), by_instance.len()), (9600, 9600));
        assert!((2200..2600).contains(&count(&by_class, 104..105)));
        assert!((60..130).contains(&count(&by_instance, 104..105)));
    }

    #[test]
    fn with_unequal_numbers_of_rows_an_image_instances_are_images() {
        // 120 rows of as many images, and as many of 30 and of 10.
        let labels: Vec<u32> = (0..360).map(|row| row / 120).collect();
        let ids = |classes: &[u32]| classes.iter().copied().map(ClassId).collect::<Vec<_>>();
        let split = HeadTail { head: ids(&[0, 1]), tail: ids(&[2]) };
        let sampler = |method| {
            let images = Some(&[120, 30, 10][..]);
            let head_sampling = Sampling::Instance;
            let config = FinetuneConfig { head_sampling, ..config(method) };
            let pooled: Vec<f32> = (0..720).map(|v| v as f32).collect();
            let class_sizes = &[120, 30, 10][..];
            let rows = TrainingRows { labels: &labels, pooled: &pooled, channels: 2, class_sizes };
            let (generic, maker) = (&vec![ids(&[0]); 3][..], maker(&config, &rows));
            let population = Population { labels: &labels, images, split: &split, generic, maker };
            BatchSampler::new(&config, 7, &population)
        };
        let rows = |method| {
            let sampler = sampler(method);
            (0..100).flat_map(|i| real(&sampler.batch(i))).collect::<Vec<_>>()
        };
        let drawn = rows("focal");
        let counts = [0, 120, 240].map(|begin| count(&drawn, begin..begin + 120));
        assert_eq!(drawn.len(), 9600);
        for (found, expected) in counts.into_iter().zip([7200, 1800, 600]) {
            assert!(found.abs_diff(expected) < 150, "{counts:?}");
        }
        // Within a class all rows alike.
        let first = count(&drawn, 0..60);
        assert!(first.abs_diff(counts[0] / 2) < 150, "{first} of {}", counts[0]);
        let head: Vec<u32> = rows("no-aug").into_iter().filter(|&row| row < 240).collect();
        assert!(count(&head, 120..240).abs_diff(head.len() / 5) < 150, "{}", head.len());
        // Filled up to the largest class: a quarter of the second one's samples are its own.
        let filled = sampler("tailcalib");
        let made = |i| {
            let mut rng = KeyedRng::new(1, Stage::BatchRows, (i, 0));
            filled.maker().unwrap().plan(130, &|_| 0, &mut rng)
        };
        let own = (0..4000).filter(|&i| made(i).is_none());
        assert!(own.count().abs_diff(1000) < 120);
    }

    #[test]
    fn small_classes_are_filled_up_to_the_largest() {
        for method in ["smote", "tailcalib"] {
            let sampler = sampler(config(method));
            let samples: Vec<Sample> = (0..100).flat_map(|i| sampler.batch(i).samples).collect();
            // Class 1 has 10 of 90 rows: one draw in nine is one of its own.
            let row_of = |sample: &Sample| match *sample {
                Sample::Real(row) | Sample::Made(Made { rows: [row, _], .. }) => row,
                _ => panic!("{sample:?}"),
            };
            let class = |s: &&Sample| (90..100).contains(&row_of(s));
            let of_class: Vec<&Sample> = samples.iter().filter(class).collect();
            let own = of_class.iter().filter(|s| matches!(s, Sample::Real(_))).count();
            let share = own as f64 / of_class.len() as f64;
            assert!((0.08..0.14).contains(&share), "{method:?} {share}");
            let largest = samples.iter().filter(|s| row_of(s) < 90);
            assert!(largest.into_iter().all(|s| matches!(s, Sample::Real(_))));
            for sample in samples {
                if let (Sample::Made(Made { rows: [row, neighbour], share }), "smote") =
                    (sample, method)
                {
                    assert!(neighbour == row ^ 1 && (0.0..1.0).contains(&share));
                }
            }
        }
    }

    #[test]
    fn a_batch_is_a_function_of_seed_and_iteration() {
        let sampler = sampler(FinetuneConfig::default());
        assert_eq!(sampler.batch(5), sampler.batch(5));
        assert_ne!(sampler.batch(5), sampler.batch(6));
    }
}
