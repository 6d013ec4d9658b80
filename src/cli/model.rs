//! The model of `predict`, `eval` and `export`, with what is given besides.

use std::path::{Path, PathBuf};

use super::Context;
use crate::config::{self, ConfigError};
use crate::export::{ExportError, Given, Model};
use crate::progress::Progress;

/// `--classifier` and `--preprocessing`.
pub(super) fn given<'a>(
    classifier: Option<&'a Path>,
    preprocessing: Option<&PathBuf>,
) -> Result<Given<'a>, ConfigError> {
    let preprocessing = preprocessing.map(|file| config::read_timm(file)).transpose()?;
    Ok(Given { classifier, preprocessing, mends_metadata: false })
}

/// Opens a model, and says what of it should be looked at again.
pub(super) fn open(context: &Context, path: &Path, given: Given) -> Result<Model, ExportError> {
    let model = Model::open(path, given)?;
    model.doubt.iter().for_each(|doubt| context.screen.warning(doubt));
    Ok(model)
}

/// Says how images are prepared, where no pipeline says it.
pub(super) fn tell_preprocessing(context: &Context, model: &Model) {
    let spec = &model.description.input;
    if model.description.assumed {
        context.screen.warning(&format!(
            "{}; taken as is usual for ImageNet networks: {spec}\n  --preprocessing takes the network's config.json of timm.",
            model.unknown_preprocessing(),
        ));
    } else {
        context.screen.line(&format!("images: {spec}"));
    }
}
