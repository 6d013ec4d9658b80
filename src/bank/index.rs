//! Which rows a split has and where they lie on disk.

/// Which rows a split has and where they lie, in order of (sample, view) whatever the shards' order.
#[derive(Debug, Default, Clone)]
pub struct RowIndex {
    /// Index of the image in its split.
    pub sample_ids: Vec<u32>,
    /// View of the image; 0 is clean.
    pub views: Vec<u32>,
    /// True class.
    pub labels: Vec<u32>,
    /// Where each row is on disk.
    pub(super) positions: Vec<Position>,
}

/// The rows of a split without their maps, in the order of their index.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    /// Which rows they are.
    pub index: RowIndex,
    /// [n, K].
    pub pooled: Vec<f32>,
    /// [n, L], training rows only.
    pub cam: Vec<f32>,
    /// [n, L], training rows only.
    pub nonzero: Vec<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) shard: u32,
    pub(super) row_group: u32,
    pub(super) row: u32,
}

impl RowIndex {
    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of memory that an index of `rows` rows takes, sorting included.
    pub fn bytes(rows: u64) -> u64 {
        rows * 2 * (3 * 4 + std::mem::size_of::<Position>() as u64)
    }

    /// Groups rows by where they lie, so that each row group is visited in order.
    ///
    /// `wanted` are rows of this index, ascending, without repetition.
    pub fn plan(&self, wanted: &[usize]) -> Vec<RowRequest> {
        let mut placed: Vec<(Position, usize)> =
            wanted.iter().map(|&r| (self.positions[r], r)).collect();
        placed.sort_unstable();
        let mut requests: Vec<RowRequest> = vec![];
        for (at, row) in placed {
            let (shard, row_group) = (at.shard as usize, at.row_group as usize);
            let fits = |r: &&mut RowRequest| {
                (r.shard, r.row_group) == (shard, row_group) && r.rows.len() < REQUEST_ROWS
            };
            match requests.last_mut().filter(fits) {
                Some(request) => request.rows.push((at.row as usize, row)),
                None => requests.push(RowRequest {
                    shard,
                    row_group,
                    rows: vec![(at.row as usize, row)],
                }),
            }
        }
        requests
    }

    /// Sorts by (sample, view), unless it is sorted already; the order that was applied.
    pub(super) fn sort(&mut self) -> Option<Vec<usize>> {
        let key = |i: usize| (self.sample_ids[i], self.views[i]);
        if (1..self.len()).all(|i| key(i - 1) < key(i)) {
            return None;
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&i| key(i));
        let pick = |of: &[u32]| order.iter().map(|&i| of[i]).collect();
        *self = Self {
            sample_ids: pick(&self.sample_ids),
            views: pick(&self.views),
            labels: pick(&self.labels),
            positions: order.iter().map(|&i| self.positions[i]).collect(),
        };
        Some(order)
    }

    /// The first sample and view that comes twice; rows are sorted.
    pub(super) fn repeated(&self) -> Option<(u32, u32)> {
        let key = |i: usize| (self.sample_ids[i], self.views[i]);
        (1..self.len()).find(|&i| key(i - 1) == key(i)).map(key)
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.sample_ids.extend(other.sample_ids);
        self.views.extend(other.views);
        self.labels.extend(other.labels);
        self.positions.extend(other.positions);
    }
}

impl Rows {
    /// Rows.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Labels and pooled vectors of the clean views (view 0), one row an image.
    pub fn clean(&self) -> (Vec<u32>, Vec<f32>) {
        let clean: Vec<usize> = (0..self.len()).filter(|&row| self.index.views[row] == 0).collect();
        let labels = clean.iter().map(|&row| self.index.labels[row]).collect();
        (labels, clean.iter().flat_map(|&row| self.pooled_of(row)).copied().collect())
    }

    /// `[K]` of one row.
    pub fn pooled_of(&self, row: usize) -> &[f32] {
        let channels = self.pooled.len() / self.len();
        &self.pooled[row * channels..][..channels]
    }

    /// `[L]` of one row.
    pub fn cam_of(&self, row: usize) -> &[f32] {
        let locations = self.cam.len() / self.len();
        &self.cam[row * locations..][..locations]
    }

    /// `[L]` of one row.
    pub fn nonzero_of(&self, row: usize) -> &[bool] {
        let locations = self.nonzero.len() / self.len();
        &self.nonzero[row * locations..][..locations]
    }
}

/// Rows of one request at most, so that several threads have work in one row group.
const REQUEST_ROWS: usize = 512;

/// Some rows of one row group that are wanted.
pub struct RowRequest {
    pub(super) shard: usize,
    pub(super) row_group: usize,
    /// (row within the group, row in the index), ascending.
    pub(super) rows: Vec<(usize, usize)>,
}

impl RowRequest {
    /// The rows (of the index) in the order in which they will come.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.rows.iter().map(|(_, row)| *row)
    }
}

/// Sorts rows by (sample, view), unless they are sorted already.
pub(super) fn in_order(mut rows: Rows) -> Rows {
    let Some(order) = rows.index.sort() else {
        return rows;
    };
    let gather = |of: &dyn Fn(usize) -> Vec<f32>| order.iter().flat_map(|&i| of(i)).collect();
    Rows {
        pooled: gather(&|i| rows.pooled_of(i).to_vec()),
        cam: gather(&|i| rows.cam_of(i).to_vec()),
        nonzero: order.iter().flat_map(|&i| rows.nonzero_of(i).to_vec()).collect(),
        index: rows.index,
    }
}
