//! Which columns of a table hold an image's path, its label, its class's name and its split.

use super::error::ListError;
use super::one_hot::{Indicators, yes_or_no};
use super::sought::{OfKind, Sought};
use crate::config::DatasetConfig;
use crate::dataset::error::DatasetError;
use crate::domain::Split;
use crate::text::backticked;

const PATHS: [&str; 13] = [
    "path",
    "file_path",
    "filepath",
    "file",
    "file_name",
    "filename",
    "fname",
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
/// Names of classes, in addition to labels that are numbers.
const NAMES: [&str; 3] = ["class_name", "category_name", "label_name"];
const SPLITS: [&str; 3] = ["split", "subset", "partition"];
/// The splits of no and of yes.
type Flag = [Split; 2];
/// Columns of yes and no that say a split; the first is fastai's.
const FLAGS: [(&str, Flag); 6] = [
    ("is_valid", [Split::Train, Split::Val]),
    ("is_val", [Split::Train, Split::Val]),
    ("is_validation", [Split::Train, Split::Val]),
    ("is_test", [Split::Train, Split::Test]),
    ("is_train", [Split::Test, Split::Train]),
    ("is_training", [Split::Test, Split::Train]),
];
/// What names an image where nothing else does: a file's name, with or without its extension.
const IDS: [&str; 4] = ["image_id", "img_id", "id_code", "id"];
/// What fastai calls a column of files; others call one of classes so.
const NAME: &str = "name";
/// Names of an index that pandas writes.
const INDICES: [&str; 3] = ["", "unnamed: 0", "index"];

/// Places in the header.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dataset) struct Columns {
    pub(in crate::dataset) path: Option<usize>,
    /// What names the images of a list without paths.
    pub(in crate::dataset) id: Option<usize>,
    pub(in crate::dataset) label: Labels,
    pub(in crate::dataset) name: Option<usize>,
    pub(in crate::dataset) split: Option<usize>,
    /// Of a split column of yes and no, what each of them means.
    pub(in crate::dataset) flag: Option<Flag>,
    /// Whether the split column is known by its values alone.
    pub(in crate::dataset) split_by_values: bool,
}

/// Where the labels are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dataset) enum Labels {
    Column(usize),
    /// A column for each class, with 1 in the rows of its images.
    OneHot(Vec<usize>),
}

impl Columns {
    /// What a field of the split column says, as a split's name.
    pub(in crate::dataset) fn split_word<'a>(&self, field: &'a str) -> &'a str {
        match self.flag.zip(yes_or_no(field)) {
            Some((splits, yes)) => splits[usize::from(yes)].name(),
            None => field,
        }
    }

    /// What was taken for what.
    pub(in crate::dataset) fn notes(&self, header: &[&str]) -> Vec<String> {
        let mut notes = vec![];
        if let (Some([no, yes]), Some(split)) = (self.flag, self.split) {
            let column = header[split].trim();
            notes.push(format!(
                "column `{column}` is taken for the split: {yes} where it is true, else {no}"
            ));
        }
        if let Some(split) = self.split.filter(|_| self.split_by_values) {
            let column = header[split].trim();
            notes
                .push(format!("column `{column}` is taken for the split: all its values name one"));
        }
        if let Labels::OneHot(columns) = &self.label {
            let names: Vec<String> = columns.iter().map(|&c| header[c].trim().into()).collect();
            notes.push(format!(
                "the {} columns {} are taken for the classes, one of them 1 in each row",
                names.len(),
                backticked(&names)
            ));
        }
        notes
    }
}

/// Finds the columns: those that the settings name, else the first known name that exists; a path need
/// not be. Without a column of labels, columns of 0 and 1 are the classes; without one of splits, the only
/// one of words for splits is it. `look` passes rows to those that may be such.
pub(in crate::dataset) fn find(
    config: &DatasetConfig,
    header: &[&str],
    look: impl Fn(&mut dyn Sought) -> Result<(), DatasetError>,
    wrong: impl Fn(ListError) -> DatasetError,
) -> Result<Columns, DatasetError> {
    let mut columns = named(config, header).map_err(&wrong)?;
    by_values(&mut columns, header, &look)?;
    let Labels::Column(label) = columns.label else { return Ok(columns) };
    let given = !config.label_column.is_empty();
    let label = (label < header.len()).then_some(label);
    if label.is_some() && !given {
        return Ok(columns);
    }
    let known = [columns.path, columns.name, columns.split];
    let is_index = |i: usize| {
        let name = header[i].trim().to_ascii_lowercase();
        known.contains(&Some(i)) || IDS.contains(&name.as_str()) || INDICES.contains(&name.as_str())
    };
    let others = (0..header.len()).filter(|&i| !is_index(i)).collect();
    let mut indicators = Indicators::new(others, label);
    look(&mut indicators)?;
    let names = |columns: &[usize]| columns.iter().map(|&i| header[i].trim().into()).collect();
    if let Some(label) = label {
        return match indicators.exclusive() {
            others if others.is_empty() => Ok(columns),
            others => Err(wrong(ListError::OneOfOneHot {
                column: header[label].trim().into(),
                others: names(&others),
            })),
        };
    }
    let found = indicators.found();
    if found.len() < 2 {
        return Err(wrong(absent(header, &LABELS, ("labels", "label_column"))));
    }
    columns.label = Labels::OneHot(found);
    Ok(columns)
}

/// The columns of paths and of splits that names do not tell.
fn by_values(
    columns: &mut Columns,
    header: &[&str],
    look: impl Fn(&mut dyn Sought) -> Result<(), DatasetError>,
) -> Result<(), DatasetError> {
    let name = place(header, |name| name.eq_ignore_ascii_case(NAME)).ok().flatten();
    if let Some(name) =
        name.filter(|&name| columns.path.is_none() && columns.label != Labels::Column(name))
    {
        let mut images = OfKind::images(vec![name]);
        look(&mut images)?;
        columns.path = images.only_with("");
    }
    if columns.split.is_none() {
        let known = [columns.path, columns.id, columns.name];
        let is_other =
            |i: &usize| !known.contains(&Some(*i)) && columns.label != Labels::Column(*i);
        let mut splits = OfKind::splits((0..header.len()).filter(is_other).collect());
        look(&mut splits)?;
        columns.split = splits.only_with(Split::Train.name());
        columns.split_by_values = columns.split.is_some();
    }
    Ok(())
}

/// The columns by their names; the label's place is beyond the header where none has a known one.
fn named(config: &DatasetConfig, header: &[&str]) -> Result<Columns, ListError> {
    let path = column(header, &config.path_column, &PATHS, ("image paths", "path_column"))?;
    let ids = || column(header, "", &IDS, ("image ids", ""));
    let id = if path.is_none() { ids()? } else { None };
    let label = column(header, &config.label_column, &LABELS, ("labels", "label_column"))?;
    let (split, flag) = split(config, header)?;
    let name = column(header, "", &NAMES, ("class names", ""))?.filter(|&name| Some(name) != label);
    let label = Labels::Column(label.unwrap_or(header.len()));
    Ok(Columns { path, id, label, name, split, flag, split_by_values: false })
}

/// The column of splits and, where it is one of yes and no, what each means.
fn split(
    config: &DatasetConfig,
    header: &[&str],
) -> Result<(Option<usize>, Option<Flag>), ListError> {
    let words = column(header, &config.split_column, &SPLITS, ("splits", "split_column"))?;
    let flag_of = |i: usize| {
        let is = |(name, _): &&(&str, _)| header[i].trim().eq_ignore_ascii_case(name);
        FLAGS.iter().find(is).map(|(_, words)| (i, *words))
    };
    if let Some(split) = words {
        return Ok((Some(split), flag_of(split).map(|(_, words)| words)));
    }
    let flags: Vec<(usize, Flag)> = (0..header.len()).filter_map(flag_of).collect();
    match flags.as_slice() {
        [] => Ok((None, None)),
        [(split, words)] => Ok((Some(*split), Some(*words))),
        [first, second, ..] => Err(ListError::TwoSplits {
            first: header[first.0].trim().into(),
            second: header[second.0].trim().into(),
        }),
    }
}

/// Whether these are names of a column of paths and of one of labels.
pub(in crate::dataset) fn are_names(path: &str, label: &str) -> bool {
    let known =
        |names: &[&str], word: &str| names.iter().any(|name| name.eq_ignore_ascii_case(word));
    (known(&PATHS, path) || known(&IDS, path)) && known(&LABELS, label)
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
        let header = ["id", "Split", "File_Name", "label", "class_name"];
        let found = named(&config, &header).unwrap();
        let label = Labels::Column(3);
        let columns = Columns {
            path: Some(2),
            id: None,
            label,
            name: Some(4),
            split: Some(1),
            flag: None,
            split_by_values: false,
        };
        assert_eq!(found, columns);
        let only = named(&config, &["image", "class_name"]).unwrap();
        assert_eq!((only.path, only.label, only.name), (Some(0), Labels::Column(1), None));
        config.label_column = "genus".into();
        let genus = named(&config, &["path", "label", "genus"]).unwrap();
        assert_eq!(genus.label, Labels::Column(2));
        let absent = named(&config, &["path", "label"]).unwrap_err().to_string();
        assert!(absent.contains("among `path`, `label`; known names: genus"), "{absent}");
        let twice = named(&DatasetConfig::default(), &["path", "label", "label"]).unwrap_err();
        assert!(matches!(twice, ListError::TwoColumns { name } if name == "label"));
    }

    #[test]
    fn a_column_of_yes_and_no_says_the_split() {
        let mut config = DatasetConfig::default();
        let words = |config: &_, header: &[&str]| {
            let found = named(config, header).unwrap();
            ["True", "0", "test"].map(|field| found.split_word(field).to_string())
        };
        assert_eq!(words(&config, &["path", "label", "is_valid"]), ["val", "train", "test"]);
        assert_eq!(words(&config, &["path", "label", "Is_Train"]), ["train", "test", "test"]);
        // A column of names is preferred.
        assert_eq!(words(&config, &["split", "label", "is_valid"]), ["True", "0", "test"]);
        let two = ["label", "is_valid", "is_test"];
        assert!(matches!(named(&config, &two), Err(ListError::TwoSplits { .. })));
        config.split_column = "is_test".into();
        assert_eq!(words(&config, &two), ["test", "train", "test"]);
    }
}
