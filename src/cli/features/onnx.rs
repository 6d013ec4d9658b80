//! `fsa-bank features --onnx`: the network of another program, in onnxruntime.

use std::path::Path;

use super::{Made, Purpose};
use crate::cli::Context;
use crate::cli::args::FeaturesArgs;
#[cfg(feature = "onnx")]
use crate::{
    backbone::onnx::{ImageInput, InputRange},
    cli::{model, train::load},
    config::{self, DatasetConfig, InputSpec, LoadedPipeline, Pipeline, Source, Statement},
    domain::Split,
    export::Description,
    progress::Progress,
};

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
    use crate::cli::train::{open_dataset_of, run_folder};
    use crate::features::{FrozenModel, HeadSource};
    use crate::labels::Labels;

    let in_backbone = BackboneError::from;
    let file = OnnxFile::load(path).map_err(in_backbone)?;
    // Refused before the images are examined.
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
    let described = Description::of_onnx(&file, found.input.side).map_err(in_backbone)?;
    let said = described.statements(path, found.input.side);
    let loaded = settled(context, args, &described, &found.input, said)?;
    model::check_range(context, path, &found.input, &InputSpec::of(&loaded.pipeline.dataset))?;
    let folder = run_folder(&args.common, &loaded);
    let listed_in = purpose.makes_bank().then_some(folder.as_path());
    let own = found.head().filter(|_| args.head.is_none());
    let labels = match (&args.labels, &args.preprocessing) {
        _ if own.is_none() => None,
        (Some(labels), _) => Some(Labels::read(labels)?),
        // It may be that of the network before it was trained on these classes.
        (None, Some(config)) => {
            Labels::read(config).ok().map(|labels| Labels { certain: false, ..labels })
        }
        (None, None) => None,
    };
    let labels = match labels {
        None if own.is_some() => {
            let of_file = Description::names_of(&file);
            of_file.doubts.iter().for_each(|doubt| context.screen.warning(doubt));
            of_file.labels
        }
        given => given,
    };
    let is_named = |images: &[String]| {
        let both = labels.as_ref().zip(own);
        both.is_some_and(|(labels, own)| labels.decide(own.classes(), images))
    };
    let skipping = &args.common.skipping;
    let dataset = open_dataset_of(context, &loaded, skipping, &Split::ALL, listed_in, is_named)?;
    let mut head = super::head_source(context, args, &loaded, &dataset)?;
    if let (None, Some(own)) = (&head, own) {
        let own = super::in_order(context, own, labels.as_ref(), &dataset)?;
        head = Some(HeadSource::Given(own));
    }
    let options = OnnxOptions {
        device: args.common.device.clone(),
        threads: context.threads,
        side: loaded.pipeline.dataset.image_size,
    };
    let model = FrozenModel::onnx(&file, head, &options)?;
    super::use_network(context, args, &loaded, &dataset, model, purpose)
}

/// The pipeline of the command line, or one that follows from the network and the images; how images are
/// prepared is what network, `--preprocessing` and pipeline say together.
#[cfg(feature = "onnx")]
fn settled(
    context: &Context,
    args: &FeaturesArgs,
    described: &Description,
    input: &ImageInput,
    said: Vec<Statement>,
) -> anyhow::Result<LoadedPipeline> {
    let path = args.onnx.as_deref().unwrap_or(Path::new(""));
    let mut loaded = match &args.pipeline {
        Some(pipeline) => load(pipeline, &args.settings(), &args.common)?,
        None => {
            let images = args.common.data.clone().unwrap_or_default();
            let kind = crate::dataset::kind_at(&images);
            let mut dataset = DatasetConfig { path: images, kind, ..DatasetConfig::default() };
            described.input.put_into(&mut dataset);
            if described.assumed && input.range == InputRange::Unknown {
                // Those that go with the range of values.
                (dataset.mean, dataset.std) = Default::default();
            }
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let pipeline = Pipeline { dataset, ..Pipeline::default() };
            config::with_overrides(name, path, pipeline, &args.settings())?
        }
    };
    let mut said = said;
    said.extend(args.preprocessing.as_ref().map(|file| config::read_timm(file)).transpose()?);
    // A classifier knows what images its vectors are of; the graph knows better.
    let place = said.iter().take_while(|one| one.source == Source::Graph).count();
    said.splice(place..place, super::head_statement(args.head.as_deref())?);
    said.extend(loaded.statements());
    let known = said.iter().any(|one| one.keys.contains(&"mean"));
    let dataset = &mut loaded.pipeline.dataset;
    let usual = input.range.applied_to(InputSpec::of(dataset));
    let spec = config::settled(&said, &usual)?;
    spec.put_into(dataset);
    let screen = &context.screen;
    match known {
        // Whoever started this process has said it.
        _ if args.worker => {}
        true => screen.line(&format!("images: {spec}")),
        false => screen.warning(&format!(
            "{}: nothing says how this network's images are prepared; the usual preprocessing is assumed: {spec}\n  --preprocessing takes its config.json of timm, --set dataset.mean=... any.",
            path.display()
        )),
    }
    Ok(loaded)
}
