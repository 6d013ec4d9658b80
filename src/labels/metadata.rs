//! Names of classes in the metadata of ONNX files, as other programs write them.

use super::{Labels, SHOWN, first_names, text};
use crate::backbone::onnx::OnnxFile;

/// Keys under which exporters write names, in letters of either case; the earlier ones are taken first.
const KEYS: [&str; 10] = [
    "names",
    "class_names",
    "classes",
    "labels",
    "label_names",
    "id2label",
    "class_to_idx",
    "label2id",
    "idx_to_class",
    "vocab",
];
/// The same, with other things beside the names.
const CONFIG_KEYS: [&str; 2] = ["config", "model_config"];

/// The names that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OfMetadata {
    /// The names.
    pub labels: Option<Labels>,
    /// What of it the user should check, in sentences.
    pub doubts: Vec<String>,
}

/// One entry of them.
struct Entry<'a> {
    key: &'a str,
    said: &'a str,
    /// Its names; none where they cannot be read.
    names: Option<Vec<String>>,
}

/// The entries with names, those of the earlier keys first.
fn entries(file: &OnnxFile) -> impl Iterator<Item = Entry<'_>> {
    KEYS.into_iter().chain(CONFIG_KEYS).flat_map(move |known| {
        let of_key =
            file.metadata_entries().filter(move |(key, _)| key.eq_ignore_ascii_case(known));
        of_key.filter_map(move |(key, said)| {
            let names = text::parse(said).filter(|names| names.len() > 1);
            let is_config = CONFIG_KEYS.contains(&known);
            // A count, a switch, or settings without names.
            let other = match is_config {
                true => names.is_none() || !said.trim_start().starts_with('{'),
                false => {
                    let said = said.trim();
                    said.is_empty()
                        || serde_json::from_str::<f64>(said).is_ok()
                        || said.parse::<bool>().is_ok()
                }
            };
            (!other).then_some(Entry { key, said, names })
        })
    })
}

impl OfMetadata {
    /// What another program wrote into an ONNX file.
    pub fn of(file: &OnnxFile) -> Self {
        let (mut labels, mut doubts) = (None::<(Labels, &str)>, vec![]);
        let path = file.path().display();
        for Entry { key, said, names } in entries(file) {
            let Some(names) = names else {
                let shown: String = said.chars().take(12 * SHOWN).collect();
                doubts.push(format!(
                    "{path}: metadata `{key}` is not a known list of class names (numbers are from 0) and is not used: {shown}\n  Give the names of the network's outputs with --labels FILE, one a line in their order."
                ));
                continue;
            };
            let placeholder = |(i, name): (usize, &String)| *name == format!("LABEL_{i}");
            if names.iter().enumerate().all(placeholder) {
                continue;
            }
            match &labels {
                None => {
                    let source = format!("{path}: metadata `{key}`");
                    labels = Some((Labels { names, source, certain: false }, key));
                }
                Some((taken, first)) if taken.names != names => doubts.push(format!(
                    "{path}: metadata `{first}` and `{key}` have other names or another order ({}; {}); those of `{first}` are taken\n  Give the right ones with --labels FILE, one a line.",
                    first_names(&taken.names),
                    first_names(&names)
                )),
                Some(_) => {}
            }
        }
        Self { labels: labels.map(|(labels, _)| labels), doubts }
    }

    /// Entries of an ONNX file's metadata that have other names than these, with these in the same form; an empty text
    /// in place of what cannot have them, or cannot be read.
    pub fn renewed(file: &OnnxFile, names: &[String]) -> Vec<(String, String)> {
        let renew = |Entry { key, said, names: old }: Entry| {
            let new = old.and_then(|_| text::renewed(said, names)).unwrap_or_default();
            (new.is_empty() || !text::same(said, &new)).then(|| (key.to_string(), new))
        };
        entries(file).filter_map(renew).collect()
    }
}
