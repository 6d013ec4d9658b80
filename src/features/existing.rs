//! What the manifest of the wanted bank will say, and whether the bank in its place is that one.

use std::path::Path;

use super::error::FeaturesError;
use super::model::HeadSource;
use super::request::{FeaturesOutcome, FeaturesRequest};
use crate::bank::{
    BankError, Build, DatasetCard, FORMAT_VERSION, MANIFEST_FILE, Manifest, MapsKept, ModelRef,
    ViewSettings,
};
use crate::config::{InputSpec, KeepMaps, RandomCrop};
use crate::domain::{FeatureShape, LinearHead};
use crate::weights::Weights;

/// What the manifest will say, but for the files.
pub(super) fn describe(
    request: &FeaturesRequest,
    model: ModelRef,
    head: &HeadSource,
    shape: FeatureShape,
) -> Manifest {
    let pipeline = &request.loaded.pipeline;
    let (classifier_sha256, fitted_head) = match head {
        HeadSource::Given(head) => (Weights::of_head(head).sha256(), None),
        // Known once it is fitted.
        HeadSource::Fitted(options) => (String::new(), Some(*options)),
    };
    Manifest {
        format: Manifest::format_name(),
        version: FORMAT_VERSION,
        needs: Manifest::needs(),
        writer: concat!("fsa-bank ", env!("CARGO_PKG_VERSION")).into(),
        name: request.loaded.name.clone(),
        dataset: DatasetCard {
            fingerprint: request.dataset.fingerprint.clone(),
            classes: request.dataset.class_names.len(),
        },
        model,
        preprocessing: Some(InputSpec::of(&pipeline.dataset)),
        feature_shape: shape,
        precision: pipeline.features.precision,
        views: ViewSettings {
            count: pipeline.features.views,
            seed: pipeline.seed,
            crop_padding: pipeline.train.crop_padding,
            crop_scale: match pipeline.train.crop {
                RandomCrop::Padded => None,
                RandomCrop::Resized => Some(pipeline.train.crop_scale),
            },
            flip: pipeline.train.flip,
            color_jitter: pipeline.train.color_jitter,
        },
        maps: match pipeline.features.maps {
            KeepMaps::All => MapsKept::All,
            KeepMaps::Needed => MapsKept::Needed {
                head_ratio: pipeline.finetune.head_ratio,
                num_confusing: pipeline.finetune.num_confusing,
                generic_classes: pipeline.finetune.generic_classes,
                other_views: pipeline.features.other_views,
                // Known once the tail's images went through the network.
                classes: vec![],
            },
            KeepMaps::None => MapsKept::None,
        },
        map_columns: vec![],
        classifier_sha256,
        fitted_head,
        files: Default::default(),
        splits: Default::default(),
        manifest_xxh3: Default::default(),
    }
}

/// What the maps are described as while they wait for their classifier, and the one of zeros that they have
/// until then.
pub(super) fn without_classifier(manifest: &Manifest) -> (Manifest, LinearHead) {
    let (classes, channels) = (manifest.dataset.classes, manifest.feature_shape.channels);
    let none = LinearHead::new(vec![0.0; classes * channels], vec![0.0; classes]);
    let none = none.expect("a dataset has classes, and a map channels");
    let classifier_sha256 = Weights::of_head(&none).sha256();
    // The classifier's activation maps are made of all maps.
    let maps = MapsKept::All;
    (Manifest { fitted_head: None, classifier_sha256, maps, ..manifest.clone() }, none)
}

/// What is known of the bank in `out`, if it is the one wanted.
pub(super) fn existing(
    out: &Path,
    overwrite: bool,
    wanted: &Manifest,
) -> Result<Option<FeaturesOutcome>, FeaturesError> {
    let Some(found) = same(out, overwrite, wanted)? else { return Ok(None) };
    Build::tidy(out);
    Ok(Some(FeaturesOutcome::of_bank(out, &found, true)))
}

/// The bank in `out`, if it is the one wanted; an error if it is another one and must stay.
pub(super) fn same(
    out: &Path,
    overwrite: bool,
    wanted: &Manifest,
) -> Result<Option<Manifest>, FeaturesError> {
    if out.exists() && !out.is_dir() {
        return Err(BankError::NotAFolder { path: out.into() }.into());
    }
    if overwrite || !out.join(MANIFEST_FILE).exists() {
        return Ok(None);
    }
    let (found, _) = Manifest::load(out)?;
    match found.difference(wanted) {
        None => {
            found.check_lengths(out)?;
            Ok(Some(found))
        }
        Some(what) => Err(BankError::OtherBank { dir: out.into(), what }.into()),
    }
}
