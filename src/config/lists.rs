//! The keys of `[dataset]` that say where lists of images are and how they are read.

use std::path::Path;

use super::ranges::Rule;
use super::{DatasetConfig, DatasetKind};

impl DatasetConfig {
    /// Makes the lists that are in `folder` absolute; the others are inside `path`, which the command
    /// line may still change.
    pub(super) fn find_lists(&mut self, folder: &Path) {
        for list in [&mut self.train_list, &mut self.test_list, &mut self.val_list] {
            let here = folder.join(&*list);
            if here.is_file()
                && let Ok(here) = std::path::absolute(here)
            {
                *list = here;
            }
        }
    }
}

/// Keys that other kinds of data, or other keys, would leave unused.
pub(super) fn rules(d: &DatasetConfig) -> Vec<Rule> {
    const LIST: &str = "left out, or dataset.kind = \"list\"";
    const LIST_OR_TABLE: &str = "left out, or dataset.kind = \"list\" or \"parquet\"";
    let (list, table) = (d.kind == DatasetKind::List, d.kind == DatasetKind::Parquet);
    let lists = [
        ("dataset.train_list", &d.train_list),
        ("dataset.test_list", &d.test_list),
        ("dataset.val_list", &d.val_list),
    ];
    let columns = [
        ("dataset.path_column", &d.path_column),
        ("dataset.label_column", &d.label_column),
        ("dataset.split_column", &d.split_column),
    ];
    let given = |path: &Path| !path.as_os_str().is_empty();
    let shown = |path: &Path| path.display().to_string();
    let alone = !given(&d.train_list);
    let mut rules: Vec<Rule> = vec![(
        !list && !table && !d.path_rewrites.is_empty(),
        "dataset.path_rewrites",
        format!("{:?}", d.path_rewrites),
        LIST_OR_TABLE,
    )];
    for (key, path) in lists {
        rules.push((!list && given(path), key, shown(path), LIST));
        rules.push((alone && given(path), key, shown(path), "given with dataset.train_list"));
    }
    rules.extend(columns.map(|(key, column)| {
        (!list && !table && !column.is_empty(), key, column.clone(), LIST_OR_TABLE)
    }));
    rules
}
