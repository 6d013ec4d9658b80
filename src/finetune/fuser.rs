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

use super::FinetuneError;
use super::held_maps::{self, HeldMaps};
use super::memory::{PLANNED_DRAW_BYTES, iteration_bytes};
use super::source::{PooledRows, Source};
use super::window::{Fallbacks, NOT_DRAWN, Window};
use crate::augment::{Mask, draw_locations, sum_locations};
use crate::bank::{BankError, Column, RowRequest};
use crate::config::{FinetuneConfig, MaskValues};
use crate::rng::{KeyedRng, Stage};
use crate::sampler::{BatchPlan, BatchSampler, Sample};

/// What is needed to make the batches of a run, fixed for the run.
pub(super) struct Fuser<'a> {
    source: &'a Source<'a>,
    sampler: &'a BatchSampler,
    /// Maps of this run alone.
    held: Option<HeldMaps>,
    seed: u64,
    tau_specific: f32,
    tau_generic: f32,
    mask_values: MaskValues,
    /// Whether each row has a class-specific, and a class-generic, location to draw.
    drawable: Vec<[bool; 2]>,
    window_iterations: usize,
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

const _: () = assert!(std::mem::size_of::<(u32, Use)>() == PLANNED_DRAW_BYTES);

impl<'a> Fuser<'a> {
    /// Plans the run, and holds its maps if they take no more than half of `bytes`.
    pub(super) fn new(
        source: &'a Source<'a>,
        sampler: &'a BatchSampler,
        config: &FinetuneConfig,
        seed: u64,
        bytes: usize,
    ) -> Result<Self, FinetuneError> {
        let (mut held, mut drawable, mut left) = (None, vec![], bytes);
        if config.method.fuses() {
            drawable = source.drawable(config)?;
            if source.maps.is_none() && source.held().is_some() {
                let wanted = needed_rows(sampler, config.iterations, source.index().len());
                let needed = held_maps::bytes(source.bank, wanted.len());
                if needed <= bytes.saturating_sub(2 * HELD_WINDOW_BYTES) {
                    let (bank, index) = (source.bank, source.index());
                    held = Some(HeldMaps::load(bank, source.reader(), index, &wanted)?);
                    left -= needed;
                }
            }
        }
        let mut fuser = Self {
            source,
            sampler,
            held,
            seed,
            tau_specific: config.tau_specific,
            tau_generic: config.tau_generic,
            mask_values: config.mask_values,
            drawable,
            window_iterations: 1,
        };
        let window = match fuser.streams() {
            true => left / 2,
            false => HELD_WINDOW_BYTES.min(left / 2),
        };
        fuser.window_iterations = (window / iteration_bytes(source.channels(), config)).max(1);
        Ok(fuser)
    }

    fn maps(&self) -> Option<&HeldMaps> {
        self.held.as_ref().or(self.source.maps.as_ref())
    }

    /// Whether windows are read from disk.
    fn streams(&self) -> bool {
        self.source.held().is_none() || (!self.drawable.is_empty() && self.maps().is_none())
    }

    /// Iterations of a window within its memory, two windows being under way at a time.
    pub(super) fn window_iterations(&self) -> usize {
        self.window_iterations
    }

    /// Plans and fuses `iterations`. `memory` is that of a window that is done with: fresh memory
    /// would have to be cleared by the kernel first.
    pub(super) fn window(
        &self,
        iterations: Range<usize>,
        memory: Vec<f32>,
    ) -> Result<Window<'_>, BankError> {
        let plans: Vec<BatchPlan> =
            iterations.clone().into_par_iter().map(|i| self.sampler.batch(i)).collect();
        let fused_per_batch = plans.first().map_or(0, |plan| plan.fused().count());
        let shape = self.source.bank.manifest.feature_shape;
        let fused = (plans.len() * fused_per_batch) as u64;
        let mut fallbacks = Fallbacks { fused, ..Default::default() };
        let (sums, parts) = match self.maps() {
            _ if fused == 0 => (memory, vec![]),
            Some(held) => self.fuse_held(held, &iterations, &plans, &mut fallbacks, memory),
            None => self.fuse_streamed(&iterations, &plans, &mut fallbacks, memory)?,
        };
        let pooled = self.pooled_rows(&plans)?;
        Ok(Window {
            iterations,
            plans,
            sums,
            parts,
            fused_per_batch,
            locations: shape.locations(),
            channels: shape.channels,
            pooled,
            maker: self.sampler.maker(),
            fallbacks,
        })
    }

    /// The pooled vectors that batches take as they are.
    fn pooled_rows(&self, plans: &[BatchPlan]) -> Result<PooledRows<'_>, BankError> {
        if let Some(rows) = self.source.held() {
            return Ok(PooledRows::All(rows));
        }
        let mut rows = vec![];
        for sample in plans.iter().flat_map(|plan| &plan.samples) {
            match *sample {
                Sample::Real(row) => rows.push(row as usize),
                Sample::Made(made) => rows.extend(made.rows.map(|row| row as usize)),
                // Where neither mask has a location the tail sample itself is used, which is in
                // its batch anyway.
                Sample::Fused(_) => {}
            }
        }
        rows.par_sort_unstable();
        rows.dedup();
        let values = self.source.pooled(&rows)?;
        Ok(PooledRows::Some { rows, values, channels: self.source.channels() })
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
        let shape = self.source.bank.manifest.feature_shape;
        let (channels, locations) = (shape.channels, shape.locations());
        let fused_per_batch = plans.first().map_or(0, |plan| plan.fused().count());
        let mut draws = Vec::with_capacity(plans.len() * fused_per_batch);
        for sample in plans.iter().flat_map(BatchPlan::fused) {
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
                let mut weights = vec![0.0; locations];
                let mut generic = vec![0.0; channels];
                let samples = plan.fused().zip(draws).zip(sums.chunks_exact_mut(channels));
                for (slot, ((sample, draws), sum)) in samples.enumerate() {
                    let mut part = |row: u32, part: usize, sum: &mut [f32]| {
                        let drawn = Use {
                            iteration: iteration as u32,
                            slot: slot as u16,
                            part: part as u8,
                            draws: draws[part] as u16,
                        };
                        let (cam, nonzero) = self.masks_of(row as usize);
                        self.draw(cam, nonzero, &drawn, &mut weights);
                        held.sum(row as usize, &weights, sum);
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
        let shape = self.source.bank.manifest.feature_shape;
        let (channels, locations) = (shape.channels, shape.locations());
        let fused_per_batch = plans.first().map_or(0, |plan| plan.fused().count());
        let fused = plans.len() * fused_per_batch;
        let mut uses: Vec<(u32, Use)> = Vec::with_capacity(2 * fused);
        for (iteration, plan) in iterations.clone().zip(plans) {
            for (slot, sample) in plan.fused().enumerate() {
                let rows = [sample.tail_row, sample.generic_row];
                let draws = self.split_draws(rows, sample.gamma, fallbacks);
                for part in [SPECIFIC, GENERIC].into_iter().filter(|&part| draws[part] > 0) {
                    let (iteration, slot) = (iteration as u32, slot as u16);
                    let draws = draws[part] as u16;
                    uses.push((rows[part], Use { iteration, slot, part: part as u8, draws }));
                }
            }
        }
        let by_row = UsesByRow::new(uses, self.source.index().len());
        let wanted: Vec<usize> =
            (0..self.source.index().len()).filter(|&row| !by_row.of(row).is_empty()).collect();
        let requests = self.source.index().plan(&wanted);

        let mut parts = vec![[NOT_DRAWN; 2]; fused];
        let mut place = 0;
        for row in requests.iter().flat_map(RowRequest::rows) {
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
        let columns: &[Column] = match self.source.held() {
            Some(_) => &[Column::FeatureMap],
            None => &[Column::Cam, Column::FeatureMap],
        };
        tasks.into_par_iter().try_for_each(|(request, own)| {
            let mut sums = own.chunks_exact_mut(channels);
            let mut weights = vec![0.0; locations];
            self.source.reader().read(request, columns, |row, values| {
                let (cam, nonzero) = match self.source.held() {
                    Some(_) => self.masks_of(row),
                    None => (values.cam, values.nonzero),
                };
                for (used, sum) in by_row.of(row).iter().zip(sums.by_ref()) {
                    self.draw(cam, nonzero, used, &mut weights);
                    sum_locations(values.map, &weights, sum);
                }
            })
        })?;
        Ok((sums, parts))
    }

    /// CAM and nonzero `[L]` of a row that is held; empty for others.
    fn masks_of(&self, row: usize) -> (&[f32], &[bool]) {
        self.source.held().map_or((&[], &[]), |rows| (rows.cam_of(row), rows.nonzero_of(row)))
    }

    /// round(γ L) vectors from the tail sample, the rest from the confusing one (Alg. 1, lines 15
    /// and 16). An empty mask leaves all to the other; with both empty nothing is drawn.
    fn split_draws(&self, rows: [u32; 2], gamma: f64, fallbacks: &mut Fallbacks) -> [usize; 2] {
        let locations = self.source.bank.manifest.feature_shape.locations();
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

    /// How often each location is drawn, times the CAM there if masks have its values.
    fn draw(&self, cam: &[f32], nonzero: &[bool], used: &Use, weights: &mut [f32]) {
        let key = (u64::from(used.iteration), u64::from(used.slot));
        let (mask, stage) = if usize::from(used.part) == SPECIFIC {
            (Mask::specific(cam, nonzero, self.tau_specific), Stage::SpecificLocations)
        } else {
            (Mask::generic(cam, nonzero, self.tau_generic), Stage::GenericLocations)
        };
        let mut rng = KeyedRng::new(self.seed, stage, key);
        draw_locations(&mask, usize::from(used.draws), &mut rng, weights);
        if self.mask_values == MaskValues::Cam {
            weights.iter_mut().zip(cam).for_each(|(weight, m)| *weight *= m);
        }
    }
}

/// The rows whose maps some iteration draws from, ascending.
fn needed_rows(sampler: &BatchSampler, iterations: usize, rows: usize) -> Vec<usize> {
    let mark = |mut needed: Vec<bool>, iteration| {
        for sample in sampler.batch(iteration).fused() {
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
