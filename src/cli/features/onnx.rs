//! `fsa-bank features --onnx`: the network of another program, in onnxruntime.

use std::path::Path;

use super::{Made, Purpose};
use crate::cli::Context;
use crate::cli::args::FeaturesArgs;

#[cfg(not(feature = "onnx"))]
pub(super) fn run(_: &Context, _: &FeaturesArgs, _: &Path, _: Purpose) -> anyhow::Result<Made> {
    Err(crate::cli::error::CliError::without_onnx("--onnx").into())
}

#[cfg(feature = "onnx")]
pub(super) fn run(
    context: &Context,
    args: &FeaturesArgs,
    path: &Path,
    purpose: Purpose,
) -> anyhow::Result<Made> {
    use crate::backbone::BackboneError;
    use crate::backbone::onnx::{OnnxFile, OnnxOptions};
    use crate::cli::train::open_dataset;
    use crate::dataset::Skipped;
    use crate::export::Description;
    use crate::features::FrozenModel;
    use crate::progress::Progress;

    let in_backbone = BackboneError::from;
    let file = OnnxFile::load(path).map_err(in_backbone)?;
    // Refused before the images are looked at.
    let found = match args.head {
        Some(_) => file.find_map(),
        None => file.find(),
    };
    let found = found.map_err(in_backbone)?;
    context.screen.line(&format!(
        "{}: feature map `{}`, {}",
        path.display(),
        found.map,
        match found.head() {
            Some(head) => format!(
                "classifier of {} classes over {} channels",
                head.classes(),
                head.channels()
            ),
            None => "no classifier".into(),
        }
    ));
    let loaded = settings::loaded(args, &file, found.input.side)?;
    let mut dataset = open_dataset(context, &loaded)?;
    dataset.skipped = Skipped::at_most(args.common.max_skipped);
    let head = super::head_source(args.head.as_deref(), &loaded)?;
    if head.is_none() {
        let described = Description::of_onnx(&file, found.input.side);
        described.must_name(&dataset.class_names, path).map_err(in_backbone)?;
    }
    let options = OnnxOptions {
        device: args.common.device.clone(),
        threads: context.threads,
        side: loaded.pipeline.dataset.image_size,
    };
    let model = FrozenModel::onnx(&file, head, &options)?;
    super::use_network(context, args, &loaded, &dataset, model, purpose)
}

#[cfg(feature = "onnx")]
mod settings {
    use std::path::Path;

    use serde::Deserialize;

    use super::FeaturesArgs;
    use crate::backbone::onnx::OnnxFile;
    use crate::cli::error::CliError;
    use crate::cli::train::load;
    use crate::config::{
        self, DatasetConfig, DatasetKind, Interpolation, LoadedPipeline, Pipeline,
    };
    use crate::export::Description;

    /// What timm's config.json says of preprocessing, at its top or under `pretrained_cfg`.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Timm {
        mean: Option<Vec<f32>>,
        std: Option<Vec<f32>>,
        crop_pct: Option<f64>,
        interpolation: Option<String>,
        input_size: Option<[usize; 3]>,
        pretrained_cfg: Option<Box<Timm>>,
    }

    /// The pipeline of the command line, or one that follows from the network and the images: what
    /// the file says of its preprocessing, else what is usual for ImageNet networks.
    pub(super) fn loaded(
        args: &FeaturesArgs,
        onnx: &OnnxFile,
        fixed_side: Option<usize>,
    ) -> anyhow::Result<LoadedPipeline> {
        let mut loaded = match &args.pipeline {
            Some(pipeline) => load(pipeline, &args.settings(), &args.common)?,
            None => {
                let path = args.common.data.clone().unwrap_or_default();
                let kind = match path.extension() {
                    Some(extension) if extension == "parquet" => DatasetKind::Parquet,
                    _ if path.is_file() => DatasetKind::List,
                    _ if crate::dataset::has_tables(&path) => DatasetKind::Parquet,
                    _ => DatasetKind::Folder,
                };
                let described = Description::of_onnx(onnx, fixed_side).dataset_config();
                let mut dataset = DatasetConfig { path, kind, ..described };
                if let Some(file) = &args.preprocessing {
                    timm(file, &mut dataset, fixed_side)?;
                }
                let file = onnx.path();
                let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let pipeline = Pipeline { dataset, ..Pipeline::default() };
                config::with_overrides(name, file, pipeline, &args.settings())?
            }
        };
        let dataset = &mut loaded.pipeline.dataset;
        if let (Some(file), true) = (&args.preprocessing, args.pipeline.is_some()) {
            timm(file, dataset, fixed_side)?;
        }
        if let Some(side) = fixed_side.filter(|&side| side != dataset.image_size) {
            return Err(CliError::Usage(format!(
                "dataset.image_size is {}; {} takes images of {side} pixels only\n  \
                 Give --set dataset.image_size={side}.",
                dataset.image_size,
                onnx.path().display()
            ))
            .into());
        }
        Ok(loaded)
    }

    fn timm(
        file: &Path,
        dataset: &mut config::DatasetConfig,
        fixed_side: Option<usize>,
    ) -> Result<(), CliError> {
        let wrong = |found: String| CliError::Given { path: file.into(), found };
        let text = std::fs::read(file).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let mut top: Timm = serde_json::from_slice(&text)
            .map_err(|e| wrong(format!("not a timm config.json: {e}")))?;
        let read = top.pretrained_cfg.take().map_or(Timm::default(), |inner| *inner).or(top);
        let triple = |values: &Option<Vec<f32>>| values.clone().filter(|v| v.len() == 3);
        let (Some(mean), Some(std)) = (triple(&read.mean), triple(&read.std)) else {
            return Err(wrong("no `mean` and `std` of three numbers".into()));
        };
        if !std.iter().all(|v| *v > 0.0) {
            return Err(wrong(format!("std is {std:?}; expected positive numbers")));
        }
        (dataset.mean, dataset.std) = (mean, std);
        if let Some(crop) = read.crop_pct.filter(|crop| *crop > 0.0 && *crop <= 1.0) {
            dataset.crop_fraction = crop;
        }
        dataset.interpolation = match read.interpolation.as_deref() {
            None | Some("bilinear") => Interpolation::Bilinear,
            Some("bicubic") => Interpolation::Bicubic,
            Some(other) => {
                let found = format!("interpolation `{other}`; expected bilinear or bicubic");
                return Err(wrong(found));
            }
        };
        if let Some([_, side, _]) = read.input_size
            && fixed_side.is_none()
        {
            dataset.image_size = side;
        }
        Ok(())
    }

    impl Timm {
        /// Its own values, and the other's where it has none.
        fn or(self, other: Self) -> Self {
            Self {
                mean: self.mean.or(other.mean),
                std: self.std.or(other.std),
                crop_pct: self.crop_pct.or(other.crop_pct),
                interpolation: self.interpolation.or(other.interpolation),
                input_size: self.input_size.or(other.input_size),
                pretrained_cfg: None,
            }
        }
    }
}
