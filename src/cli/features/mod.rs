//! `fsa-bank features`

mod onnx;

use anyhow::Context as _;

use crate::cli::args::FeaturesArgs;
use crate::cli::train::{engine_options, load, open_dataset, run_folder};
use crate::cli::{Context, engine_process, print_json, print_text};
use crate::config::LoadedPipeline;
use crate::dataset::Dataset;
use crate::features::{self, FeaturesRequest, FrozenModel};
use crate::report::bytes_text;
use crate::train::MODEL_FILE;

pub(super) fn run(context: &Context, args: &FeaturesArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.onnx {
        return onnx::run(context, args, file);
    }
    let pipeline = args.pipeline.as_deref().context("a pipeline, or --onnx and --images")?;
    let loaded = load(pipeline, &args.common)?;
    let Some(engine) = context.engine else {
        return engine_process::hand_over();
    };
    let dataset = open_dataset(context, &loaded)?;
    let path = run_folder(&args.common, &loaded).join(MODEL_FILE);
    let arithmetic = loaded.pipeline.features.arithmetic;
    let options = engine_options(context, &args.common, &loaded, arithmetic);
    let model = FrozenModel::trained(&path, &loaded, &dataset, engine, options)?;
    write_bank(context, args, &loaded, &dataset, model)
}

/// Runs the stage and tells what came of it.
fn write_bank(
    context: &Context,
    args: &FeaturesArgs,
    loaded: &LoadedPipeline,
    dataset: &Dataset,
    model: FrozenModel,
) -> anyhow::Result<()> {
    let request = FeaturesRequest {
        loaded,
        dataset,
        out: &run_folder(&args.common, loaded).join("shards"),
        overwrite: args.common.overwrite,
        measure_forward: args.measure_forward,
    };
    let outcome = features::run(&request, model, &context.screen, &context.interrupt)?;
    if context.json {
        return print_json(&outcome);
    }
    let pace = if outcome.already_done {
        "already there".into()
    } else {
        format!("{:.1} s, {:.0} rows a second", outcome.secs, outcome.images_per_sec)
    };
    print_text(&format!(
        "{}: {} rows, {}, {pace}\n",
        outcome.bank.display(),
        outcome.rows,
        bytes_text(outcome.bytes)
    ));
    if let Some(forward) = outcome.forward_images_per_sec {
        let share = outcome.images_per_sec / forward;
        print_text(&format!(
            "bare forward pass: {forward:.0} images a second; the whole reaches {share:.3} of it\n"
        ));
    }
    print_text(&format!("Next: fsa-bank finetune {}\n", outcome.bank.display()));
    Ok(())
}
