//! What the making of one bank has at hand, whichever step it is at.

use std::path::Path;

use super::request::FeaturesRequest;
use crate::bank::{Partition, PlannedShard};
use crate::progress::Watch;

/// The making of one bank: what was asked for, and where this bank of it grows.
pub(super) struct BuildContext<'a> {
    pub(super) request: &'a FeaturesRequest<'a>,
    /// The bank's place: the one that was asked for, or that of maps that wait for their classifier.
    pub(super) out: &'a Path,
    /// The shards to make; `None`: all, and then the bank.
    pub(super) partition: Option<Partition>,
    /// sha256 that names the network.
    pub(super) identity: &'a str,
    /// Where the network computes, in words.
    pub(super) device: &'a str,
    pub(super) watch: Watch<'a>,
}

impl BuildContext<'_> {
    /// Whether this run is to make a shard, if it is missing.
    pub(super) fn has(&self, shard: &PlannedShard) -> bool {
        self.partition.is_none_or(|partition| partition.has(shard))
    }
}
