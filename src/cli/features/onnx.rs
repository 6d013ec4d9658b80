//! `fsa-bank features --onnx`: the network of another program, in onnxruntime.

use std::path::Path;

use super::Purpose;
use crate::cli::Context;
use crate::cli::args::FeaturesArgs;

#[cfg(not(feature = "onnx"))]
pub(super) fn run(_: &Context, _: &FeaturesArgs, _: &Path, _: Purpose) -> anyhow::Result<()> {
    anyhow::bail!("--onnx: this build has no ONNX engine\n  Build with the cargo feature `onnx`.")
}

#[cfg(feature = "onnx")]
pub(super) fn run(
    context: &Context,
    args: &FeaturesArgs,
    path: &Path,
    purpose: Purpose,
) -> anyhow::Result<()> {
    use crate::backbone::BackboneError;
    use crate::backbone::onnx::{OnnxFile, OnnxOptions};
    use crate::cli::train::open_dataset;
    use crate::dataset::Skipped;
    use crate::export::Description;
    use crate::features::{FrozenModel, HeadSource};
    use crate::labels::Labels;
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
    settings::check_range(context, path, &found.input, &loaded.pipeline.dataset)?;
    let mut dataset = open_dataset(context, &loaded)?;
    dataset.skipped = Skipped::at_most(args.common.max_skipped);
    let mut head = super::head_source(context, args, &loaded, &dataset)?;
    if let (None, Some(own)) = (&head, found.head()) {
        let labels = match (&args.labels, &args.preprocessing) {
            (Some(labels), _) => Some(Labels::read(labels)?),
            // It may be that of the network before it was trained on these classes.
            (None, Some(config)) => {
                Labels::read(config).ok().map(|labels| Labels { certain: false, ..labels })
            }
            (None, None) => None,
        };
        let labels = labels.or_else(|| Description::labels_of(&file));
        let own = super::in_order(context, own, labels.as_ref(), &dataset)?;
        head = Some(HeadSource::Given(own));
    }
    let options = OnnxOptions {
        device: args.common.device.clone(),
        threads: context.threads,
        side: loaded.pipeline.dataset.image_size,
    };
    let model = FrozenModel::onnx(&file, head, &options)?;
    super::use_network(context, args, &loaded, &dataset, model, purpose)?;
    Ok(())
}

#[cfg(feature = "onnx")]
mod settings {
    use std::path::Path;

    use anyhow::{Context as _, bail};
    use serde::Deserialize;

    use super::{Context, FeaturesArgs};
    use crate::backbone::onnx::{Element, ImageInput, OnnxFile};
    use crate::cli::train::load;
    use crate::config::{
        self, DatasetConfig, DatasetKind, Interpolation, LoadedPipeline, Pipeline,
    };
    use crate::export::Description;
    use crate::progress::Progress;

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
            bail!(
                "dataset.image_size is {}; {} takes images of {side} pixels only\n  \
                 Set dataset.image_size = {side}.",
                dataset.image_size,
                onnx.path().display()
            );
        }
        Ok(loaded)
    }

    /// Tells what a graph that normalises pixels itself wants, and refuses or doubts other values.
    pub(super) fn check_range(
        context: &Context,
        path: &Path,
        input: &ImageInput,
        dataset: &DatasetConfig,
    ) -> anyhow::Result<()> {
        let Some(told) = input.range.told() else { return Ok(()) };
        let path = path.display();
        if !input.range.contradicts(&dataset.mean, &dataset.std) {
            context.screen.line(&format!(
                "{path}: the network {told}: no mean and standard deviation are applied"
            ));
            return Ok(());
        }
        let (mean, std) = input.range.mean_and_std().unwrap_or_default();
        let other = format!(
            "{path}: the network {told}; with dataset.mean = {:?} and dataset.std = {:?} it gets other values\n  \
             Set dataset.mean = {mean:?} and dataset.std = {std:?}.",
            dataset.mean, dataset.std
        );
        match input.element {
            Element::Byte => bail!("{other}"),
            Element::Float | Element::Half => context.screen.warning(&other),
        }
        Ok(())
    }

    fn timm(
        file: &Path,
        dataset: &mut config::DatasetConfig,
        fixed_side: Option<usize>,
    ) -> anyhow::Result<()> {
        let text = std::fs::read(file).with_context(|| format!("{}", file.display()))?;
        let mut top: Timm = serde_json::from_slice(&text)
            .with_context(|| format!("{}: not a timm config.json", file.display()))?;
        let read = top.pretrained_cfg.take().map_or(Timm::default(), |inner| *inner).or(top);
        let triple = |values: &Option<Vec<f32>>| values.clone().filter(|v| v.len() == 3);
        let (Some(mean), Some(std)) = (triple(&read.mean), triple(&read.std)) else {
            bail!("{}: no `mean` and `std` of three numbers", file.display());
        };
        if !std.iter().all(|v| *v > 0.0) {
            bail!("{}: std is {std:?}; expected positive numbers", file.display());
        }
        (dataset.mean, dataset.std) = (mean, std);
        if let Some(crop) = read.crop_pct.filter(|crop| *crop > 0.0 && *crop <= 1.0) {
            dataset.crop_fraction = crop;
        }
        dataset.interpolation = match read.interpolation.as_deref() {
            None | Some("bilinear") => Interpolation::Bilinear,
            Some("bicubic") => Interpolation::Bicubic,
            Some(other) => {
                bail!("{}: interpolation `{other}`; expected bilinear or bicubic", file.display())
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
