//! `fsa-bank eval`

use super::Context;
use super::args::EvalArgs;

#[cfg(not(feature = "onnx"))]
pub(super) fn run(_: &Context, _: &EvalArgs) -> anyhow::Result<()> {
    anyhow::bail!("eval: this build has no ONNX engine\n  Build with the cargo feature `onnx`.")
}

#[cfg(feature = "onnx")]
pub(super) fn run(context: &Context, args: &EvalArgs) -> anyhow::Result<()> {
    use super::train::open_dataset;
    use super::{print_json, print_text};
    use crate::backbone::onnx::OnnxOptions;
    use crate::config;
    use crate::export::Model;
    use crate::labels::Labels;
    use crate::predict;
    use crate::progress::Progress;
    use crate::report::score_text;

    let mut loaded = config::load(&args.pipeline, &args.set)?;
    if let Some(data) = &args.data {
        loaded.pipeline.dataset.path = data.clone();
    }
    let mut model = Model::open(&args.model, args.classifier.as_deref())?;
    if let Some(file) = &args.labels {
        model.set_labels(Labels::read(file)?)?;
    }
    model.doubt.iter().for_each(|doubt| context.screen.warning(doubt));
    let dataset = open_dataset(context, &loaded, None, None)?;
    match model.take_order_of(&dataset.class_names)? {
        Some((text, true)) => context.screen.warning(&text),
        Some((text, false)) => context.screen.line(&text),
        None => {}
    }
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
    print_text(&score_text(&title, &score));
    Ok(())
}
