//! `fsa-bank verify`

use super::args::VerifyArgs;
use super::{Context, print_json, print_text};
use crate::report::verify_text;
use crate::verify::{self, VerifyOptions};

pub(super) fn run(context: &Context, args: &VerifyArgs) -> anyhow::Result<()> {
    let options = VerifyOptions { sample: args.sample };
    let report = verify::run(&args.bank, &options, &context.screen, &context.interrupt)?;
    if context.json {
        print_json(&report)?;
    } else {
        print_text(&verify_text(&report));
    }
    Ok(report.verdict()?)
}
