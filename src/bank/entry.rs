//! What the manifest says of a finished shard: its length, its rows, and a checksum for each range of its
//! bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;

use super::BankError;
use super::manifest::{Checksum, RowGroupEntry, ShardEntry};
use super::map_spec::MapSpec;
use super::schema::FileColumns;
use super::shard::file_sha256;
use crate::domain::Split;
use crate::untrusted_parquet::{Chunk, Column, Footer, Group};

impl ShardEntry {
    /// The entry of the shard `file`, of rows of `split` in a bank with these maps, which will have the name
    /// `name`.
    ///
    /// # Errors
    /// The file cannot be read, or its footer is not that of such a shard. Its pages are not read.
    ///
    /// # Cost
    /// Reads the whole file twice, at most one column chunk (a page of maps) for each thread in memory.
    pub fn of(name: &str, file: &File, split: Split, maps: &[MapSpec]) -> Result<Self, BankError> {
        Self::with_sha256(name, file, split, maps, || file_sha256(file).map(|(sha256, _)| sha256))
    }

    /// The same where the file's sha256 is already known.
    pub(super) fn with_sha256(
        name: &str,
        file: &File,
        split: Split,
        maps: &[MapSpec],
        sha256: impl FnOnce() -> io::Result<String> + Send,
    ) -> Result<Self, BankError> {
        let path = Path::new(name);
        let read = |source| BankError::Read { path: path.into(), source };
        let content = |found| BankError::Content {
            path: path.into(),
            found,
            expected: "a shard of this format".into(),
        };
        let contract = FileColumns::of_split(split, maps).contract();
        let bytes = file.metadata().map_err(read)?.len();
        let metadata = at(file, bytes, Footer::metadata_range(file, bytes).map_err(read)?);
        let footer_offset = Footer::begin(&metadata.map_err(read)?).map_err(content)?;
        let behind = bytes.checked_sub(footer_offset);
        let behind = behind.ok_or_else(|| content("chunks after its end".into()))?;
        let tail = at(file, bytes, (footer_offset, behind)).map_err(read)?;
        let footer = contract.read(&tail, footer_offset, footer_offset).map_err(content)?;
        let checksums = || {
            let group = |group: &Group| {
                let columns = group.chunks.iter().zip(contract.columns().iter());
                let of_column = |(chunk, column): (&Chunk, &Column)| {
                    let spans = chunk.checked_spans(column).into_iter();
                    spans.map(|span| Ok(Checksum::of(&at(file, bytes, span)?))).collect()
                };
                let columns = columns.map(of_column).collect::<io::Result<_>>()?;
                Ok(RowGroupEntry { rows: group.rows, columns })
            };
            footer.groups.par_iter().map(group).collect::<io::Result<Vec<_>>>()
        };
        let (sha256, row_groups) = rayon::join(sha256, checksums);
        let (sha256, row_groups) = (sha256.map_err(read)?, row_groups.map_err(read)?);
        Ok(Self {
            file: name.into(),
            rows: row_groups.iter().map(|group| group.rows).sum(),
            bytes,
            sha256,
            items: None,
            footer_offset,
            footer_xxh3: Checksum::of(&tail),
            row_groups,
        })
    }
}

/// A range of a file of `bytes`, as (start, length).
fn at(file: &File, bytes: u64, (start, length): (u64, u64)) -> io::Result<Vec<u8>> {
    if start.checked_add(length).is_none_or(|end| end > bytes) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut content = vec![0; length as usize];
    file.read_exact_at(&mut content, start)?;
    Ok(content)
}
