//! `fsa-bank init`

use std::path::Path;

use serde_json::json;

use super::args::InitArgs;
use super::{Context, print_json, print_text};
use crate::atomic_file::names_standard_output;
use crate::proposal::{self, Proposal, ProposalRequest};
use crate::text::shell_path;

pub(super) fn run(context: &Context, args: &InitArgs) -> anyhow::Result<()> {
    let InitArgs { images, out, overwrite } = args;
    let request = ProposalRequest { images, out: out.as_deref(), overwrite: *overwrite };
    let proposal = proposal::run(&request)?;
    let (trained, given) = next_commands(args, &proposal);
    if context.json {
        let Proposal { file, survey, pipeline, warnings, .. } = &proposal;
        return print_json(&json!({
            "file": file,
            "survey": survey,
            "account": survey.account,
            "pipeline": pipeline,
            "warnings": warnings,
            "next": trained,
            "next_with_onnx": given,
        }));
    }
    proposal.warnings.iter().for_each(|warning| context.screen.warning(warning));
    print_text(&proposal.summary)?;
    print_text(&format!("\nNext: {}\n", trained.join("\n      ")))?;
    print_text(&format!(
        "Or with a network that is trained already, which needs no GPU:\n      {}\n",
        given.join("\n      ")
    ))?;
    Ok(())
}

/// What to run with the file, and what to run in its place with a network that exists.
fn next_commands(args: &InitArgs, proposal: &Proposal) -> ([String; 4], [String; 2]) {
    // What went to a pipe has no name here.
    let file = match proposal.file.is_file() && !names_standard_output(&proposal.file) {
        true => proposal.file.as_path(),
        false => Path::new("PIPELINE.toml"),
    };
    let run = file.file_stem().unwrap_or_default().to_string_lossy();
    let shards = shell_path(format!("runs/{run}/shards"));
    let (file, images) = (shell_path(file), shell_path(&args.images));
    (
        [
            format!("fsa-bank train {file}"),
            format!("fsa-bank features {file}"),
            format!("fsa-bank finetune {shards} --config {file}"),
            format!("fsa-bank compare {shards} --config {file}"),
        ],
        [
            format!("fsa-bank features --onnx NETWORK.onnx --images {images} --head fit"),
            "fsa-bank finetune runs/NETWORK/shards".into(),
        ],
    )
}
