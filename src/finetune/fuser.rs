//! Makes windows of fused vectors.
//!
//! Which rows an iteration needs is known before any map is read (`sampler`), so there are two ways
//! to fuse, with the same result to the bit. Where the maps that a run needs fit into memory, they
//! are read once and held, and windows are small. Where they do not, a window is as large as memory
//! allows: the draws of many iterations are sorted by where their maps lie, each needed map is
//! decoded once, and every fused sample that draws from it takes its part while the map is in the
//! processor's cache. A fused sample has two parts, from its tail map and from its confusing map;
//! each part has a place of its own, ordered as the maps are read, so threads share nothing, and the
//! two are added when the batch is assembled: the result depends on no order.

use std::ops::Range;

use rayon::prelude::*;

use super::held_maps::{self, HeldMaps};
use super::window::{Fallbacks, NOT_DRAWN, Window};
use crate::augment::{Mask, draw_locations, sum_locations};
use crate::bank::{Bank, BankError, MapReader, Rows};
use crate::config::{FinetuneConfig, Method};
use crate::rng::{KeyedRng, Stage};
use crate::sampler::{BatchPlan, BatchSampler};

/// What is needed to fuse, fixed for a run.
pub(super) struct Fuser<'a> {
    bank: &'a Bank,
    rows: &'a Rows,
    reader: MapReader,
    held: Option<HeldMaps>,
    seed: u64,
    tau_specific: f32,
    tau_generic: f32,
    /// Whether each row has a class-specific, and a class-generic, location to draw.
    drawable: Vec<[bool; 2]>,
}

/// Which part of a fused sample a map gives.
const SPECIFIC: usize = 0;
const GENERIC: usize = 1;

/// Bytes of a window's sums where maps are held: little, so that they stay in the cache.
const HELD_WINDOW_BYTES: usize = 8 << 20;

/// One part to sum: `draws` locations of a map.
#[derive(Clone, Copy)]
struct Use {
    iteration: u32,
    slot: u16,
    part: u8,
    draws: u16,
}

impl<'a> Fuser<'a> {
    /// Plans the run, and holds its maps if they take no more than `memory_bytes`.
    pub(super) fn new(
        bank: &'a Bank,
        rows: &'a Rows,
        sampler: &BatchSampler,
        config: &FinetuneConfig,
        seed: u64,
        memory_bytes: usize,
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
        let reader = bank.map_reader()?;
        let mut held = None;
        if config.method == Method::Fsa {
            let wanted = needed_rows(sampler, config.iterations, rows.len());
            if held_maps::bytes(bank, wanted.len()) <= memory_bytes {
                held = Some(HeldMaps::load(bank, rows, &reader, &wanted)?);
            }
        }
        Ok(Self { bank, rows, reader, held, seed, tau_specific, tau_generic, drawable })
    }

    /// Iterations of a window within `memory_bytes`, two windows being under way at a time.
    pub(super) fn window_iterations(&self, config: &FinetuneConfig, memory_bytes: usize) -> usize {
        let fused = config.tail_per_batch * config.num_augmented;
        let part = 4 * self.bank.manifest.feature_shape.channels + std::mem::size_of::<Use>() + 4;
        let iteration = fused * 2 * part + config.batch_size() * 4;
        let bytes = if self.held.is_some() { HELD_WINDOW_BYTES } else { memory_bytes / 2 };
        (bytes / iteration).max(1)
    }

    /// Plans and fuses `iterations`. `memory` is that of a window that is done with: fresh memory
    /// would have to be cleared by the kernel first.
    pub(super) fn window(
        &self,
        sampler: &BatchSampler,
        iterations: Range<usize>,
        memory: Vec<f32>,
    ) -> Result<Window, BankError> {
        let plans: Vec<BatchPlan> =
            iterations.clone().into_par_iter().map(|i| sampler.batch(i)).collect();
        let fused_per_batch = plans.first().map_or(0, |plan| plan.fused.len());
        let locations = self.bank.manifest.feature_shape.locations();
        let fused = (plans.len() * fused_per_batch) as u64;
        let mut fallbacks = Fallbacks { fused, ..Default::default() };
        let (sums, parts) = match &self.held {
            Some(held) => self.fuse_held(held, &iterations, &plans, &mut fallbacks, memory),
            None => self.fuse_streamed(&iterations, &plans, &mut fallbacks, memory)?,
        };
        Ok(Window { iterations, plans, sums, parts, fused_per_batch, locations, fallbacks })
    }

    /// Sums from maps in memory: one for each fused sample.
    fn fuse_held(
        &self,
        held: &HeldMaps,
        iterations: &Range<usize>,
        plans: &[BatchPlan],
        fallbacks: &mut Fallbacks,
        mut sums: Vec<f32>,
    ) -> (Vec<f32>, Vec<[u32; 2]>) {
        let shape = self.bank.manifest.feature_shape;
        let (channels, locations) = (shape.channels, shape.locations());
        let fused_per_batch = plans.first().map_or(0, |plan| plan.fused.len());
        let mut draws = Vec::with_capacity(plans.len() * fused_per_batch);
        for sample in plans.iter().flat_map(|plan| &plan.fused) {
            let rows = [sample.tail_row, sample.generic_row];
            draws.push(self.split_draws(rows, sample.gamma, fallbacks));
        }
        let parts = draws.iter().enumerate().map(|(sample, draws)| match draws {
            [0, 0] => [NOT_DRAWN; 2],
            _ => [sample as u32, NOT_DRAWN],
        });
        let parts = parts.collect();
        sums.resize(draws.len() * channels, 0.0);
        let batches = sums.par_chunks_mut((fused_per_batch * channels).max(1));
        let draws = draws.par_chunks(fused_per_batch.max(1));
        batches.zip(draws).zip(plans).zip(iterations.clone()).for_each(
            |(((sums, draws), plan), iteration)| {
                let mut counts = vec![0; locations];
                let mut generic = vec![0.0; channels];
                let samples = plan.fused.iter().zip(draws).zip(sums.chunks_exact_mut(channels));
                for (slot, ((sample, draws), sum)) in samples.enumerate() {
                    let mut part = |row: u32, part: usize, sum: &mut [f32]| {
                        let drawn = Use {
                            iteration: iteration as u32,
                            slot: slot as u16,
                            part: part as u8,
                            draws: draws[part] as u16,
                        };
                        self.draw(row as usize, &drawn, &mut counts);
                        held.sum(row as usize, &counts, sum);
                    };
                    match *draws {
                        [0, 0] => {}
                        [_, 0] => part(sample.tail_row, SPECIFIC, sum),
                        [0, _] => part(sample.generic_row, GENERIC, sum),
                        _ => {
                            // Each summed by itself first, as the other way does.
                            part(sample.tail_row, SPECIFIC, sum);
                            part(sample.generic_row, GENERIC, &mut generic);
                            sum.iter_mut().zip(&generic).for_each(|(s, g)| *s += g);
                        }
                    }
                }
            },
        );
        (sums, parts)
    }

    /// Sums in one pass over the maps on disk: one for each part of each fused sample.
    fn fuse_streamed(
        &self,
        iterations: &Range<usize>,
        plans: &[BatchPlan],
        fallbacks: &mut Fallbacks,
        mut sums: Vec<f32>,
    ) -> Result<(Vec<f32>, Vec<[u32; 2]>), BankError> {
        let shape = self.bank.manifest.feature_shape;
        let (channels, locations) = (shape.channels, shape.locations());
        let fused_per_batch = plans.first().map_or(0, |plan| plan.fused.len());
        let fused = plans.len() * fused_per_batch;
        let mut uses: Vec<(u32, Use)> = Vec::with_capacity(2 * fused);
        for (iteration, plan) in iterations.clone().zip(plans) {
            for (slot, sample) in plan.fused.iter().enumerate() {
                let rows = [sample.tail_row, sample.generic_row];
                let draws = self.split_draws(rows, sample.gamma, fallbacks);
                for part in [SPECIFIC, GENERIC].into_iter().filter(|&part| draws[part] > 0) {
                    let (iteration, slot) = (iteration as u32, slot as u16);
                    let draws = draws[part] as u16;
                    uses.push((rows[part], Use { iteration, slot, part: part as u8, draws }));
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
                let batch = used.iteration as usize - iterations.start;
                let sample = batch * fused_per_batch + usize::from(used.slot);
                parts[sample][usize::from(used.part)] = place;
                place += 1;
            }
        }
        sums.resize(place as usize * channels, 0.0);
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
                    sum_locations(map, &counts, sum);
                }
            })
        })?;
        Ok((sums, parts))
    }

    /// round(γ L) vectors from the tail sample, the rest from the confusing one (Alg. 1, lines 15
    /// and 16). An empty mask leaves all to the other; with both empty nothing is drawn.
    fn split_draws(&self, rows: [u32; 2], gamma: f64, fallbacks: &mut Fallbacks) -> [usize; 2] {
        let locations = self.bank.manifest.feature_shape.locations();
        let specific = (gamma * locations as f64).round() as usize;
        let drawable = [SPECIFIC, GENERIC].map(|part| self.drawable[rows[part] as usize][part]);
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
        let mut rng = KeyedRng::new(self.seed, stage, key);
        draw_locations(&mask, usize::from(used.draws), &mut rng, counts);
    }
}

/// The rows whose maps some iteration draws from, ascending.
fn needed_rows(sampler: &BatchSampler, iterations: usize, rows: usize) -> Vec<usize> {
    let mark = |mut needed: Vec<bool>, iteration| {
        for sample in sampler.batch(iteration).fused {
            needed[sample.tail_row as usize] = true;
            needed[sample.generic_row as usize] = true;
        }
        needed
    };
    let either = |mut a: Vec<bool>, b: Vec<bool>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
        a
    };
    let needed = (0..iterations)
        .into_par_iter()
        .fold(|| vec![false; rows], mark)
        .reduce(|| vec![false; rows], either);
    (0..rows).filter(|&row| needed[row]).collect()
}

/// Uses grouped by row, in order of iteration and slot within a row.
struct UsesByRow {
    starts: Vec<u32>,
    uses: Vec<Use>,
}

impl UsesByRow {
    fn new(mut uses: Vec<(u32, Use)>, rows: usize) -> Self {
        uses.par_sort_unstable_by_key(|(row, used)| (*row, used.iteration, used.slot, used.part));
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
