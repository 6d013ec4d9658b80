//! What lies in a folder.

use std::collections::BTreeMap;
use std::path::Path;

/// Name and content of every file of a folder.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, std::fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

/// Name and content of every shard of a bank, in the order of their names.
pub fn shards(bank: &Path) -> Vec<(String, Vec<u8>)> {
    files(bank).into_iter().filter(|(name, _)| name.ends_with(".parquet")).collect()
}
