//! `fsa-bank eval`

use super::Context;
use super::args::EvalArgs;

#[cfg(not(feature = "onnx"))]
pub(super) fn run(_: &Context, _: &EvalArgs) -> anyhow::Result<()> {
    Err(super::error::CliError::without_onnx("eval").into())
}

#[cfg(feature = "onnx")]
pub(super) fn run(context: &Context, args: &EvalArgs) -> anyhow::Result<()> {
    use super::train::open_dataset;
    use super::{print_json, print_text};
    use crate::backbone::onnx::OnnxOptions;
    use crate::config;
    use crate::export::Model;
    use crate::predict;
    use crate::report::score_text;

    let mut loaded = config::load(&args.pipeline, &args.set)?;
    if let Some(data) = &args.data {
        loaded.pipeline.dataset.path = data.clone();
    }
    let model = Model::open(&args.model, args.classifier.as_deref())?;
    model.doubt.iter().for_each(|doubt| context.screen.warning(doubt));
    let dataset = open_dataset(context, &loaded)?;
    let options = OnnxOptions {
        device: args.device.clone(),
        threads: context.threads,
        side: dataset.image_size,
    };
    let settings = &loaded.pipeline.finetune;
    let (screen, interrupt) = (&context.screen, &context.interrupt);
    let score = predict::evaluate(&model, &dataset, settings, &options, screen, interrupt)?;
    for image in dataset.skipped.images() {
        screen.warning(&format!("not counted: {}", image.reason));
    }
    if context.json {
        return print_json(&score);
    }
    let title = format!("{} on {}", args.model.display(), loaded.name);
    print_text(&score_text(&title, &score))?;
    Ok(())
}
