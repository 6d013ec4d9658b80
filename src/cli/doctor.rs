//! `fsa-bank doctor`: what this program found on this machine.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use super::args::DoctorArgs;
use super::error::CliError;
use super::{Context, address_space, engine_process, print_json, print_text};
use crate::backbone::EngineOptions;
use crate::config::Arithmetic;
use crate::text::bytes_text;

/// A name and what was found; `missing` where something that the build asks for was not found.
struct Fact {
    name: String,
    found: String,
    missing: bool,
}

impl Fact {
    fn there(name: &str, found: String) -> Self {
        Self { name: name.into(), found, missing: false }
    }

    fn of(name: &str, found: Result<String, impl std::fmt::Display>) -> Self {
        let missing = found.is_err();
        let found = found.unwrap_or_else(|e| e.to_string());
        Self { name: name.into(), found, missing }
    }
}

pub(super) fn run(context: &Context, args: &DoctorArgs) -> anyhow::Result<()> {
    let mut facts = vec![Fact::there("fsa-bank", env!("CARGO_PKG_VERSION").into())];
    facts.extend(libtorch(context, &args.device));
    facts.extend(onnxruntime(&args.device));
    facts.extend(machine());
    let missing: Vec<&str> = facts.iter().filter(|f| f.missing).map(|f| f.name.as_str()).collect();
    if context.json {
        let pairs = facts.iter().map(|f| (f.name.clone(), Value::from(f.found.clone())));
        let missing = (MISSING.to_string(), Value::from(missing.clone()));
        print_json(&pairs.chain([missing]).collect::<Map<_, _>>())?;
    } else {
        let width = facts.iter().map(|f| f.name.len()).max().unwrap_or(0);
        for Fact { name, found, missing } in &facts {
            let mark = if *missing { "MISSING: " } else { "" };
            print_text(&format!("{name:<width$}  {mark}{found}\n"))?;
        }
    }
    if !missing.is_empty() {
        return Err(CliError::MissingParts(missing.join(", ")).into());
    }
    Ok(())
}

/// Key of the JSON output under which the names of missing parts are.
const MISSING: &str = "missing";
const TORCH_DEVICE: &str = "libtorch computes on";

/// What the engine in this executable says, or the one beside it.
fn libtorch(context: &Context, device: &str) -> Vec<Fact> {
    if let Some(engine) = context.engine {
        let facts = engine.facts().into_iter();
        let mut facts: Vec<Fact> = facts.map(|(name, found)| Fact::there(name, found)).collect();
        let options = EngineOptions {
            device: device.into(),
            arithmetic: Arithmetic::F32,
            channels_last: true,
            threads: context.threads,
        };
        facts.push(Fact::of(TORCH_DEVICE, engine.describe_device(&options)));
        return facts;
    }
    let missing = |found: String| vec![Fact { name: "libtorch".into(), found, missing: true }];
    let Some(path) = engine_process::path().filter(|path| path.is_file()) else {
        // A build without the engine asks for none.
        let text = "not part of this build; train and features of trained networks need it";
        return if cfg!(feature = "torch") {
            missing(
                "fsa-bank-torch is not beside this executable\n  Build it with `make build`."
                    .into(),
            )
        } else {
            vec![Fact::there("libtorch", text.into())]
        };
    };
    let arguments = ["--json", "doctor", "--device", device];
    let output = match Command::new(&path).args(arguments).output() {
        Ok(output) => output,
        Err(e) => return missing(format!("{}: {e}", path.display())),
    };
    let Ok(found) = serde_json::from_slice::<Map<String, Value>>(&output.stdout) else {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        let remedy = "Run `make setup build`, or set LIBTORCH and build again.";
        return missing(format!("{}: {said}\n  {remedy}", path.display()));
    };
    let missing_for =
        |name: &str| found[MISSING].as_array().is_some_and(|names| names.iter().any(|n| n == name));
    let of_engine = ["libtorch", "CUDA", "CPU computes bf16", TORCH_DEVICE];
    let fact = |name: &str| {
        let text = found.get(name)?.as_str()?;
        Some(Fact { name: name.into(), found: text.into(), missing: missing_for(name) })
    };
    of_engine.into_iter().filter_map(fact).collect()
}

#[cfg(feature = "onnx")]
fn onnxruntime(device: &str) -> Vec<Fact> {
    use crate::backbone::onnx::runtime;
    match runtime() {
        Ok(runtime) => {
            let providers = if runtime.has_cuda { "CUDA, CPU" } else { "CPU" };
            vec![
                Fact::there("onnxruntime", runtime.path.display().to_string()),
                Fact::there("providers", providers.into()),
                Fact::there("build", runtime.build.clone()),
                Fact::of("ONNX networks compute on", runtime.describe_device(device)),
            ]
        }
        Err(e) => {
            vec![Fact::of("onnxruntime", Err::<String, _>(e))]
        }
    }
}

#[cfg(not(feature = "onnx"))]
fn onnxruntime(_: &str) -> Vec<Fact> {
    vec![Fact::there("onnxruntime", "not part of this build; --onnx and predict need it".into())]
}

fn machine() -> Vec<Fact> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = match address_space::limit_bytes().zip(address_space::most_threads()) {
        Some((limit, most)) if most < threads => {
            let limit = bytes_text(limit);
            format!("{most} of {threads}: the address space is limited to {limit} (ulimit -v)")
        }
        _ => threads.to_string(),
    };
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or("unknown".into(), |kib| format!("{} available", bytes_text(kib * 1024)));
    vec![
        Fact::there("threads", threads),
        Fact::there("SIMD", simd()),
        Fact::there("memory", available),
        Fact::there("disk here", free_disk(Path::new("."))),
    ]
}

/// What the arithmetic of Phase-II is chosen from.
fn simd() -> String {
    format!("{:?}", pulp::Arch::new()).split(['(', ' ']).next().unwrap_or_default().to_string()
}

fn free_disk(path: &Path) -> String {
    let free = crate::disk::free_bytes(path);
    free.map_or("unknown".into(), |bytes| format!("{} free", bytes_text(bytes)))
}
