//! `fsa-bank features`, and `fsa-bank plan`, which is the same without the bank.

mod jobs;
mod onnx;

use std::path::Path;

use crate::bank::behind_links;
use crate::cli::account::{self, WithAccount};
use crate::cli::args::{FeaturesArgs, FeaturesCommand};
use crate::cli::error::CliError;
use crate::cli::train::{engine_options, load, open_dataset, run_folder};
use crate::cli::{Context, engine_process, print_json, print_text};
use crate::config::{self, InputSpec, LoadedPipeline, Pipeline, Source, Statement};
use crate::dataset::{Dataset, known};
use crate::domain::{FitOptions, LinearHead, Split};
use crate::export::ExportError;
use crate::features::{
    self, FeaturesOutcome, FeaturesRequest, FrozenModel, HeadSource, RepairOutcome, TorchNetwork,
    TorchRequest,
};
use crate::labels::{Labels, LabelsError};
use crate::progress::Progress;
use crate::report::forecast_text;
use crate::text::{bytes_text, shell_path};

pub(super) fn run(context: &Context, command: &FeaturesCommand) -> anyhow::Result<()> {
    let purpose = if command.dry_run { Purpose::Plan } else { Purpose::Bank };
    make(context, &command.shared, purpose).map(drop)
}

/// `fsa-bank plan`
pub(super) fn plan(context: &Context, args: &FeaturesArgs) -> anyhow::Result<()> {
    make(context, args, Purpose::Plan).map(drop)
}

/// `fsa-bank verify --repair`: makes the files `damaged` of `bank` again.
pub(super) fn repair(
    context: &Context,
    args: &FeaturesArgs,
    bank: &Path,
    damaged: &[String],
) -> anyhow::Result<Option<RepairOutcome>> {
    Ok(match make(context, args, Purpose::Repair { bank, damaged })? {
        Made::Repair(outcome) => Some(outcome),
        Made::Bank(_) | Made::Plan => None,
    })
}

/// Its outcome.
enum Made {
    Bank(FeaturesOutcome),
    Plan,
    Repair(RepairOutcome),
}

/// What images and network are wanted for.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// To make the bank.
    Bank,
    /// To tell what it would be.
    Plan,
    /// To make some of its files again.
    Repair { bank: &'a Path, damaged: &'a [String] },
}

impl Purpose<'_> {
    fn makes_bank(self) -> bool {
        matches!(self, Self::Bank)
    }
}

fn make(context: &Context, args: &FeaturesArgs, purpose: Purpose) -> anyhow::Result<Made> {
    if let Some(file) = &args.onnx {
        return onnx::run(context, args, file, purpose);
    }
    let needed = || CliError::Usage("a pipeline, or --onnx and --images, must be given".into());
    let pipeline = args.pipeline.as_deref().ok_or_else(needed)?;
    let loaded = load(pipeline, &args.settings(), &args.common)?;
    known::require(&loaded.name, &loaded.pipeline.dataset)?;
    let Some(engine) = context.engine else {
        return engine_process::hand_over();
    };
    let input = InputSpec::of(&loaded.pipeline.dataset);
    let said = head_statement(args.head.as_deref())?.into_iter();
    let own = Statement::whole(Source::Pipeline, &loaded.file, &input);
    config::settled(&said.chain([own]).collect::<Vec<_>>(), &input)?;
    let folder = run_folder(&args.common, &loaded);
    let listed_in = purpose.makes_bank().then_some(folder.as_path());
    let dataset = open_dataset(context, &loaded, &args.common.skipping, &Split::ALL, listed_in)?;
    let head = head_source(context, args, &loaded, &dataset)?;
    let arithmetic = loaded.pipeline.features.arithmetic;
    let options = engine_options(context, &args.common, &loaded, arithmetic);
    let request = TorchRequest {
        loaded: &loaded,
        dataset: &dataset,
        folder: &folder,
        other_head: head.is_some(),
        options: &options,
        dry: !purpose.makes_bank(),
    };
    let network = TorchNetwork::choose(&request, engine, context.watch())
        .map_err(|error| args.common.explained(error))?;
    context.screen.line(&format!("network: {}", network.path.display()));
    context.screen.line(&format!("images: {input}"));
    let model = FrozenModel::torch(&network, &loaded, &dataset, head, engine, options.clone())?;
    let made = use_network(context, args, &loaded, &dataset, model, purpose)?;
    if let Made::Bank(outcome) = &made {
        network.save_with_head(&folder, &outcome.bank)?;
    }
    Ok(made)
}

/// Does with images and network what they are wanted for.
fn use_network(
    context: &Context,
    args: &FeaturesArgs,
    loaded: &LoadedPipeline,
    dataset: &Dataset,
    model: FrozenModel,
    purpose: Purpose,
) -> anyhow::Result<Made> {
    if let (HeadSource::Given(head), Some(file)) = (&model.head, &args.head) {
        crate::export::must_take(head, model.shape.channels, file)?;
    }
    match purpose {
        Purpose::Bank => write_bank(context, args, loaded, dataset, model).map(Made::Bank),
        Purpose::Plan => show_plan(context, args, loaded, dataset, model).map(|()| Made::Plan),
        Purpose::Repair { bank, damaged } => {
            let request = request(args, loaded, dataset, bank);
            let done = features::repair(&request, model, damaged, context.watch())?;
            for (files, what) in [
                (&done.restored, "restored byte for byte"),
                (&done.changed, "made again with other bytes, of another device or batch size"),
            ] {
                files.iter().for_each(|file| context.screen.line(&format!("{file}: {what}")));
            }
            Ok(Made::Repair(done))
        }
    }
}

/// What the file of `--head` says of the images.
fn head_statement(given: Option<&Path>) -> Result<Option<Statement>, ExportError> {
    match given {
        Some(path) if path != Path::new("fit") => {
            let spec = crate::export::plain_head(path)?.1.preprocessing;
            Ok(spec.map(|spec| Statement::whole(Source::Classifier, path, &spec)))
        }
        _ => Ok(None),
    }
}

/// What `--head` says; the classes of one of a file are put into the order of the images' by their names.
fn head_source(
    context: &Context,
    args: &FeaturesArgs,
    loaded: &LoadedPipeline,
    dataset: &Dataset,
) -> anyhow::Result<Option<HeadSource>> {
    let Pipeline { seed, features, .. } = &loaded.pipeline;
    let given = args.head.as_deref();
    let is_fitted = given == Some(Path::new("fit"));
    if args.labels.is_some() && (is_fitted || given.is_none() && args.onnx.is_none()) {
        let text =
            "--labels names the classes of an ONNX file's classifier, or of one of --head FILE";
        return Err(CliError::Usage(text.into()).into());
    }
    Ok(match given {
        None => None,
        Some(_) if is_fitted => {
            let (epochs, weight_decay) = (features.fit_epochs, features.fit_weight_decay);
            Some(HeadSource::Fitted(FitOptions { epochs, weight_decay, seed: *seed }))
        }
        Some(path) => {
            let (head, card) = crate::export::plain_head(path)?;
            let source = path.display().to_string();
            let labels = match &args.labels {
                Some(file) => Some(Labels::read(file)?),
                None if card.class_names.len() != head.classes() => None,
                None => Some(Labels { names: card.class_names, source, certain: true }),
            };
            Some(HeadSource::Given(in_order(context, &head, labels.as_ref(), dataset)?))
        }
    })
}

/// The classifier with the classes of the images, in their order, as far as its names are known.
fn in_order(
    context: &Context,
    head: &LinearHead,
    labels: Option<&Labels>,
    dataset: &Dataset,
) -> Result<LinearHead, LabelsError> {
    let Some(labels) = labels else {
        return Ok(head.clone());
    };
    let fit = labels.fit(head.classes(), &dataset.class_names)?;
    match labels.told(&fit, &dataset.class_names) {
        Some(text) if fit.is_doubtful() => context.screen.warning(&text),
        text => text.iter().for_each(|text| context.screen.line(text)),
    }
    Ok(fit.head(head))
}

fn request<'a>(
    args: &FeaturesArgs,
    loaded: &'a LoadedPipeline,
    dataset: &'a Dataset,
    out: &'a Path,
) -> FeaturesRequest<'a> {
    FeaturesRequest {
        loaded,
        dataset,
        out,
        overwrite: args.common.overwrite,
        partition: args.partition,
        make_in_processes: None,
        measure_forward: args.measure_forward,
        free_bytes: match args.worker {
            // The process that started this one has looked.
            true => &|_| None,
            false => &crate::disk::free_bytes,
        },
    }
}

/// Prints what the bank would be; one that does not fit is an error, after all is printed.
fn show_plan(
    context: &Context,
    args: &FeaturesArgs,
    loaded: &LoadedPipeline,
    dataset: &Dataset,
    model: FrozenModel,
) -> anyhow::Result<()> {
    let out = behind_links(&run_folder(&args.common, loaded).join("shards"));
    let request = request(args, loaded, dataset, &out);
    let forecast = features::plan(&request, model, context.watch())?;
    let found = dataset.skipped.count();
    let account = account::settle(context, &loaded.name, dataset, &found, None)?;
    if context.json {
        print_json(&WithAccount { result: &forecast, account: &account })?;
    } else {
        print_text(&forecast_text(&forecast))?;
        if args.jobs.is_some_and(|jobs| jobs.get() > 1) {
            print_text("  --jobs    the time is that of one process\n")?;
        }
    }
    Ok(forecast.disk.require()?)
}

/// Runs the stage and prints its outcome.
fn write_bank(
    context: &Context,
    args: &FeaturesArgs,
    loaded: &LoadedPipeline,
    dataset: &Dataset,
    model: FrozenModel,
) -> anyhow::Result<FeaturesOutcome> {
    let processes = jobs::Jobs {
        screen: &context.screen,
        interrupt: &context.interrupt,
        threads: context.threads,
        device: &args.common.device,
        number: args.jobs.map_or(1, std::num::NonZero::get),
    };
    let in_processes = |rows: u64| jobs::run(&processes, rows);
    if args.worker {
        jobs::stop_with_parent(&context.interrupt);
    }
    let out = behind_links(&run_folder(&args.common, loaded).join("shards"));
    let request = FeaturesRequest {
        make_in_processes: (processes.number > 1).then_some(&in_processes as _),
        ..request(args, loaded, dataset, &out)
    };
    let outcome = features::run(&request, model, context.watch())?;
    if args.worker {
        return Ok(outcome);
    }
    let folder = run_folder(&args.common, loaded);
    let account = account::settle(context, &loaded.name, dataset, &outcome.skipped, Some(&folder))?;
    if context.json {
        print_json(&WithAccount { result: &outcome, account: &account })?;
    } else {
        print_text(&outcome_text(&outcome, args))?;
    }
    if let Some(found) = &outcome.reordering {
        context.screen.warning(&found.to_string());
        return Ok(outcome);
    }
    let chance = 100.0 / dataset.class_names.len() as f64;
    if outcome.top1.get(Split::Train.name()).is_some_and(|&top1| top1 < 2.0 * chance.min(25.0)) {
        context.screen.warning(&format!(
            "the network finds the classes of {:.1} % of its training images, chance is {chance:.1} %: are these its classes, and its preprocessing?",
            outcome.top1[Split::Train.name()]
        ));
    }
    Ok(outcome)
}

fn outcome_text(outcome: &FeaturesOutcome, args: &FeaturesArgs) -> String {
    let (bank, bytes) = (outcome.bank.display(), bytes_text(outcome.bytes));
    let pace = if outcome.already_done {
        "already there".into()
    } else if outcome.rows_made == 0 {
        "from existing shards".into()
    } else {
        let made = match outcome.rows_made < outcome.rows {
            true => format!("{} rows made now in ", outcome.rows_made),
            false => String::new(),
        };
        format!("{made}{:.1} s, {:.0} rows a second", outcome.secs, outcome.rows_per_sec)
    };
    let mut text = format!("{bank}: {} rows, {bytes}, {pace}\n", outcome.rows);
    if let Some(state) = outcome.state {
        text =
            format!("{bank}: {} rows of this partition made now, {bytes}; {state}\n", outcome.rows);
    }
    if !outcome.top1.is_empty() {
        let split = |(name, top1): (&String, &f64)| format!("{name} {top1:.2}");
        let splits: Vec<String> = outcome.top1.iter().map(split).collect();
        text += &format!("top-1 of the bank's classifier: {}\n", splits.join(", "));
    }
    if let Some(forward) = outcome.forward_rows_per_sec {
        let share = outcome.rows_per_sec / forward;
        text += &format!(
            "bare forward pass: {forward:.1} rows a second; the whole reaches {share:.3} of it\n"
        );
    }
    text += &outcome.skipped.told().map_or(String::new(), |text| text + "\n");
    let fitted = args.head.as_deref() == Some(Path::new("fit"));
    let bank = shell_path(&outcome.bank);
    text + &match outcome.state {
        None => format!("Next: fsa-bank finetune {bank}\n"),
        // A classifier is fitted to the maps of all partitions.
        Some(_) if fitted => "Next: the other partitions, then this without --partition\n".into(),
        Some(state) if state.shards_done == state.shards => {
            format!("Next: fsa-bank commit {bank}\n")
        }
        Some(_) => format!("Next: the other partitions, then fsa-bank commit {bank}\n"),
    }
}
