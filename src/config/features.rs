//! `[features]`: what a bank holds, and how it is made.

use serde::{Deserialize, Serialize};

use super::Arithmetic;
use super::range::{at_least, at_most, closed};
use super::settings::{settings, words, words_of};

/// What the values of a stored map are rounded to; the Parquet column stays FLOAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 11 significant bits, up to 65,504.
    F16,
    /// 8 significant bits, the range of f32.
    Bf16,
    /// Not rounded.
    F32,
}

impl Precision {
    /// The name in a pipeline.
    pub fn name(self) -> &'static str {
        words_of::<Self>()[self as usize]
    }
}

/// Which training rows of a bank keep their maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepMaps {
    /// All.
    All,
    /// Those of the classes that FSA draws from with the settings of `[finetune]`: the tail, and the
    /// classes that give it class-generic vectors.
    Needed,
    /// None: a bank for methods that take pooled vectors.
    None,
}

words!(Precision KeepMaps);

settings! {
/// `[features]`: what the bank holds.
FeaturesConfig = "features" {
    /// Rows an image: view 0 clean, the others transformed at random as in Phase-I.
    views: usize = 1, range(closed(1.0, 1024.0));
    /// Rounding of the stored maps.
    precision: Precision = Precision::F16;
    /// Which training rows keep their maps.
    maps: KeepMaps = KeepMaps::All, note("; `--maps` overrides it");
    /// With `maps = "needed"`, rows an image of the classes whose maps are not kept, the clean view first;
    /// 0 for as many as `views`.
    other_views: usize = 0,
        rule(|f| f.other_views <= f.views, "at most features.views"),
        rule(|f| f.other_views == 0 || f.maps == KeepMaps::Needed,
            "0, as features.maps is not \"needed\"");
    /// Images a forward pass.
    batch_size: usize = 128, range(closed(1.0, 65_536.0)), expected("1 to 65536 images");
    /// Number type of the convolutions, as in `[train]`.
    arithmetic: Arithmetic = Arithmetic::F32;
    /// zstd level of the shards.
    compression_level: i32 = 1, range(closed(1.0, 22.0)), expected("a zstd level, 1 to 22");
    /// Map bytes (as f32, before compression) at which a shard is closed.
    shard_bytes: u64 = 1 << 29, range(at_least(65_536.0));
    /// Class-balanced batches (of `train.batch_size` images, cropped and flipped as in Phase-I) that
    /// batch normalisation's running statistics are estimated on once more before the pass; 0 keeps those
    /// of Phase-I.
    recalibrate_batches: usize = 0, range(at_most(1_000_000.0));
    /// Passes over the training rows of `--head fit`; small sets are visited more often.
    fit_epochs: usize = 30, range(closed(1.0, 100_000.0));
    /// L2 penalty of `--head fit` on the weights of standardised vectors.
    fit_weight_decay: f32 = 1e-4, range(at_least(0.0));
}
}
