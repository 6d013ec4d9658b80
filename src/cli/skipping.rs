//! How many images may be left out because they cannot be decoded: what `train`, `features` and `eval` share.

use clap::Args;

use super::settings::parse_share;
use crate::dataset::Skipped;

/// The share that may be left out.
#[derive(Debug, Clone, Args)]
pub struct SkippingArgs {
    /// Share of the images of a split that may be left out because they cannot be decoded, such as
    /// 0.005 or 0.5%; `train` and `features` list them in the run's folder
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = parse_share)]
    pub max_skipped: f64,
}

impl Default for SkippingArgs {
    fn default() -> Self {
        Self { max_skipped: Skipped::USUAL_SHARE }
    }
}

impl SkippingArgs {
    /// The flag, as the user's next command must have it.
    pub(super) fn same_flag(&self) -> String {
        match self.max_skipped {
            Skipped::USUAL_SHARE => String::new(),
            share => format!(" --max-skipped {share}"),
        }
    }
}
