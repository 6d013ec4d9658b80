//! Nearest class mean.

use crate::classifier::{Classifier, Input, normalise};
use crate::domain::LinearHead;
use crate::methods::method::{MethodFacts, computed};
use crate::methods::{Entry, Given};

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "ncm",
        title: "NCM",
        source: "Kang et al., ICLR 2020, Sec. 4.1",
        classifier: "nearest class mean of centred vectors of length 1",
        preset: "",
        way: computed(nearest_class_mean),
    }),
    loss: None,
};

/// The nearest mean of centred, L2-normalised vectors (the `cl2n` features of Kang et al.'s code): the
/// logits are −‖x − m_c‖², less ‖x‖² = 1, which is the same for all classes. Clean views count.
fn nearest_class_mean(given: &Given<'_>) -> Classifier {
    let (classes, channels) = (given.head.classes(), given.head.channels());
    let (mut sums, mut clean) = (vec![0.0f64; channels], 0usize);
    (given.visit_vectors)(&mut |_, vector| {
        clean += 1;
        sums.iter_mut().zip(vector).for_each(|(sum, v)| *sum += f64::from(*v));
    });
    let centre: Vec<f32> = sums.iter().map(|sum| (sum / clean.max(1) as f64) as f32).collect();
    let mut sums = vec![0.0f64; classes * channels];
    let mut images = vec![0u64; classes];
    let mut centred = vec![0.0f32; channels];
    (given.visit_vectors)(&mut |class, vector| {
        images[class as usize] += 1;
        centred.iter_mut().zip(vector.iter().zip(&centre)).for_each(|(x, (v, c))| *x = v - c);
        normalise(&mut centred);
        let sum = &mut sums[class as usize * channels..][..channels];
        sum.iter_mut().zip(&centred).for_each(|(sum, v)| *sum += f64::from(*v));
    });
    let means: Vec<f32> = sums
        .chunks_exact(channels)
        .zip(&images)
        .flat_map(|(sum, &n)| sum.iter().map(move |s| (s / n.max(1) as f64) as f32))
        .collect();
    let bias =
        means.chunks_exact(channels).map(|m| -m.iter().map(|v| v * v).sum::<f32>()).collect();
    let weight = means.iter().map(|m| 2.0 * m).collect();
    let head = LinearHead::new(weight, bias).expect("one mean a class");
    Classifier { input: Input::CentredDirection(centre), head }
}
