//! `fsa-bank verify`

use std::path::Path;

use serde_json::json;

use super::args::{FeaturesArgs, RunArgs, VerifyArgs};
use super::error::CliError;
use super::skipping::SkippingArgs;
use super::{Context, engine_process, features, print_json, print_text};
use crate::bank::{BankError, MANIFEST_FILE, Manifest, behind_links};
use crate::features::{FeaturesError, RepairOutcome};
use crate::report::verify_text;
use crate::train::TrainError;
use crate::verify::{self, VerifyOptions, VerifyReport};

pub(super) fn run(context: &Context, args: &VerifyArgs) -> anyhow::Result<()> {
    if matches!(args.repair, Some(None)) && args.onnx.is_none() {
        let missing =
            "--repair needs a pipeline, or --onnx and --images: those that the bank was made with";
        super::error::usage_error(missing);
    }
    if args.repair.is_some() && args.onnx.is_none() && context.engine.is_none() {
        return engine_process::hand_over();
    }
    let options = VerifyOptions { sample: args.sample };
    let look = || verify::run(&args.bank, &options, context.watch());
    let mut report = look()?;
    let mut repaired = None;
    if let (Some(pipeline), false) = (&args.repair, report.findings.is_empty()) {
        if !context.json {
            print_text(&verify_text(&report))?;
        }
        repaired = repair(context, args, pipeline.as_deref(), &report)?;
        report = look()?;
    }
    if context.json {
        let mut value = serde_json::to_value(&report)?;
        if let Some(repaired) = repaired {
            value["repaired"] =
                json!({ "restored": repaired.restored, "changed": repaired.changed });
        }
        print_json(&value)?;
    } else {
        print_text(&verify_text(&report))?;
    }
    Ok(report.verdict()?)
}

/// Makes the faulty files again, as `features` makes them.
fn repair(
    context: &Context,
    args: &VerifyArgs,
    pipeline: Option<&Path>,
    report: &VerifyReport,
) -> anyhow::Result<Option<RepairOutcome>> {
    let damaged: Vec<String> = report.faulty_files().into_iter().map(String::from).collect();
    if damaged.iter().any(|file| file == MANIFEST_FILE) {
        let found = "damaged, so what the other files should be is not known".into();
        return Err(BankError::Manifest { path: args.bank.join(MANIFEST_FILE), found }.into());
    }
    let (manifest, _) = Manifest::load(&args.bank)?;
    // The run's folder, where the model is.
    let beside = || args.bank.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = args.out.as_deref().or_else(beside);
    let fitted = manifest.fitted_head.is_some().then(|| "fit".into());
    let same = FeaturesArgs {
        pipeline: pipeline.map(Path::to_path_buf),
        onnx: args.onnx.clone(),
        head: args.head.clone().or(fitted),
        maps: None,
        preprocessing: args.preprocessing.clone(),
        labels: args.labels.clone(),
        common: RunArgs {
            out: Some(folder.unwrap_or(Path::new(".")).into()),
            data: args.data.clone(),
            device: args.device.clone(),
            set: args.set.clone(),
            skipping: SkippingArgs::default(),
            overwrite: false,
        },
        partition: None,
        jobs: None,
        worker: false,
        measure_forward: false,
    };
    let done = features::repair(context, &same, &behind_links(&args.bank), &damaged);
    done.map_err(|error| match error.downcast_ref() {
        // Another one that is trained now would not make the same files.
        Some(FeaturesError::Model(TrainError::NoModel { path, .. })) => {
            CliError::NoModelToRepair(path.clone()).into()
        }
        _ => error,
    })
}
