//! Room on the disk for a bank that is to be made.

use std::path::Path;

use super::build_plan::build_plan;
use super::error::FeaturesError;
use super::forecast::{DiskForecast, RawBytes};
use super::request::FeaturesRequest;
use crate::bank::{Build, BuildPlan, Manifest};
use crate::config::{FeaturesConfig, KeepMaps, Precision};
use crate::disk;
use crate::domain::Split;

/// Room for `needed` bytes where a bank grows in `folder`.
pub(super) fn room(request: &FeaturesRequest, folder: &Path, needed: u64) -> DiskForecast {
    let place = disk::nearest_folder(folder);
    let free = (request.free_bytes)(&place);
    let replaced = Manifest::load(request.out).ok().map(|(manifest, _)| manifest.total_bytes());
    let fits = free.map(|free| needed <= free);
    DiskForecast { place, free, needed, replaced, fits, smaller: smaller(request) }
}

impl DiskForecast {
    /// Refuses what does not fit.
    ///
    /// # Errors
    /// [`FeaturesError::Space`].
    pub fn require(self) -> Result<(), FeaturesError> {
        match self.fits {
            Some(false) => Err(FeaturesError::Space(self)),
            _ => Ok(()),
        }
    }
}

/// Room for a bank made from the maps of another one.
pub(super) fn room_for_another(request: &FeaturesRequest, maps: &Manifest) -> DiskForecast {
    let plan = build_plan(request, maps.clone());
    let training = plan.pairs(Split::Train).unwrap_or(0);
    let needed = match request.loaded.pipeline.features.maps {
        // Without a classifier the activation maps are 0, and take nothing.
        KeepMaps::All => maps.total_bytes() + RawBytes::of(&plan, training, 0).cams,
        // At least: which maps are kept is known once there is a classifier.
        KeepMaps::Needed | KeepMaps::None => bytes_without_maps(request, &plan),
    };
    let needed = needed.saturating_sub(disk::bytes_below(&Build::folder(request.out)));
    room(request, &Build::folder(request.out), needed)
}

/// Bytes of a bank without maps, whatever its classes, at least.
pub(super) fn bytes_without_maps(request: &FeaturesRequest, plan: &BuildPlan) -> u64 {
    let FeaturesConfig { views, other_views, .. } = request.loaded.pipeline.features;
    let views = if other_views > 0 { other_views } else { views };
    let training = (request.dataset.train.len() * views) as u64;
    let RawBytes { pooled, cams, .. } = RawBytes::of(plan, training, 0);
    pooled + cams
}

/// Ways to a smaller bank.
fn smaller(request: &FeaturesRequest) -> Vec<String> {
    let FeaturesConfig { views, other_views, maps, precision, .. } =
        request.loaded.pipeline.features;
    let ways = [
        (maps == KeepMaps::All, "--maps needed".to_string()),
        (
            maps == KeepMaps::Needed && views > 1 && other_views == 0,
            "fewer views of classes without maps (features.other_views)".into(),
        ),
        (views > 1, format!("fewer views (features.views is {views})")),
        (precision == Precision::F32, "features.precision = \"f16\"".to_string()),
    ];
    ways.into_iter().filter(|(is, _)| *is).map(|(_, way)| way).collect()
}
