//! Names of a network's classes, in the order of its outputs: read as other programs write them, and matched
//! by name with the classes of images, so that each class of a bank gets its own row of the classifier.

mod metadata;
mod python;
mod text;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::dataset::nfc;
use crate::domain::LinearHead;

pub use metadata::OfMetadata;

/// What can be wrong with names of classes.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is not a list of names.
    #[error("{}: not a list of class names; expected one a line in the order of the network's outputs, a JSON list, a JSON object by number, or a config.json with `id2label` or `label_names`", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// More or fewer names than outputs.
    #[error(
        "{source_text}: {found} names; the classifier has {expected} classes\n  Give one name for each of its outputs, in their order."
    )]
    Count {
        /// Where the names are from.
        source_text: String,
        /// How many.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A class of the images that the network does not have.
    #[error(
        "{source_text}: `{class}`, class {number} of the images, is not among the network's {classes} classes ({names})\n  Give the names of the network's outputs, in their order, with --labels FILE, or fit a classifier for these images: features --head fit."
    )]
    Unmatched {
        /// Where the names are from.
        source_text: String,
        /// The first that is missing.
        class: String,
        /// Its number.
        number: usize,
        /// The network's classes.
        classes: usize,
        /// The first of them.
        names: String,
    },
}

/// Names of a network's classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// In the order of its outputs.
    pub names: Vec<String>,
    /// Where they are from, in words.
    pub source: String,
    /// Whether they must be those of the images: names that another program left may be of another language
    /// or the numbers of a placeholder.
    pub certain: bool,
}

/// How the classes of a network and of images go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// Class by class.
    Same,
    /// The row of the classifier that each class of the images has: the same classes in another order.
    Order(Vec<usize>),
    /// The same where the network has further classes.
    Part(Vec<usize>),
    /// By their numbers, because no name of the one is one of the other.
    Unknown,
    /// By their numbers, because there are not as many names as these outputs.
    Uncounted(usize),
}

/// A larger file is not a list of names.
const MOST_BYTES: u64 = 1 << 24;
/// Names shown in a message at most.
const SHOWN: usize = 5;

impl Labels {
    /// Reads a file of names: one a line, JSON, or a `config.json`.
    ///
    /// # Errors
    /// It cannot be read, or is not such a list.
    pub fn read(path: &Path) -> Result<Self, LabelsError> {
        let read = |source| LabelsError::Read { path: path.into(), source };
        let bytes = crate::regular_file::read(path, MOST_BYTES).map_err(read)?;
        let format = || LabelsError::Format { path: path.into() };
        let content = std::str::from_utf8(&bytes).map_err(|_| format())?;
        let names = text::parse(content).ok_or_else(format)?;
        Ok(Self { names, source: path.display().to_string(), certain: true })
    }

    /// How the network's `classes` outputs and the classes of images go together: by names that are the same
    /// in Unicode's form C or, where these do not fit, but for case and the marks between words.
    ///
    /// # Errors
    /// Names that must fit do not.
    pub fn fit(&self, classes: usize, images: &[String]) -> Result<Fit, LabelsError> {
        if self.names.len() != classes {
            let (source_text, found) = (self.source.clone(), self.names.len());
            return match self.certain {
                true => Err(LabelsError::Count { source_text, found, expected: classes }),
                false => Ok(Fit::Uncounted(classes)),
            };
        }
        let exact = rows(&self.names, images, |name| nfc(name).into_owned());
        match exact.or_else(|_| rows(&self.names, images, loose)) {
            Ok(rows) if rows.len() < classes => Ok(Fit::Part(rows)),
            Ok(rows) if rows.iter().enumerate().all(|(i, &row)| i == row) => Ok(Fit::Same),
            Ok(rows) => Ok(Fit::Order(rows)),
            Err(missing) if missing.others > 0 || self.certain => Err(LabelsError::Unmatched {
                source_text: self.source.clone(),
                class: images[missing.class].clone(),
                number: missing.class,
                classes,
                names: first_names(&self.names),
            }),
            Err(_) => Ok(Fit::Unknown),
        }
    }

    /// Whether classes of images are found by their names.
    pub fn decide(&self, classes: usize, images: &[String]) -> bool {
        matches!(self.fit(classes, images), Ok(Fit::Same | Fit::Order(_) | Fit::Part(_)))
    }

    /// The note for the user.
    pub fn told(&self, fit: &Fit, images: &[String]) -> Option<String> {
        let source = &self.source;
        match fit {
            Fit::Same => None,
            Fit::Order(rows) => {
                let moved: Vec<String> = rows
                    .iter()
                    .enumerate()
                    .filter(|(class, row)| class != *row)
                    .map(|(class, row)| format!("{row} `{}`", images[class]))
                    .collect();
                Some(format!(
                    "{source}: the network has the classes of the images in another order; each class gets its own output: {}",
                    listed(&moved)
                ))
            }
            Fit::Part(rows) => {
                let left_out = (0..self.names.len()).filter(|row| !rows.contains(row));
                let left_out: Vec<String> = left_out.map(|row| self.names[row].clone()).collect();
                Some(format!(
                    "{source}: the network has {} classes, the images {} of them: the classifier is the rows of these alone, and its confidences are among them; left out: {}",
                    self.names.len(),
                    rows.len(),
                    first_names(&left_out)
                ))
            }
            Fit::Uncounted(classes) => Some(format!(
                "{source}: {} names for {classes} outputs are not used; outputs and classes are taken to be in the same order\n  Give the network's own with --labels FILE, one a line.",
                self.names.len()
            )),
            Fit::Unknown => Some(format!(
                "{source}: none of the {} names ({}) is a class of the images ({}); outputs and classes are taken to be in the same order\n  Give the network's own with --labels FILE, one a line.",
                self.names.len(),
                first_names(&self.names),
                first_names(images)
            )),
        }
    }
}

impl Fit {
    /// The classifier with a row for each class of the images.
    pub fn head(&self, head: &LinearHead) -> LinearHead {
        match self {
            Self::Same | Self::Unknown | Self::Uncounted(_) => head.clone(),
            Self::Order(rows) | Self::Part(rows) => head.rows(rows),
        }
    }

    /// Whether the user should check what it says.
    pub fn is_doubtful(&self) -> bool {
        !matches!(self, Self::Same | Self::Order(_))
    }
}

/// A class of images without an output, and how many have one.
struct Missing {
    class: usize,
    others: usize,
}

/// The output of each class of the images whose `key` is the same; each key must be one output's and one
/// class's.
fn rows(
    network: &[String],
    images: &[String],
    key: impl Fn(&str) -> String,
) -> Result<Vec<usize>, Missing> {
    let mut outputs: HashMap<String, Option<usize>> = HashMap::new();
    for (output, name) in network.iter().enumerate() {
        // Of a name that comes twice it is not known which is meant.
        outputs.entry(key(name)).and_modify(|o| *o = None).or_insert(Some(output));
    }
    let found: Vec<Option<usize>> =
        images.iter().map(|name| outputs.remove(&key(name)).flatten()).collect();
    let others = found.iter().flatten().count();
    let missing = found.iter().position(Option::is_none);
    missing.map_or_else(
        || Ok(found.into_iter().flatten().collect()),
        |class| Err(Missing { class, others }),
    )
}

/// A name but for case and the marks between its words.
fn loose(name: &str) -> String {
    let words = nfc(name).to_lowercase();
    let words: Vec<&str> = words
        .split(|c: char| c.is_whitespace() || c == '_' || c == '-')
        .filter(|w| !w.is_empty())
        .collect();
    words.join(" ")
}

fn first_names(names: &[String]) -> String {
    listed(&names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>())
}

fn listed(items: &[String]) -> String {
    let more = if items.len() > SHOWN {
        format!(", and {} more", items.len() - SHOWN)
    } else {
        String::new()
    };
    items[..items.len().min(SHOWN)].join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split(',').map(String::from).collect()
    }

    fn labels(text: &str, certain: bool) -> Labels {
        Labels { names: names(text), source: "net.onnx".into(), certain }
    }

    #[test]
    fn classes_are_matched_by_name() {
        let fit = |network: &str, images: &str| {
            labels(network, true).fit(network.split(',').count(), &names(images))
        };
        let found = |network: &str, images: &str| fit(network, images).unwrap();
        assert_eq!(found("ant,bee", "ant,bee"), Fit::Same);
        assert_eq!(found("bee,cat,ant", "ant,bee,cat"), Fit::Order(vec![2, 0, 1]));
        assert_eq!(found("bee,cat,ant", "ant,cat"), Fit::Part(vec![2, 1]));
        assert_eq!(found("0,1,2,10", "0,1,10,2"), Fit::Order(vec![0, 1, 3, 2]));
        // Two forms of one letter; case and underscores, where the exact names do not fit.
        assert_eq!(found("h\u{e9}ron,ant", "ant,he\u{301}ron"), Fit::Order(vec![1, 0]));
        assert_eq!(found("Barn Owl,ANT", "ant,barn_owl"), Fit::Order(vec![1, 0]));
        assert_eq!(found("Ant,ant", "Ant,ant"), Fit::Same);
        // Twice in the network: only a class of the images must be known.
        assert_eq!(found("crane,crane,ant,bee", "bee,ant"), Fit::Part(vec![3, 2]));
        for (network, images, class) in [
            ("crane,crane,ant", "ant,crane", "crane"),
            ("Ant,bee", "ant,ANT", "ANT"),
            ("ant,bee", "ant,fox", "fox"),
        ] {
            let message = fit(network, images).unwrap_err().to_string();
            assert!(message.contains(&format!("net.onnx: `{class}`, class 1")), "{message}");
            assert!(message.contains("--labels FILE"), "{message}");
        }
    }

    #[test]
    fn names_of_another_program_may_be_of_another_kind() {
        let fit = |network: &str, classes, images: &str| {
            labels(network, false).fit(classes, &names(images))
        };
        assert_eq!(fit("tench,shark", 2, "n01440764,n01484850").unwrap(), Fit::Unknown);
        assert_eq!(fit("ant,bee,cat", 2, "bee,ant").unwrap(), Fit::Uncounted(2));
        assert!(fit("tench,shark", 2, "shark,goldfish").is_err());
        assert!(matches!(
            labels("ant,bee,cat", true).fit(2, &names("bee,ant")),
            Err(LabelsError::Count { found: 3, expected: 2, .. })
        ));
    }
}
