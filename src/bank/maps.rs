//! Which training rows of a bank have a map.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::GenericClasses;

/// Which training rows have a map. All have an activation map and a pooled vector.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kept")]
pub enum MapsKept {
    /// Every row.
    #[default]
    All,
    /// Rows of the classes that fusion takes maps of: tail classes, and those they are confused with.
    Needed {
        /// h_r, which says what the tail is.
        head_ratio: f64,
        /// N_f, confusing classes of each tail class.
        num_confusing: usize,
        /// Which classes give class-generic vectors.
        generic_classes: GenericClasses,
        /// Rows an image of the other classes; 0 for as many as images of these have.
        #[serde(default, skip_serializing_if = "is_zero")]
        other_views: usize,
        /// The classes whose rows have maps, ascending.
        classes: Vec<u32>,
    },
    /// None: pooled vectors and activation maps only.
    None,
}

impl MapsKept {
    /// Whether every training row has a map.
    pub fn is_all(&self) -> bool {
        *self == Self::All
    }

    /// Whether the rows of a class have maps.
    pub fn of_class(&self, label: u32) -> bool {
        match self {
            Self::All => true,
            Self::Needed { classes, .. } => classes.binary_search(&label).is_ok(),
            Self::None => false,
        }
    }

    /// Rows an image of a class, where there are `views` of the classes that have maps.
    pub fn views_of(&self, label: u32, views: usize) -> usize {
        match self {
            Self::Needed { other_views: 1.., .. } if !self.of_class(label) => {
                self.least_views(views)
            }
            _ => views,
        }
    }

    /// Rows that an image of any class has at least.
    pub fn least_views(&self, views: usize) -> usize {
        match self {
            Self::Needed { other_views: other @ 1.., .. } => views.min(*other),
            _ => views,
        }
    }

    /// The settings that it follows from, under their names in a pipeline.
    pub(super) fn settings(&self) -> serde_json::Map<String, serde_json::Value> {
        let word = match self {
            Self::All => "all",
            Self::Needed { .. } => "needed",
            Self::None => "none",
        };
        let mut settings = serde_json::Map::from_iter([("features.maps".into(), word.into())]);
        if let Self::Needed { head_ratio, num_confusing, generic_classes, other_views, .. } = self {
            settings.insert("features.other_views".into(), (*other_views).into());
            let generic = serde_json::to_value(generic_classes).expect("a word is JSON");
            settings.insert("finetune.head_ratio".into(), (*head_ratio).into());
            settings.insert("finetune.num_confusing".into(), (*num_confusing).into());
            settings.insert("finetune.generic_classes".into(), generic);
        }
        settings
    }

    /// What a reader relies on without asking again, of a bank of `classes` classes.
    pub(super) fn check(&self, classes: usize) -> Result<(), String> {
        let Self::Needed { classes: kept, .. } = self else { return Ok(()) };
        let inside = kept.last().is_none_or(|&last| (last as usize) < classes);
        match inside && kept.is_sorted_by(|a, b| a < b) {
            true => Ok(()),
            false => Err(format!("maps.classes are not ascending classes below {classes}")),
        }
    }
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What is kept, in words.
impl fmt::Display for MapsKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all maps"),
            Self::Needed { head_ratio, num_confusing, generic_classes, other_views, .. } => {
                write!(f, "maps for head_ratio {head_ratio}, num_confusing {num_confusing}")?;
                match generic_classes {
                    GenericClasses::Confusing => {}
                    GenericClasses::Head => f.write_str(", generic_classes head")?,
                    GenericClasses::Random => f.write_str(", generic_classes random")?,
                }
                f.write_str(" (--maps needed)")?;
                match other_views {
                    0 => Ok(()),
                    1 => f.write_str(", 1 view of other classes"),
                    n => write!(f, ", {n} views of other classes"),
                }
            }
            Self::None => f.write_str("no maps (--maps none)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(classes: &[u32]) -> MapsKept {
        MapsKept::Needed {
            head_ratio: 0.9,
            num_confusing: 3,
            generic_classes: GenericClasses::Confusing,
            other_views: 0,
            classes: classes.to_vec(),
        }
    }

    #[test]
    fn classes_are_ascending_and_of_the_bank() {
        assert_eq!(needed(&[0, 2, 3]).check(4), Ok(()));
        assert_eq!(needed(&[]).check(4), Ok(()));
        for wrong in [&[2, 0][..], &[1, 1], &[0, 4]] {
            assert!(needed(wrong).check(4).is_err(), "{wrong:?}");
        }
        let kept = [0, 1, 2, 3].map(|class| needed(&[0, 2]).of_class(class));
        assert_eq!(kept, [true, false, true, false]);
        assert!(MapsKept::All.of_class(7) && !MapsKept::None.of_class(7));
    }

    #[test]
    fn other_classes_may_have_fewer_views() {
        let views = |other: usize, all: usize| {
            let mut kept = needed(&[0, 2]);
            if let MapsKept::Needed { other_views, .. } = &mut kept {
                *other_views = other;
            }
            assert_eq!(kept.least_views(all), kept.views_of(1, all));
            [0, 1, 2].map(|class| kept.views_of(class, all))
        };
        assert_eq!(views(0, 4), [4, 4, 4]);
        assert_eq!(views(1, 4), [4, 1, 4]);
        assert_eq!(views(9, 4), [4, 4, 4]);
        assert_eq!([MapsKept::All, MapsKept::None].map(|kept| kept.views_of(1, 4)), [4, 4]);
    }
}
