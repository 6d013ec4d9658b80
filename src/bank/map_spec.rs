//! The maps that a row of a bank has: which layer of the network each comes from, and how its locations lie.

use serde::{Deserialize, Serialize};

use crate::domain::FeatureShape;

/// One map of each row: a column of the shards of the training split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSpec {
    /// Name of its column: small letters, digits and `_`, a letter first.
    pub name: String,
    /// The layer whose output it is, in the network's own words; [`LAST_LAYER`] of the one before the pooling.
    pub layer: String,
    /// K, values of each location.
    pub channels: usize,
    /// Where the K values belong.
    pub locations: Locations,
}

/// Name of the column of the one map of the banks that this program makes.
pub(super) const MAP_COLUMN: &str = "feature_map";
/// The layer before global pooling, whatever the network calls it.
pub const LAST_LAYER: &str = "last";

/// How the L locations of a map lie. They are stored one after the other: row by row, or in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Locations {
    /// In rows of equal length: what a convolution makes of an image.
    Grid {
        /// Rows.
        height: usize,
        /// Locations a row.
        width: usize,
    },
    /// In one row: the tokens of a transformer.
    Sequence {
        /// How many.
        length: usize,
    },
}

impl MapSpec {
    /// The one map of the banks that this program makes, of the last layer.
    pub fn last(shape: FeatureShape) -> Self {
        let FeatureShape { channels, height, width } = shape;
        let locations = Locations::Grid { height, width };
        Self { name: MAP_COLUMN.into(), layer: LAST_LAYER.into(), channels, locations }
    }

    /// Its shape; a sequence is a grid of one row.
    pub fn shape(&self) -> FeatureShape {
        let (height, width) = match self.locations {
            Locations::Grid { height, width } => (height, width),
            Locations::Sequence { length } => (1, length),
        };
        FeatureShape { channels: self.channels, height, width }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bank) const SHAPE: FeatureShape =
        FeatureShape { channels: 3, height: 1, width: 5 };

    pub(in crate::bank) fn tokens(name: &str) -> MapSpec {
        let (name, layer) = (name.into(), "blocks.11".into());
        MapSpec { name, layer, channels: 3, locations: Locations::Sequence { length: 5 } }
    }

    #[test]
    fn maps_are_described_in_json() {
        let json = serde_json::to_string(&tokens("tokens")).unwrap();
        let expected = r#"{"name":"tokens","layer":"blocks.11","channels":3,"locations":{"sequence":{"length":5}}}"#;
        assert_eq!(json, expected);
        let json = serde_json::to_string(&MapSpec::last(SHAPE)).unwrap();
        let expected = r#"{"name":"feature_map","layer":"last","channels":3,"locations":{"grid":{"height":1,"width":5}}}"#;
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<MapSpec>(expected).unwrap(), MapSpec::last(SHAPE));
    }
}
