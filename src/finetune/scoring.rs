//! Classifiers on the images of a split: predictions, scores, and choices that a split makes.

use serde::{Deserialize, Serialize};

use super::FinetuneError;
use crate::bank::{Bank, BankError, RowIndex, RowReader};
use crate::classifier::{Classifier, Prediction};
use crate::config::ShotRule;
use crate::domain::{HeadTail, Split};
use crate::eval::{Accuracy, Groups, Score};

/// Where choices (of the iteration, of τ, of a method) are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selection {
    /// Nothing is chosen: settings as they are, the end of training.
    #[default]
    None,
    /// Validation images that Phase-I never saw.
    Val,
    /// The training images: biased, since Phase-I has fitted them.
    Train,
    /// The test images: the figures of what they choose estimate nothing.
    Test,
}

impl Selection {
    /// Its words in tables.
    pub fn describe(self) -> &'static str {
        match self {
            Self::None => "nothing was chosen: settings as given, the end of training",
            Self::Val => "chosen by balanced accuracy on validation images that Phase-I never saw",
            Self::Train => {
                "BIASED: chosen on training images, which Phase-I has fitted; the order of methods may reverse"
            }
            Self::Test => "BEST ON TEST: chosen on the test images; no estimate of new images",
        }
    }

    /// The split that chooses, if any.
    ///
    /// # Errors
    /// The bank has no validation split and it is asked to choose.
    pub fn split(self, bank: &Bank) -> Result<Option<Split>, FinetuneError> {
        Ok(match self {
            Self::None => None,
            Self::Train => Some(Split::Train),
            Self::Test => Some(Split::Test),
            Self::Val if bank.has(Split::Val) => Some(Split::Val),
            Self::Val => {
                let remedy = match bank.manifest.model.is_onnx() {
                    true => {
                        "Make the bank again: the same `fsa-bank features` with --set dataset.val_fraction=0.2 --overwrite"
                    }
                    false => "Set dataset.val_fraction and train again",
                };
                return Err(FinetuneError::NoValidation { bank: bank.dir().into(), remedy });
            }
        })
    }
}

/// Pooled vectors up to this size are held; others are read again for each use.
const HELD_BYTES: u64 = 32 << 20;
/// Vectors that are scored at a time.
const BLOCK_BYTES: usize = 8 << 20;

/// The clean images of a split, to score classifiers on.
pub struct SplitVectors<'a> {
    bank: &'a Bank,
    /// Class of each image.
    pub labels: Vec<u32>,
    vectors: Vectors,
}

enum Vectors {
    Held(Vec<f32>),
    OnDisk { index: RowIndex, reader: Box<RowReader>, clean: Vec<usize> },
}

impl<'a> SplitVectors<'a> {
    /// Opens a split; of training rows the clean views.
    ///
    /// # Errors
    /// The bank is damaged or has no such split.
    pub fn open(bank: &'a Bank, split: Split) -> Result<Self, BankError> {
        let index = bank.index(split)?;
        let clean: Vec<usize> = (0..index.len()).filter(|&row| index.views[row] == 0).collect();
        let labels = clean.iter().map(|&row| index.labels[row]).collect();
        let reader = bank.row_reader(split)?;
        let bytes = 4 * clean.len() as u64 * bank.manifest.feature_shape.channels as u64;
        let vectors = if bytes <= HELD_BYTES {
            let mut values = vec![];
            reader.pooled(&index, &clean, &mut values)?;
            Vectors::Held(values)
        } else {
            Vectors::OnDisk { index, reader: Box::new(reader), clean }
        };
        Ok(Self { bank, labels, vectors })
    }

    /// Images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Predictions of several classifiers, from one pass over the vectors.
    ///
    /// # Errors
    /// The bank is damaged.
    pub fn predict(&self, classifiers: &[&Classifier]) -> Result<Vec<Vec<Prediction>>, BankError> {
        let mut found: Vec<Vec<Prediction>> =
            classifiers.iter().map(|_| Vec::with_capacity(self.len())).collect();
        let mut visit = |vectors: &[f32]| {
            for (found, classifier) in found.iter_mut().zip(classifiers) {
                found.extend(classifier.predict(vectors));
            }
        };
        match &self.vectors {
            Vectors::Held(values) => visit(values),
            Vectors::OnDisk { index, reader, clean } => {
                let channels = self.bank.manifest.feature_shape.channels;
                let mut values = vec![];
                for rows in clean.chunks((BLOCK_BYTES / (4 * channels)).max(1)) {
                    reader.pooled(index, rows, &mut values)?;
                    visit(&values);
                }
            }
        }
        Ok(found)
    }

    /// Accuracy of several classifiers.
    ///
    /// # Errors
    /// The bank is damaged.
    pub fn accuracy(&self, classifiers: &[&Classifier]) -> Result<Vec<Accuracy>, BankError> {
        let classes = self.bank.class_names.len();
        let of = |predictions: Vec<Prediction>| {
            Accuracy::of_predictions(&predictions, &self.labels, classes)
        };
        Ok(self.predict(classifiers)?.into_iter().map(of).collect())
    }

    /// Accuracy of several classifiers with that of the usual groups.
    ///
    /// # Errors
    /// The bank is damaged.
    pub fn scores(
        &self,
        classifiers: &[&Classifier],
        split: &HeadTail,
        rule: ShotRule,
    ) -> Result<Vec<Score>, BankError> {
        let score = |accuracy: Accuracy| {
            let groups = Groups::of(&accuracy, &self.bank.class_counts, split, rule);
            Score { accuracy, groups }
        };
        Ok(self.accuracy(classifiers)?.into_iter().map(score).collect())
    }
}
