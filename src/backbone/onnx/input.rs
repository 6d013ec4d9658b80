//! What a graph takes: its images, their layout and element type, and the values that it wants of them, as far
//! as its first operations tell.

use super::error::OnnxError;
use super::file::OnnxFile;
use super::nodes::{describe, two};
use super::proto::{Dimension, Node, ValueInfo, data_type};
use super::search::Search;
use crate::config::InputSpec;

/// The graph's images.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageInput {
    /// The input's name.
    pub name: String,
    /// Images of a pass, where the graph fixes them.
    pub batch: Option<usize>,
    /// Side of the images, where the graph fixes it.
    pub side: Option<usize>,
    /// Whether channels come last: [n, height, width, 3].
    pub channels_last: bool,
    /// What its values are.
    pub element: Element,
    /// What they should be.
    pub range: InputRange,
}

/// Element type of the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32-bit floats.
    Float,
    /// 16-bit floats.
    Half,
    /// Unsigned 8-bit integers.
    Byte,
}

/// The values that a graph wants of a pixel, where it normalises them itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum InputRange {
    /// It does not say.
    #[default]
    Unknown,
    /// 0 to 1: its first operations, in words, take off a mean of about a half.
    Unit(String),
    /// 0 to 255: they divide by about 255 or take off a mean of about a half of that, or the input is uint8.
    Bytes(String),
}

impl InputRange {
    /// How images are prepared for it, where that is `usual` but for the values of a pixel.
    pub fn applied_to(&self, usual: InputSpec) -> InputSpec {
        let value_range = match self {
            Self::Unknown => return usual,
            Self::Unit(_) => 1,
            Self::Bytes(_) => 255,
        };
        InputSpec { mean: [0.0; 3], std: [1.0; 3], value_range, ..usual }
    }

    /// What it wants, and how that is known.
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Unit(why) => {
                Some(format!("takes pixels of 0 to 1 and normalises them itself ({why})"))
            }
            Self::Bytes(why) => Some(format!("takes pixels of 0 to 255 ({why})")),
        }
    }

    /// Whether pixels that are prepared so have other values than the graph wants.
    pub fn contradicts(&self, spec: &InputSpec) -> bool {
        let white = match self {
            Self::Unknown => return false,
            Self::Unit(_) => 1.0,
            Self::Bytes(_) => 255.0,
        };
        let near = |value: f32, wanted: f32| (value - wanted).abs() <= 0.02 * white;
        let range = spec.value_range as f32;
        let fits = |(m, s): (&f32, &f32)| near(-m / s, 0.0) && near((range - m) / s, white);
        !spec.mean.iter().zip(&spec.std).all(fits)
    }
}

impl OnnxFile {
    /// The graph's images.
    ///
    /// # Errors
    /// It does not take images.
    pub fn input(&self) -> Result<ImageInput, OnnxError> {
        let input = Search::new(self.graph()).image_input();
        input.map_err(|found| OnnxError::Input { path: self.path().into(), found })
    }
}

/// Operations on images that leave their values as they are.
const BEFORE_NORMALISATION: [&str; 6] =
    ["Identity", "Cast", "Transpose", "Resize", "QuantizeLinear", "DequantizeLinear"];
/// Operations examined, from the images on.
const MOST_STEPS: usize = 32;

/// Scale and offset of each channel.
type Affine = [(f32, f32); 3];

impl Search<'_> {
    pub(super) fn image_input(&self) -> Result<ImageInput, String> {
        let inputs = &self.graph.input;
        let found = || match inputs.is_empty() {
            true => "none".into(),
            false => inputs.iter().map(described).collect::<Vec<_>>().join(", "),
        };
        let [input] = inputs.as_slice() else {
            return Err(found());
        };
        let kind = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).ok_or_else(found)?;
        let element = match kind.elem_type {
            data_type::FLOAT => Element::Float,
            data_type::FLOAT16 => Element::Half,
            data_type::UINT8 => Element::Byte,
            _ => return Err(found()),
        };
        // A size of 0 or less, or a name, is not fixed.
        let dims = kind.shape.as_ref().map(|s| {
            s.dim
                .iter()
                .map(|d| d.dim_value.and_then(|v| usize::try_from(v).ok()).filter(|&v| v > 0))
                .collect::<Vec<_>>()
        });
        let dims = dims.ok_or_else(found)?;
        let [batch, a, b, c] = dims.as_slice() else {
            return Err(found());
        };
        let (channels_last, [height, width]) = match (a, c) {
            (Some(3) | None, _) => (false, [*b, *c]),
            (_, Some(3)) => (true, [*a, *b]),
            _ => return Err(found()),
        };
        let side = match (height, width) {
            (Some(h), Some(w)) if h != w => return Err(format!("{} (not square)", found())),
            (h, w) => h.or(w),
        };
        let range = match element {
            Element::Byte => InputRange::Bytes("uint8".into()),
            _ => self.range(&input.name),
        };
        let (name, batch) = (input.name.clone(), *batch);
        Ok(ImageInput { name, batch, side, channels_last, element, range })
    }

    /// What the first operations on the images say of the values that they want.
    fn range(&self, images: &str) -> InputRange {
        let (mut value, mut whole, mut said) = (images, [(1.0, 0.0); 3], vec![]);
        for _ in 0..MOST_STEPS {
            let takes = |n: &&Node| n.op_type != "Shape" && n.input.iter().any(|i| i == value);
            let mut takers = self.graph.node.iter().filter(takes);
            let (Some(node), None) = (takers.next(), takers.next()) else { break };
            if !BEFORE_NORMALISATION.contains(&node.op_type.as_str()) {
                let Some(step) = self.affine(node, value) else { break };
                for ((scale, offset), (a, b)) in whole.iter_mut().zip(step) {
                    (*scale, *offset) = (*scale * a, *offset * a + b);
                }
                said.push(describe(node));
            }
            let Some(output) = node.output.first() else { break };
            value = output;
        }
        let all = |fits: fn(f32, f32) -> bool| whole.iter().all(|&(a, b)| fits(a, b));
        // From 1/255 with a standard deviation of 0.08 at least, or a mean in bytes alone.
        if all(|a, b| (0.002..=0.05).contains(&a) || ((0.5..=2.0).contains(&a) && b < -16.0)) {
            InputRange::Bytes(said.join(", "))
        } else if all(|a, b| (0.9..=10.0).contains(&a) && b <= -0.4 && a + b >= 0.4) {
            InputRange::Unit(said.join(", "))
        } else {
            InputRange::Unknown
        }
    }

    /// A sum or product of `value` with a constant of all channels, or of each.
    fn affine(&self, node: &Node, value: &str) -> Option<Affine> {
        let [a, b] = two(node).ok()?;
        let first = a == value;
        let constant = self.weights(if first { b } else { a })?;
        let c: [f32; 3] = match constant.values.as_slice() {
            &[one] => [one; 3],
            // Along the channels, wherever these are.
            _ if constant.shape.iter().filter(|&&d| d != 1).count() == 1 => {
                constant.values.try_into().ok()?
            }
            _ => return None,
        };
        Some(match (node.op_type.as_str(), first) {
            ("Mul", _) => c.map(|c| (c, 0.0)),
            ("Div", true) => c.map(|c| (1.0 / c, 0.0)),
            ("Add", _) => c.map(|c| (1.0, c)),
            ("Sub", true) => c.map(|c| (1.0, -c)),
            _ => return None,
        })
    }
}

/// `images` float [n, 3, 224, 224]
fn described(input: &ValueInfo) -> String {
    let kind = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
    let element = match kind.map(|t| t.elem_type) {
        Some(data_type::FLOAT) => "float ",
        Some(data_type::FLOAT16) => "float16 ",
        Some(data_type::BFLOAT16) => "bfloat16 ",
        Some(data_type::DOUBLE) => "double ",
        Some(data_type::UINT8) => "uint8 ",
        Some(data_type::INT8) => "int8 ",
        Some(data_type::INT32) => "int32 ",
        Some(data_type::INT64) => "int64 ",
        _ => "",
    };
    let Some(shape) = kind.and_then(|t| t.shape.as_ref()) else {
        return format!("`{}` {element}of unknown shape", input.name);
    };
    let dim = |d: &Dimension| match (d.dim_value, &d.dim_param) {
        (Some(value), _) => value.to_string(),
        (None, Some(name)) => name.clone(),
        (None, None) => "?".into(),
    };
    let dims: Vec<String> = shape.dim.iter().map(dim).collect();
    format!("`{}` {element}[{}]", input.name, dims.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_and_standard_deviation_that_normalise_twice_contradict() {
        let (unit, bytes) = (InputRange::Unit(String::new()), InputRange::Bytes(String::new()));
        let imagenet = InputSpec::imagenet(224);
        for range in [&unit, &bytes] {
            assert!(!range.contradicts(&range.applied_to(imagenet.clone())));
            assert!(range.contradicts(&imagenet));
        }
        let scaled = |std: f32| InputSpec { mean: [0.0; 3], std: [std; 3], ..imagenet.clone() };
        assert!(unit.contradicts(&scaled(1.0 / 255.0)) && !bytes.contradicts(&scaled(1.0 / 255.0)));
        assert!(bytes.contradicts(&scaled(1.0)) && !unit.contradicts(&scaled(1.0)));
        assert!(!InputRange::Unknown.contradicts(&imagenet));
    }
}
