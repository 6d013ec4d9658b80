//! Synthetic samples between neighbours of a class.

use std::sync::Arc;

use crate::augment::nearest;
use crate::methods::making::Filling;
use crate::methods::method::decoupling;
use crate::methods::{
    Batches, Drawn, Entry, Made, Maker, Making, MethodFacts, Samples, Trained, TrainingRows,
};
use crate::rng::KeyedRng;

pub(super) static ENTRY: Entry = Entry {
    method: Some(MethodFacts {
        name: "smote",
        title: "SMOTE",
        source: "Chawla et al., JAIR 2002",
        classifier: "from Phase-I",
        preset: decoupling!(""),
        way: Trained::from_phase1(Batches::Made(&MAKING)),
    }),
    loss: None,
};

static MAKING: Making = Making {
    name: "smote",
    batches: "class-balanced, classes filled up to the largest with points between a sample and one of its k nearest of its class",
    keys: &["num_neighbours"],
    vectors: 2,
    // Lists of neighbours are small beside the vectors.
    held: Some(|_, _| 0),
    input: None,
    maker: |rows, settings, _| {
        let neighbours = within_classes(rows, settings.count("num_neighbours"));
        Arc::new(Smote { filling: Filling::new(rows), neighbours })
    },
};

struct Smote {
    filling: Filling,
    /// The nearest rows of its own class to each row.
    neighbours: Vec<Vec<u32>>,
}

impl Maker for Smote {
    fn plan(&self, row: u32, _: &dyn Fn(&mut KeyedRng) -> u32, rng: &mut KeyedRng) -> Option<Made> {
        let near = &self.neighbours[row as usize];
        if self.filling.is_real(row, rng) || near.is_empty() {
            return None;
        }
        let neighbour = near[rng.below(near.len() as u32) as usize];
        Some(Made { rows: [row, neighbour], share: rng.unit() as f32 })
    }

    fn make(&self, drawn: &Drawn<'_>, into: &mut Samples) {
        into.push_between(drawn.vectors, drawn.made.share, drawn.labels[0]);
    }
}

/// The `count` rows nearest to each row among those of its class; none for the rows of the largest class,
/// which is not filled up, and of classes with one row.
fn within_classes(rows: &TrainingRows<'_>, count: usize) -> Vec<Vec<u32>> {
    let vector = |row: u32| &rows.pooled[row as usize * rows.channels..][..rows.channels];
    let mut of_class: Vec<Vec<u32>> = vec![vec![]; rows.class_sizes.len()];
    rows.labels.iter().enumerate().for_each(|(row, &c)| of_class[c as usize].push(row as u32));
    let largest = of_class.iter().map(Vec::len).max().unwrap_or(0);
    let mut neighbours = vec![vec![]; rows.labels.len()];
    for of_class in of_class.iter().filter(|of_class| of_class.len() < largest) {
        let vectors: Vec<f32> = of_class.iter().flat_map(|&row| vector(row)).copied().collect();
        let near = nearest(&vectors, &vectors, rows.channels, count, |i, j| i == j);
        for (&row, near) in of_class.iter().zip(near) {
            neighbours[row as usize] = near.into_iter().map(|j| of_class[j as usize]).collect();
        }
    }
    neighbours
}
