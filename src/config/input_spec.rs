//! How images become a network's inputs. It goes wherever the network goes (banks, classifiers, exported files),
//! each of them makes a [`Statement`] of it, and statements that contradict each other are refused.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::settings::{check_values, word_of};
use super::{ChannelOrder, ConfigError, CropMode, DatasetConfig, DatasetKind, Interpolation};

/// What is done to images on their way to a network; the keys and values are those of `[dataset]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Side of the images.
    pub image_size: usize,
    /// What is kept, as a share of the (shorter) side.
    #[serde(default = "whole")]
    pub crop_fraction: f64,
    /// How it is scaled.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Subtracted from R, G, B, whatever `channel_order`; in units of `value_range`.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
    /// Bits that the values of 16-bit images have.
    #[serde(default = "sixteen", skip_serializing_if = "is_sixteen")]
    pub bit_depth: u32,
    /// How a square is made of an image.
    #[serde(default, skip_serializing_if = "is_default")]
    pub crop_mode: CropMode,
    /// White, before `mean` and `std`: 1 or 255.
    #[serde(default = "default_value_range", skip_serializing_if = "is_one")]
    pub value_range: u32,
    /// Order of the planes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub channel_order: ChannelOrder,
}

fn whole() -> f64 {
    1.0
}

fn default_value_range() -> u32 {
    1
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

fn sixteen() -> u32 {
    16
}

fn is_sixteen(value: &u32) -> bool {
    *value == 16
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Mean and standard deviation of CIFAR-10's training set.
const CIFAR10: [[f32; 3]; 2] = [[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]];
/// CIFAR-100's training set.
const CIFAR100: [[f32; 3]; 2] = [[0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]];
/// ImageNet's training set, usual for photographs.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
/// Of networks that take pixels as they are.
const PIXELS: [[f32; 3]; 2] = [[0.0; 3], [1.0; 3]];

impl InputSpec {
    /// What is usual for ImageNet networks: with 224 pixels, images are scaled to 256 and cut.
    pub fn imagenet(image_size: usize) -> Self {
        let [mean, std] = IMAGENET;
        let crop_fraction = 0.875;
        Self { image_size, crop_fraction, mean, std, ..Self::of(&DatasetConfig::default()) }
    }

    /// What the settings of a dataset say.
    pub fn of(config: &DatasetConfig) -> Self {
        let [mean, std] = match config.kind {
            _ if config.value_range != 1 => PIXELS,
            DatasetKind::Cifar10 => CIFAR10,
            DatasetKind::Cifar100 => CIFAR100,
            DatasetKind::Folder | DatasetKind::List | DatasetKind::Parquet => IMAGENET,
        };
        let given = |values: &[f32], usual| <[f32; 3]>::try_from(values).unwrap_or(usual);
        Self {
            image_size: config.image_size,
            crop_fraction: config.crop_fraction,
            interpolation: config.interpolation,
            mean: given(&config.mean, mean),
            std: given(&config.std, std),
            bit_depth: config.bit_depth,
            crop_mode: config.crop_mode,
            value_range: config.value_range,
            channel_order: config.channel_order,
        }
    }

    /// Puts it into the settings of a dataset.
    pub fn put_into(&self, config: &mut DatasetConfig) {
        let Self { image_size, crop_fraction, interpolation, .. } = *self;
        let Self { bit_depth, crop_mode, value_range, channel_order, .. } = *self;
        *config = DatasetConfig {
            image_size,
            crop_fraction,
            interpolation,
            bit_depth,
            mean: self.mean.to_vec(),
            std: self.std.to_vec(),
            crop_mode,
            value_range,
            channel_order,
            ..std::mem::take(config)
        };
    }

    /// Its values as text, under their keys.
    fn values(&self) -> [(&'static str, String); 9] {
        [
            ("image_size", self.image_size.to_string()),
            ("crop_fraction", self.crop_fraction.to_string()),
            ("crop_mode", word_of(&self.crop_mode)),
            ("interpolation", word_of(&self.interpolation)),
            ("bit_depth", self.bit_depth.to_string()),
            ("mean", format!("{:?}", self.mean)),
            ("std", format!("{:?}", self.std)),
            ("value_range", self.value_range.to_string()),
            ("channel_order", word_of(&self.channel_order)),
        ]
    }

    /// The first key whose value is another one in `wanted`, with both.
    pub fn difference(&self, wanted: &Self) -> Option<(&'static str, String, String)> {
        let both = self.values().into_iter().zip(wanted.values());
        let mut differing = both.filter(|((_, there), (_, wanted))| there != wanted);
        differing.next().map(|((key, there), (_, wanted))| (key, there, wanted))
    }

    /// Takes the value of one key.
    fn take(&mut self, key: &str, from: &Self) {
        match key {
            "image_size" => self.image_size = from.image_size,
            "crop_fraction" => self.crop_fraction = from.crop_fraction,
            "crop_mode" => self.crop_mode = from.crop_mode,
            "interpolation" => self.interpolation = from.interpolation,
            "bit_depth" => self.bit_depth = from.bit_depth,
            "mean" => self.mean = from.mean,
            "std" => self.std = from.std,
            "value_range" => self.value_range = from.value_range,
            "channel_order" => self.channel_order = from.channel_order,
            _ => {}
        }
    }
}

impl fmt::Display for InputSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = match self.crop_fraction {
            1.0 => "whole".into(),
            share => format!("middle {} %", (1000.0 * share).round() / 10.0),
        };
        let list = |values: &[f32; 3]| values.map(|v| v.to_string()).join(" ");
        write!(f, "{} px, ", self.image_size)?;
        match self.crop_mode {
            CropMode::Center if self.crop_fraction == 1.0 => write!(f, "middle square")?,
            CropMode::Center => write!(f, "{share}")?,
            CropMode::Squash => write!(f, "{share}, squashed")?,
            CropMode::Border => write!(f, "{share}, with a border")?,
        }
        write!(f, ", {}", word_of(&self.interpolation))?;
        if self.bit_depth != 16 {
            write!(f, ", {} of 16 bits", self.bit_depth)?;
        }
        if self.value_range != 1 {
            write!(f, ", values 0 to {}", self.value_range)?;
        }
        write!(f, ", mean {}, std {}", list(&self.mean), list(&self.std))?;
        if self.channel_order == ChannelOrder::Bgr {
            write!(f, ", BGR")?;
        }
        Ok(())
    }
}

/// Who says how images are prepared; the earlier ones know best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The graph of a network, by its shapes.
    Graph,
    /// A classifier, which belongs to vectors of images that were prepared so.
    Classifier,
    /// A model that `fsa-bank train` wrote.
    Trained,
    /// The metadata of an ONNX file.
    Metadata,
    /// `--preprocessing`.
    Given,
    /// Images that are of one size, as CIFAR's.
    Images,
    /// A pipeline, with `--set`.
    Pipeline,
}

/// What one of them says.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Who says it.
    pub source: Source,
    /// Its file, as messages name it.
    pub place: String,
    /// The values.
    pub spec: InputSpec,
    /// The keys that it names; the others of `spec` mean nothing.
    pub keys: Vec<&'static str>,
}

impl Statement {
    /// That names every key.
    pub fn whole(source: Source, place: &Path, spec: &InputSpec) -> Self {
        let keys = spec.values().map(|(key, _)| key).to_vec();
        Self { source, place: place.display().to_string(), spec: spec.clone(), keys }
    }

    /// That names those keys that `named` has.
    pub fn part(
        source: Source,
        place: &Path,
        spec: &InputSpec,
        named: impl Fn(&str) -> bool,
    ) -> Self {
        let mut statement = Self::whole(source, place, spec);
        statement.keys.retain(|key| named(key));
        statement
    }

    /// Of a graph that takes images of one size, or of images that are of one.
    pub fn of_side(source: Source, place: &Path, side: usize) -> Self {
        Self::part(source, place, &InputSpec::imagenet(side), |key| key == "image_size")
    }
}

/// What all of `said` say together; of keys that none of them names, what `usual` has.
///
/// # Errors
/// Two contradict each other about a key, or a value is out of its range.
pub fn settled(said: &[Statement], usual: &InputSpec) -> Result<InputSpec, ConfigError> {
    let mut settled = usual.clone();
    for (at, (key, _)) in usual.values().into_iter().enumerate() {
        let mut named = said.iter().filter(|one| one.keys.contains(&key));
        let Some(first) = named.next() else { continue };
        settled.take(key, &first.spec);
        let value = |of: &Statement| of.spec.values()[at].1.clone();
        if let Some(other) = named.find(|other| value(other) != value(first)) {
            let (place, expected) = (&first.place, value(first));
            return Err(ConfigError::Preprocessing {
                place: other.place.clone(),
                key,
                found: value(other),
                said: match (first.source, key) {
                    (Source::Graph, "image_size") => {
                        format!("{place} takes images of {expected} pixels only")
                    }
                    _ => format!("{place} says {expected}"),
                },
                remedy: remedy(first, other, key),
            });
        }
    }
    let place = said.first().map_or("", |first| &first.place);
    let mut dataset = DatasetConfig::default();
    settled.put_into(&mut dataset);
    check_values(Path::new(place), &dataset)?;
    Ok(settled)
}

/// What to do where two contradict each other.
fn remedy(earlier: &Statement, other: &Statement, key: &str) -> String {
    use Source::{Classifier, Given, Graph, Images, Metadata, Pipeline, Trained};
    let (network, given) = (&earlier.place, &other.place);
    match (earlier.source, other.source) {
        (Classifier, Metadata) => format!(
            "Give the network that the classifier belongs to; if it is this one, its metadata is wrong, and `fsa-bank export {given} --preprocessing FILE --onnx NEW.onnx` corrects it (FILE as timm's config.json)."
        ),
        (Classifier, Trained) => "Give the network that the classifier belongs to.".into(),
        (Metadata, Given) => format!(
            "Leave out --preprocessing; or, if the network's metadata is wrong, `fsa-bank export {network} --preprocessing {given} --onnx NEW.onnx` corrects it."
        ),
        (_, Images) => "Give a network that takes images of this size.".into(),
        (Given, Pipeline) => format!("Leave out --preprocessing, or dataset.{key}."),
        (_, Pipeline) => {
            format!(
                "Leave dataset.{key} out of the pipeline and --set: the network's own is taken."
            )
        }
        (Graph, Given) => "Give the preprocessing of this network.".into(),
        (_, Given) => "Leave out --preprocessing.".into(),
        (Graph, _) => "Export the network again.".into(),
        _ => "Give the network that the classifier belongs to.".into(),
    }
}
