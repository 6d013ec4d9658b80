//! `fsa-bank eval`

use super::Context;
use super::args::EvalArgs;

#[cfg(not(feature = "onnx"))]
pub(super) fn run(_: &Context, _: &EvalArgs) -> anyhow::Result<()> {
    Err(super::error::CliError::without_onnx("eval").into())
}

#[cfg(feature = "onnx")]
pub(super) fn run(context: &Context, args: &EvalArgs) -> anyhow::Result<()> {
    use super::account::{self, WithAccount};
    use super::train::open_dataset_of;
    use super::{model, print_json, print_text};
    use crate::backbone::onnx::OnnxOptions;
    use crate::config::{self, InputSpec};
    use crate::domain::Split;
    use crate::predict;
    use crate::progress::Progress;
    use crate::report::score_text;

    let mut loaded = super::dataset::load(&args.images)?;
    let mut model = model::open(context, &args.model, &args.given, false)?;
    // The pipeline's settings hold for what the network does not say.
    let said = [&model.said[..], &loaded.statements()].concat();
    let dataset = &mut loaded.pipeline.dataset;
    let input = model.image_input();
    let usual = InputSpec::of(dataset);
    let usual = input.as_ref().map_or(usual.clone(), |input| input.range.applied_to(usual));
    let spec = config::settled(&said, &usual)?;
    match model.description.assumed {
        true => context.screen.warning(&format!(
            "{}; taken from {}: {spec}",
            model.unknown_preprocessing(),
            args.images.pipeline.display()
        )),
        false => context.screen.line(&format!("images: {spec}")),
    }
    if let Some(input) = input {
        model::check_range(context, &args.model, &input, &spec)?;
    }
    spec.put_into(dataset);
    let (labels, classes) = (model.labels(), model.head.classes());
    let is_named = |images: &[String]| labels.as_ref().is_some_and(|l| l.decide(classes, images));
    let dataset =
        open_dataset_of(context, &loaded, &args.skipping, &[Split::Test], None, is_named)?;
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
    let (score, reordering) =
        predict::evaluate(&model, &dataset, settings, &options, context.watch())?;
    reordering.iter().for_each(|found| context.screen.warning(&found.of_test_images()));
    for image in dataset.skipped.images() {
        context.screen.warning(&format!("not counted: {}", image.reason));
    }
    let skipped = dataset.skipped.count();
    let account = account::settle(context, &loaded.name, &dataset, &skipped, None)?;
    if context.json {
        return print_json(&WithAccount { result: &score, account: &account });
    }
    let title = format!("{} on {}", args.model.display(), loaded.name);
    print_text(&score_text(&title, &score))?;
    Ok(())
}
