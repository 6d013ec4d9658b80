//! The fused vectors of a window of iterations, made in one pass over the maps they need.
//!
//! Which rows an iteration needs is known before any map is read (`sampler`). So the draws of many
//! iterations are sorted by where their maps lie, each needed map is decoded once, and every fused
//! sample that draws from it takes its part while the map is in the processor's cache. A fused
//! sample has two parts, from its tail map and from its confusing map. Each part has a place of its
//! own in the window, ordered as the maps are read, so threads share nothing, and the two parts are
//! added only when the batch is assembled: the result depends on no order.

use std::ops::Range;

use rayon::prelude::*;

use crate::augment::{Mask, add_locations, draw_locations};
use crate::bank::{Bank, BankError, MapReader, Rows};
use crate::config::FinetuneConfig;
use crate::rng::{KeyedRng, Stage};
use crate::sampler::{BatchPlan, BatchSampler};

/// What is needed to fuse, fixed for a run.
pub(super) struct Fuser<'a> {
    bank: &'a Bank,
    rows: &'a Rows,
    reader: MapReader,
    seed: u64,
    tau_specific: f32,
    tau_generic: f32,
    /// Whether each row has a class-specific, and a class-generic, location to draw.
    drawable: Vec<[bool; 2]>,
}

/// Which part of a fused sample a map gives.
const SPECIFIC: usize = 0;
const GENERIC: usize = 1;

/// A part that is not drawn.
const NOT_DRAWN: u32 = u32::MAX;

/// The batches of some iterations with their fused vectors.
pub(super) struct Window {
    /// The iterations.
    pub iterations: Range<usize>,
    plans: Vec<BatchPlan>,
    /// Sums of drawn vectors: [parts, K].
    sums: Vec<f32>,
    /// For each fused sample, where its two parts are in `sums`.
    parts: Vec<[u32; 2]>,
    fused_per_batch: usize,
    locations: usize,
    /// Fused samples that could not be drawn as planned.
    pub fallbacks: Fallbacks,
}

/// Fused samples whose masks were empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fallbacks {
    /// Fused samples in all.
    pub fused: u64,
    /// No class-specific location: all vectors were class-generic.
    pub no_specific: u64,
    /// No class-generic location: all vectors were class-specific.
    pub no_generic: u64,
    /// Neither: the real pooled sample was used.
    pub neither: u64,
}

impl Fallbacks {
    /// Adds the counts of another window.
    pub(super) fn add(&mut self, other: Self) {
        self.fused += other.fused;
        self.no_specific += other.no_specific;
        self.no_generic += other.no_generic;
        self.neither += other.neither;
    }
}

/// One part to sum: `draws` locations of a map.
#[derive(Clone, Copy)]
struct Use {
    iteration: u32,
    slot: u16,
    part: u8,
    draws: u16,
}

impl<'a> Fuser<'a> {
    pub(super) fn new(
        bank: &'a Bank,
        rows: &'a Rows,
        config: &FinetuneConfig,
        seed: u64,
    ) -> Result<Self, BankError> {
        let (tau_specific, tau_generic) = (config.tau_specific, config.tau_generic);
        let drawable = (0..rows.len())
            .into_par_iter()
            .map(|row| {
                let (cam, nonzero) = (rows.cam_of(row), rows.nonzero_of(row));
                let some = |mask: Mask| !mask.is_empty();
                [
                    some(Mask::specific(cam, nonzero, tau_specific)),
                    some(Mask::generic(cam, nonzero, tau_generic)),
                ]
            })
            .collect();
        Ok(Self {
            bank,
            rows,
            reader: bank.map_reader()?,
            seed,
            tau_specific,
            tau_generic,
            drawable,
        })
    }

    /// Bytes that a window needs for each of its iterations.
    pub(super) fn bytes_an_iteration(&self, config: &FinetuneConfig) -> usize {
        let fused = config.tail_per_batch * config.num_augmented;
        let part = 4 * self.bank.manifest.feature_shape.channels + std::mem::size_of::<Use>() + 4;
        fused * 2 * part + config.batch_size() * 4
    }

    /// Plans, reads and fuses `iterations`.
    pub(super) fn window(
        &self,
        sampler: &BatchSampler,
        iterations: Range<usize>,
    ) -> Result<Window, BankError> {
        let shape = self.bank.manifest.feature_shape;
        let (channels, locations) = (shape.channels, shape.locations());
        let plans: Vec<BatchPlan> =
            iterations.clone().into_par_iter().map(|i| sampler.batch(i)).collect();
        let fused_per_batch = plans.first().map_or(0, |plan| plan.fused.len());
        let fused = plans.len() * fused_per_batch;
        let mut fallbacks = Fallbacks { fused: fused as u64, ..Default::default() };

        // How many of each fused sample's vectors come from each part, and who uses each row.
        let mut uses: Vec<(u32, Use)> = Vec::with_capacity(2 * fused);
        for (iteration, plan) in iterations.clone().zip(&plans) {
            for (slot, sample) in plan.fused.iter().enumerate() {
                let draws = self.split_draws(
                    sample.tail_row,
                    sample.generic_row,
                    sample.gamma,
                    locations,
                    &mut fallbacks,
                );
                for (part, row) in [(SPECIFIC, sample.tail_row), (GENERIC, sample.generic_row)] {
                    if draws[part] > 0 {
                        let (iteration, slot) = (iteration as u32, slot as u16);
                        uses.push((
                            row,
                            Use { iteration, slot, part: part as u8, draws: draws[part] as u16 },
                        ));
                    }
                }
            }
        }
        let by_row = UsesByRow::new(uses, self.rows.len());
        let wanted: Vec<usize> =
            (0..self.rows.len()).filter(|&row| !by_row.of(row).is_empty()).collect();
        let requests = self.bank.plan_maps(self.rows, &wanted);

        let mut parts = vec![[NOT_DRAWN; 2]; fused];
        let mut place = 0;
        for row in requests.iter().flat_map(|request| request.rows()) {
            for used in by_row.of(row) {
                let sample = (used.iteration as usize - iterations.start) * fused_per_batch
                    + usize::from(used.slot);
                parts[sample][usize::from(used.part)] = place;
                place += 1;
            }
        }
        let mut sums = vec![0.0; place as usize * channels];
        let mut rest = sums.as_mut_slice();
        let mut tasks = Vec::with_capacity(requests.len());
        for request in &requests {
            let count: usize = request.rows().map(|row| by_row.of(row).len()).sum();
            let (own, later) = rest.split_at_mut(count * channels);
            tasks.push((request, own));
            rest = later;
        }
        tasks.into_par_iter().try_for_each(|(request, own)| {
            let mut sums = own.chunks_exact_mut(channels);
            let mut counts = vec![0; locations];
            self.reader.read(request, |row, map| {
                for (used, sum) in by_row.of(row).iter().zip(sums.by_ref()) {
                    self.draw(row, used, &mut counts);
                    add_locations(map, &counts, sum);
                }
            })
        })?;
        Ok(Window { iterations, plans, sums, parts, fused_per_batch, locations, fallbacks })
    }

    /// round(γ L) vectors from the tail sample, the rest from the confusing one (Alg. 1, lines 15
    /// and 16). An empty mask leaves all to the other; with both empty nothing is drawn.
    fn split_draws(
        &self,
        tail_row: u32,
        generic_row: u32,
        gamma: f64,
        locations: usize,
        fallbacks: &mut Fallbacks,
    ) -> [usize; 2] {
        let specific = (gamma * locations as f64).round() as usize;
        let drawable = [
            self.drawable[tail_row as usize][SPECIFIC],
            self.drawable[generic_row as usize][GENERIC],
        ];
        match drawable {
            [true, true] => [specific, locations - specific],
            [true, false] => {
                fallbacks.no_generic += 1;
                [locations, 0]
            }
            [false, true] => {
                fallbacks.no_specific += 1;
                [0, locations]
            }
            [false, false] => {
                fallbacks.neither += 1;
                [0, 0]
            }
        }
    }

    fn draw(&self, row: usize, used: &Use, counts: &mut [u16]) {
        let (cam, nonzero) = (self.rows.cam_of(row), self.rows.nonzero_of(row));
        let key = (u64::from(used.iteration), u64::from(used.slot));
        let (mask, stage) = if usize::from(used.part) == SPECIFIC {
            (Mask::specific(cam, nonzero, self.tau_specific), Stage::SpecificLocations)
        } else {
            (Mask::generic(cam, nonzero, self.tau_generic), Stage::GenericLocations)
        };
        draw_locations(
            &mask,
            usize::from(used.draws),
            &mut KeyedRng::new(self.seed, stage, key),
            counts,
        );
    }
}

impl Window {
    /// Writes batch `index` of the window: `vectors` [n, K] and `labels` [n], real tail samples
    /// first, then fused ones, then real head samples.
    pub(super) fn assemble(
        &self,
        index: usize,
        rows: &Rows,
        vectors: &mut Vec<f32>,
        labels: &mut Vec<u32>,
    ) {
        let plan = &self.plans[index];
        vectors.clear();
        labels.clear();
        let real = |row: &u32, vectors: &mut Vec<f32>, labels: &mut Vec<u32>| {
            vectors.extend_from_slice(rows.pooled_of(*row as usize));
            labels.push(rows.labels[*row as usize]);
        };
        plan.tail.iter().for_each(|row| real(row, vectors, labels));
        for (slot, sample) in plan.fused.iter().enumerate() {
            let parts = self.parts[index * self.fused_per_batch + slot];
            match parts.map(|part| self.sum(part, rows)) {
                [Some(specific), Some(generic)] => {
                    let divisor = self.locations as f32;
                    vectors.extend(specific.iter().zip(generic).map(|(s, g)| (s + g) / divisor));
                }
                [Some(one), None] | [None, Some(one)] => {
                    vectors.extend(one.iter().map(|s| s / self.locations as f32));
                }
                [None, None] => vectors.extend_from_slice(rows.pooled_of(sample.tail_row as usize)),
            }
            labels.push(rows.labels[sample.tail_row as usize]);
        }
        plan.head.iter().for_each(|row| real(row, vectors, labels));
    }

    fn sum(&self, part: u32, rows: &Rows) -> Option<&[f32]> {
        let channels = rows.pooled.len() / rows.len();
        (part != NOT_DRAWN).then(|| &self.sums[part as usize * channels..][..channels])
    }
}

/// Uses grouped by row, in order of iteration and slot within a row.
struct UsesByRow {
    starts: Vec<u32>,
    uses: Vec<Use>,
}

impl UsesByRow {
    fn new(mut uses: Vec<(u32, Use)>, rows: usize) -> Self {
        uses.par_sort_by_key(|(row, used)| (*row, used.iteration, used.slot, used.part));
        let mut starts = vec![0u32; rows + 1];
        uses.iter().for_each(|(row, _)| starts[*row as usize + 1] += 1);
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        Self { starts, uses: uses.into_iter().map(|(_, used)| used).collect() }
    }

    fn of(&self, row: usize) -> &[Use] {
        &self.uses[self.starts[row] as usize..self.starts[row + 1] as usize]
    }
}
