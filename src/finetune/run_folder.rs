//! The folder of a Phase-II result: `classifier.safetensors`, `config.toml`, `diagnostics/`,
//! and `metrics.json`, which is written last and makes it a result.

use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::diagnostics::{self, BatchStatistics, ClassMasks};
use super::{FinetuneError, FinetuneRequest, Report, Selection};
use crate::atomic_file;
use crate::bank::Bank;
use crate::classifier::{Classifier, Input};
use crate::classifier_file::ClassifierCard;
use crate::config::FinetuneConfig;
use crate::weights::{NamedTensor, Weights};

/// The result in numbers.
pub const METRICS_FILE: &str = "metrics.json";
/// The settings that made it.
pub const CONFIG_FILE: &str = "config.toml";
const CLASSIFIER_FILE: &str = "classifier.safetensors";

/// Where a result is, or will be.
pub struct RunFolder {
    /// The folder.
    pub path: PathBuf,
}

/// What `config.toml` holds: with the bank, all that decides the classifier.
#[derive(Serialize)]
struct Resolved<'a> {
    bank: &'a str,
    seed: u64,
    selection: Selection,
    finetune: &'a FinetuneConfig,
}

impl RunFolder {
    pub(super) fn of(request: &FinetuneRequest, bank: &Bank) -> Self {
        let path = request.out.clone().unwrap_or_else(|| {
            let settings = serde_json::to_string(&request.config).expect("settings are JSON");
            let hash = crate::text::hex(&Sha256::digest(settings)[..4]);
            let chosen = match request.selection {
                Selection::None => String::new(),
                by => format!("-by-{}", format!("{by:?}").to_lowercase()),
            };
            let name = format!("{}-{hash}-{}{chosen}", request.config.title(), request.seed);
            // `shards/..` also where the bank is given as `.` or through a link.
            let bank = bank.dir().canonicalize().unwrap_or_else(|_| bank.dir().into());
            let beside = bank.parent().unwrap_or(&bank).join("finetune").join(name);
            shortened(beside)
        });
        Self { path }
    }

    /// The existing result, if it is of the same bank, settings and seed.
    pub(super) fn finished(
        &self,
        bank: &Bank,
        request: &FinetuneRequest,
    ) -> Result<Option<Report>, FinetuneError> {
        let path = self.path.join(METRICS_FILE);
        let Ok(bytes) = std::fs::read(&path) else {
            return Ok(None);
        };
        let other = |found: String| FinetuneError::OtherResult { path: path.clone(), found };
        let report: Report = serde_json::from_slice(&bytes).map_err(|e| other(e.to_string()))?;
        let made = (&report.config, report.seed, report.selection);
        if made != (&request.config, request.seed, request.selection) {
            return Err(other("made with other settings or another seed".into()));
        }
        if report.bank != bank.id {
            if request.out.is_some() {
                return Err(other("made from another bank".into()));
            }
            // The bank was made again since: the result in its own folder is out of date.
            return Ok(None);
        }
        let whole = self.path.join(CLASSIFIER_FILE).is_file();
        Ok(whole.then_some(report))
    }

    /// Makes the folder, and takes an older result's mark away.
    pub(super) fn prepare(&self) -> Result<(), FinetuneError> {
        atomic_file::create_dir(&self.path)?;
        let metrics = self.path.join(METRICS_FILE);
        match std::fs::remove_file(&metrics) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(atomic_file::WriteError::at(&metrics)(e).into())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn write(
        &self,
        classifier: &Classifier,
        card: &ClassifierCard,
        report: &Report,
        statistics: &BatchStatistics,
        masks: &[ClassMasks],
    ) -> Result<(), FinetuneError> {
        classifier_weights(classifier, card).save(&self.path.join(CLASSIFIER_FILE))?;
        let resolved = Resolved {
            bank: &report.bank,
            seed: report.seed,
            selection: report.selection,
            finetune: &report.config,
        };
        let text = toml::to_string(&resolved).expect("settings are TOML");
        atomic_file::write(&self.path.join(CONFIG_FILE), text.as_bytes())?;
        diagnostics::write(&self.path, report, statistics, masks)?;
        let mut text = serde_json::to_string_pretty(report).expect("a report is JSON");
        text.push('\n');
        atomic_file::write(&self.path.join(METRICS_FILE), text.as_bytes())?;
        Ok(())
    }
}

/// The classifier's file, for the classes and the network of `card`; where a centre is taken off
/// vectors first, it is the tensor `input.centre` `[K]`.
fn classifier_weights(classifier: &Classifier, card: &ClassifierCard) -> Weights {
    let mut further = vec![];
    let input = match &classifier.input {
        Input::Plain => None,
        Input::Direction => Some("l2-normalise".into()),
        Input::CentredDirection(centre) => {
            let tensor = NamedTensor { shape: vec![centre.len()], values: centre.clone() };
            further.push(("input.centre".to_string(), tensor));
            Some("subtract input.centre, l2-normalise".into())
        }
        Input::Tukey(power) => {
            Some(format!("l2-normalise, raise magnitudes to the power {power}, l2-normalise"))
        }
    };
    ClassifierCard { input, ..card.clone() }.weights(&classifier.head, further)
}

/// The path relative to the current directory where it lies below it, for messages.
pub(crate) fn shortened(path: PathBuf) -> PathBuf {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&current).map_or(path.clone(), PathBuf::from)
}
