//! Which columns of a table hold an image's path, its label, its class's name and its split.

use super::ListError;
use crate::config::DatasetConfig;

const PATHS: [&str; 12] = [
    "path",
    "file_path",
    "filepath",
    "file",
    "file_name",
    "filename",
    "image_path",
    "image",
    "image_file",
    "image_name",
    "img_path",
    "img",
];
const LABELS: [&str; 14] = [
    "label",
    "labels",
    "class",
    "class_name",
    "category",
    "category_name",
    "species",
    "target",
    "category_id",
    "class_id",
    "label_id",
    "fine_label",
    "class_label",
    "y",
];
/// Names of classes besides labels that are numbers.
const NAMES: [&str; 3] = ["class_name", "category_name", "label_name"];
const SPLITS: [&str; 3] = ["split", "subset", "partition"];

/// Places in the header.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Columns {
    pub(in crate::dataset) path: Option<usize>,
    pub(in crate::dataset) label: usize,
    pub(in crate::dataset) name: Option<usize>,
    pub(in crate::dataset) split: Option<usize>,
}

/// Finds the columns: those that the settings name, else the first known name that is there; a path need
/// not be.
pub(in crate::dataset) fn find(
    config: &DatasetConfig,
    header: &[&str],
) -> Result<Columns, ListError> {
    let path = column(header, &config.path_column, &PATHS, ("image paths", "path_column"))?;
    let label = column(header, &config.label_column, &LABELS, ("labels", "label_column"))?;
    let split = column(header, &config.split_column, &SPLITS, ("splits", "split_column"))?;
    let name = column(header, "", &NAMES, ("class names", ""))?;
    let label = label.ok_or_else(|| absent(header, &LABELS, ("labels", "label_column")))?;
    Ok(Columns { path, label, split, name: name.filter(|&name| name != label) })
}

/// The error of a list without a column of paths.
pub(in crate::dataset) fn no_path(header: &[&str]) -> ListError {
    absent(header, &PATHS, ("image paths", "path_column"))
}

/// The place of the column called `given` or, where that is empty, of the first of `known`.
fn column(
    header: &[&str],
    given: &str,
    known: &[&str],
    what: (&'static str, &'static str),
) -> Result<Option<usize>, ListError> {
    if !given.is_empty() {
        let found = place(header, |name| name == given)?;
        return found.map(Some).ok_or_else(|| absent(header, &[given], what));
    }
    for word in known {
        let found = place(header, |name| name.eq_ignore_ascii_case(word))?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The only column whose name `is` accepts.
fn place(header: &[&str], is: impl Fn(&str) -> bool) -> Result<Option<usize>, ListError> {
    let mut places = (0..header.len()).filter(|&i| is(header[i].trim()));
    match (places.next(), places.next()) {
        (Some(first), Some(_)) => Err(ListError::TwoColumns { name: header[first].into() }),
        (first, _) => Ok(first),
    }
}

fn absent(header: &[&str], known: &[&str], what: (&'static str, &'static str)) -> ListError {
    let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();
    ListError::NoColumn { what: what.0, found: owned(header), known: owned(known), key: what.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_and_those_of_the_settings_are_found() {
        let mut config = DatasetConfig::default();
        let found = |config: &_, header: &[&str]| find(config, header);
        assert_eq!(
            found(&config, &["id", "Split", "File_Name", "label", "class_name"]).unwrap(),
            Columns { path: Some(2), label: 3, name: Some(4), split: Some(1) }
        );
        let only = found(&config, &["image", "class_name"]).unwrap();
        assert_eq!(only, Columns { path: Some(0), label: 1, name: None, split: None });
        config.label_column = "genus".into();
        assert_eq!(found(&config, &["path", "label", "genus"]).unwrap().label, 2);
        let absent = found(&config, &["path", "label"]).unwrap_err().to_string();
        assert!(absent.contains("among `path`, `label`; known names: genus"), "{absent}");
        let twice = found(&DatasetConfig::default(), &["path", "label", "label"]).unwrap_err();
        assert!(matches!(twice, ListError::TwoColumns { name } if name == "label"));
    }
}
