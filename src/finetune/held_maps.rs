//! The maps a run needs, in memory, at the precision they are stored with.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::augment::sum_locations;
use crate::bank::{Bank, BankError, Column, RowIndex, RowReader, RowRequest};
use crate::config::Precision;

/// Maps of some rows; 2 bytes a value for f16 and bf16 banks, without loss.
pub(super) struct HeldMaps {
    /// Block of each row's map and its place there; no block of that number for rows that are not held.
    places: Vec<(u32, u32)>,
    blocks: Blocks,
    map_values: usize,
}

/// The maps of each request, one after the other.
enum Blocks {
    F16(Vec<Vec<f16>>),
    Bf16(Vec<Vec<bf16>>),
    F32(Vec<Vec<f32>>),
}

/// Bytes that the maps of `rows` rows take.
pub(super) fn bytes(bank: &Bank, rows: usize) -> usize {
    let value_bytes = if bank.manifest.precision == Precision::F32 { 4 } else { 2 };
    rows.saturating_mul(bank.manifest.feature_shape.values() * value_bytes)
}

impl HeldMaps {
    /// Reads the maps of `wanted` rows (ascending) in parallel.
    pub(super) fn load(
        bank: &Bank,
        reader: &RowReader,
        index: &RowIndex,
        wanted: &[usize],
    ) -> Result<Self, BankError> {
        let map_values = bank.manifest.feature_shape.values();
        let requests = index.plan(wanted);
        let mut places = vec![(u32::MAX, 0); index.len()];
        for (block, request) in requests.iter().enumerate() {
            for (place, row) in request.rows().enumerate() {
                places[row] = (block as u32, place as u32);
            }
        }
        let blocks = match bank.manifest.precision {
            Precision::F16 => Blocks::F16(read(&requests, map_values, reader, |map, held| {
                held.convert_from_f32_slice(map);
            })?),
            Precision::Bf16 => Blocks::Bf16(read(&requests, map_values, reader, |map, held| {
                held.convert_from_f32_slice(map);
            })?),
            Precision::F32 => Blocks::F32(read(&requests, map_values, reader, |map, held| {
                held.copy_from_slice(map);
            })?),
        };
        Ok(Self { places, blocks, map_values })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        match &self.blocks {
            Blocks::F16(blocks) => 2 * blocks.iter().map(Vec::len).sum::<usize>(),
            Blocks::Bf16(blocks) => 2 * blocks.iter().map(Vec::len).sum::<usize>(),
            Blocks::F32(blocks) => 4 * blocks.iter().map(Vec::len).sum::<usize>(),
        }
    }

    /// `sum` `[K]` = Σ_l weights_l · map_l of a row, to the bit what [`sum_locations`] gives for the
    /// map as it is read.
    pub(super) fn sum(&self, row: usize, weights: &[f32], sum: &mut [f32]) {
        let (block, place) = self.places[row];
        let start = place as usize * self.map_values;
        let map = start..start + self.map_values;
        match &self.blocks {
            Blocks::F16(blocks) => sum_locations(&blocks[block as usize][map], weights, sum),
            Blocks::Bf16(blocks) => sum_locations(&blocks[block as usize][map], weights, sum),
            Blocks::F32(blocks) => sum_locations(&blocks[block as usize][map], weights, sum),
        }
    }
}

fn read<T: Copy + Default + Send>(
    requests: &[RowRequest],
    map_values: usize,
    reader: &RowReader,
    store: impl Fn(&[f32], &mut [T]) + Sync,
) -> Result<Vec<Vec<T>>, BankError> {
    let block = |request: &RowRequest| {
        let mut block = vec![T::default(); request.rows().count() * map_values];
        let mut maps = block.chunks_exact_mut(map_values);
        reader.read(request, &[Column::FeatureMap], |_, values| {
            if let Some(held) = maps.next() {
                store(values.map, held);
            }
        })?;
        Ok(block)
    };
    requests.par_iter().map(block).collect()
}
