//! What a bank will be, and how its rows are divided into shards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::manifest::{MOST_ROWS, Manifest, first_difference};
use crate::domain::Split;

/// What a bank will be: it decides every byte of every shard, whoever makes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildPlan {
    /// The manifest but for its files and shards.
    pub manifest: Manifest,
    /// Images that go through the network together, counted from the beginning of each shard.
    pub batch_size: usize,
    /// zstd level.
    pub compression_level: i32,
    /// Bytes of uncompressed maps at which a shard is closed.
    pub shard_bytes: u64,
    /// (sample, view) pairs of each split.
    pub items: BTreeMap<String, u64>,
}

/// One shard of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedShard {
    /// Of which split.
    pub split: Split,
    /// Its place among all shards of the bank, from 0.
    pub place: usize,
    /// Its file.
    pub file: String,
    /// Its (sample, view) pairs, from and up to, in order of sample and view.
    pub items: [u64; 2],
}

/// A share of the shards: those whose place leaves `number - 1` when divided by `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// From 1 to `of`.
    pub number: usize,
    /// How many partitions there are.
    pub of: usize,
}

impl Partition {
    /// Whether a shard is in it.
    pub fn has(self, shard: &PlannedShard) -> bool {
        shard.place % self.of == self.number - 1
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl std::str::FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected i/N with i from 1 to N, such as 1/4".to_string();
        let (number, of) = text.split_once('/').ok_or_else(wrong)?;
        match (number.trim().parse(), of.trim().parse()) {
            (Ok(number), Ok(of)) if 1 <= number && number <= of => Ok(Self { number, of }),
            _ => Err(wrong()),
        }
    }
}

impl PlannedShard {
    /// Its (sample, view) pairs.
    pub fn len(&self) -> u64 {
        self.items[1] - self.items[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl BuildPlan {
    /// Rows of a shard at most: as many whole batches as its size has room for.
    pub fn shard_rows(&self) -> u64 {
        let room = self.shard_bytes / (4 * self.manifest.feature_shape.values() as u64).max(1);
        let batch = self.batch_size.max(1) as u64;
        if room < batch { room.max(1) } else { room - room % batch }
    }

    /// Whether a bank can be this large: its shards are listed in memory, and plans may come from
    /// other machines.
    pub(super) fn is_plausible(&self) -> bool {
        const MOST_SHARDS: u64 = 1 << 20;
        self.manifest.check_sizes().is_ok()
            && self.items.values().all(|&items| {
                items <= MOST_ROWS && items.div_ceil(self.shard_rows()) <= MOST_SHARDS
            })
    }

    /// (sample, view) pairs of a split, where there is one.
    pub fn pairs(&self, split: Split) -> Option<u64> {
        self.items.get(split.name()).copied()
    }

    /// All shards, in order of their splits and rows.
    pub fn shards(&self) -> Vec<PlannedShard> {
        let rows = self.shard_rows();
        let mut shards = vec![];
        for split in Split::ALL {
            let items = self.pairs(split).unwrap_or(0);
            for number in 0..items.div_ceil(rows) {
                shards.push(PlannedShard {
                    split,
                    place: shards.len(),
                    file: shard_name(split, number as usize),
                    items: [number * rows, items.min((number + 1) * rows)],
                });
            }
        }
        shards
    }

    /// Hash of all but images and weights, which have hashes of their own.
    pub fn config_sha256(&self) -> String {
        let mut config = self.clone();
        config.manifest = bare(&config.manifest);
        config.manifest.dataset.fingerprint.clear();
        config.manifest.model.weights_sha256.clear();
        let json = serde_json::to_vec(&config).expect("a plan is JSON");
        crate::text::hex(&Sha256::digest(&json))
    }

    /// What a finished shard must carry to be one of this plan.
    pub(super) fn hashes(&self) -> Hashes {
        Hashes {
            config_sha256: self.config_sha256(),
            weights_sha256: self.manifest.model.weights_sha256.clone(),
            dataset: self.manifest.dataset.fingerprint.clone(),
        }
    }

    /// The first thing in which it differs from `wanted`, in words.
    pub(super) fn difference(&self, wanted: &Self) -> Option<String> {
        let sizes = |plan: &Self| {
            serde_json::json!({
                "features.batch_size": plan.batch_size,
                "features.compression_level": plan.compression_level,
                "features.shard_bytes": plan.shard_bytes,
                "rows": plan.items,
            })
        };
        self.manifest
            .difference(&wanted.manifest)
            .or_else(|| first_difference("", &sizes(self), &sizes(wanted)))
    }
}

/// Name of a shard.
fn shard_name(split: Split, number: usize) -> String {
    format!("{split}-{number:05}.parquet")
}

/// A manifest without what follows from the run.
fn bare(manifest: &Manifest) -> Manifest {
    Manifest {
        writer: String::new(),
        name: String::new(),
        files: BTreeMap::new(),
        splits: BTreeMap::new(),
        manifest_xxh3: Default::default(),
        ..manifest.clone()
    }
}

/// What a shard was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hashes {
    /// Of the settings.
    config_sha256: String,
    /// Of the network.
    weights_sha256: String,
    /// Fingerprint of the images.
    dataset: String,
}
