//! From a batch of feature maps to rows of the bank.

use rayon::prelude::*;

use crate::augment;
use crate::bank::{BankError, Manifest, MapsKept, RowHead, TrainRow, round};
use crate::config::Precision;
use crate::domain::{ClassId, FeatureShape, LinearHead};
use crate::eval::{LogitChunks, softmax};

/// Turns maps into rows.
pub(super) struct RowMaker<'a> {
    pub(super) shape: FeatureShape,
    pub(super) head: &'a LinearHead,
    pub(super) precision: Precision,
    /// Which training rows keep their maps.
    pub(super) maps: &'a MapsKept,
}

impl<'a> RowMaker<'a> {
    /// For the bank that `manifest` describes.
    pub(super) fn new(manifest: &'a Manifest, head: &'a LinearHead) -> Self {
        let Manifest { feature_shape: shape, precision, maps, .. } = manifest;
        Self { shape: *shape, head, precision: *precision, maps }
    }

    /// Rows of a batch: `maps` is (n, K, H, W), one for each of `heads`.
    ///
    /// CAM and pooled vector are computed from the rounded map, so that they can be recomputed from
    /// what is stored.
    pub(super) fn rows(
        &self,
        heads: Vec<RowHead>,
        maps: Vec<f32>,
    ) -> Result<Vec<TrainRow>, BankError> {
        Ok(self.with_scores(self.bare_rows(heads, maps)?))
    }

    /// The same but for what follows from the classifier, all with their maps.
    pub(super) fn bare_rows(
        &self,
        heads: Vec<RowHead>,
        maps: Vec<f32>,
    ) -> Result<Vec<TrainRow>, BankError> {
        heads
            .into_par_iter()
            .zip(maps.par_chunks_exact(self.shape.values()))
            .map(|(head, map)| self.row(head, map))
            .collect()
    }

    /// Rows with what follows from the classifier: the activation map of those that have a map, and
    /// the scores. Maps that the bank does not keep go when these are there.
    pub(super) fn with_scores(&self, mut rows: Vec<TrainRow>) -> Vec<TrainRow> {
        rows.par_iter_mut().filter(|row| !row.feature_map.is_empty()).for_each(|row| {
            let weight = self.head.class_weight(ClassId(row.head.label));
            row.cam = augment::normalise(&augment::activation(&row.feature_map, weight));
            if !self.maps.of_class(row.head.label) {
                row.feature_map = vec![];
            }
        });
        let pooled: Vec<f32> = rows.iter().flat_map(|row| &row.head.pooled).copied().collect();
        let scores = pooled.map_logits(self.head, |row| {
            softmax(row);
            let best = crate::eval::argmax(row);
            (best as u32, row[best])
        });
        for (row, (predicted, confidence)) in rows.iter_mut().zip(scores) {
            (row.head.predicted, row.head.confidence) = (predicted, confidence);
        }
        rows
    }

    /// A row but for what follows from the classifier.
    fn row(&self, mut head: RowHead, map: &[f32]) -> Result<TrainRow, BankError> {
        let channels = self.shape.channels;
        let mut feature_map = augment::by_location(map, channels);
        round(&mut feature_map, self.precision);
        if let Some(at) = feature_map.iter().position(|v| !v.is_finite()) {
            let locations = self.shape.locations();
            let value = map[(at % channels) * locations + at / channels];
            return Err(self.refuse(head, value));
        }
        head.pooled = augment::pooled(&feature_map, channels);
        let nonzero = augment::nonzero(&feature_map, channels);
        Ok(TrainRow { head, cam: vec![], nonzero, feature_map })
    }

    fn refuse(&self, head: RowHead, value: f32) -> BankError {
        let remedy = if value.is_finite() {
            "Set features.precision = \"bf16\", which has the range of f32."
        } else {
            "The network itself gives no number here: its weights are damaged, or training has diverged."
        };
        let precision = if value.is_finite() { self.precision.name() } else { "a bank" };
        BankError::Value { sample: head.path, view: head.view, value, precision, remedy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> RowHead {
        let path = "train/a/1.png".to_string();
        RowHead {
            sample_id: 0,
            view: 2,
            path,
            label: 1,
            predicted: 0,
            confidence: 0.0,
            pooled: vec![],
        }
    }

    fn make(map: [f32; 8], precision: Precision) -> Result<TrainRow, BankError> {
        let classifier = LinearHead::new(vec![0.0, 0.0, 1.0, -1.0], vec![0.0, 0.0]).unwrap();
        let shape = FeatureShape { channels: 2, height: 2, width: 2 };
        let maker = RowMaker { shape, head: &classifier, precision, maps: &MapsKept::All };
        Ok(maker.rows(vec![head()], map.to_vec())?.remove(0))
    }

    #[test]
    fn a_row_by_hand() {
        // Channel 0 is 1 0 / 0 3, channel 1 is 0 2 / 0 1.
        let row = make([1.0, 0.0, 0.0, 3.0, 0.0, 2.0, 0.0, 1.0], Precision::F16).unwrap();
        assert_eq!(row.feature_map, [1.0, 0.0, 0.0, 2.0, 0.0, 0.0, 3.0, 1.0]);
        assert_eq!(row.head.pooled, [1.0, 0.75]);
        assert_eq!(row.cam, [0.75, 0.0, 0.5, 1.0]);
        assert_eq!(row.nonzero, [true, true, false, true]);
        assert_eq!(row.head.predicted, 1);
        assert!((row.head.confidence - 1.0 / (1.0 + (-0.25f32).exp())).abs() < 1e-6);
    }

    #[test]
    fn values_are_rounded_and_cam_and_pooled_follow() {
        let fine = 1.0 + 1.0 / 4096.0;
        let map = [fine, fine, fine, fine, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(make(map, Precision::F16).unwrap().head.pooled, [1.0, 0.0]);
        assert_eq!(make(map, Precision::Bf16).unwrap().head.pooled, [1.0, 0.0]);
        assert_eq!(make(map, Precision::F32).unwrap().head.pooled, [fine, 0.0]);
    }

    #[test]
    fn a_value_beyond_f16_names_bf16_and_nan_names_the_image() {
        let mut map = [0.0; 8];
        map[5] = 70_000.0;
        let message = make(map, Precision::F16).unwrap_err().to_string();
        assert!(message.contains("70000") && message.contains("bf16"), "{message}");
        assert!(make(map, Precision::Bf16).is_ok());
        map[5] = f32::NAN;
        let message = make(map, Precision::F32).unwrap_err().to_string();
        assert!(
            message.starts_with("train/a/1.png, view 2") && message.contains("NaN"),
            "{message}"
        );
    }
}
