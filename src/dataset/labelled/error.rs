//! What can be wrong with a list of images, and where in it.

use crate::domain::Split;
use crate::text::backticked;
use std::fmt;
use std::path::PathBuf;

/// A part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All of it.
    Whole,
    /// A line, from 1.
    Line(u64),
    /// A row of a table, from 1, its header not counted.
    Row(u64),
    /// An element of a JSON file's `images`, from 0.
    Image(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Line(line) => write!(f, ", line {line}"),
            Self::Row(row) => write!(f, ", row {row}"),
            Self::Image(image) => write!(f, ", images[{image}]"),
        }
    }
}

/// What is wrong there.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// No format has this extension.
    #[error("unknown list format: extension `{extension}`; known: {known}, or none")]
    UnknownFormat {
        /// In lower case.
        extension: String,
        /// The extensions of lists.
        known: String,
    },
    /// An image where a list should be.
    #[error(
        "is an image; expected a folder with one folder of images a class, a list of images or a Parquet table\n  Give the folder that holds the folders of the classes."
    )]
    IsImage,
    /// A folder without lists.
    #[error(
        "is a folder; expected a list, or lists of the images in it\n  Set dataset.train_list and dataset.test_list, or use dataset.kind = \"folder\"."
    )]
    NoTrainList,
    /// A file where the images' folder should be.
    #[error("is a file, but dataset.train_list is set; expected the folder of the images")]
    RootIsFile,
    /// No image.
    #[error("has no image; expected at least one")]
    Empty,
    /// No image of a split.
    #[error("has no image of the split {split}, though it names a split for each image")]
    EmptySplit {
        /// The split.
        split: Split,
    },
    /// Bytes that are not text.
    #[error("not UTF-8 text\n  Save the list as UTF-8.")]
    NotUtf8,
    /// One field only.
    #[error("has no class; expected PATH CLASS, the path relative to the folder of the images")]
    NoLabel,
    /// More than two fields.
    #[error(
        "has more than a path and a class; expected PATH CLASS\n  Give a list with more columns a header row, and the extension .csv or .tsv."
    )]
    MoreColumns,
    /// A row with more or fewer fields than the header.
    #[error("has {found} fields; expected {expected}, as in the header row")]
    FieldCount {
        /// In this row.
        found: u64,
        /// In the first.
        expected: u64,
    },
    /// A quote that is never closed, or a path or label of several lines.
    #[error("a quoted field goes over the end of the line\n  Close the quote.")]
    LineBreak,
    /// A field without content.
    #[error("the {field} is empty")]
    EmptyField {
        /// path or label.
        field: &'static str,
    },
    /// The columns have other names.
    #[error("no column of {what} among {}; known names: {}\n  Rename the column or set dataset.{key}.", backticked(found), known.join(", "))]
    NoColumn {
        /// What the column would hold.
        what: &'static str,
        /// The existing columns.
        found: Vec<String>,
        /// Names that are looked for.
        known: Vec<String>,
        /// The setting that names it.
        key: &'static str,
    },
    /// Rows of columns of 0 and 1 that do not say one class.
    #[error("{} of the columns {} {} 1; expected one, the image's class\n  Remove rows of no class or of several, or the columns that are not classes.", ones.len(), backticked(columns), if ones.len() == 1 { "is" } else { "are" })]
    NotOneHot {
        /// The columns.
        columns: Vec<String>,
        /// Those of them with a 1.
        ones: Vec<String>,
    },
    /// `label_column` names the column of one class out of several.
    #[error(
        "column `{column}` holds 0 and 1, as do {}, and none of them is 1 where it is: each is a class\n  Leave dataset.label_column out, and the columns are the classes. Where `{column}` alone is meant, against all others, remove the others from the list.",
        backticked(others)
    )]
    OneOfOneHot {
        /// The column.
        column: String,
        /// Columns that exclude it.
        others: Vec<String>,
    },
    /// Two columns of yes and no that say a split.
    #[error(
        "the columns `{first}` and `{second}` both say a split; expected one\n  Name one in dataset.split_column, or write a column `split` of train, val and test."
    )]
    TwoSplits {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// A first row of an image.
    #[error(
        "no header row: `{field}` is the name of an image\n  Write a first row such as path,label, or give a list of two columns without one the extension .txt."
    )]
    NoHeader {
        /// A field of the first row.
        field: String,
    },
    /// A first line of names of columns where there are none.
    #[error(
        "is a header row; expected PATH CLASS\n  Remove it, or give the list the extension .csv or .tsv."
    )]
    HeaderRow,
    /// Two columns of one name.
    #[error("two columns are called `{name}`; expected one")]
    TwoColumns {
        /// The name.
        name: String,
    },
    /// A split that none of the words stands for.
    #[error(
        "split `{split}`; expected train, val, validation or test\n  Where another column has the splits, name it in dataset.split_column; if this column is not a split, rename it."
    )]
    UnknownSplit {
        /// The word.
        split: String,
    },
    /// A class with two names.
    #[error("label {label} is both `{first}` and `{second}`; expected one name a label")]
    TwoNames {
        /// The label.
        label: String,
        /// Its name so far.
        first: String,
        /// Its name here.
        second: String,
    },
    /// A number below 0.
    #[error("label {label}; expected 0 or more\n  Remove images without a label.")]
    NegativeLabel {
        /// The label.
        label: String,
    },
    /// Labels that leave a number out.
    #[error(
        "label {next}, but no training image has label {missing}; expected labels 0 to C - 1 without a gap\n  Renumber the classes, or write their names in place of numbers."
    )]
    LabelGap {
        /// The smallest number that is missing.
        missing: i64,
        /// The smallest one beyond it.
        next: i64,
    },
    /// A label beyond the classes of the training split.
    #[error(
        "label `{label}` is beyond the classes: none of the {classes} classes of the training split has it\n  Train on images of it, or remove them here."
    )]
    UnknownLabel {
        /// The label.
        label: String,
        /// How many classes there are.
        classes: usize,
    },
    /// Splits that do not agree on a class.
    #[error(
        "label {label} is `{name}`; in the training split it is `{train}`\n  The lists are of different data."
    )]
    OtherName {
        /// The label.
        label: String,
        /// Here.
        name: String,
        /// There.
        train: String,
    },
    /// A path that leads out of the folder.
    #[error("`{image}` leads out of the folder of the images, {}; expected a path below it\n  {remedy}", root.display())]
    OutsideRoot {
        /// The path.
        image: String,
        /// The folder.
        root: PathBuf,
        /// What to do.
        remedy: String,
    },
    /// Images that were not found under any name.
    #[error("the first images are missing: no {}\n  {remedy}", tried.join(", no "))]
    NotFound {
        /// Where the first was looked for.
        tried: Vec<String>,
        /// What to do.
        remedy: String,
    },
    /// A name that several files have.
    #[error(
        "`{image}` is missing, and several files could be meant: {}\n  {remedy}",
        backticked(files)
    )]
    Ambiguous {
        /// As the list has it.
        image: String,
        /// Files of that name.
        files: Vec<String>,
        /// What to do.
        remedy: String,
    },
    /// Not the JSON of a list.
    #[error(
        "not a list of images: {message}; expected images (id, file_name), annotations (image_id, category_id) and categories (id, name)"
    )]
    Syntax {
        /// The parser's message, with line and column.
        message: String,
    },
    /// Two elements of one id.
    #[error("two elements of {what} have the id {id}; expected different ids")]
    TwoIds {
        /// images or categories.
        what: &'static str,
        /// Their id.
        id: String,
    },
    /// An annotation of an image that does not exist.
    #[error("annotation {annotation} has image_id {image}; no image has that id")]
    NoImage {
        /// Its id, or its place.
        annotation: String,
        /// The image's.
        image: String,
    },
    /// An annotation of a category that does not exist.
    #[error("annotation {annotation} has category_id {category}; no category has that id")]
    NoCategory {
        /// Its id, or its place.
        annotation: String,
        /// The category's.
        category: String,
    },
    /// An image of unknown class.
    #[error(
        "image {image} (`{file_name}`) has no annotation; expected one an image\n  Remove it from images, or annotate it."
    )]
    NoAnnotation {
        /// Its id.
        image: String,
        /// Its file.
        file_name: String,
    },
    /// An image of two classes.
    #[error(
        "image {image} (`{file_name}`) has annotations of the classes `{first}` and `{second}`; expected one class an image\n  Remove the image, or the annotations of all but one class."
    )]
    TwoClasses {
        /// Its id.
        image: String,
        /// Its file.
        file_name: String,
        /// Name of one class.
        first: String,
        /// Of the other.
        second: String,
    },
}
