//! `fsa-bank features`

use super::args::FeaturesArgs;
use super::train::{engine_options, load, open_dataset, run_folder};
use super::{Context, engine_process, print_json, print_text};
use crate::features::{self, FeaturesRequest};
use crate::report::bytes_text;
use crate::train::MODEL_FILE;

pub(super) fn run(context: &Context, args: &FeaturesArgs) -> anyhow::Result<()> {
    let loaded = load(&args.common)?;
    let Some(engine) = context.engine else {
        return engine_process::hand_over();
    };
    let dataset = open_dataset(context, &loaded)?;
    let folder = run_folder(&args.common, &loaded);
    let request = FeaturesRequest {
        loaded: &loaded,
        dataset: &dataset,
        model: &folder.join(MODEL_FILE),
        out: &folder.join("shards"),
        overwrite: args.common.overwrite,
        engine: engine_options(context, &args.common, &loaded, loaded.pipeline.features.arithmetic),
        measure_forward: args.measure_forward,
    };
    let outcome = features::run(&request, engine, &context.screen, &context.interrupt)?;
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
