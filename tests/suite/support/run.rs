//! A run on real image files with the fake engine: training, and the bank of what was trained.

use std::path::Path;

use fsa_bank::backbone::EngineOptions;
use fsa_bank::config::{Arithmetic, LoadedPipeline, load};
use fsa_bank::dataset::Dataset;
use fsa_bank::features::{
    self, FeaturesError, FeaturesOutcome, FeaturesRequest, FrozenModel, HeadSource, TorchNetwork,
    TorchRequest,
};
use fsa_bank::progress::{Interrupt, Progress, Silent, Watch};
use fsa_bank::train::{self, TrainError, TrainOutcome, TrainRequest};

use super::fake_engine::FakeEngine;
use super::fixtures::{folder_pipeline, image_folder};

pub fn engine_options() -> EngineOptions {
    let (device, arithmetic) = ("cpu".into(), Arithmetic::F32);
    EngineOptions { device, arithmetic, channels_last: false, threads: None }
}

pub struct Run {
    pub dir: tempfile::TempDir,
    pub loaded: LoadedPipeline,
    pub dataset: Dataset,
}

impl Run {
    pub fn new(overrides: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        image_folder(&dir.path().join("images"), &[24, 12, 5, 2]);
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        let loaded = load(&folder_pipeline(dir.path()), &overrides).unwrap();
        let dataset = Dataset::open(&loaded.pipeline.dataset).unwrap();
        Self { dir, loaded, dataset }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn train(
        &self,
        resume: bool,
        progress: &dyn Progress,
        stop: &Interrupt,
    ) -> Result<TrainOutcome, TrainError> {
        let request = TrainRequest {
            pipeline: &self.loaded.pipeline,
            dataset: &self.dataset,
            out: self.path(),
            resume,
            overwrite: false,
            engine: engine_options(),
        };
        train::run(&request, &FakeEngine, Watch::new(progress, stop))
    }

    pub fn features(&self, stop: &Interrupt) -> Result<FeaturesOutcome, FeaturesError> {
        self.features_with(None, &Silent, stop)
    }

    pub fn features_with(
        &self,
        head: Option<HeadSource>,
        progress: &dyn Progress,
        stop: &Interrupt,
    ) -> Result<FeaturesOutcome, FeaturesError> {
        let request = FeaturesRequest {
            loaded: &self.loaded,
            dataset: &self.dataset,
            out: &self.path().join("shards"),
            overwrite: false,
            partition: None,
            make_in_processes: None,
            measure_forward: false,
            free_bytes: &fsa_bank::disk::free_bytes,
        };
        let (loaded, dataset) = (&self.loaded, &self.dataset);
        let network = choose(loaded, dataset, self.path(), head.is_some(), progress, stop)?;
        let model =
            FrozenModel::torch(&network, loaded, dataset, head, &FakeEngine, engine_options())?;
        features::run(&request, model, Watch::new(progress, stop))
    }
}

/// The network that is in a run's folder.
pub fn choose(
    loaded: &LoadedPipeline,
    dataset: &Dataset,
    folder: &Path,
    other_head: bool,
    progress: &dyn Progress,
    stop: &Interrupt,
) -> Result<TorchNetwork, FeaturesError> {
    let options = engine_options();
    let wanted =
        TorchRequest { loaded, dataset, folder, other_head, options: &options, dry: false };
    TorchNetwork::choose(&wanted, &FakeEngine, Watch::new(progress, stop))
}
