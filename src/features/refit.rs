//! A bank made again from its own maps with another classifier: activation maps and scores follow from
//! it, everything else stays.

use rayon::prelude::*;

use super::context::BuildContext;
use super::error::FeaturesError;
use super::pass::{ImagePass, row_head};
use super::rows::RowMaker;
use crate::bank::{
    Bank, BankError, Build, Column, MapsKept, OpenShard, PlannedShard, RowHead, RowIndex,
    RowReader, RowRequest, ShardResult, TrainRow,
};
use crate::dataset::{Dataset, SplitImages};
use crate::domain::Split;

/// Requests whose maps are in memory together.
const REQUESTS_AT_A_TIME: usize = 2;

/// A split of the bank that has the maps.
struct Maps<'a> {
    name: Split,
    split: &'a SplitImages,
    index: RowIndex,
    reader: RowReader,
    columns: &'static [Column],
    views: u64,
}

/// Makes shards from the maps of `bank`, until the user stops it.
pub(super) fn write(
    context: &BuildContext,
    bank: &Bank,
    build: &Build,
    shards: &[&PlannedShard],
    maker: &RowMaker,
) -> Result<Vec<(usize, ShardResult)>, FeaturesError> {
    let (watch, dataset) = (context.watch, context.request.dataset);
    let pass = ImagePass::new(context.request);
    watch.progress.start("activation maps", pass.count(build, shards), "row");
    let (mut maps, mut finished): (Option<Maps>, _) = (None, vec![]);
    for &shard in shards {
        if watch.interrupted() {
            break;
        }
        if maps.as_ref().is_none_or(|maps| maps.name != shard.split) {
            maps = Some(Maps::open(bank, dataset, shard.split)?);
        }
        let maps = maps.as_ref().expect("opened above");
        let rows = maps.rows_of(shard, maker.maps);
        let mut open = OpenShard::begin(build, shard)?;
        for requests in maps.index.plan(&rows).chunks(REQUESTS_AT_A_TIME) {
            let parts: Vec<Vec<TrainRow>> =
                requests.par_iter().map(|r| maps.read(r, maker)).collect::<Result<_, _>>()?;
            for rows in parts {
                watch.progress.advance(rows.len() as u64);
                open.append(&rows)?;
            }
        }
        finished.push((shard.place, open.finish(pass.skipped(shard))?));
    }
    watch.progress.finish();
    Ok(finished)
}

impl<'a> Maps<'a> {
    fn open(bank: &Bank, dataset: &'a Dataset, name: Split) -> Result<Self, BankError> {
        let (views, columns): (_, &[Column]) = match name {
            Split::Train => {
                (bank.manifest.views.count, &[Column::Pooled, Column::Cam, Column::FeatureMap])
            }
            Split::Val | Split::Test => (1, &[Column::Pooled]),
        };
        let split = dataset.images(name).expect("shards are of the dataset's splits");
        let (index, reader) = (bank.index(name)?, bank.row_reader(name)?);
        Ok(Self { name, split, index, reader, columns, views: views as u64 })
    }

    /// Rows of the index that belong to a shard of a bank with the maps `kept`.
    fn rows_of(&self, shard: &PlannedShard, kept: &MapsKept) -> Vec<usize> {
        let views = |row: usize| kept.views_of(self.index.labels[row], self.views as usize);
        let pair = |row: usize| {
            u64::from(self.index.sample_ids[row]) * self.views + u64::from(self.index.views[row])
        };
        let inside = |&row: &usize| {
            (shard.items[0]..shard.items[1]).contains(&pair(row))
                && (self.index.views[row] as usize) < views(row)
        };
        (0..self.index.len()).filter(inside).collect()
    }

    fn read(&self, request: &RowRequest, maker: &RowMaker) -> Result<Vec<TrainRow>, BankError> {
        let mut rows = vec![];
        self.reader.read(request, self.columns, |row, values| {
            let head = row_head(self.split, self.index.sample_ids[row], self.index.views[row]);
            rows.push(TrainRow {
                head: RowHead { pooled: values.pooled.to_vec(), ..head },
                cam: vec![],
                nonzero: values.nonzero.to_vec(),
                feature_map: values.map.to_vec(),
            });
        })?;
        Ok(maker.with_scores(rows))
    }
}
