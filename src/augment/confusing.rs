//! Which classes a tail class is confused with: paper, Sec. 4.2.

use rayon::prelude::*;

use crate::classifier::{LogitChunks, logits_into, softmax};
use crate::domain::{ClassId, HeadTail, LinearHead};

/// Pooled vectors that are gathered at a time.
const VECTORS_BYTES: usize = 8 << 20;
/// Scores of all classes that are in memory at a time.
const SCORES_BYTES: usize = 32 << 20;
/// Samples whose scores are one task.
const SCORE_SAMPLES: usize = 64;
/// Bytes of memory that [`confusing_of_tail`] takes for vectors and scores.
pub const CONFUSING_BYTES: usize = VECTORS_BYTES + SCORES_BYTES;

/// The confusing classes of one class, the most confusing first.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ConfusingClasses {
    /// The class they are confused with.
    pub class: ClassId,
    /// They and their mean scores, the highest first.
    pub ranked: Vec<(ClassId, f32)>,
}

/// Ranks every other class by its mean softmax score over the samples of `class`, and keeps the
/// top `count` (fewer where there are fewer classes). Equal scores keep the order of the ids.
///
/// Shape: `pooled` is [n, K], the samples of `class`. The scores of a row of the confusion matrix
/// are ranked, never of a column: what samples of `class` are taken for.
pub fn confusing_classes(
    class: ClassId,
    pooled: &[f32],
    head: &LinearHead,
    count: usize,
) -> ConfusingClasses {
    let scores = pooled.map_logits(head, |row| {
        softmax(row);
        row.to_vec()
    });
    let mut means = vec![0.0f64; head.classes()];
    for row in &scores {
        means.iter_mut().zip(row).for_each(|(mean, &score)| *mean += f64::from(score));
    }
    let samples = scores.len().max(1) as f64;
    let means: Vec<f32> = means.iter().map(|mean| (mean / samples) as f32).collect();
    rank_confusing(class, &means, count, &|_| true)
}

/// The confusing classes of every tail class, in the order of the tail; `head_only` ranks head classes
/// only.
///
/// `of_class` has the samples of each class, ascending: the clean views of its images, under any numbers
/// that go up with them. `pooled` gives the vectors [n, K] of some samples, which are ascending.
///
/// # Errors
/// Those of `pooled`.
///
/// # Determinism
/// The same to the bit for the same vectors, whatever the samples are numbered: a sample's scores are
/// added to those of its class in the order of the samples.
///
/// # Cost
/// [`CONFUSING_BYTES`], and what `pooled` takes. All threads compute scores.
pub fn confusing_of_tail<E>(
    split: &HeadTail,
    head_only: bool,
    count: usize,
    head: &LinearHead,
    of_class: &[Vec<usize>],
    pooled: impl Fn(&[usize]) -> Result<Vec<f32>, E>,
) -> Result<Vec<ConfusingClasses>, E> {
    let classes = head.classes();
    let mut is_head = vec![false; classes];
    split.head.iter().for_each(|class| is_head[class.index()] = true);
    let among = |class: ClassId| !head_only || is_head[class.index()];
    let samples = of_class.iter().map(Vec::len).sum::<usize>().max(1);
    let mut scores = vec![0.0; (SCORES_BYTES / (4 * classes)).clamp(1, samples) * classes];
    // Whole classes at a time, so that the samples of many small ones are gathered together.
    let block = (VECTORS_BYTES / (4 * head.channels())).max(1);
    let most = (VECTORS_BYTES / (8 * classes)).max(1);
    let (mut found, mut rest) = (Vec::with_capacity(split.tail.len()), &split.tail[..]);
    while !rest.is_empty() {
        let mut samples = 0;
        let fits = |class: &&ClassId| {
            samples += of_class[class.index()].len();
            samples <= block
        };
        let some = rest.iter().take(most).take_while(fits).count().max(1);
        let (some, later) = rest.split_at(some);
        rest = later;
        let sums = score_sums(some, head, of_class, &mut scores, &pooled)?;
        let ranked = some.par_iter().zip(sums).map(|(&class, sums)| {
            let samples = of_class[class.index()].len().max(1) as f64;
            let means: Vec<f32> = sums.iter().map(|sum| (sum / samples) as f32).collect();
            rank_confusing(class, &means, count, &among)
        });
        found.extend(ranked.collect::<Vec<_>>());
    }
    Ok(found)
}

/// Sums `[C]` of the softmax scores of the samples of each of some classes; `scores` is memory for those of
/// some samples.
fn score_sums<E>(
    some: &[ClassId],
    head: &LinearHead,
    of_class: &[Vec<usize>],
    scores: &mut [f32],
    pooled: &impl Fn(&[usize]) -> Result<Vec<f32>, E>,
) -> Result<Vec<Vec<f64>>, E> {
    let (classes, channels) = (head.classes(), head.channels());
    let with_place = |(place, class): (usize, &ClassId)| {
        of_class[class.index()].iter().map(move |&sample| (sample, place)).collect::<Vec<_>>()
    };
    let mut placed: Vec<(usize, usize)> = some.iter().enumerate().flat_map(with_place).collect();
    placed.sort_unstable();
    let mut sums = vec![vec![0.0f64; classes]; some.len()];
    let part = scores.len() / classes;
    for placed in placed.chunks((VECTORS_BYTES / (4 * channels)).max(1)) {
        let samples: Vec<usize> = placed.iter().map(|(sample, _)| *sample).collect();
        let vectors = pooled(&samples)?;
        // Logits of all samples at once would take n C values: a part at a time.
        for (placed, vectors) in placed.chunks(part).zip(vectors.chunks(part * channels)) {
            let scores = &mut scores[..placed.len() * classes];
            scores
                .par_chunks_mut(SCORE_SAMPLES * classes)
                .zip(vectors.par_chunks(SCORE_SAMPLES * channels))
                .for_each(|(scores, vectors)| {
                    logits_into(vectors, head, scores);
                    scores.chunks_exact_mut(classes).for_each(softmax);
                });
            for (&(_, place), scores) in placed.iter().zip(scores.chunks_exact(classes)) {
                sums[place].iter_mut().zip(scores).for_each(|(sum, s)| *sum += f64::from(*s));
            }
        }
    }
    Ok(sums)
}

/// The top `count` of the classes other than `class` by their mean scores `[C]`, of those that `among`
/// lets in; equal scores keep the order of the ids.
fn rank_confusing(
    class: ClassId,
    means: &[f32],
    count: usize,
    among: &dyn Fn(ClassId) -> bool,
) -> ConfusingClasses {
    let others = (0..means.len() as u32).map(ClassId).filter(|&c| c != class && among(c));
    let mut ranked: Vec<(ClassId, f32)> = others.map(|c| (c, means[c.index()])).collect();
    let order = |a: &(ClassId, f32), b: &(ClassId, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < ranked.len() {
        ranked.select_nth_unstable_by(count, order);
        ranked.truncate(count);
        // There may be thousands of tail classes with thousands of candidates each.
        ranked.shrink_to_fit();
    }
    ranked.sort_unstable_by(order);
    ConfusingClasses { class, ranked }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{KeyedRng, Stage};

    /// Logits are the pooled vector itself.
    fn identity(classes: usize) -> LinearHead {
        let weight = (0..classes * classes).map(|i| f32::from(i % (classes + 1) == 0)).collect();
        LinearHead::new(weight, vec![0.0; classes]).unwrap()
    }

    #[test]
    fn other_classes_are_ranked_by_their_mean_score() {
        // Two samples of class 2: one leans to class 0, one a little to class 1.
        let pooled = [2.0, 0.0, 4.0, 0.0, 1.0, 4.0];
        let confusing = confusing_classes(ClassId(2), &pooled, &identity(3), 2);
        let order: Vec<ClassId> = confusing.ranked.iter().map(|(c, _)| *c).collect();
        assert_eq!(order, [ClassId(0), ClassId(1)]);
        assert_eq!(confusing_classes(ClassId(2), &pooled, &identity(3), 1).ranked.len(), 1);
        assert_eq!(confusing_classes(ClassId(2), &pooled, &identity(3), 9).ranked.len(), 2);
    }

    #[test]
    fn the_tail_is_ranked_as_each_class_by_itself_and_the_head_alone_where_asked() {
        let mut rng = KeyedRng::new(3, Stage::InitialWeights, (0, 0));
        // 150 samples of four classes, mixed: tasks of 64 samples hold some of each.
        let labels: Vec<usize> = (0..150).map(|_| rng.below(4) as usize).collect();
        let vectors: Vec<f32> = (0..600).map(|_| rng.normal() as f32).collect();
        let mut of_class = vec![vec![]; 4];
        labels.iter().enumerate().for_each(|(sample, &class)| of_class[class].push(7 * sample));
        let pooled = |samples: &[usize]| {
            let vector = |&sample: &usize| vectors[sample / 7 * 4..][..4].to_vec();
            Ok::<_, ()>(samples.iter().flat_map(vector).collect())
        };
        let ids = |classes: &[u32]| classes.iter().copied().map(ClassId).collect::<Vec<_>>();
        let split = HeadTail { head: ids(&[3, 1]), tail: ids(&[2, 0]) };
        let ranked = |head_only, count| {
            confusing_of_tail(&split, head_only, count, &identity(4), &of_class, pooled).unwrap()
        };
        for (found, &class) in ranked(false, 2).iter().zip(&split.tail) {
            let own = pooled(&of_class[class.index()]).unwrap();
            assert_eq!(*found, confusing_classes(class, &own, &identity(4), 2));
        }
        for found in ranked(true, 3) {
            let mut classes: Vec<u32> = found.ranked.iter().map(|(class, _)| class.0).collect();
            classes.sort_unstable();
            assert_eq!(classes, [1, 3]);
        }
    }

    #[test]
    fn equal_scores_keep_the_order_of_the_ids() {
        let confusing = confusing_classes(ClassId(1), &[0.0; 4], &identity(4), 3);
        let order: Vec<u32> = confusing.ranked.iter().map(|(c, _)| c.0).collect();
        assert_eq!(order, [0, 2, 3]);
    }
}
