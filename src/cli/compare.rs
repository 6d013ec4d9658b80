//! `fsa-bank compare`

use toml::{Table, Value};

use super::args::CompareArgs;
use super::error::CliError;
use super::finetune::file_keys;
use super::{Context, print_json, print_text};
use crate::compare::{self, CompareRequest};
use crate::config::{self, FinetuneConfig, Loss, Method};
use crate::finetune::FinetuneError;
use crate::report::{compare_text, write_compare};

pub(super) fn run(context: &Context, args: &CompareArgs) -> anyhow::Result<()> {
    let file = file_keys(args.config.as_deref())?;
    let flags = args.settings.keys();
    if flags.contains_key("method") || flags.contains_key("loss") {
        let found =
            "--method and --loss: name what to compare with --methods, such as fsa,fsa+focal";
        return Err(CliError::Usage(found.into()).into());
    }
    let names = if args.methods.is_empty() { compare::all_methods() } else { args.methods.clone() };
    let mut configs: Vec<FinetuneConfig> = vec![];
    for name in &names {
        let config = method_config(name.trim(), &file, &flags)?;
        if !configs.contains(&config) {
            configs.push(config);
        }
    }
    let request = CompareRequest {
        bank: &args.bank,
        configs,
        seeds: args.seeds,
        selection: args.select,
        out: args.out.clone(),
        memory_bytes: args.engine.memory_bytes(),
    };
    let outcome = compare::run(&request, context.watch())?;
    write_compare(&outcome).map_err(FinetuneError::from)?;
    if context.json {
        return print_json(&outcome.comparison);
    }
    print_text(&compare_text(&outcome.comparison))?;
    print_text(&format!(
        "\nThe table as JSON, CSV and Markdown is in {}\n",
        outcome.folder.display()
    ))?;
    Ok(())
}

/// The settings of `fsa` or `fsa+focal`.
fn method_config(name: &str, file: &Table, flags: &Table) -> Result<FinetuneConfig, CliError> {
    let mut keys = flags.clone();
    let (method, loss) = name.split_once('+').map_or((name, None), |(m, loss)| (m, Some(loss)));
    let wrong = |found: String| CliError::Usage(format!("--methods {name}: {found}"));
    super::settings::word::<Method>(method).map_err(wrong)?;
    loss.map(super::settings::word::<Loss>).transpose().map_err(wrong)?;
    keys.insert("method".into(), Value::String(method.into()));
    if let Some(loss) = loss {
        keys.insert("loss".into(), Value::String(loss.into()));
    }
    config::resolve_finetune(file, &keys)
        .map_err(|source| CliError::Method { name: name.into(), source: source.into() })
}
