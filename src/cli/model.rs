//! The model of `predict`, `eval` and `export`, with what is given in addition.

use std::path::Path;

use super::Context;
use super::args::GivenArgs;
use super::error::CliError;
use crate::backbone::onnx::{Element, ImageInput};
use crate::config::{self, InputSpec};
use crate::export::{ExportError, Given, Model};
use crate::labels::Labels;
use crate::progress::Progress;

/// Opens a model with what is given in addition, and says what of it to check; `corrects_metadata`: as
/// [`Given`] has it.
pub(super) fn open(
    context: &Context,
    path: &Path,
    given: &GivenArgs,
    corrects_metadata: bool,
) -> Result<Model, ExportError> {
    let GivenArgs { classifier, labels, preprocessing } = given;
    let preprocessing = preprocessing.as_deref().map(config::read_timm).transpose()?;
    let classifier = classifier.as_deref();
    let mut model = Model::open(path, Given { classifier, preprocessing, corrects_metadata })?;
    if let Some(file) = labels {
        model.set_labels(Labels::read(file)?)?;
    }
    model.doubt.iter().chain(&model.label_doubts).for_each(|doubt| context.screen.warning(doubt));
    Ok(model)
}

/// Says how images are prepared, where no pipeline says it.
pub(super) fn tell_preprocessing(context: &Context, model: &Model) -> Result<(), CliError> {
    let spec = &model.description.input;
    if model.description.assumed {
        context.screen.warning(&format!(
            "{}; the usual preprocessing of ImageNet networks is assumed: {spec}\n  --preprocessing takes the network's config.json of timm.",
            model.unknown_preprocessing(),
        ));
    } else {
        context.screen.line(&format!("images: {spec}"));
    }
    match model.image_input() {
        Some(input) => check_range(context, model.path(), &input, spec),
        None => Ok(()),
    }
}

/// Says which values a graph that normalises pixels itself takes, and refuses others or warns of them.
pub(super) fn check_range(
    context: &Context,
    path: &Path,
    input: &ImageInput,
    spec: &InputSpec,
) -> Result<(), CliError> {
    let Some(told) = input.range.told() else { return Ok(()) };
    let path = path.display();
    if !input.range.contradicts(spec) {
        context.screen.line(&format!("{path}: the network {told}"));
        return Ok(());
    }
    let wanted = input.range.applied_to(spec.clone());
    let other = format!(
        "{path}: the network {told}; with mean {:?}, std {:?} and values of 0 to {} it gets other values\n  \
         Set dataset.mean = {:?}, dataset.std = {:?} and dataset.value_range = {}.",
        spec.mean, spec.std, spec.value_range, wanted.mean, wanted.std, wanted.value_range
    );
    match input.element {
        Element::Byte => Err(CliError::Usage(other)),
        Element::Float | Element::Half => {
            context.screen.warning(&other);
            Ok(())
        }
    }
}
