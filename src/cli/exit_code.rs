//! From an error to the exit code that scripts see.
//!
//! Every error that a command can end with has its code here, and no match has a catch-all: a new error has
//! none until somebody chooses one.

use std::error::Error;

use super::error::CliError;
use crate::atomic_file::WriteError;
use crate::backbone::BackboneError;
use crate::backbone::onnx::OnnxError;
use crate::bank::BankError;
use crate::check::CheckError;
use crate::config::ConfigError;
use crate::dataset::DatasetError;
use crate::export::ExportError;
use crate::features::FeaturesError;
use crate::fetch::FetchError;
use crate::finetune::FinetuneError;
use crate::inspect::InspectError;
use crate::labels::LabelsError;
use crate::proposal::ProposalError;
use crate::train::TrainError;
use crate::verify::VerifyError;
use crate::weights::WeightsError;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INVALID_DATA: u8 = 3;
pub(super) const INTERRUPTED: u8 = 130;

pub(super) fn of(error: &anyhow::Error) -> u8 {
    const KNOWN: &[fn(&anyhow::Error) -> Option<u8>] = &[
        known::<CliError>,
        known::<ConfigError>,
        known::<DatasetError>,
        known::<BankError>,
        known::<TrainError>,
        known::<FeaturesError>,
        known::<ExportError>,
        known::<LabelsError>,
        known::<ProposalError>,
        known::<CheckError>,
        known::<VerifyError>,
        known::<FetchError>,
        known::<FinetuneError>,
        known::<InspectError>,
        known::<BackboneError>,
        known::<OnnxError>,
        known::<WeightsError>,
        known::<WriteError>,
        #[cfg(feature = "onnx")]
        known::<crate::predict::PredictError>,
    ];
    // What is left is of libraries: the thread pool, serialisation.
    KNOWN.iter().find_map(|code| code(error)).unwrap_or(FAILED)
}

/// The code of an error where it is of this type.
fn known<E: ExitCode + Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref::<E>().map(ExitCode::exit_code)
}

trait ExitCode {
    fn exit_code(&self) -> u8;
}

impl ExitCode for CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Method { .. } | Self::NoModelToRepair(_) => USAGE,
            Self::Output(_)
            | Self::NoEngine(_)
            | Self::EngineStart { .. }
            | Self::MissingParts(_) => FAILED,
        }
    }
}

impl ExitCode for ConfigError {
    fn exit_code(&self) -> u8 {
        USAGE
    }
}

impl ExitCode for DatasetError {
    fn exit_code(&self) -> u8 {
        INVALID_DATA
    }
}

impl ExitCode for WeightsError {
    fn exit_code(&self) -> u8 {
        INVALID_DATA
    }
}

impl ExitCode for BackboneError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Onnx(e) => e.exit_code(),
            Self::Weights(e) => e.exit_code(),
            Self::Device { .. } | Self::ImageSize { .. } | Self::Engine { .. } => FAILED,
        }
    }
}

impl ExitCode for OnnxError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. }
            | Self::Damaged { .. }
            | Self::External { .. }
            | Self::Input { .. }
            | Self::NotPooled { .. }
            | Self::Quantised { .. }
            | Self::OtherLogits { .. }
            | Self::OtherPooling { .. }
            | Self::Metadata { .. } => INVALID_DATA,
            Self::Library { .. } | Self::AddressSpace { .. } | Self::Runtime { .. } => FAILED,
        }
    }
}

impl ExitCode for WriteError {
    fn exit_code(&self) -> u8 {
        FAILED
    }
}

impl ExitCode for BankError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Write(e) => e.exit_code(),
            Self::Encode { .. } | Self::Finished { .. } => FAILED,
            Self::OtherBank { .. }
            | Self::OtherBuild { .. }
            | Self::NoBuild { .. }
            | Self::NotAFolder { .. }
            | Self::NoMap { .. } => USAGE,
            Self::NoManifest { .. }
            | Self::Unfinished { .. }
            | Self::Manifest { .. }
            | Self::NewerFormat { .. }
            | Self::Read { .. }
            | Self::Length { .. }
            | Self::Damaged { .. }
            | Self::Content { .. }
            | Self::OtherClassifier { .. }
            | Self::Weights(_)
            | Self::Value { .. }
            | Self::ImageChanged { .. }
            | Self::MissingShards { .. }
            | Self::EmptyClass { .. } => INVALID_DATA,
        }
    }
}

impl ExitCode for TrainError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Dataset(e) => e.exit_code(),
            Self::Backbone(e) => e.exit_code(),
            Self::Write(e) | Self::Stopped(e) => e.exit_code(),
            Self::Weights(_) | Self::NotAModel { .. } => INVALID_DATA,
            Self::OtherRun { .. } | Self::Unfinished { .. } | Self::NoModel { .. } => USAGE,
            Self::Interrupted { .. } => INTERRUPTED,
            Self::Diverged { .. } => FAILED,
        }
    }
}

impl ExitCode for FeaturesError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Dataset(e) => e.exit_code(),
            Self::Model(e) => e.exit_code(),
            Self::Bank(e) => e.exit_code(),
            Self::Weights(e) => e.exit_code(),
            Self::Backbone(e) => e.exit_code(),
            Self::Write(e) | Self::Stopped(e) => e.exit_code(),
            Self::OtherSettings { .. } | Self::Classes { .. } => USAGE,
            Self::Interrupted { .. }
            | Self::InterruptedCheck
            | Self::InterruptedRepair { .. }
            | Self::InterruptedRecalibration
            | Self::InterruptedFit
            | Self::InterruptedSample
            | Self::InterruptedNeeded => INTERRUPTED,
            Self::Space(_) | Self::Jobs { .. } | Self::Diverged => FAILED,
        }
    }
}

impl ExitCode for ExportError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Model(e) => e.exit_code(),
            Self::Backbone(e) => e.exit_code(),
            Self::Write(e) => e.exit_code(),
            Self::Weights(_) | Self::ChangedInput { .. } | Self::Channels { .. } => INVALID_DATA,
            Self::OnnxOnly { .. } | Self::HeadFormat { .. } | Self::NoClassifier { .. } => USAGE,
            Self::Labels(e) => e.exit_code(),
            Self::Preprocessing(e) => e.exit_code(),
            Self::Onnx(e) => e.exit_code(),
            Self::NotAModel(e) => e.exit_code(),
            Self::TooLarge { .. } => FAILED,
        }
    }
}

impl ExitCode for LabelsError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::Format { .. } => INVALID_DATA,
            Self::Count { .. } | Self::Unmatched { .. } => USAGE,
        }
    }
}

impl ExitCode for ProposalError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Dataset(e) => e.exit_code(),
            Self::Settings { source, .. } => source.exit_code(),
            Self::Backbone(e) => e.exit_code(),
            Self::Write(e) => e.exit_code(),
            Self::Exists { .. } => USAGE,
        }
    }
}

impl ExitCode for CheckError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Dataset(e) => e.exit_code(),
            Self::Faulty { .. } => INVALID_DATA,
            Self::Interrupted { .. } => INTERRUPTED,
        }
    }
}

impl ExitCode for VerifyError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Bank(e) => e.exit_code(),
            Self::Faulty { .. } => INVALID_DATA,
            Self::Interrupted { .. } => INTERRUPTED,
        }
    }
}

impl ExitCode for FetchError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Md5 { .. }
            | Self::OtherFile { .. }
            | Self::Unpack { .. }
            | Self::Member { .. } => INVALID_DATA,
            Self::Interrupted { .. } => INTERRUPTED,
            Self::ByHand { .. }
            | Self::Space { .. }
            | Self::Connection { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::Busy { .. }
            | Self::File { .. } => FAILED,
        }
    }
}

impl ExitCode for FinetuneError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Bank(e) => e.exit_code(),
            Self::Write(e) | Self::Stopped(e) => e.exit_code(),
            Self::NoTail { .. }
            | Self::OtherResult { .. }
            | Self::Memory { .. }
            | Self::NeedsRows { .. }
            | Self::MissingMaps(_)
            | Self::NoValidation { .. } => USAGE,
            Self::Interrupted { .. } => INTERRUPTED,
            Self::Diverged { .. } | Self::SharedJobFailed => FAILED,
        }
    }
}

impl ExitCode for InspectError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Bank(e) => e.exit_code(),
            Self::Memory { .. } => USAGE,
        }
    }
}

#[cfg(feature = "onnx")]
impl ExitCode for crate::predict::PredictError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Model(e) => e.exit_code(),
            Self::Backbone(e) => e.exit_code(),
            Self::Dataset(e) => e.exit_code(),
            Self::Write(e) => e.exit_code(),
            Self::List { .. } | Self::NoImages { .. } | Self::Undecodable { .. } => INVALID_DATA,
            Self::OtherDataset { .. } => USAGE,
            Self::Interrupted { .. } => INTERRUPTED,
        }
    }
}
