//! From an error to the exit code that scripts see.

use crate::bank::BankError;
use crate::check::CheckError;
use crate::config::ConfigError;
use crate::dataset::DatasetError;
use crate::export::ExportError;
use crate::features::FeaturesError;
use crate::fetch::FetchError;
use crate::finetune::FinetuneError;
use crate::labels::LabelsError;
use crate::proposal::ProposalError;
use crate::train::TrainError;
use crate::verify::VerifyError;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INVALID_DATA: u8 = 3;
pub(super) const INTERRUPTED: u8 = 130;

pub(super) fn of(error: &anyhow::Error) -> u8 {
    if error.is::<ConfigError>() {
        return USAGE;
    }
    if error.is::<DatasetError>() {
        return INVALID_DATA;
    }
    if let Some(error) = error.downcast_ref::<BankError>() {
        return bank(error);
    }
    if let Some(error) = error.downcast_ref::<TrainError>() {
        return train(error);
    }
    if let Some(error) = error.downcast_ref::<FeaturesError>() {
        return features(error);
    }
    if let Some(error) = error.downcast_ref::<ExportError>() {
        return export(error);
    }
    if let Some(error) = error.downcast_ref::<LabelsError>() {
        return labels(error);
    }
    if let Some(error) = error.downcast_ref::<ProposalError>() {
        return match error {
            ProposalError::Dataset(_) => INVALID_DATA,
            ProposalError::Exists { .. } => USAGE,
            ProposalError::Backbone(_) | ProposalError::Write(_) => FAILED,
        };
    }
    if let Some(error) = error.downcast_ref::<CheckError>() {
        return match error {
            CheckError::Dataset(_) | CheckError::Faulty { .. } => INVALID_DATA,
            CheckError::Interrupted { .. } => INTERRUPTED,
        };
    }
    if let Some(error) = error.downcast_ref::<VerifyError>() {
        return match error {
            VerifyError::Bank(e) => bank(e),
            VerifyError::Faulty { .. } => INVALID_DATA,
            VerifyError::Interrupted { .. } => INTERRUPTED,
        };
    }
    if let Some(error) = error.downcast_ref::<FetchError>() {
        return fetch(error);
    }
    #[cfg(feature = "onnx")]
    if let Some(error) = error.downcast_ref::<crate::predict::PredictError>() {
        use crate::predict::PredictError;
        return match error {
            PredictError::Model(e) => export(e),
            PredictError::Dataset(_) | PredictError::Undecodable { .. } => INVALID_DATA,
            PredictError::OtherDataset { .. } => USAGE,
            PredictError::Backbone(_) | PredictError::Write(_) => FAILED,
            PredictError::Interrupted { .. } => INTERRUPTED,
        };
    }
    if let Some(error) = error.downcast_ref::<FinetuneError>() {
        return match error {
            FinetuneError::Bank(e) => bank(e),
            FinetuneError::NoTail { .. }
            | FinetuneError::OtherResult { .. }
            | FinetuneError::Memory { .. }
            | FinetuneError::NeedsRows { .. }
            | FinetuneError::MissingMaps(_)
            | FinetuneError::NoValidation { .. } => USAGE,
            FinetuneError::Interrupted { .. } => INTERRUPTED,
            FinetuneError::Write(_) | FinetuneError::Diverged { .. } | FinetuneError::Together => {
                FAILED
            }
        };
    }
    FAILED
}

fn bank(error: &BankError) -> u8 {
    match error {
        BankError::Write(_) | BankError::Encode { .. } | BankError::Finished { .. } => FAILED,
        BankError::OtherBank { .. }
        | BankError::OtherBuild { .. }
        | BankError::NoBuild { .. }
        | BankError::NoFolder { .. }
        | BankError::NoMap { .. } => USAGE,
        _ => INVALID_DATA,
    }
}

fn train(error: &TrainError) -> u8 {
    match error {
        TrainError::Dataset(_) | TrainError::Weights(_) | TrainError::NotAModel { .. } => {
            INVALID_DATA
        }
        TrainError::OtherRun { .. }
        | TrainError::Unfinished { .. }
        | TrainError::NoModel { .. } => USAGE,
        TrainError::Interrupted { .. } => INTERRUPTED,
        TrainError::Backbone(_) | TrainError::Write(_) | TrainError::Diverged { .. } => FAILED,
    }
}

fn labels(error: &LabelsError) -> u8 {
    match error {
        LabelsError::Format { .. } => INVALID_DATA,
        LabelsError::Read { .. } | LabelsError::Count { .. } | LabelsError::Unmatched { .. } => {
            FAILED
        }
    }
}

fn export(error: &ExportError) -> u8 {
    match error {
        ExportError::Model(e) => train(e),
        ExportError::Labels(e) => labels(e),
        ExportError::Weights(_)
        | ExportError::ChangedInput { .. }
        | ExportError::Channels { .. } => INVALID_DATA,
        ExportError::Preprocessing(_)
        | ExportError::OnnxOnly { .. }
        | ExportError::HeadFormat { .. }
        | ExportError::NoClassifier { .. } => USAGE,
        ExportError::Onnx(_)
        | ExportError::Backbone(_)
        | ExportError::Write(_)
        | ExportError::TooLarge { .. } => FAILED,
    }
}

fn fetch(error: &FetchError) -> u8 {
    match error {
        FetchError::Md5 { .. }
        | FetchError::OtherFile { .. }
        | FetchError::Unpack { .. }
        | FetchError::Member { .. } => INVALID_DATA,
        FetchError::Interrupted { .. } => INTERRUPTED,
        FetchError::ByHand { .. }
        | FetchError::Space { .. }
        | FetchError::Connection { .. }
        | FetchError::Status { .. }
        | FetchError::Answer { .. }
        | FetchError::Busy { .. }
        | FetchError::File { .. } => FAILED,
    }
}

fn features(error: &FeaturesError) -> u8 {
    match error {
        FeaturesError::Dataset(_) | FeaturesError::Weights(_) => INVALID_DATA,
        FeaturesError::Model(e) => train(e),
        FeaturesError::Bank(e) => bank(e),
        FeaturesError::OtherSettings { .. } => USAGE,
        FeaturesError::Interrupted { .. }
        | FeaturesError::InterruptedCheck
        | FeaturesError::InterruptedRepair { .. }
        | FeaturesError::InterruptedRecalibration
        | FeaturesError::InterruptedFit
        | FeaturesError::InterruptedSample
        | FeaturesError::InterruptedNeeded => INTERRUPTED,
        FeaturesError::Backbone(_)
        | FeaturesError::Classes { .. }
        | FeaturesError::Space(_)
        | FeaturesError::Write(_)
        | FeaturesError::Jobs { .. }
        | FeaturesError::Diverged => FAILED,
    }
}
