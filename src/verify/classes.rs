//! `classifier.safetensors` and `classes.parquet`: each by itself, and against each other.

use super::findings::{Finding, FindingKind};
use crate::bank::{
    BankError, BankFiles, CLASSES_FILE, CLASSIFIER_FILE, ClassTable, MANIFEST_FILE, Manifest,
    MapsKept, read_file,
};
use crate::classifier_file::ClassifierCard;
use crate::domain::LinearHead;
use crate::weights::Weights;

/// The classes and the classifier, without what is damaged.
#[derive(Default)]
pub(super) struct Classes {
    pub(super) head: Option<LinearHead>,
    /// Names in the classifier's file, where it has them.
    card_names: Option<Vec<String>>,
    table: Option<ClassTable>,
}

impl Classes {
    /// Reads both files and checks them.
    pub(super) fn read(
        files: &dyn BankFiles,
        manifest: &Manifest,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut classes = Self::default();
        if let Some(content) = content(files, manifest, CLASSIFIER_FILE, findings) {
            match classifier(files, manifest, &content) {
                Ok((head, card)) => {
                    classes.head = Some(head);
                    classes.card_names = Some(card.class_names).filter(|names| !names.is_empty());
                }
                Err(error) => findings.push(Finding::of_error(CLASSIFIER_FILE, 0, error)),
            }
        }
        if let Some(content) = content(files, manifest, CLASSES_FILE, findings) {
            match ClassTable::read(files, content, manifest.feature_shape) {
                Ok(table) => classes.table = classes.checked(table, manifest, findings),
                Err(error) => findings.push(Finding::of_error(CLASSES_FILE, 0, error)),
            }
        }
        classes
    }

    /// Names of the classes, from whichever file has them.
    pub(super) fn names(&self) -> Option<&[String]> {
        self.table
            .as_ref()
            .map(|table| &table.names)
            .or(self.card_names.as_ref())
            .map(Vec::as_slice)
    }

    /// Training rows that should have a map; of all, where the classes' sizes are not known.
    pub(super) fn map_rows(&self, manifest: &Manifest) -> u64 {
        let kept = &manifest.maps;
        let Some(table) = self.table.as_ref().filter(|_| !kept.is_all()) else {
            return if *kept == MapsKept::None { 0 } else { u64::MAX };
        };
        let images = table.train_images.iter().zip(0..).filter(|(_, class)| kept.of_class(*class));
        let images: u64 = images.map(|(&images, _)| images.max(0) as u64).sum();
        images.saturating_mul(manifest.views.count as u64)
    }

    /// The table, where it has a row a class.
    fn checked(
        &self,
        table: ClassTable,
        manifest: &Manifest,
        findings: &mut Vec<Finding>,
    ) -> Option<ClassTable> {
        let count = manifest.dataset.classes;
        if table.labels.len() != count {
            let found = format!("{} classes", table.labels.len());
            findings.push(Finding::of_file(
                FindingKind::Classes,
                CLASSES_FILE,
                found,
                count.to_string(),
            ));
            return None;
        }
        let mut differ = |column: &str, of_class: &dyn Fn(usize) -> Option<(String, String)>| {
            findings.extend(differences(column, count, of_class));
        };
        differ("label", &|c| unequal(table.labels[c] as i64, c as i64, ""));
        if let Some(names) = self.card_names.as_ref().filter(|names| names.len() == count) {
            let said = ", as in classifier.safetensors";
            differ("name", &|c| {
                unequal(format!("`{}`", table.names[c]), format!("`{}`", names[c]), said)
            });
        }
        differ("train_images", &|c| {
            let images = table.train_images[c];
            (images < 1).then(|| (images.to_string(), "1 or more".into()))
        });
        if let Some(head) = &self.head {
            let bits = |v: &f32| v.to_bits();
            differ("weight", &|c| {
                let (found, expected) =
                    (table.weight.of(c), head.weight.chunks(head.channels()).nth(c)?);
                if found.len() != expected.len() {
                    return unequal(
                        format!("{} values", found.len()),
                        expected.len().to_string(),
                        "",
                    );
                }
                let at = (0..found.len()).find(|&k| bits(&found[k]) != bits(&expected[k]))?;
                let said = ", as in classifier.safetensors";
                unequal(format!("value {at} is {}", found[at]), expected[at].to_string(), said)
            });
            differ("bias", &|c| {
                let (found, expected) = (table.bias[c], head.bias[c]);
                let other = bits(&found) != bits(&expected);
                let expected = format!("{expected}, as in classifier.safetensors");
                other.then(|| (found.to_string(), expected))
            });
        }
        Some(table)
    }

    /// Compares the table with the images of each class that the rows have.
    pub(super) fn check_counts(&self, counts: &[u64]) -> Option<Finding> {
        let table = self.table.as_ref()?;
        let said = |c: usize| {
            let (found, expected) = (table.train_images[c], counts[c] as i64);
            unequal(found, expected, ", as there are clean training rows")
        };
        differences("train_images", counts.len().min(table.train_images.len()), &said)
    }
}

/// What was found and what was expected, where the two differ.
fn unequal<T: PartialEq + std::fmt::Display>(
    found: T,
    expected: T,
    why: &str,
) -> Option<(String, String)> {
    (found != expected).then(|| (found.to_string(), format!("{expected}{why}")))
}

/// The classes whose rows differ in a column, as one finding.
fn differences(
    column: &str,
    classes: usize,
    of_class: &dyn Fn(usize) -> Option<(String, String)>,
) -> Option<Finding> {
    let mut differing = (0..classes).filter_map(|class| Some((class, of_class(class)?)));
    let (class, (found, expected)) = differing.next()?;
    Some(Finding {
        row: Some(class as u64),
        column: Some(column.into()),
        rows: 1 + differing.count() as u64,
        ..Finding::of_file(FindingKind::Classes, CLASSES_FILE, found, expected)
    })
}

/// A file as it was written.
fn content(
    files: &dyn BankFiles,
    manifest: &Manifest,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Option<Vec<u8>> {
    let Some(entry) = manifest.files.get(name) else {
        let found = format!("no entry for {name}");
        findings.push(Finding::of_file(FindingKind::Schema, MANIFEST_FILE, found, "one"));
        return None;
    };
    match read_file(files, name, entry) {
        Ok(content) => Some(content),
        Err(error) => {
            findings.push(Finding::of_error(name, entry.bytes, error));
            None
        }
    }
}

/// The bank's own classifier.
fn classifier(
    files: &dyn BankFiles,
    manifest: &Manifest,
    content: &[u8],
) -> Result<(LinearHead, ClassifierCard), BankError> {
    let path = files.location(CLASSIFIER_FILE);
    let weights = Weights::from_bytes(content, &path)?;
    let (found, expected) = (weights.sha256(), &manifest.classifier_sha256);
    if found != *expected {
        return Err(BankError::OtherClassifier { path, found, expected: expected.clone() });
    }
    let (classes, channels) = (manifest.dataset.classes, manifest.feature_shape.channels);
    Ok((weights.linear_head(classes, channels, &path)?, ClassifierCard::of(&weights)))
}
