//! Whether a bank keeps the maps that a run draws from (`features --maps needed` and `none` keep some of
//! them, or none).

use std::fmt;

use super::FinetuneError;
use crate::augment::ConfusingClasses;
use crate::bank::{Bank, MapsKept};
use crate::config::{FinetuneConfig, GenericClasses, Method};
use crate::domain::{ClassId, HeadTail};

/// A class whose maps a run needs and the bank does not keep.
#[derive(Debug, Clone, PartialEq)]
pub struct MissingMaps {
    /// The class.
    pub class: String,
    /// Why its maps are needed.
    pub need: MapNeed,
    /// What the bank keeps.
    pub kept: MapsKept,
    /// Whether that was asked for with the settings of the run.
    pub same_settings: bool,
}

/// Why maps of a class are needed.
#[derive(Debug, Clone, PartialEq)]
pub enum MapNeed {
    /// The method draws from maps.
    Method(Method),
    /// The class is in the tail.
    Tail {
        /// h_r.
        head_ratio: f64,
    },
    /// The class gives class-generic vectors to a tail class.
    Confusing {
        /// The tail class.
        of: String,
        /// N_f.
        num_confusing: usize,
        /// Which classes may give them.
        among: GenericClasses,
    },
    /// Every class gives class-generic vectors.
    Random,
}

impl fmt::Display for MissingMaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, need, kept, .. } = self;
        match need {
            MapNeed::Method(method) => write!(f, "{} draws from maps", method.name())?,
            MapNeed::Tail { head_ratio } => {
                write!(f, "class `{class}` is in the tail with head_ratio {head_ratio}")?;
            }
            MapNeed::Confusing { of, num_confusing, among } => {
                let head = if *among == GenericClasses::Head { "head classes" } else { "classes" };
                write!(
                    f,
                    "class `{class}` is one of the {num_confusing} {head} that `{of}` is confused with most"
                )?;
            }
            MapNeed::Random => {
                write!(f, "generic_classes random draws from every class, `{class}` as well")?;
            }
        }
        write!(f, "; this bank keeps {kept}\n  ")?;
        f.write_str(match (kept, self.same_settings) {
            (MapsKept::None, _) => {
                "Choose a method that takes pooled vectors, such as crt, or make"
            }
            (_, true) => {
                "Images that could not be decoded, or scores that are nearly equal, have changed the choice; make"
            }
            (_, false) => "Use these settings, or make",
        })?;
        f.write_str(" the bank again with `fsa-bank features --maps all --overwrite`.")
    }
}

impl std::error::Error for MissingMaps {}

/// Refuses settings whose tail classes have no maps, or that draw from all classes where not all have.
pub(super) fn must_have_tail(
    bank: &Bank,
    config: &FinetuneConfig,
    split: &HeadTail,
) -> Result<(), FinetuneError> {
    if bank.manifest.maps == MapsKept::None {
        return Err(missing(bank, config, ClassId(0), MapNeed::Method(config.method)));
    }
    let head_ratio = config.head_ratio;
    if let Some(class) = first_without(bank, split.tail.iter().copied()) {
        return Err(missing(bank, config, class, MapNeed::Tail { head_ratio }));
    }
    let all = (0..bank.class_names.len() as u32).map(ClassId);
    match first_without(bank, all) {
        Some(class) if config.generic_classes == GenericClasses::Random => {
            Err(missing(bank, config, class, MapNeed::Random))
        }
        _ => Ok(()),
    }
}

/// Refuses settings whose confusing classes have no maps.
pub(super) fn must_have_confusing(
    bank: &Bank,
    config: &FinetuneConfig,
    confusing: &[ConfusingClasses],
) -> Result<(), FinetuneError> {
    for of_class in confusing {
        let classes = of_class.ranked.iter().map(|(class, _)| *class);
        if let Some(class) = first_without(bank, classes) {
            let of = bank.class_names[of_class.class.index()].clone();
            let (num_confusing, among) = (config.num_confusing, config.generic_classes);
            let need = MapNeed::Confusing { of, num_confusing, among };
            return Err(missing(bank, config, class, need));
        }
    }
    Ok(())
}

fn first_without(bank: &Bank, mut classes: impl Iterator<Item = ClassId>) -> Option<ClassId> {
    classes.find(|class| !bank.manifest.maps.of_class(class.0))
}

fn missing(bank: &Bank, config: &FinetuneConfig, class: ClassId, need: MapNeed) -> FinetuneError {
    let kept = bank.manifest.maps.clone();
    let same_settings = match &kept {
        MapsKept::Needed { head_ratio, num_confusing, generic_classes, .. } => {
            (*head_ratio, *num_confusing, *generic_classes)
                == (config.head_ratio, config.num_confusing, config.generic_classes)
        }
        _ => false,
    };
    let class = bank.class_names[class.index()].clone();
    FinetuneError::MissingMaps(Box::new(MissingMaps { class, need, kept, same_settings }))
}
