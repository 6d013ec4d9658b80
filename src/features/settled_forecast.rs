//! What a bank will be as far as it is settled before a row is measured: by the settings, or by an
//! existing bank.

use std::collections::BTreeMap;

use super::build_plan::build_plan;
use super::disk_room::{room, room_for_another};
use super::forecast::{Forecast, MapsKnown, RawBytes, SplitForecast, ToDo};
use super::request::{FeaturesRequest, skipped_file};
use super::row_kind::RowKind;
use crate::bank::{Build, BuildState, Manifest};
use crate::config::KeepMaps;
use crate::dataset::SkippedList;
use crate::domain::Split;

/// What is known before a shard is.
pub(super) fn of_settings(request: &FeaturesRequest, manifest: &Manifest) -> Forecast {
    let plan = build_plan(request, manifest.clone());
    Forecast {
        bank: request.out.into(),
        already_done: false,
        device: String::new(),
        splits: BTreeMap::new(),
        map: manifest.feature_shape,
        locations: manifest.feature_shape.locations(),
        precision: manifest.precision,
        compression_level: request.loaded.pipeline.features.compression_level,
        raw_bytes: RawBytes::of(&plan, plan.pairs(Split::Train).unwrap_or(0), 0),
        maps_known: MapsKnown::Known,
        bytes: 0,
        state: BuildState { shards_done: 0, shards: 0, items_done: 0, items: 0 },
        shard_rows: plan.shard_rows(),
        partition: request.partition,
        to_do: ToDo { shards: 0, rows: 0, bytes: 0, secs: None, fitting: false },
        sample: None,
        disk: room(request, &Build::folder(request.out), 0),
    }
}

/// Of an existing bank.
pub(super) fn of_bank(request: &FeaturesRequest, bank: &Manifest) -> Forecast {
    // Those of the images that were not left out.
    let skipped = SkippedList::images_in(&skipped_file(request.out));
    request.dataset.skipped.restore(skipped.iter());
    let plan = build_plan(request, bank.clone());
    let kinds = RowKind::all(request, &plan);
    let split = |name: Split| {
        let entry = bank.split(name)?;
        let (views, other_views) = views(bank, name);
        let split = SplitForecast {
            images: entry.images,
            views,
            other_views,
            rows: entry.rows,
            rows_with_maps: rows_with_maps(&kinds, name),
            shards: entry.shards.len(),
            bytes: entry.shards.iter().map(|shard| shard.bytes).sum(),
        };
        Some((name.to_string(), split))
    };
    let splits: BTreeMap<String, SplitForecast> =
        Split::ALL.into_iter().filter_map(split).collect();
    let shards = splits.values().map(|split| split.shards).sum();
    let rows = splits.values().map(|split| split.rows).sum();
    Forecast {
        already_done: true,
        bytes: bank.total_bytes(),
        raw_bytes: RawBytes::of(
            &plan,
            rows_of(&kinds, Split::Train),
            rows_with_maps(&kinds, Split::Train),
        ),
        splits,
        state: BuildState { shards_done: shards, shards, items_done: rows, items: rows },
        ..of_settings(request, bank)
    }
}

/// Of a bank that is to be made from the maps of another one, once a classifier was fitted to them.
pub(super) fn from_maps(request: &FeaturesRequest, maps: &Manifest) -> Forecast {
    let there = of_bank(request, maps);
    let BuildState { shards, items: rows, .. } = there.state;
    Forecast {
        already_done: false,
        state: BuildState { shards_done: 0, items_done: 0, ..there.state },
        to_do: ToDo { shards, rows, bytes: there.bytes, secs: None, fitting: true },
        disk: room_for_another(request, maps),
        maps_known: match request.loaded.pipeline.features.maps {
            KeepMaps::All => MapsKnown::Known,
            KeepMaps::Needed | KeepMaps::None => MapsKnown::AtMost,
        },
        ..there
    }
}

/// Images of a split.
pub(super) fn images_of(kinds: &[RowKind], split: Split) -> u64 {
    kinds.iter().filter(|kind| kind.split == split).map(RowKind::images).sum()
}

/// Rows of a split that have maps.
pub(super) fn rows_with_maps(kinds: &[RowKind], split: Split) -> u64 {
    kinds.iter().filter(|kind| kind.split == split && kind.maps).map(RowKind::rows).sum()
}

/// Rows of a split.
pub(super) fn rows_of(kinds: &[RowKind], split: Split) -> u64 {
    kinds.iter().filter(|kind| kind.split == split).map(RowKind::rows).sum()
}

/// Rows an image of a split, and those of classes that have fewer.
pub(super) fn views(manifest: &Manifest, split: Split) -> (u64, Option<u64>) {
    if split != Split::Train {
        return (1, None);
    }
    let count = manifest.views.count;
    let least = manifest.maps.least_views(count);
    (count as u64, (least < count).then_some(least as u64))
}
